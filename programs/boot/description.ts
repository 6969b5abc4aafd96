/** The machine that the boot program sets up: the file `machine.json` in its user data. */
import type { InstanceFact, Layout, RoleFile } from "../machine";
import { instanceRefs } from "../machine";
import type { UnitFile } from "./units";

/** A file that machines fetch, as `artifacts.json` lists it. */
export interface Artifact {
    /** The binary's name, such as `consul`; also the file's name. */
    readonly name: string;
    readonly version: string;
    /** In hex. */
    readonly sha256: string;
    /** In bytes. */
    readonly size: number;
}

/** What `npm run artifacts` writes: every file that machines may need. */
export interface ArtifactManifest {
    readonly artifacts: readonly Artifact[];
}

/** Where a machine gets its secrets. */
export type SecretSource =
    | { readonly kind: "none" }
    /** Parameters `PREFIX/NAME` of AWS Systems Manager, read with the rights of the instance's role. */
    | {
          readonly kind: "ssm";
          readonly region: string;
          /** Begins with a slash and does not end with one. */
          readonly prefix: string;
          /** URL of the API, if not the usual one. */
          readonly endpoint?: string;
      }
    /** The engine leaves them at OpenStack's API, encrypted for this machine; see `delivery.ts`. */
    | {
          readonly kind: "delivered";
          /** URL of the metadata service down to its version, if not the usual one. */
          readonly endpoint?: string;
      };

/**
 * Where the machine learns its {@link InstanceFact}s: from EC2's metadata service, or from cloud-init, which has asked
 * the cloud already. Both must give the same `gw-ID`.
 */
export type IdentitySource = "ec2" | "cloud-init";

/** A binary as the boot program gets it. */
export type CloudBinary =
    | {
          readonly kind: "file" | "archive";
          readonly name: string;
          /** In hex. Undefined: the image holds the binary, and its checksum was checked when the image was made. */
          readonly sha256?: string;
          /** Tried in turn. Empty: the image holds the binary. */
          readonly urls: readonly string[];
      }
    /** A program of the distribution, installed if missing. */
    | { readonly kind: "package"; readonly name: string; readonly package: string; readonly lowest?: string };

/**
 * The description of a machine. Files, units and `name` may hold references to secrets and to facts about the instance.
 */
export interface CloudMachine {
    readonly name: string;
    readonly role: string;
    readonly directories: Pick<Layout, "etc" | "lib" | "run" | "bin">;
    readonly identity: IdentitySource;
    readonly secrets: SecretSource;
    readonly users: readonly string[];
    readonly binaries: readonly CloudBinary[];
    readonly files: readonly Required<RoleFile>[];
    readonly units: readonly UnitFile[];
}

/**
 * Where files are on a real machine.
 *
 * @param machine its name; for an AutoScaling group with a reference, as `gw-${instanceRef("id")}`. It is Consul's node
 *         name, so it must begin with a prefix that the node's token may register (`gw-`, `lb-`, `consul-`).
 * @param address its private IPv4 address, or `instanceRef("address")`.
 */
export function cloudLayout(machine: string, address: string): Layout {
    return {
        machine,
        address,
        localAddress: "127.0.0.1",
        etc: "/etc/gateway",
        lib: "/var/lib/gateway",
        run: "/run/gateway",
        bin: "/opt/gateway/bin",
    };
}

/** The facts about its instance that a machine needs before its files are complete. */
export function instanceFacts(machine: CloudMachine): InstanceFact[] {
    return instanceRefs(JSON.stringify(machine));
}
