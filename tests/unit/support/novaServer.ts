/** One server at Nova, from inside (metadata service) and from outside (API): what the two have in common is its state. */
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import type { Call, FakeOpenStack, Reply } from "../../../bench/fakes/openstackApi";
import { MAILBOX_BYTES } from "../../../programs/boot/delivery";

export class NovaServer {
    metadata: Record<string, string> = { "gateway-deployment": "test" };
    password = "";
    status = "ACTIVE";
    /** What the metadata service knows: it keeps an answer until it is told to look again. Undefined: it always looks. */
    kept: { metadata: Record<string, string>; password: string } | undefined;
    /** Consulted before the metadata service answers; a status is its answer. */
    fault: (method: string, path: string) => number | undefined = () => undefined;
    endpoint = "";

    private readonly service = http.createServer((request, response) => {
        let body = "";
        request.on("data", (chunk) => {
            body += chunk;
        });
        request.on("end", () => {
            const [status, text] = this.fromInside(request.method ?? "", request.url ?? "", body);
            response.writeHead(status).end(text);
        });
    });

    constructor(readonly id: string) {}

    async start(): Promise<void> {
        await new Promise<void>((done) => this.service.listen(0, "127.0.0.1", done));
        this.endpoint = `http://127.0.0.1:${(this.service.address() as AddressInfo).port}/openstack/latest`;
    }

    stop(): void {
        this.service.close();
        this.service.closeAllConnections();
    }

    private fromInside(method: string, url: string, body: string): [number, string] {
        const path = url.replace("/openstack/latest/", "");
        const fault = this.fault(method, path);
        if (fault !== undefined) return [fault, ""];
        const { metadata, password } = this.kept ?? this;
        if (path === "meta_data.json") return [200, JSON.stringify({ uuid: this.id, meta: metadata })];
        if (path !== "password") return [404, ""];
        if (method === "GET") return [200, password];
        if (password !== "") return [409, ""];
        if (body.length > MAILBOX_BYTES) return [400, ""];
        this.password = body;
        return [200, ""];
    }

    /** Answers what is asked of the API about this server. */
    readonly fromOutside = ({ method, path, body }: Call): Reply => {
        const [, below = ""] = path.split(`/compute/v2.1/servers/${this.id}`);
        if (!path.includes(this.id)) return undefined;
        if (below === "" && method === "GET") {
            return { status: 200, body: { server: { status: this.status, metadata: this.metadata } } };
        }
        if (below === "/os-server-password") {
            if (method === "GET") return { status: 200, body: { password: this.password } };
            this.password = "";
            return { status: 204 };
        }
        if (below === "/metadata" && method === "POST") {
            const { metadata } = body as { metadata: Record<string, string> };
            this.metadata = { ...this.metadata, ...metadata };
            return { status: 200, body: { metadata: this.metadata } };
        }
        const key = /^\/metadata\/(.+)$/.exec(below)?.[1];
        if (method !== "DELETE" || key === undefined) return undefined;
        const { [key]: gone, ...others } = this.metadata;
        this.metadata = others;
        return gone === undefined ? { status: 404, body: {} } : { status: 204 };
    };

    /** Makes a cloud answer for this server. */
    at(cloud: FakeOpenStack): void {
        cloud.reply = this.fromOutside;
    }
}
