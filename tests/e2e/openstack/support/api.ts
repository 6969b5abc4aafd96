/** The control plane's API, as its administrator and the project's operator use it. */
import { z } from "zod";
import { request } from "../../../../lib/http";
import { names, passwords } from "../controlPlane/settings";

const catalogSchema = z.object({
    token: z.object({
        user: z.object({ id: z.string() }),
        project: z.object({ id: z.string() }),
        catalog: z.array(
            z.object({
                type: z.string(),
                endpoints: z.array(z.object({ interface: z.string(), url: z.string() })),
            }),
        ),
    }),
});

/** A service of the catalog, with the version prefix of its paths. */
const versions = { identity: "", compute: "", network: "/v2.0", image: "/v2", "load-balancer": "/v2.0" } as const;

/** The first version of the compute API that shows user data. */
const COMPUTE_VERSION = "compute 2.3";
/** Deadline of one answer, seconds. */
const TIMEOUT = 60;

/** A login. */
export class Api {
    private constructor(
        private readonly token: string,
        readonly userId: string,
        readonly projectId: string,
        private readonly endpoints: ReadonlyMap<string, string>,
    ) {}

    /** Logs in as the administrator, or as the operator of the deployment's project. */
    static async login(authUrl: string, who: "admin" | "operator"): Promise<Api> {
        const domain = { name: "Default" };
        const [user, project] = who === "admin" ? ["admin", "admin"] : [names.operator, names.project];
        const auth = {
            identity: {
                methods: ["password"],
                password: { user: { name: user, domain, password: passwords[who] } },
            },
            scope: { project: { name: project, domain } },
        };
        const { status, headers, body } = await request({
            url: `${authUrl}/auth/tokens`,
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ auth }),
            timeoutSeconds: TIMEOUT,
        });
        if (status !== 201) throw new Error(`login as ${who}: ${status} ${body}`);
        const { token } = catalogSchema.parse(JSON.parse(body));
        const endpoints = token.catalog.map(({ type, endpoints: all }) => [
            type,
            all.find((each) => each.interface === "public")?.url ?? "",
        ]);
        return new Api(
            String(headers["x-subject-token"]),
            token.user.id,
            token.project.id,
            new Map(endpoints as [string, string][]),
        );
    }

    /**
     * Sends a request to a service.
     *
     * @returns the content of its answer; undefined if there is none.
     * @throws Error with its status and message if it refuses.
     */
    async ask<T = unknown>(
        service: keyof typeof versions,
        method: "GET" | "POST" | "PUT" | "DELETE",
        path: string,
        body?: object | string,
    ): Promise<T> {
        const type = typeof body === "string" ? "application/octet-stream" : "application/json";
        const answer = await request({
            url: `${this.endpoints.get(service)}${versions[service]}${path}`,
            method,
            headers: {
                "x-auth-token": this.token,
                "openstack-api-version": COMPUTE_VERSION,
                ...(body === undefined ? {} : { "content-type": type }),
            },
            ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
            timeoutSeconds: TIMEOUT,
        });
        const { status, body: text } = answer;
        if (status >= 300) throw new Error(`${method} ${service} ${path}: ${status} ${text.slice(0, 500)}`);
        return (text ? JSON.parse(text) : undefined) as T;
    }
}
