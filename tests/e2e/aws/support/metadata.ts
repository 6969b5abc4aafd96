/**
 * Stand-in for EC2's metadata service, version 2 only, as `httpTokens: required` demands. One server serves all
 * machines of the lab and tells them apart by their addresses. AWS's own mock (amazon-ec2-metadata-mock) gets its
 * notices at its start and cannot change them; here a test plays EC2 while machines run.
 */
import { randomBytes } from "node:crypto";
import { METADATA_ADDRESS } from "../../../hosts/lab";
import { type Listening, listen } from "../../../hosts/standIns";

/** An instance's metadata, by the path below `/latest/meta-data/`. */
export type Metadata = Readonly<Record<string, string>>;

/** Header of a token's validity, in requests and answers. */
const TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds";
/** Longest validity of a token, seconds. */
const LONGEST = 21_600;
const ROLE = "iam/security-credentials/";

/** The service. */
export class MetadataStandIn {
    private readonly told = new Map<string, Metadata>();
    private readonly tokens = new Map<string, string>();
    private listening: Listening | undefined;

    /** Starts to answer. */
    async start(): Promise<void> {
        this.listening = await listen(METADATA_ADDRESS, 80, (request, response) => {
            const address = request.socket.remoteAddress ?? "";
            const { status, text } = this.answer(
                address,
                request.method ?? "",
                request.url ?? "",
                (name) => request.headers[name] as string | undefined,
            );
            // AWS's library for Go rejects an answer without it.
            const validity = { [TTL_HEADER]: request.headers[TTL_HEADER] ?? "0" };
            response.writeHead(status, { "content-type": "text/plain", ...validity }).end(text);
        });
    }

    /** Sets metadata of the instance at an address. What was set before stays. */
    tell(address: string, metadata: Metadata): void {
        this.told.set(address, { ...this.told.get(address), ...metadata });
    }

    /** A new instance gets nothing of what another one at its address had. */
    forget(address: string): void {
        this.told.delete(address);
    }

    private answer(
        address: string,
        method: string,
        path: string,
        header: (name: string) => string | undefined,
    ): { status: number; text: string } {
        if (method === "PUT" && path === "/latest/api/token") {
            const seconds = Number(header(TTL_HEADER));
            if (!Number.isInteger(seconds) || seconds < 1 || seconds > LONGEST) return { status: 400, text: "" };
            const token = randomBytes(40).toString("base64url");
            this.tokens.set(token, address);
            return { status: 200, text: token };
        }
        // A token is valid only for the instance that asked for it.
        if (this.tokens.get(header("x-aws-ec2-metadata-token") ?? "") !== address) return { status: 401, text: "" };
        const [, wanted] = /^\/latest\/meta-data\/(.*)$/.exec(path) ?? [];
        const known = { ...roleCredentials, ...this.told.get(address) };
        if (wanted === undefined || !(wanted in known)) return { status: 404, text: "" };
        return { status: 200, text: known[wanted as keyof typeof known] as string };
    }

    /** Stops answering. */
    async stop(): Promise<void> {
        await this.listening?.close();
    }
}

/** Credentials of the instance's role. The emulator accepts any. */
const roleCredentials: Metadata = {
    [ROLE]: "machine",
    [`${ROLE}machine`]: JSON.stringify({
        Code: "Success",
        Type: "AWS-HMAC",
        AccessKeyId: "ASIAEMULATED",
        SecretAccessKey: "emulated",
        Token: "emulated",
        LastUpdated: "2026-01-01T00:00:00Z",
        Expiration: "2099-01-01T00:00:00Z",
    }),
};
