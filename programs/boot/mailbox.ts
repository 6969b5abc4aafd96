/** The machine's side of `delivery.ts`: its mailbox and its metadata, both at OpenStack's metadata service. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { type Delivery, deliveryIn, type MachineMessage, messageText, readMessage } from "./delivery";
import { makeKeys, type SealingKeys, unseal } from "./sealed";
import { onDisk, putFile, type System } from "./system";

/** The service's URL, the same in every server. */
export const OPENSTACK_METADATA = "http://169.254.169.254/openstack/latest";

/** Deadline of one request, milliseconds: each goes to the cloud's control plane. */
const TIMEOUT = 10_000;
/** Pause between two looks, milliseconds. The service itself keeps its answers for 15 s. */
const LOOK_EVERY = 1_000;

/** The parts of OpenStack's metadata service that are used here. */
export class OpenstackMetadata {
    /** @param endpoint its URL, down to the version. */
    constructor(private readonly endpoint: string = OPENSTACK_METADATA) {}

    /** The server's metadata, as set through the API. @throws Error if the service does not answer. */
    async metadata(): Promise<Record<string, string>> {
        const { status, text } = await this.call("GET", "meta_data.json");
        if (status !== 200) throw new Error(`the metadata service answers ${status} to meta_data.json`);
        return (JSON.parse(text) as { meta?: Record<string, string> }).meta ?? {};
    }

    /** The message in the mailbox; undefined if it is empty. @throws Error if the service does not answer. */
    async message(): Promise<MachineMessage | undefined> {
        const { status, text } = await this.call("GET", "password");
        if (status !== 200 && status !== 404) throw new Error(`the metadata service answers ${status} to password`);
        return readMessage(text);
    }

    /** Leaves a message. @returns whether there was room for it. @throws Error if the service does not answer. */
    async post(message: MachineMessage): Promise<boolean> {
        const { status } = await this.call("POST", "password", messageText(message));
        if (status !== 200 && status !== 409) throw new Error(`the metadata service answers ${status} to a message`);
        return status === 200;
    }

    private async call(method: string, path: string, body?: string) {
        try {
            const answer = await fetch(`${this.endpoint}/${path}`, {
                method,
                signal: AbortSignal.timeout(TIMEOUT),
                ...(body === undefined ? {} : { body }),
            });
            return { status: answer.status, text: await answer.text() };
        } catch (error) {
            const { message, cause } = error as Error;
            throw new Error(
                `the metadata service cannot be asked: ${cause instanceof Error ? cause.message : message}`,
            );
        }
    }
}

/** A delivery as kept on the machine, where only root can read it. */
interface Kept extends Delivery {
    /** Whether the engine has taken the answer. */
    readonly answered: boolean;
}

/** A machine's delivery: waited for once, and kept from then on. */
export class Mailbox {
    private readonly keyFile: string;

    /** @param file where the delivery is kept, an absolute path on the machine. */
    constructor(
        private readonly system: System,
        private readonly file: string,
        private readonly service = new OpenstackMetadata(),
        private readonly pause = LOOK_EVERY,
    ) {
        this.keyFile = `${file}.key`;
    }

    /** The delivery. Waits for it without limit, because the machine can do nothing without it. */
    async delivery(): Promise<Kept> {
        const kept = this.read<Kept>(this.file);
        if (kept) return kept;
        const keys = this.keys();
        let asked = false;
        for (;;) {
            const sealed = deliveryIn(await this.service.metadata());
            const opened = sealed === undefined ? undefined : open(keys, sealed);
            if (opened) {
                this.write(this.file, { ...opened, answered: false });
                rmSync(onDisk(this.system, this.keyFile), { force: true });
                this.system.say("got the secrets");
                return { ...opened, answered: false };
            }
            const key = { kind: "key", key: keys.publicKey } as const;
            if (!isSame(await this.service.message(), key) && (await this.service.post(key)) && !asked) {
                asked = true;
                this.system.say("asked for the secrets");
            }
            await delay(this.pause);
        }
    }

    /** Reports that the machine is ready until the engine has read it. It is not repeated after a restart. */
    async answer(): Promise<void> {
        const kept = await this.delivery();
        if (kept.answered) return;
        const message = { kind: "ready", answer: kept.answer } as const;
        // The engine takes the delivery away once it has the answer.
        while (deliveryIn(await this.service.metadata()) !== undefined) {
            if (!isSame(await this.service.message(), message)) await this.service.post(message);
            await delay(this.pause);
        }
        this.write(this.file, { ...kept, answered: true });
        this.system.say("said that all services are ready");
    }

    /** The machine's key pair; the same after a restart, because the engine may have used it already. */
    private keys(): SealingKeys {
        const known = this.read<SealingKeys>(this.keyFile);
        if (known) return known;
        const made = makeKeys();
        this.write(this.keyFile, made);
        return made;
    }

    private read<T>(file: string): T | undefined {
        const path = onDisk(this.system, file);
        return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as T) : undefined;
    }

    private write(path: string, value: object): void {
        // Atomically, and readable by root only.
        putFile(this.system, {
            path,
            content: `${JSON.stringify(value)}\n`,
            mode: 0o600,
            uid: process.getuid?.() ?? 0,
            gid: process.getgid?.() ?? 0,
        });
    }
}

/** The mailbox of this machine; its delivery is kept below the directory of configuration. */
export function mailboxOf(system: System, etc: string, endpoint?: string): Mailbox {
    return new Mailbox(system, `${etc}/delivery.json`, new OpenstackMetadata(endpoint));
}

/** Undefined if it is not for these keys, or not complete yet. */
function open(keys: SealingKeys, sealed: string): Delivery | undefined {
    try {
        return JSON.parse(unseal(keys, sealed)) as Delivery;
    } catch {
        return undefined;
    }
}

function isSame(one: MachineMessage | undefined, other: MachineMessage): boolean {
    return one !== undefined && messageText(one) === messageText(other);
}
