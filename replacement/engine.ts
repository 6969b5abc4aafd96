/** What the loop needs of the deployment engine, and how it gets it from Pulumi's Automation API. */
import { createHash } from "node:crypto";
import type { EngineEvent, Deployment as ExportedDeployment, OpType, Stack } from "@pulumi/pulumi/automation";
import { type Stamp, slotKey, withStamp } from "./stamp";

/** A server that the deployment wants. */
export interface Slot {
    /** Its name, which is also the machine's and its Consul node's. */
    readonly name: string;
    readonly urn: string;
    /** The server that fills it at present, as the control plane names it. */
    readonly serverId: string;
    /** Its address, by which balancers know it. */
    readonly address?: string;
}

/** The servers that the deployment wants, as its state says. */
export interface Pool {
    readonly slots: readonly Slot[];
    /** Tells this version of the state from all others. Default: unknown. */
    readonly stateVersion?: string;
}

/** Something that a run of the engine would do to one resource. */
export interface Operation {
    readonly op: OpType;
    readonly urn: string;
}

/** The deployment engine. A signal that is aborted interrupts the run. */
export interface Engine {
    /** The servers that the deployment wants. @throws Error when its state cannot be read. */
    pool(): Promise<Pool>;
    /** What {@link replace} would do. */
    previewReplace(urn: string, signal: AbortSignal, stamp?: Stamp): Promise<Operation[]>;
    /**
     * Brings the deployment to what its program says, replacing that one resource; the new server bears the stamp. When
     * it has returned or thrown, no process of the run is alive.
     */
    replace(urn: string, signal: AbortSignal, stamp?: Stamp): Promise<void>;
    /** Slots whose server was being created by a run that was cut off: nobody wrote down whether it was. */
    pendingCreates?(): Promise<PendingCreate[]>;
    /** The ids of all resources in the deployment's state. */
    resourceIds?(): Promise<ReadonlySet<string>>;
    /** Makes a server that exists the one of its slot, in the deployment's state. */
    adopt?(urn: string, serverId: string, signal: AbortSignal): Promise<void>;
    /** Forgets that a server was being created. */
    clearPending?(urn: string): Promise<void>;
}

/** The creation of a slot's server that was begun, and of whose end the state says nothing. */
export interface PendingCreate {
    readonly urn: string;
    /** The slot's name, as its resource's; undefined for a resource that is not a slot. */
    readonly slot?: string;
}

/** A resource in the state of a stack, as far as it is used here. */
export interface StateResource {
    readonly urn: string;
    readonly type: string;
    /** Absent for a component. */
    readonly id?: string;
    readonly inputs?: Readonly<Record<string, unknown>>;
    readonly outputs?: Readonly<Record<string, unknown>>;
    /** It was replaced, and waits to be deleted. */
    readonly delete?: boolean;
}

/** Says which resources are slots of the pool; undefined for all others. */
export type SlotOf = (resource: StateResource) => Slot | undefined;

/** How {@link automationEngine} speaks, and how it ends what does not end by itself. */
export interface AutomationOptions {
    readonly onOutput?: (text: string) => void;
    /** Seconds that an interrupted run (SIGINT) has until it is killed. Default 5. */
    readonly killAfterSeconds?: number;
    /** Done before each run of the program. */
    readonly prepare?: () => Promise<void>;
    /** Kills all processes of this engine's runs. Default: nothing is killed. */
    readonly kill?: () => Promise<void>;
}

interface State {
    readonly resources?: StateResource[];
    readonly pending_operations?: { readonly resource: StateResource; readonly type: string }[];
}

