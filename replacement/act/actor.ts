/** Carries out one replacement, or refuses it. */
import type { Action } from "../core/action";
import type { ReplacementEpoch } from "../serverMetadata";
import { FencedOff } from "../store";
import type { Engine, Operation } from "./engine";

/** How a replacement ended. The first five changed nothing. */
export type Outcome =
    /** The preview showed changes to more than this one slot, or failed. */
    | { readonly kind: "refused"; readonly reason: string; readonly others: readonly Operation[] }
    /** After the preview the server no longer needed to be replaced. */
    | { readonly kind: "outdated"; readonly reason: string }
    /** The budget could not be taken: somebody else has written the memory, or the store failed. */
    | { readonly kind: "notTaken"; readonly reason: string }
    /** Another run holds the stack's lock. */
    | { readonly kind: "locked"; readonly reason: string }
    /** The loop was told to stop before it acted. */
    | { readonly kind: "stopped"; readonly reason: string }
    /** This daemon is no longer the leader. The budget may have been taken, which is the safe side. */
    | { readonly kind: "deposed"; readonly reason: string }
    | { readonly kind: "done" }
    | { readonly kind: "quota" | "invalid" | "failed" | "stuck"; readonly reason: string };

/** How a replacement ended, and how long it took, in seconds. */
export interface Report {
    readonly outcome: Outcome;
    readonly seconds: { readonly preview: number; readonly replace?: number };
}

/** What a replacement needs besides the engine. */
export interface ReplacementContext {
    /** Observes again after the preview: whether the action is still needed and the preview still valid. */
    readonly confirm: () => Promise<boolean>;
    /** Takes the budget by compare-and-set; false when somebody else has written the memory. */
    readonly takeBudget: () => Promise<boolean>;
    /** An earlier preview, which may not be finished yet. Undefined when there is none, or it does not count: previews now. */
    readonly previewed?: Promise<readonly Operation[] | undefined>;
    /** Seconds since 1970. */
    readonly now: () => number;
    /** Once aborted, no replacement begins. */
    readonly stop: AbortSignal;
    /** Interrupts a replacement that has begun. */
    readonly abort: AbortSignal;
    /** Returns a signal that interrupts the replacement when it takes too long. Default: never. */
    readonly late?: () => AbortSignal;
    /** Whether this daemon is still the leader, asked just before the engine acts. Default: it is. */
    readonly leads?: () => boolean;
    /** Metadata of the new server. */
    readonly replacementEpoch?: ReplacementEpoch;
}

/**
 * Replaces a server. It previews that nothing but this slot changes, confirms that the replacement is still needed, takes
 * the budget, and only then lets the engine act. Does not throw.
 */
export async function replaceServer(action: Action, engine: Engine, context: ReplacementContext): Promise<Report> {
    const start = context.now();
    const refusal = await previewAndTakeBudget(action, engine, context);
    const previewed = context.now();
    const seconds = { preview: previewed - start };
    if (refusal) return { outcome: refusal, seconds };
    // If the process was suspended after it took the budget, another daemon may lead by now.
    if (context.leads?.() === false) {
        return { outcome: { kind: "deposed", reason: "no longer the leader" }, seconds };
    }
    const late = context.late?.();
    const took = () => ({ ...seconds, replace: context.now() - previewed });
    try {
        await engine.replace(
            action.urn,
            late ? AbortSignal.any([context.abort, late]) : context.abort,
            context.replacementEpoch,
        );
        return { outcome: { kind: "done" }, seconds: took() };
    } catch (error) {
        const outcome = classifyEngineError(error);
        // A replacement that failed by itself at the last moment is not stuck.
        const stuck = late?.aborted && !context.abort.aborted && outcome.kind === "failed";
        return {
            outcome: stuck ? { kind: "stuck", reason: `interrupted: ${outcome.reason}` } : outcome,
            seconds: took(),
        };
    }
}

