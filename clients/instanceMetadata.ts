/** EC2's instance metadata service, version 2. */

/** The service's URL: AWS_EC2_METADATA_SERVICE_ENDPOINT, as in AWS's libraries, else the same address on every instance. */
export function metadataEndpoint(environment: NodeJS.ProcessEnv = process.env): string {
    return environment.AWS_EC2_METADATA_SERVICE_ENDPOINT || "http://169.254.169.254";
}

/** Deadline of one request, milliseconds. The service is on the instance's own host. */
const TIMEOUT = 2_000;
/** Validity of a session token, seconds. */
const TOKEN_SECONDS = 600;

/** A client of the metadata service. */
export class MetadataService {
    private token: string | undefined;

    /** @param endpoint URL of the service, without a path. */
    constructor(private readonly endpoint: string = metadataEndpoint()) {}

    /**
     * Reads what is at `/latest/meta-data/PATH`.
     *
     * @returns undefined when there is nothing at that path.
     * @throws Error when the service does not answer.
     */
    async read(path: string): Promise<string | undefined> {
        let answer = await this.readOnce(path);
        // A token expires, and becomes invalid when the instance is stopped.
        if (answer.status === 401) answer = await this.readOnce(path);
        if (answer.status === 404) return undefined;
        if (answer.status !== 200) throw new Error(`the metadata service answers ${answer.status} to ${path}`);
        return answer.text;
    }

    private async readOnce(path: string): Promise<{ status: number; text: string }> {
        this.token ??= await this.newToken();
        const answer = await this.call("GET", `meta-data/${path}`, { "X-aws-ec2-metadata-token": this.token });
        if (answer.status === 401) this.token = undefined;
        return answer;
    }

    private async newToken(): Promise<string> {
        const { status, text } = await this.call("PUT", "api/token", {
            "X-aws-ec2-metadata-token-ttl-seconds": String(TOKEN_SECONDS),
        });
        if (status !== 200) throw new Error(`the metadata service answers ${status} to the request for a token`);
        return text;
    }

    private async call(method: string, path: string, headers: Record<string, string>) {
        try {
            const signal = AbortSignal.timeout(TIMEOUT);
            const answer = await fetch(`${this.endpoint}/latest/${path}`, { method, headers, signal });
            return { status: answer.status, text: await answer.text() };
        } catch (error) {
            const { message, cause } = error as Error;
            throw new Error(
                `the metadata service does not answer: ${cause instanceof Error ? cause.message : message}`,
            );
        }
    }
}
