/** Small stand-ins for a cloud's services, in the lab's network. */
import { createReadStream, statSync } from "node:fs";
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { METADATA_ADDRESS } from "./lab";

/** A listening server. */
export interface Listening {
    readonly url: string;
    close(): Promise<void>;
}

/** Answers HTTP at an address of the lab. */
export async function listen(address: string, port: number, handler: RequestListener): Promise<Listening> {
    const server = createServer(handler);
    await new Promise<void>((done, fail) => {
        server.once("error", fail);
        server.listen(port, address, done);
    });
    return {
        url: `http://${address}:${port}`,
        close: () =>
            new Promise((done) => {
                server.close(() => done());
                server.closeAllConnections();
            }),
    };
}

/** A web server for the files of a folder, from which machines fetch artifacts. */
export function serveFolder(folder: string, address: string, port: number): Promise<Listening> {
    return listen(address, port, (request, response) => {
        // Normalized, so that a path cannot lead out of the folder.
        const path = join(folder, new URL(request.url ?? "/", "http://folder").pathname);
        const size = statSync(path, { throwIfNoEntry: false })?.size;
        if (size === undefined) {
            response.writeHead(404).end();
            return;
        }
        response.writeHead(200, { "content-length": size });
        // A machine may lose its power during a download.
        pipeline(createReadStream(path), response).catch(() => response.destroy());
    });
}

/**
 * AWS's parameter store, for machines that find their secrets there. It has only the operation that they use, and
 * answers every caller.
 *
 * @param parameters by name.
 */
export function serveParameters(
    parameters: Readonly<Record<string, string>>,
    address: string,
    port: number,
): Promise<Listening> {
    return listen(address, port, async (request, response) => {
        const { Names = [] } = JSON.parse(await bodyOf(request)) as { Names?: string[] };
        const found = Names.filter((name) => parameters[name] !== undefined);
        const answer = {
            Parameters: found.map((Name) => ({ Name, Value: parameters[Name] })),
            InvalidParameters: Names.filter((name) => !found.includes(name)),
        };
        response.writeHead(200, { "content-type": "application/x-amz-json-1.1" }).end(JSON.stringify(answer));
    });
}

/**
 * EC2's metadata service, version 2, with only the credentials of the instance's role. They give no access to anything.
 */
export function serveRoleCredentials(): Promise<Listening> {
    const credentials = {
        Code: "Success",
        Type: "AWS-HMAC",
        AccessKeyId: "AKIAEXAMPLE",
        SecretAccessKey: "example",
        Token: "example",
        Expiration: "2099-01-01T00:00:00Z",
    };
    const role = "/latest/meta-data/iam/security-credentials/";
    const answers: Readonly<Record<string, string>> = {
        "PUT /latest/api/token": "token",
        [`GET ${role}`]: "machine",
        [`GET ${role}machine`]: JSON.stringify(credentials),
    };
    return listen(METADATA_ADDRESS, 80, (request: IncomingMessage, response: ServerResponse) => {
        const answer = answers[`${request.method} ${request.url}`];
        response.writeHead(answer === undefined ? 404 : 200).end(answer ?? "");
    });
}

async function bodyOf(request: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString();
}