/** The steps before the engine acts. Returns undefined when it may act. */
async function previewAndTakeBudget(
    action: Action,
    engine: Engine,
    context: ReplacementContext,
): Promise<Outcome | undefined> {
    let operations: readonly Operation[];
    try {
        operations =
            (await context.previewed) ??
            (await engine.previewReplace(action.urn, context.stop, context.replacementEpoch));
    } catch (error) {
        if (context.stop.aborted) return { kind: "stopped", reason: "told to stop during the preview" };
        const { kind, reason } = classifyEngineError(error);
        if (kind === "locked") return { kind, reason };
        return { kind: "refused", reason: `the preview failed: ${reason}`, others: [] };
    }
    const { accepted, others } = examineOperations(operations, action.urn);
    if (!accepted) {
        const reason =
            others.length > 0
                ? `the preview changes more than ${action.slot}: ${others.map(describe).join(", ")}`
                : `the preview does not replace ${action.slot}`;
        return { kind: "refused", reason, others };
    }
    try {
        if (!(await context.confirm())) return { kind: "outdated", reason: "no longer needed after the preview" };
        if (context.stop.aborted) return { kind: "stopped", reason: "told to stop after the preview" };
        if (!(await context.takeBudget())) return { kind: "notTaken", reason: "somebody else changed the budget" };
    } catch (error) {
        if (error instanceof FencedOff) return { kind: "deposed", reason: error.message };
        return { kind: "notTaken", reason: messageOf(error) };
    }
    return undefined;
}

const unchangingOperations = new Set(["same", "read", "refresh"]);
const replacingOperations = new Set([
    "replace",
    "create-replacement",
    "delete-replaced",
    "discard-replaced",
    "remove-pending-replace",
]);

/**
 * Whether operations replace exactly one resource; `others` are those that would change more. An update of the server's
 * readiness resource, named after it with `-ready`, belongs to the replacement.
 */
export function examineOperations(
    operations: readonly Operation[],
    urn: string,
): { accepted: boolean; others: Operation[] } {
    const readiness = readinessUrnOf(urn);
    const others = operations.filter((operation) => {
        if (unchangingOperations.has(operation.op)) return false;
        if (operation.urn === readiness && operation.op === "update") return false;
        return operation.urn !== urn || !replacingOperations.has(operation.op);
    });
    const replaced = operations.some((operation) => operation.urn === urn && operation.op === "create-replacement");
    return { accepted: replaced && others.length === 0, others };
}

/** The URN of a server's readiness resource on target openstack. It shares stack, project, parents and name. */
function readinessUrnOf(urn: string): string {
    return urn.replace(/\$openstack:compute\/instance:Instance::(.*)$/, `$${READINESS_TYPE}::$1-ready`);
}

/** Type of `OpenstackGate` (components/openstack/readiness.ts). */
const READINESS_TYPE = "pulumi-nodejs:dynamic/gateway:OpenstackGate";

function describe({ op, urn }: Operation): string {
    return `${op} ${urn.split("::").slice(-2).join("::")}`;
}

const errorPatterns = {
    locked: /currently locked by|Another update is currently in progress/i,
    quota: /\bquota\b|NoValidHost|No valid host was found|Insufficient\w*Capacity|OverLimit|ENOSPC|no space left on device/i,
    invalid:
        /BadRequest|Bad request|\b400\b.*Invalid|InvalidParameter|InvalidAMI|is not a valid|invalid configuration/i,
} as const;

/** Classifies an error of the engine. Pulumi gives a locked stack an error type of its own, and only text to all others. */
export function classifyEngineError(error: unknown): {
    kind: "locked" | "quota" | "invalid" | "failed";
    reason: string;
} {
    const message = messageOf(error);
    const name = error instanceof Error ? error.name : "";
    const matching =
        name === "ConcurrentUpdateError" ? "locked" : errorKinds.find((kind) => errorPatterns[kind].test(message));
    return { kind: matching ?? "failed", reason: errorLines(message) };
}

const errorKinds = ["locked", "quota", "invalid"] as const;

function messageOf(error: unknown): string {
    return error instanceof Error ? error.message : String(error);
}

/** The lines of an engine's output that name the error, else its last lines; at most 500 characters. */
function errorLines(message: string): string {
    const lines = message.split("\n").map((line) => line.trim());
    // Providers list errors below a line that only counts them, and the engine adds a line that it failed.
    const listed = lines.filter(
        (line) => /^(error:|\* )/.test(line) && !/^error: (update failed|\d+ errors? occurred:)$/.test(line),
    );
    const naming = lines.filter((line) => /error/i.test(line) && !/^(code|stdout|stderr|err\?):/.test(line));
    const errors = listed.length > 0 ? listed : naming;
    const telling = errors.length > 0 ? errors : lines.filter((line) => line !== "").slice(-3);
    const text = [...new Set(telling)].join(" | ");
    return text.length > 500 ? `${text.slice(0, 499)}…` : text;
}
