/**
 * A client of the part of Serf's RPC protocol that this project uses: MessagePack over TCP, with a header before each
 * body. The command `serf` is no alternative, because it takes the key on its command line or in its environment.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { decodeMultiStream, encode } from "@msgpack/msgpack";

/** A member, according to the agent. */
export interface SerfMember {
    readonly name: string;
    /** Numeric. */
    readonly address: string;
    readonly tags: Readonly<Record<string, string>>;
    /** `failed`: it does not answer. `left`: it left in order. */
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

/** Deadline of an answer, in milliseconds. */
const TIMEOUT = 2_000;
/** The protocol's version. */
const VERSION = 1;

/** The agent cannot be reached, or refused a request. */
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

    /** Connects to the agent. @throws SerfError when it does not answer within 2 s, or refuses the key. */
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

    /** All members that the agent knows, of any status. @throws SerfError */
    async members(): Promise<SerfMember[]> {
        const { Members } = (await this.ask("members", undefined, true)) as MembersBody;
        return Members.map(({ Name, Addr, Tags, Status }) => ({
            name: Name,
            address: addressOf(Addr),
            tags: Tags ?? {},
            status: Status,
        }));
    }

    /** Sets and removes tags of this machine's member. Other tags stay. @throws SerfError */
    async setTags(tags: Readonly<Record<string, string>>, remove: readonly string[] = []): Promise<void> {
        await this.ask("tags", { Tags: tags, DeleteTags: remove });
    }

    /** Sends a user event to all members, without coalescing. @throws SerfError */
    async sendEvent(name: string, payload: string): Promise<void> {
        await this.ask("event", { Name: name, Payload: Buffer.from(payload), Coalesce: false });
    }

    /** Calls back for each event of these types, such as `member-join` or `user:NAME`, without its content. */
    async onEvents(types: readonly string[], callback: () => void): Promise<void> {
        this.streams.set(this.sequence + 1, callback);
        await this.ask("stream", { Type: types.join(",") });
    }

    private ask(command: string, body?: object, withBody = false): Promise<unknown> {
        const sequence = ++this.sequence;
        const answer = new Promise<unknown>((done, fail) => {
            const timer = setTimeout(() => {
                this.pending.delete(sequence);
                // A late answer could be mistaken for another one.
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

    /** A stream's first answer has no body. The following ones, its events, have one. */
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
    const unmapped = mapped ? bytes.subarray(12) : bytes;
    if (unmapped.length === 4) return unmapped.join(".");
    const groups = Array.from({ length: 8 }, (_, index) =>
        (((unmapped[2 * index] ?? 0) << 8) | (unmapped[2 * index + 1] ?? 0)).toString(16),
    );
    return groups.join(":");
}

/** How the programs of a machine reach its agent. */
export interface SerfRpcAddress {
    readonly host: string;
    readonly port: number;
    /** The key that the agent asks for. */
    readonly authKey: string;
}

/** Tags that identify gateways and balancers. A gateway has its `port`, and `state=draining` while it drains. */
export const serfTags = {
    gateway: (port: number) => ({ role: "gw", port: String(port) }),
    balancer: { role: "lb" },
    draining: { state: "draining" },
} as const;

/** The user event by which a gateway tells balancers to look. Unlike its own events, Serf delivers it at once. */
export const serfEvent = "gateway";
