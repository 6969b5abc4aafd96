/**
 * The engine's side of `programs/boot/delivery.ts`. Runs in the dynamic provider's process; see
 * `../dynamic/moduleProvider.ts`.
 */
import { createHmac, randomUUID } from "node:crypto";
import { z } from "zod";
import { CloudSession, errorTextOf } from "../../clients/keystone";
import { waitFor } from "../../lib/wait";
import {
    type Delivery,
    deliveryIn,
    deliveryKeys,
    deliveryMetadata,
    type MachineCondition,
    type MachineMessage,
    readMessage,
} from "../../programs/boot/delivery";
import { seal } from "../../programs/boot/sealed";
import { cloudLogin } from "./cloudsYaml";

/** A server and what it gets, as plain values: the provider's inputs. */
export interface ReadinessInputs {
    /** The cloud's name in `clouds.yaml`. */
    readonly cloud: string;
    /** Empty: that of `clouds.yaml`. */
    readonly region: string;
    readonly serverId: string;
    /** Secret. The machine's secrets by name; among them `gossipKey`, which every machine has. */
    readonly secrets: Readonly<Record<string, string>>;
    readonly gates: readonly MachineCondition[];
    /** How long the machine may take, seconds. */
    readonly timeoutSeconds: number;
    /** Time between two looks, seconds. Default 2. */
    readonly lookSeconds?: number;
}

const COMPUTE = ["compute"] as const;

const serverSchema = z.object({
    server: z.object({
        status: z.string(),
        metadata: z.record(z.string(), z.string()).default({}),
        fault: z.object({ message: z.string().default("") }).optional(),
    }),
});
const passwordSchema = z.object({ password: z.string().nullish() });

/** Waiting longer is useless. */
class GivenUp extends Error {}

/** A server's mailbox and metadata at Nova's API. */
export interface ServerApi {
    /** @throws Error when the server is gone, or there is no answer. */
    look(): Promise<{ readonly metadata: Readonly<Record<string, string>>; readonly message?: MachineMessage }>;
    put(metadata: Readonly<Record<string, string>>): Promise<void>;
    drop(keys: readonly string[]): Promise<void>;
    clear(): Promise<void>;
}

/** Nova's API. */
export function novaServer(session: CloudSession, serverId: string): ServerApi {
    const path = `/servers/${encodeURIComponent(serverId)}`;
    const change = async (method: "POST" | "DELETE", below: string, body?: object) => {
        const given = { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
        const answer = await session.ask(COMPUTE, `${path}${below}`, given);
        if (answer.status >= 300 && answer.status !== 404)
            throw new Error(`${method} ${below}: ${errorTextOf(answer)}`);
    };
    return {
        async look() {
            const found = await session.ask(COMPUTE, path);
            if (found.status === 404) throw new GivenUp(`the server ${serverId} is gone`);
            if (found.status !== 200) throw new Error(errorTextOf(found));
            const { status, metadata, fault } = serverSchema.parse(JSON.parse(found.body)).server;
            if (status === "ERROR") throw new GivenUp(`the server ${serverId} is in ERROR: ${fault?.message ?? ""}`);
            const { password } = await session.get(COMPUTE, `${path}/os-server-password`, passwordSchema);
            const message = readMessage(password ?? "");
            return { metadata, ...(message ? { message } : {}) };
        },
        put: (metadata) => change("POST", "/metadata", { metadata }),
        async drop(keys) {
            for (const key of keys) await change("DELETE", `/metadata/${encodeURIComponent(key)}`);
        },
        clear: () => change("DELETE", "/os-server-password"),
    };
}

/**
 * The machine's answer when it is ready. It can be derived again from the inputs alone, so that an interrupted run can
 * continue; and only the holder of a secret of the deployment can derive it.
 */
export function answerOf({ serverId, secrets }: Pick<ReadinessInputs, "serverId" | "secrets">): string {
    return createHmac("sha256", secrets.gossipKey ?? "")
        .update(`ready ${serverId}`)
        .digest("base64url");
}

/**
 * One look and the next step. Every step may be repeated, and the run may be interrupted after any of them.
 *
 * @returns whether the machine is ready.
 */
export async function step(inputs: ReadinessInputs, server: ServerApi): Promise<boolean> {
    const { metadata, message } = await server.look();
    const answer = answerOf(inputs);
    if (message?.kind === "key") {
        const delivery: Delivery = { secrets: inputs.secrets, gates: inputs.gates, answer };
        const sealed = deliveryMetadata(seal(message.key, JSON.stringify(delivery)));
        // In place of an earlier delivery, never after it is gone: a machine takes that for "your answer has arrived".
        await server.put(sealed);
        await server.drop(deliveryKeys(metadata).filter((key) => !(key in sealed)));
        // After that: as long as the key is there, the machine has not got its delivery.
        await server.clear();
        return false;
    }
    if (message?.kind === "ready" && message.answer === answer) {
        await server.drop(deliveryKeys(metadata));
        await server.clear();
        return true;
    }
    throw new Error(
        deliveryIn(metadata) === undefined
            ? "it has not asked for its secrets yet: see its console (openstack console log show)"
            : "it has its secrets, and its services are not all ready: see its console (openstack console log show)",
    );
}

async function pass(inputs: ReadinessInputs): Promise<void> {
    const { cloud, region, serverId, timeoutSeconds } = inputs;
    const server = novaServer(new CloudSession(cloudLogin(cloud, region || undefined)), serverId);
    let givenUp: GivenUp | undefined;
    await waitFor(
        `the server ${serverId}`,
        () =>
            step(inputs, server).catch((error: Error) => {
                if (!(error instanceof GivenUp)) throw error;
                givenUp = error;
                return true;
            }),
        timeoutSeconds * 1000,
        (inputs.lookSeconds ?? 2) * 1000,
    );
    if (givenUp) throw givenUp;
}

/** Waits. */
export async function create(inputs: ReadinessInputs): Promise<{ id: string; outs: ReadinessInputs }> {
    await pass(inputs);
    return { id: randomUUID(), outs: inputs };
}

/** Only another server is a reason to wait again: the other inputs are for future servers. */
export async function diff(_id: string, olds: ReadinessInputs, news: ReadinessInputs) {
    return { changes: olds.serverId !== news.serverId, replaces: [] };
}

/** Once the condition has held, it stays true. */
export async function read(id: string, props: ReadinessInputs) {
    return { id, props };
}

/** Waits for the other server. */
export async function update(
    _id: string,
    _olds: ReadinessInputs,
    news: ReadinessInputs,
): Promise<{ outs: ReadinessInputs }> {
    await pass(news);
    return { outs: news };
}

/** There is nothing to remove. */
async function remove(): Promise<void> {}

export { remove as delete };
