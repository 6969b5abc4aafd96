/** The deployment engine as the loop uses it, and its implementation by Pulumi's Automation API. */

import { createHash } from "node:crypto";
import type { EngineEvent, Deployment as ExportedDeployment, OpType, Stack } from "@pulumi/pulumi/automation";
import type { PendingCreate, Pool, Slot } from "../core/pool";
import { type ReplacementEpoch, slotKey, withEpoch } from "../serverMetadata";

/** An operation of the engine on one resource. */
export interface Operation {
    readonly op: OpType;
    readonly urn: string;
}

/** The deployment engine. Aborting a signal interrupts the run. */
export interface Engine {
    /** The slots according to the deployment's state. @throws Error when the state cannot be read. */
    pool(): Promise<Pool>;
    /** What {@link replace} would do. */
    previewReplace(urn: string, signal: AbortSignal, replacementEpoch?: ReplacementEpoch): Promise<Operation[]>;
    /**
     * Deploys the program and replaces that one resource. The new server's metadata holds the epoch. When this returns
     * or throws, no process of the run is alive.
     */
    replace(urn: string, signal: AbortSignal, replacementEpoch?: ReplacementEpoch): Promise<void>;
    /** Creations that a run began and did not complete, because it was cut off. */
    pendingCreates?(): Promise<PendingCreate[]>;
    /** The ids of all resources in the deployment's state. */
    resourceIds?(): Promise<ReadonlySet<string>>;
    /** Records an existing server in the deployment's state as the one of its slot. */
    adopt?(urn: string, serverId: string, signal: AbortSignal): Promise<void>;
    /** Forgets a creation that was cut off. */
    clearPending?(urn: string): Promise<void>;
}

/** A resource in a stack's state; only the fields used here. */
export interface StateResource {
    readonly urn: string;
    readonly type: string;
    /** Absent for a component. */
    readonly id?: string;
    readonly inputs?: Readonly<Record<string, unknown>>;
    readonly outputs?: Readonly<Record<string, unknown>>;
    /** It was replaced and waits for its deletion. */
    readonly delete?: boolean;
}

/** The slot that a resource stands for; undefined for a resource that is not a slot. */
export type SlotOf = (resource: StateResource) => Slot | undefined;

/** Options of {@link automationEngine}. */
export interface AutomationOptions {
    readonly onOutput?: (text: string) => void;
    /** Seconds between the interruption of a run (SIGINT) and {@link kill}. Default 5. */
    readonly killAfterSeconds?: number;
    /** Called before each run of the program. */
    readonly prepare?: () => Promise<void>;
    /** Reads the state without the CLI, where that is possible. Default: the CLI reads it. */
    readonly readState?: () => Promise<{ readonly deployment: unknown; readonly version: string } | undefined>;
    /** Kills all processes of this engine's runs. Default: kills nothing. */
    readonly kill?: () => Promise<void>;
}

interface ExportedState {
    readonly resources?: StateResource[];
    readonly pending_operations?: { readonly resource: StateResource; readonly type: string }[];
}

