/** A session with an OpenStack cloud: a token for an application credential, and the catalog of services. */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { type Request, type Response, request } from "../lib/http";

/** How to log in. */
export interface KeystoneOptions {
    /** Base URL of the identity service, with or without `/v3`. */
    readonly authUrl: string;
    /** Id of the application credential. */
    readonly credentialId: string;
    /** File with its secret. It is read for each login, so the secret can be rotated. */
    readonly secretFile?: string;
    /** The secret itself, instead of a file. */
    readonly secret?: string;
    /** Region. Default: the first in the catalog. */
    readonly region?: string | undefined;
    /** Which of a service's endpoints to use. Default: public. */
    readonly interface?: "public" | "internal" | "admin" | undefined;
    /** File with the certificate authority, PEM. */
    readonly caFile?: string | undefined;
    /** Deadline of each answer. */
    readonly timeoutSeconds: number;
}

/** The cloud refused the credential, so another one is needed. */
export class LoginRefused extends Error {
    override readonly name = "LoginRefused";
}

const tokenSchema = z.object({
    token: z.object({
        expires_at: z.string(),
        catalog: z
            .array(
                z.object({
                    type: z.string(),
                    endpoints: z.array(
                        z.object({ interface: z.string(), region: z.string().nullish(), url: z.string() }),
                    ),
                }),
            )
            .default([]),
    }),
});

interface Token {
    readonly value: string;
    /** Milliseconds since 1970. */
    readonly expiresAt: number;
    readonly catalog: z.infer<typeof tokenSchema>["token"]["catalog"];
}

/** How long before its expiry a token is renewed, in milliseconds. */
const MARGIN = 60_000;

/** Options of a request to a service. */
export type CloudRequest = Pick<Request, "method" | "body" | "headers" | "signal">;

/** A session, which logs in when necessary. */
export class CloudSession {
    private token: Promise<Token> | undefined;

    constructor(
        private readonly options: KeystoneOptions,
        private readonly now: () => number = Date.now,
    ) {}

    /**
     * Sends a request to a service. Replaces a refused token once.
     *
     * @param types types of the service in the catalog. The first that exists is used.
     * @throws Error when there is no answer, or one of 500 and above. The caller checks other statuses.
     */
    async ask(types: readonly string[], path: string, given: CloudRequest = {}): Promise<Response> {
        const first = await this.send(types, path, given);
        if (first.status !== 401) return first;
        this.token = undefined;
        return this.send(types, path, given);
    }

    /** As {@link ask} with GET, and parses the answer. @throws Error also for a status that is not 200. */
    async get<T>(types: readonly string[], path: string, schema: z.ZodType<T>, given: CloudRequest = {}): Promise<T> {
        const answer = await this.ask(types, path, given);
        if (answer.status !== 200) throw new Error(`${types[0]}: ${path}: ${errorTextOf(answer)}`);
        return parseAnswer(answer, schema, `${types[0]}: ${path}`);
    }

    private async send(types: readonly string[], path: string, given: CloudRequest): Promise<Response> {
        const token = await this.login();
        const url = /^https?:/.test(path) ? path : `${this.endpoint(token, types).replace(/\/$/, "")}${path}`;
        const headers = {
            "X-Auth-Token": token.value,
            Accept: "application/json",
            ...(given.body === undefined ? {} : { "Content-Type": "application/json" }),
            ...given.headers,
        };
        const answer = await request({ ...given, url, headers, ...this.transport() });
        if (answer.status >= 500) throw new Error(`${types[0]}: ${path.split("?")[0]}: ${errorTextOf(answer)}`);
        return answer;
    }

    private transport() {
        const { caFile, timeoutSeconds } = this.options;
        return { timeoutSeconds, ...(caFile === undefined ? {} : { ca: readFileSync(caFile, "utf8") }) };
    }

    private endpoint({ catalog }: Token, types: readonly string[]): string {
        const { region, interface: wanted = "public" } = this.options;
        for (const type of types) {
            const endpoint = catalog
                .filter((service) => service.type === type)
                .flatMap(({ endpoints }) => endpoints)
                .find((each) => each.interface === wanted && (region === undefined || each.region === region));
            if (endpoint) return endpoint.url;
        }
        const where = region === undefined ? "" : ` in region ${region}`;
        throw new Error(`the cloud's catalog has no ${wanted} endpoint of "${types.join('" or "')}"${where}`);
    }

    /** The token, renewed when it expires soon. Concurrent requests share one login. */
    private async login(): Promise<Token> {
        const known = await this.token?.catch(() => undefined);
        if (known && this.now() < known.expiresAt - MARGIN) return known;
        const login = this.authenticate();
        this.token = login;
        return login;
    }

    private async authenticate(): Promise<Token> {
        const { authUrl, credentialId, secretFile = "" } = this.options;
        const secret = this.options.secret ?? readFileSync(secretFile, "utf8").trim();
        const identity = {
            methods: ["application_credential"],
            application_credential: { id: credentialId, secret },
        };
        const answer = await request({
            url: `${authUrl.replace(/\/$/, "").replace(/\/v3$/, "")}/v3/auth/tokens`,
            method: "POST",
            headers: { "Content-Type": "application/json", Accept: "application/json" },
            body: JSON.stringify({ auth: { identity } }),
            ...this.transport(),
        });
        if (answer.status === 401) {
            throw new LoginRefused(
                `the cloud refuses the application credential ${credentialId}: it has expired, was deleted, or its secret is wrong. ` +
                    "Create a new one (openstack application credential create) and deploy it",
            );
        }
        const value = answer.headers["x-subject-token"];
        if (answer.status !== 201 || typeof value !== "string") throw new Error(`identity: ${errorTextOf(answer)}`);
        const { token } = parseAnswer(answer, tokenSchema, "identity");
        return { value, expiresAt: Date.parse(token.expires_at), catalog: token.catalog };
    }
}

function parseAnswer<T>({ body }: Response, schema: z.ZodType<T>, where: string): T {
    let value: unknown;
    try {
        value = JSON.parse(body);
    } catch {
        throw new Error(`${where}: the answer is not JSON`);
    }
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    const [issue] = result.error.issues;
    throw new Error(`${where}: unexpected answer: ${issue?.path.join(".")}: ${issue?.message}`);
}

/** The text of an error from an OpenStack service: `{ anyName: { message } }`. */
export function errorTextOf({ status, body }: Response): string {
    try {
        const [problem] = Object.values(JSON.parse(body) as Record<string, { message?: string }>);
        if (problem?.message) return `${status} ${problem.message}`;
    } catch {
        // Not JSON, for instance a proxy's page.
    }
    return `${status} ${body.trim().slice(0, 200)}`.trim();
}
