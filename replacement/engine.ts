/** What the loop needs of the deployment engine, and how it gets it from Pulumi's Automation API. */
import type { EngineEvent, OpType, Stack } from "@pulumi/pulumi/automation";

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

/** Something that a run of the engine would do to one resource. */
export interface Operation {
    readonly op: OpType;
    readonly urn: string;
}

/** The deployment engine. A signal that is aborted interrupts the run. */
export interface Engine {
    /** The servers that the deployment wants, according to its state. */
    poolSlots(): Promise<Slot[]>;
    /** What {@link replace} would do. */
    previewReplace(urn: string, signal: AbortSignal): Promise<Operation[]>;
    /** Brings the deployment to what its program says, replacing that one resource. */
    replace(urn: string, signal: AbortSignal): Promise<void>;
}

/** A resource in the state of a stack, as far as it is used here. */
export interface StateResource {
    readonly urn: string;
    readonly type: string;
    /** Absent for a component. */
    readonly id?: string;
    readonly outputs?: Readonly<Record<string, unknown>>;
    /** It was replaced, and waits to be deleted. */
    readonly delete?: boolean;
}

/** Says which resources are slots of the pool; undefined for all others. */
export type SlotOf = (resource: StateResource) => Slot | undefined;

/** The engine on a stack. The stack's program has to stand being run several times in one process. */
export function automationEngine(
    stack: Stack,
    slotOf: SlotOf,
    onOutput: (text: string) => void = () => undefined,
): Engine {
    const options = { color: "never", suppressProgress: true, onOutput } as const;
    return {
        async poolSlots() {
            const { deployment } = (await stack.exportStack()) as { deployment?: { resources?: StateResource[] } };
            return slotsIn(deployment?.resources ?? [], slotOf);
        },
        async previewReplace(urn, signal) {
            const operations: Operation[] = [];
            const onEvent = ({ resourcePreEvent }: EngineEvent) => {
                if (resourcePreEvent)
                    operations.push({ op: resourcePreEvent.metadata.op, urn: resourcePreEvent.metadata.urn });
            };
            await stack.preview({ ...options, replace: [urn], onEvent, signal });
            return operations;
        },
        async replace(urn, signal) {
            await stack.up({
                ...options,
                showSecrets: false,
                replace: [urn],
                signal,
                message: `replacement loop: ${urn.split("::").at(-1)}`,
            });
        },
    };
}

/** The slots among the resources of a state, by name. Resources that only wait to be deleted are left out. */
export function slotsIn(resources: readonly StateResource[], slotOf: SlotOf): Slot[] {
    const slots = resources
        .filter((resource) => resource.delete !== true)
        .flatMap((resource) => slotOf(resource) ?? []);
    return slots.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * The slots as this project's targets declare them: resources whose type ends in `typeSuffix`, with outputs `name`,
 * `address` and `incarnation`; without the last the resource's id is the server's.
 *
 * @param isGateway tells gateways from other machines of the same type, by name.
 */
export function machineSlots(typeSuffix: string, isGateway: (name: string) => boolean): SlotOf {
    return ({ type, urn, id, outputs }) => {
        const name = text(outputs?.name);
        const serverId = text(outputs?.incarnation) ?? id;
        if (!type.endsWith(typeSuffix) || !name || !serverId || !isGateway(name)) return undefined;
        const address = text(outputs?.address);
        return { name, urn, serverId, ...(address ? { address } : {}) };
    };
}

function text(value: unknown): string | undefined {
    return typeof value === "string" && value !== "" ? value : undefined;
}