/** The engine on a stack. It runs the stack's program several times in one process. */
export function automationEngine(stack: Stack, slotOf: SlotOf, automation: AutomationOptions = {}): Engine {
    const { onOutput = () => undefined, killAfterSeconds = 5 } = automation;
    const { kill = async () => undefined, prepare = async () => undefined } = automation;
    const { readState = async () => undefined } = automation;
    const options = { color: "never", suppressProgress: true, onOutput } as const;

    /** Runs the engine, and kills it when it does not end soon after its interruption. */
    async function bounded<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T> {
        // The SDK's promises settle only when the CLI has ended, and the CLI may wait long for a plugin.
        let timer: NodeJS.Timeout | undefined;
        const onAbort = () => {
            timer = setTimeout(
                () => void kill().catch((error: Error) => onOutput(error.message)),
                killAfterSeconds * 1000,
            );
        };
        signal.addEventListener("abort", onAbort, { once: true });
        try {
            signal.throwIfAborted();
            await prepare();
            signal.throwIfAborted();
            return await run();
        } finally {
            clearTimeout(timer);
            signal.removeEventListener("abort", onAbort);
            // Plugins may outlive the CLI for a moment and continue a call.
            if (signal.aborted) await kill();
        }
    }

    /** Changes the stack's state. */
    async function edit(change: (state: ExportedState) => ExportedState): Promise<void> {
        const exported = await stack.exportStack();
        await stack.importStack({
            ...exported,
            deployment: change(exported.deployment as ExportedState),
        } as ExportedDeployment);
    }
    const withoutPending = (state: ExportedState, urn: string): ExportedState => ({
        ...state,
        pending_operations: (state.pending_operations ?? []).filter(({ resource }) => resource.urn !== urn),
    });

    let reading: Promise<{ readonly state: ExportedState; readonly version: string }> | undefined;
    /** Reads the state. Concurrent calls share one answer. */
    const read = () => {
        reading ??= readState()
            .then(async (found) => {
                if (found) return { state: found.deployment as ExportedState, version: found.version };
                const exported = await stack.exportStack();
                return { state: (exported.deployment ?? {}) as ExportedState, version: versionOf(exported) };
            })
            .finally(() => {
                reading = undefined;
            });
        return reading;
    };
    // After an update the SDK runs the CLI three more times, for outputs and a summary that nobody reads here.
    const bare: Stack = Object.create(stack, {
        outputs: { value: async () => ({}) },
        info: { value: async () => undefined },
    });

    return {
        async pool() {
            const { state, version } = await read();
            return { slots: slotsIn(state.resources ?? [], slotOf), stateVersion: version };
        },
        async previewReplace(urn, signal, replacementEpoch) {
            const operations: Operation[] = [];
            const onEvent = ({ resourcePreEvent }: EngineEvent) => {
                if (resourcePreEvent)
                    operations.push({ op: resourcePreEvent.metadata.op, urn: resourcePreEvent.metadata.urn });
            };
            const preview = () => stack.preview({ ...options, replace: [urn], onEvent, signal });
            await bounded(signal, () => withEpoch(replacementEpoch, preview));
            return operations;
        },
        async replace(urn, signal, replacementEpoch) {
            const epoch = replacementEpoch ? `, epoch ${replacementEpoch.epoch}` : "";
            const message = `replacement loop: ${urn.split("::").at(-1)}${epoch}`;
            const up = () => bare.up({ ...options, showSecrets: false, replace: [urn], signal, message });
            await bounded(signal, () => withEpoch(replacementEpoch, up));
        },
        async pendingCreates() {
            const { resources, pending_operations = [] } = (await read()).state;
            return pending_operations
                .filter(({ type }) => type === "creating")
                .map(({ resource }) => {
                    // It has no outputs yet, so its inputs or its predecessor name the slot.
                    const before = resources?.find(({ urn }) => urn === resource.urn);
                    const slot =
                        slotOf({ ...resource, id: "pending", outputs: inputsOf(resource) }) ??
                        (before && slotOf(before));
                    return { urn: resource.urn, ...(slot ? { slot: slot.name } : {}) };
                });
        },
        async resourceIds() {
            const { resources = [] } = (await read()).state;
            return new Set(resources.flatMap(({ id }) => (id === undefined ? [] : [id])));
        },
        async adopt(urn, serverId, signal) {
            await edit((state) => {
                const pending = state.pending_operations?.find(({ resource }) => resource.urn === urn)?.resource;
                const resources = state.resources ?? [];
                const known = resources.find((resource) => resource.urn === urn && resource.delete !== true);
                const { pendingReplacement: _, ...resource } = (pending ?? known ?? {}) as StateResource & {
                    pendingReplacement?: boolean;
                };
                if (!resource.urn) throw new Error(`the deployment's state does not know ${urn}`);
                // A dynamic provider finds its code in the outputs, which an incomplete resource does not have.
                const outputs = { ...known?.outputs, ...pending?.inputs };
                const adopted = { ...resource, id: serverId, ...(pending ? { outputs } : {}) };
                const others = known
                    ? resources.map((each) => (each === known ? adopted : each))
                    : [...resources, adopted];
                return { ...withoutPending(state, urn), resources: others };
            });
            // Reads its other outputs from the cloud.
            await bounded(signal, () => stack.refresh({ ...options, target: [urn], signal }));
        },
        clearPending: (urn) => edit((state) => withoutPending(state, urn)),
    };
}

/** Identifies a version of a stack's state. Each run that changes the state also writes its time into it. */
export function versionOf(exported: ExportedDeployment): string {
    return createHash("sha256").update(JSON.stringify(exported.deployment)).digest("hex").slice(0, 16);
}

function inputsOf(resource: StateResource): Readonly<Record<string, unknown>> {
    return { ...resource.inputs, ...resource.outputs };
}

/** The slots among a state's resources, sorted by name, without resources that wait for their deletion. */
export function slotsIn(resources: readonly StateResource[], slotOf: SlotOf): Slot[] {
    const slots = resources
        .filter((resource) => resource.delete !== true)
        .flatMap((resource) => slotOf(resource) ?? []);
    return slots.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * The slots of this project's targets: resources whose type ends in `typeSuffix`, with outputs `name` (on OpenStack the
 * slot in its metadata), `address` (on OpenStack `accessIpV4`) and `incarnation`. Without the last, the resource's id is
 * the server's.
 *
 * @param isGateway tells gateways from other machines of the same type, by name.
 */
export function machineSlots(typeSuffix: string, isGateway: (name: string) => boolean): SlotOf {
    return ({ type, urn, id, outputs }) => {
        const metadata = outputs?.metadata as Readonly<Record<string, unknown>> | undefined;
        const name = text(metadata?.[slotKey]) ?? text(outputs?.name);
        const serverId = text(outputs?.incarnation) ?? id;
        if (!type.endsWith(typeSuffix) || !name || !serverId || !isGateway(name)) return undefined;
        const address = text(outputs?.address) ?? text(outputs?.accessIpV4);
        return { name, urn, serverId, ...(address ? { address } : {}) };
    };
}

function text(value: unknown): string | undefined {
    return typeof value === "string" && value !== "" ? value : undefined;
}
