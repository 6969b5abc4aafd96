/** The engine's side of `roles/delivery.ts`. Runs in the dynamic provider's process; see `../dynamic/moduleProvider.ts`. */
import { createHmac, randomUUID } from "node:crypto";
import { z } from "zod";
import { seal } from "../../machine/sealed";
import { CloudSession, said } from "../../replacement/observers/keystone";
import {
    type Delivery,
    deliveryIn,
    deliveryKeys,
    deliveryMetadata,
    type MachineGate,
    type MachineMessage,
    readMessage,
} from "../../roles/delivery";
import { waitFor } from "../../supervisor/wait";
import { cloudLogin } from "./cloudsYaml";

/** A server and what it gets, as plain values: the provider's inputs. */
export interface GateInputs {
    /** The cloud's name in `clouds.yaml`. */
    readonly cloud: string;
    /** Empty: that of `clouds.yaml`. */
    readonly region: string;
    readonly serverId: string;
    /** Secret. The machine's secrets by name; among them `gossipKey`, which every machine has. */
    readonly secrets: Readonly<Record<string, string>>;
    readonly gates: readonly MachineGate[];
    /** How long the machine may take, seconds. */
    readonly timeoutSeconds: number;
}

const LOOK_EVERY = 2_000;
const COMPUTE = ["compute"] as const;

const serverSchema = z.object({
    server: z.object({
        status: z.string(),
        metadata: z.record(z.string(), z.string()).default({}),
        fault: z.object({ message: z.string().default("") }).optional(),
    }),
});
const passwordSchema = z.object({ password: z.string().nullish() });

/** Waiting on is no use. */
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
        if (answer.status >= 300 && answer.status !== 404) throw new Error(`${method} ${below}: ${said(answer)}`);
    };
    return {
        async look() {
            const found = await session.ask(COMPUTE, path);
            if (found.status === 404) throw new GivenUp(`the server ${serverId} is gone`);
            if (found.status !== 200) throw new Error(said(found));
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
 * What the machine says when it is ready. It can be made anew from the inputs alone, so that a run that was cut off is
 * gone on with; and only who has a secret of the deployment can make it.
 */
export function answerOf({ serverId, secrets }: Pick<GateInputs, "serverId" | "secrets">): string {
    return createHmac("sha256", secrets.gossipKey ?? "")
        .update(`ready ${serverId}`)
        .digest("base64url");
}

/**
 * One look, and what there is to be done. Every step may be repeated, and the run cut off behind any of them.
 *
 * @returns whether the machine is ready.
 */
export async function step(inputs: GateInputs, server: ServerApi): Promise<boolean> {
    const { metadata, message } = await server.look();
    const answer = answerOf(inputs);
    if (message?.kind === "key") {
        const delivery: Delivery = { secrets: inputs.secrets, gates: inputs.gates, answer };
        await server.drop(deliveryKeys(metadata));
        await server.put(deliveryMetadata(seal(message.key, JSON.stringify(delivery))));
        // Behind that: as long as the key is there, the machine has not got what is for it.
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

async function pass(inputs: GateInputs): Promise<void> {
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
        LOOK_EVERY,
    );
    if (givenUp) throw givenUp;
}

/** Waits. */
export async function create(inputs: GateInputs): Promise<{ id: string; outs: GateInputs }> {
    await pass(inputs);
    return { id: randomUUID(), outs: inputs };
}

/** Only another server is a reason: what else is in the inputs is for servers that are yet to come. */
export async function diff(_id: string, olds: GateInputs, news: GateInputs) {
    return { changes: olds.serverId !== news.serverId, replaces: [] };
}

/** That it held once stays true. */
export async function read(id: string, props: GateInputs) {
    return { id, props };
}

/** Waits for the other server. */
export async function update(_id: string, _olds: GateInputs, news: GateInputs): Promise<{ outs: GateInputs }> {
    await pass(news);
    return { outs: news };
}

/** There is nothing to remove. */
async function remove(): Promise<void> {}

export { remove as delete };
