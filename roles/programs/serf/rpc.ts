/**
 * The little of Serf's RPC protocol that this project needs: MessagePack over TCP, a header before each body. A client of
 * our own and not the command `serf`, because that takes the key on its command line or in its environment.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { decodeMultiStream, encode } from "@msgpack/msgpack";
import type { SerfRpcAddress } from "../../serf";

/** A member as the agent knows it. */
export interface SerfMember {
    readonly name: string;
    /** Numeric. */
    readonly address: string;
    readonly tags: Readonly<Record<string, string>>;
    /** `failed` did not answer, `left` said goodbye. */
    readonly status: "alive" | "leaving" | "left" | "failed" | "none";
}

interface Header {
    readonly Seq: number;
    readonly Error: string;
}

interface MembersBody {
    readonly Members: readonly {
        readonly Name: string;
        readonly Addr: Uint8Array;
        readonly Tags: Readonly<Record<string, string>> | null;
        readonly Status: SerfMember["status"];
    }[];
}

interface Pending {
    readonly withBody: boolean;
    readonly done: (body: unknown) => void;
    readonly fail: (error: Error) => void;
}

/** Longest wait for an answer, milliseconds. */
const TIMEOUT = 2_000;
/** The protocol's version. */
const VERSION = 1;

/** The agent cannot be reached, or has refused a request. */
export class SerfError extends Error {
    override readonly name = "SerfError";
}

/** A connection to the agent of this machine. */
export class SerfClient {
    /** Resolves, with the reason, when the connection has ended. */
    readonly ended: Promise<Error>;
    private sequence = 0;
    private readonly pending = new Map<number, Pending>();
    private readonly streams = new Map<number, () => void>();

    private constructor(private readonly socket: Socket) {
        this.ended = this.read().then(
            () => new SerfError("Serf's agent has ended the connection"),
            (error: Error) => new SerfError(`Serf's agent: ${error.message}`),
        );
        void this.ended.then((error) => {
            for (const { fail } of this.pending.values()) fail(error);
            this.pending.clear();
        });
    }

    /** @throws SerfError when there is no agent in 2 s, or it wants another key. */
    static async connect({ host, port, authKey }: SerfRpcAddress): Promise<SerfClient> {
        const socket = connect({ host, port, noDelay: true });
        try {
            await once(socket, "connect", { signal: AbortSignal.timeout(TIMEOUT) });
        } catch (error) {
            socket.destroy();
            throw new SerfError(`Serf's agent at ${host}:${port}: ${(error as Error).message}`);
        }
        const client = new SerfClient(socket);
        try {
            await client.ask("handshake", { Version: VERSION });
            await client.ask("auth", { AuthKey: authKey });
        } catch (error) {
            client.close();
            throw error;
        }
        return client;
    }

    close(): void {
        this.socket.destroy();
    }

    /** All members that the agent knows of, whatever their status. @throws SerfError */
    async members(): Promise<SerfMember[]> {
        const { Members } = (await this.ask("members", undefined, true)) as MembersBody;
        return Members.map(({ Name, Addr, Tags, Status }) => ({
            name: Name,
            address: addressOf(Addr),
            tags: Tags ?? {},
            status: Status,
        }));
    }

    /** Sets tags of this machine's member, and removes some; the others keep what they are. @throws SerfError */
    async setTags(tags: Readonly<Record<string, string>>, remove: readonly string[] = []): Promise<void> {
        await this.ask("tags", { Tags: tags, DeleteTags: remove });
    }

    /** Sends a user event to all members, which is not held back to be told with others. @throws SerfError */
    async sendEvent(name: string, payload: string): Promise<void> {
        await this.ask("event", { Name: name, Payload: Buffer.from(payload), Coalesce: false });
    }

    /** Calls back for each event of these types, such as `member-join`, `user:NAME`. What it says is not looked at. */
    async onEvents(types: readonly string[], callback: () => void): Promise<void> {
        this.streams.set(this.sequence + 1, callback);
        await this.ask("stream", { Type: types.join(",") });
    }

    private ask(command: string, body?: object, withBody = false): Promise<unknown> {
        const sequence = ++this.sequence;
        const answer = new Promise<unknown>((done, fail) => {
            const timer = setTimeout(() => {
                this.pending.delete(sequence);
                // What comes later could not be told from another answer.
                this.socket.destroy();
                fail(new SerfError(`Serf's agent: no answer to "${command}" in ${TIMEOUT} ms`));
            }, TIMEOUT);
            const ending =
                <T>(end: (value: T) => void) =>
                (value: T) => {
                    clearTimeout(timer);
                    end(value);
                };
            this.pending.set(sequence, { withBody, done: ending(done), fail: ending(fail) });
        });
        this.socket.write(encode({ Command: command, Seq: sequence }));
        if (body) this.socket.write(encode(body));
        return answer;
    }

    private async read(): Promise<void> {
        let header: Header | undefined;
        for await (const value of decodeMultiStream(this.socket)) {
            if (header) {
                this.received(header, value);
                header = undefined;
            } else if (this.hasBody(value as Header)) header = value as Header;
            else this.received(value as Header, undefined);
        }
    }

    /** A stream's first answer has no body, the following ones, its events, have. */
    private hasBody({ Seq, Error: refusal }: Header): boolean {
        const pending = this.pending.get(Seq);
        return pending ? pending.withBody && refusal === "" : this.streams.has(Seq);
    }

    private received({ Seq, Error: refusal }: Header, body: unknown): void {
        const pending = this.pending.get(Seq);
        if (!pending) {
            this.streams.get(Seq)?.();
            return;
        }
        this.pending.delete(Seq);
        if (refusal) pending.fail(new SerfError(`Serf's agent refuses: ${refusal}`));
        else pending.done(body);
    }
}

/** An address of 4 or 16 bytes; IPv4 may be mapped into IPv6. */
function addressOf(bytes: Uint8Array): string {
    const mapped = bytes.length === 16 && bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff;
    const own = mapped ? bytes.subarray(12) : bytes;
    if (own.length === 4) return own.join(".");
    const groups = Array.from({ length: 8 }, (_, index) =>
        (((own[2 * index] ?? 0) << 8) | (own[2 * index + 1] ?? 0)).toString(16),
    );
    return groups.join(":");
}
