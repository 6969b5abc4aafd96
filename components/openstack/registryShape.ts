import { versions } from "../../scripts/tools/manifest";
import { consulCluster, type Registry } from "../roles";
import type { ServiceDiscovery } from "../serviceDiscovery";

/** A registry of the kind that a deployment has, with made-up values: for what of a role does not depend on them. */
export function shapeOf(discovery: ServiceDiscovery): Registry {
    return discovery.hasConsul
        ? { kind: "consul", cluster: consulCluster({ datacenter: "", join: [], servers: 3, caCertificate: "" }) }
        : { kind: "serf", cluster: { join: [], version: versions.serf } };
}
