/** The control plane for the fleet, and its metadata service for machines. */
import { createHmac } from "node:crypto";
import { request as ask } from "node:http";
import { z } from "zod";
import type { Cloud, Instance } from "../../../hosts/fleet";
import { METADATA_ADDRESS } from "../../../hosts/lab";
import { type Listening, listen } from "../../../hosts/standIns";
import { passwords, ports } from "../controlPlane/settings";
import type { Api } from "./api";

const serversSchema = z.object({
    servers: z.array(
        z.object({
            id: z.string(),
            name: z.string(),
            status: z.string(),
            created: z.string(),
            tenant_id: z.string(),
            addresses: z.record(z.string(), z.array(z.object({ addr: z.string() }))),
            metadata: z.record(z.string(), z.string()),
            "OS-EXT-SRV-ATTR:user_data": z.string().nullish(),
        }),
    ),
});

/** A server as Nova shows it. */
export type Server = z.infer<typeof serversSchema>["servers"][number];

/** Every server of all projects. */
export async function serversOf(admin: Api): Promise<Server[]> {
    return serversSchema.parse(await admin.ask("compute", "GET", "/servers/detail?all_tenants=1")).servers;
}

/** A server's own address; undefined while it has none. */
export function addressOf({ addresses }: Server): string | undefined {
    return Object.values(addresses).flat()[0]?.addr;
}

/** A server's name for the loop and the tests: its slot, or the name of another machine. */
export function roleOf({ metadata, name }: Server): string {
    return metadata["gateway-slot"] ?? metadata["gateway-machine"] ?? name;
}

/**
 * Nova's servers as machines: those that are ACTIVE run. Those that Nova stops (SHUTOFF) or deletes are shut down, as a
 * hypervisor would do.
 *
 * @param onServers receives all servers at each look.
 */
export function novaCloud(admin: Api, onServers: (servers: readonly Server[]) => void = () => undefined): Cloud {
    return {
        async instances(): Promise<Instance[]> {
            const servers = await serversOf(admin);
            onServers(servers);
            return servers
                .filter(({ status }) => status === "ACTIVE")
                .flatMap((server) => {
                    const address = addressOf(server);
                    if (address === undefined) return [];
                    return [
                        {
                            id: server.id,
                            name: server.name,
                            address,
                            userData: Buffer.from(server["OS-EXT-SRV-ATTR:user_data"] ?? "", "base64"),
                            metaData: { "instance-id": server.id, "local-hostname": server.name },
                            metadataServer: "lab" as const,
                        },
                    ];
                });
        },
    };
}

/**
 * Does the work of neutron's metadata agent. It accepts a machine's request at 169.254.169.254, finds out by the
 * machine's address which server asks, and forwards the request to nova's metadata service with a signature.
 */
export class MetadataAgent {
    private servers = new Map<string, Server>();
    private listening: Listening | undefined;

    /** @param address of the control plane. */
    constructor(private readonly address: string) {}

    /** The present servers. Of two with the same address, the one that runs counts. */
    readonly know = (servers: readonly Server[]): void => {
        const known = [...servers].sort((a) => (a.status === "ACTIVE" ? 1 : -1));
        this.servers = new Map(known.map((server) => [addressOf(server) ?? "", server]));
    };

    async start(): Promise<void> {
        this.listening = await listen(METADATA_ADDRESS, 80, (request, response) => {
            const server = this.servers.get(request.socket.remoteAddress ?? "");
            if (!server) {
                response.writeHead(404).end();
                return;
            }
            const passed = ask(
                {
                    host: this.address,
                    port: ports.novaMetadata,
                    method: request.method,
                    path: request.url,
                    headers: {
                        ...(request.headers["content-length"]
                            ? { "content-length": request.headers["content-length"] }
                            : {}),
                        "x-instance-id": server.id,
                        "x-tenant-id": server.tenant_id,
                        "x-instance-id-signature": createHmac("sha256", passwords.metadata)
                            .update(server.id)
                            .digest("hex"),
                    },
                },
                (answer) => {
                    response.writeHead(answer.statusCode ?? 502, answer.headers);
                    answer.pipe(response);
                },
            );
            passed.on("error", () => response.destroy());
            request.pipe(passed);
        });
    }

    async stop(): Promise<void> {
        await this.listening?.close();
    }
}