/** The engine on a stack. The stack's program has to stand being run several times in one process. */
export function automationEngine(stack: Stack, slotOf: SlotOf, given: AutomationOptions = {}): Engine {
    const { onOutput = () => undefined, killAfterSeconds = 5 } = given;
    const { kill = async () => undefined, prepare = async () => undefined } = given;
    const options = { color: "never", suppressProgress: true, onOutput } as const;

    /** Does it; kills it when it goes on for too long after it was interrupted. */
    async function bounded<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T> {
        // Promises of the SDK do not settle before the CLI has ended, and the CLI may wait for a plugin for long.
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
            // Plugins may outlive the CLI for a moment, and go on with a call.
            if (signal.aborted) await kill();
        }
    }

    /** Changes the state, as far as `change` finds something to change. */
    async function edit(change: (state: State) => State): Promise<void> {
        const exported = await stack.exportStack();
        await stack.importStack({
            ...exported,
            deployment: change(exported.deployment as State),
        } as ExportedDeployment);
    }
    const withoutPending = (state: State, urn: string): State => ({
        ...state,
        pending_operations: (state.pending_operations ?? []).filter(({ resource }) => resource.urn !== urn),
    });

    let reading: Promise<{ readonly state: State; readonly version: string }> | undefined;
    /** The state. Questions at the same time share one process of the CLI. */
    const read = () => {
        reading ??= stack
            .exportStack()
            .then((exported) => ({ state: (exported.deployment ?? {}) as State, version: versionOf(exported) }))
            .finally(() => {
                reading = undefined;
            });
        return reading;
    };

    return {
        async pool() {
            const { state, version } = await read();
            return { slots: slotsIn(state.resources ?? [], slotOf), stateVersion: version };
        },
        async previewReplace(urn, signal, stamp) {
            const operations: Operation[] = [];
            const onEvent = ({ resourcePreEvent }: EngineEvent) => {
                if (resourcePreEvent)
                    operations.push({ op: resourcePreEvent.metadata.op, urn: resourcePreEvent.metadata.urn });
            };
            const preview = () => stack.preview({ ...options, replace: [urn], onEvent, signal });
            await bounded(signal, () => withStamp(stamp, preview));
            return operations;
        },
        async replace(urn, signal, stamp) {
            const message = `replacement loop: ${urn.split("::").at(-1)}${stamp ? `, epoch ${stamp.epoch}` : ""}`;
            const up = () => stack.up({ ...options, showSecrets: false, replace: [urn], signal, message });
            await bounded(signal, () => withStamp(stamp, up));
        },
        async pendingCreates() {
            const { resources, pending_operations = [] } = (await read()).state;
            return pending_operations
                .filter(({ type }) => type === "creating")
                .map(({ resource }) => {
                    // Its outputs do not exist yet, so the slot is told by its inputs, or by its predecessor.
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
                // A dynamic provider finds its own code in the outputs, which a resource in creation does not have.
                const outputs = { ...known?.outputs, ...pending?.inputs };
                const adopted = { ...resource, id: serverId, ...(pending ? { outputs } : {}) };
                const others = known
                    ? resources.map((each) => (each === known ? adopted : each))
                    : [...resources, adopted];
                return { ...withoutPending(state, urn), resources: others };
            });
            // What else there is to know of it is read from the cloud.
            await bounded(signal, () => stack.refresh({ ...options, target: [urn], signal }));
        },
        clearPending: (urn) => edit((state) => withoutPending(state, urn)),
    };
}

/** Tells a version of a stack's state from all others: every run of the engine that changes it writes its time into it. */
export function versionOf(exported: ExportedDeployment): string {
    return createHash("sha256").update(JSON.stringify(exported.deployment)).digest("hex").slice(0, 16);
}

function inputsOf(resource: StateResource): Readonly<Record<string, unknown>> {
    return { ...resource.inputs, ...resource.outputs };
}

/** The slots among the resources of a state, by name. Resources that only wait to be deleted are left out. */
export function slotsIn(resources: readonly StateResource[], slotOf: SlotOf): Slot[] {
    const slots = resources
        .filter((resource) => resource.delete !== true)
        .flatMap((resource) => slotOf(resource) ?? []);
    return slots.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * The slots as this project's targets declare them: resources whose type ends in `typeSuffix`, with outputs `name`
 * (on OpenStack the slot in its metadata), `address` (on OpenStack `accessIpV4`) and `incarnation`; without the last the resource's id is the server's.
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
