/** A stand-in for OpenStack's services on one local port. Its answers have the shapes of the documented APIs. */
import * as http from "node:http";
import type { AddressInfo } from "node:net";

/** A received request. */
export interface Call {
    readonly method: string;
    readonly path: string;
    readonly token?: string;
    readonly body?: unknown;
}

/** An answer that a test sets: a status and a body. Undefined: the usual answer. */
export type Reply = { readonly status: number; readonly body?: unknown } | undefined;

/** The stand-in; `start` it and pass its `url` to the clients. */
export class FakeOpenStack {
    readonly calls: Call[] = [];
    /** Called before the usual answers. */
    reply: (call: Call) => Reply = () => undefined;
    /** Servers as `GET /servers/detail` lists them, in pages of {@link pageSize}. */
    servers: Record<string, unknown>[] = [];
    pageSize = 2;
    /** The valid tokens. */
    readonly tokens = new Set<string>();
    /** Lifetime of a token, seconds. */
    validSeconds = 3600;
    url = "";
    private count = 0;
    private readonly server = http.createServer((request, response) => {
        let text = "";
        request.on("data", (chunk) => {
            text += chunk;
        });
        request.on("end", () => {
            const token = request.headers["x-auth-token"];
            const call: Call = {
                method: request.method ?? "",
                path: request.url ?? "",
                ...(typeof token === "string" ? { token } : {}),
                ...(text ? { body: JSON.parse(text) } : {}),
            };
            this.calls.push(call);
            const headers: Record<string, string> = { "Content-Type": "application/json" };
            const { status, body } = this.reply(call) ?? this.usual(call, headers);
            response.writeHead(status, headers).end(body === undefined ? "" : JSON.stringify(body));
        });
    });

    async start(): Promise<void> {
        await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
        this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    }

    stop(): void {
        this.server.close();
        this.server.closeAllConnections();
    }

    private usual(call: Call, headers: Record<string, string>): { status: number; body?: unknown } {
        if (call.path === "/identity/v3/auth/tokens") {
            const token = `token-${++this.count}`;
            this.tokens.add(token);
            headers["X-Subject-Token"] = token;
            return { status: 201, body: this.login() };
        }
        if (!this.tokens.has(call.token ?? "")) {
            return {
                status: 401,
                body: {
                    error: {
                        code: 401,
                        title: "Unauthorized",
                        message: "The request you have made requires authentication.",
                    },
                },
            };
        }
        const url = new URL(call.path, this.url);
        if (url.pathname === "/compute/v2.1/servers/detail") return { status: 200, body: this.page(url) };
        const id = /^\/compute\/v2\.1\/servers\/([^/]+)$/.exec(url.pathname)?.[1];
        if (id && call.method === "GET") {
            const server = this.servers.find((each) => each.id === id);
            if (server) return { status: 200, body: { server } };
        }
        if (call.method === "DELETE") return { status: 204 };
        return { status: 404, body: { itemNotFound: { code: 404, message: `Instance ${id} could not be found.` } } };
    }

    private page(url: URL): unknown {
        const marker = url.searchParams.get("marker");
        const from = marker === null ? 0 : this.servers.findIndex(({ id }) => id === marker) + 1;
        const size = Math.min(this.pageSize, Number(url.searchParams.get("limit") ?? this.pageSize));
        const servers = this.servers.slice(from, from + size);
        const more = from + size < this.servers.length;
        const href = `${this.url}/compute/v2.1/servers/detail?limit=${size}&marker=${servers.at(-1)?.id}`;
        return { servers, ...(more ? { servers_links: [{ rel: "next", href }] } : {}) };
    }

    private login(): unknown {
        const endpoint = (path: string, kind = "public", region = "RegionOne") => ({
            id: path,
            interface: kind,
            region,
            region_id: region,
            url: `${this.url}${path}`,
        });
        return {
            token: {
                methods: ["application_credential"],
                expires_at: new Date(Date.now() + this.validSeconds * 1000).toISOString().replace("Z", "000Z"),
                issued_at: new Date().toISOString(),
                catalog: [
                    { type: "identity", name: "keystone", id: "1", endpoints: [endpoint("/identity")] },
                    {
                        type: "compute",
                        name: "nova",
                        id: "2",
                        endpoints: [
                            endpoint("/other/v2.1", "public", "RegionTwo"),
                            endpoint("/admin", "admin"),
                            endpoint("/compute/v2.1"),
                        ],
                    },
                    { type: "network", name: "neutron", id: "3", endpoints: [endpoint("/network")] },
                    { type: "block-storage", name: "cinder", id: "4", endpoints: [endpoint("/volume/v3/project")] },
                ],
            },
        };
    }
}

/** A server in the format of the compute service. */
export function novaServer(changes: Record<string, unknown> = {}): Record<string, unknown> {
    return {
        id: "5f2c1b9e-0000-4000-8000-000000000001",
        name: "gw-0",
        status: "ACTIVE",
        tenant_id: "p",
        user_id: "u",
        metadata: { "gateway-deployment": "jetstream", "gateway-slot": "gw-0", "gateway-epoch": "3" },
        hostId: "h",
        image: { id: "i" },
        flavor: { id: "f" },
        created: "2026-01-01T10:00:00Z",
        updated: "2026-01-01T10:00:30Z",
        addresses: { net: [{ version: 4, addr: "10.0.0.50", "OS-EXT-IPS:type": "fixed" }] },
        "OS-EXT-STS:task_state": null,
        "OS-EXT-STS:vm_state": "active",
        "OS-EXT-STS:power_state": 1,
        "OS-SRV-USG:launched_at": "2026-01-01T10:00:25.000000",
        "OS-SRV-USG:terminated_at": null,
        ...changes,
    };
}
