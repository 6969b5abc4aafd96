/** What an operator's cloud has before a deployment. */
import { writeFileSync } from "node:fs";
import { names } from "../controlPlane/settings";
import type { Api } from "./api";

/** Names of the created resources. */
export const fixtureNames = { flavor: "m3.tiny", image: "debian-12", externalNetwork: "public" } as const;

/** An application credential. */
export interface Credential {
    readonly id: string;
    readonly secret: string;
}

/**
 * Creates the image (empty, because nothing boots it), the flavor and the external network. @returns the image's id.
 */
export async function makeFixtures(admin: Api): Promise<string> {
    const flavor = { name: fixtureNames.flavor, ram: 512, vcpus: 1, disk: 1 };
    await admin.ask("compute", "POST", "/flavors", { flavor });
    const { network } = await admin.ask<{ network: { id: string } }>("network", "POST", "/networks", {
        network: {
            name: fixtureNames.externalNetwork,
            "router:external": true,
            "provider:network_type": "flat",
            "provider:physical_network": "external",
        },
    });
    await admin.ask("network", "POST", "/subnets", {
        subnet: { network_id: network.id, cidr: "198.19.0.0/24", ip_version: 4, enable_dhcp: false },
    });
    const { id } = await admin.ask<{ id: string }>("image", "POST", "/images", {
        name: fixtureNames.image,
        disk_format: "raw",
        container_format: "bare",
        visibility: "public",
        min_disk: 1,
    });
    await admin.ask("image", "PUT", `/images/${id}/file`, "nothing");
    return id;
}

/**
 * Creates an application credential of the operator, with only the rights of a member of the project who may use load
 * balancers.
 */
export async function makeCredential(operator: Api, name: string, expiresAt?: Date): Promise<Credential> {
    const { application_credential: made } = await operator.ask<{ application_credential: Credential }>(
        "identity",
        "POST",
        `/users/${operator.userId}/application_credentials`,
        {
            application_credential: {
                name,
                roles: [{ name: "member" }, { name: "load-balancer_member" }],
                unrestricted: false,
                // The service requires a time without a zone and with microseconds.
                ...(expiresAt ? { expires_at: expiresAt.toISOString().replace(/Z$/, "000") } : {}),
            },
        },
    );
    return made;
}

/** Removes an application credential, which locks out its users. */
export async function removeCredential(operator: Api, { id }: Credential): Promise<void> {
    await operator.ask("identity", "DELETE", `/users/${operator.userId}/application_credentials/${id}`);
}

/** Writes a `clouds.yaml` with one cloud that logs in with an application credential. */
export function writeCloudsYaml(path: string, cloud: string, authUrl: string, { id, secret }: Credential): void {
    const login = {
        auth_type: "v3applicationcredential",
        auth: { auth_url: authUrl, application_credential_id: id, application_credential_secret: secret },
        region_name: names.region,
    };
    // JSON is YAML.
    writeFileSync(path, JSON.stringify({ clouds: { [cloud]: login } }), { mode: 0o600 });
}
