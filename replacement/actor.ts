/** Carries out one replacement, or refuses to. */
import type { Action } from "./decide";
import type { Engine, Operation } from "./engine";
import type { Stamp } from "./stamp";
import { FencedOff } from "./store";

/** How a replacement ended. The first five left everything as it was. */
export type Outcome =
    /** The preview would have changed more than this one slot, or could not be made. */
    | { readonly kind: "refused"; readonly reason: string; readonly others: readonly Operation[] }
    /** The world changed while the preview was made: what there was to replace is no longer. */
    | { readonly kind: "outdated"; readonly reason: string }
    /** The budget could not be taken: somebody else has written it meanwhile, or the store failed. */
    | { readonly kind: "notTaken"; readonly reason: string }
    /** Another run holds the stack. */
    | { readonly kind: "locked"; readonly reason: string }
    /** The loop was told to stop before anything was done. */
    | { readonly kind: "stopped"; readonly reason: string }
    /** This daemon is not the leader any more. The budget may have been taken, which errs on the safe side. */
    | { readonly kind: "deposed"; readonly reason: string }
    | { readonly kind: "done" }
    | { readonly kind: "quota" | "invalid" | "failed" | "stuck"; readonly reason: string };

/** What was done and how long it took, in seconds. */
export interface Report {
    readonly outcome: Outcome;
    readonly seconds: { readonly preview: number; readonly replace?: number };
}

/** What a replacement needs besides the engine. */
export interface Means {
    /** Looks again, after the preview: whether the action is still what is to be done, and the preview still holds. */
    readonly confirm: () => Promise<boolean>;
    /** Takes the budget by compare-and-set; false when somebody else has written meanwhile. */
    readonly take: () => Promise<boolean>;
    /** What the engine said that it would do, where it was asked before. Default: it is asked now. */
    readonly previewed?: readonly Operation[];
    /** Seconds since 1970. */
    readonly now: () => number;
    /** No new replacement is begun once this is aborted. */
    readonly stop: AbortSignal;
    /** Interrupts even a replacement that was begun. */
    readonly abort: AbortSignal;
    /** Aborted when a replacement that was begun takes too long; it is interrupted then. Default: never. */
    readonly late?: () => AbortSignal;
    /** Whether this daemon is still the leader, asked at the last moment before the engine acts. Default: it is. */
    readonly leads?: () => boolean;
    /** What the new server bears. */
    readonly stamp?: Stamp;
}

/**
 * Replaces a server: previews that this changes this one slot and nothing else, looks again whether it is still needed,
 * takes the budget, and only then lets the engine act. Does not throw.
 */
export async function replaceServer(action: Action, engine: Engine, means: Means): Promise<Report> {
    const start = means.now();
    const refusal = await preview(action, engine, means);
    const previewed = means.now();
    const seconds = { preview: previewed - start };
    if (refusal) return { outcome: refusal, seconds };
    // A process that was stopped after the budget was taken goes on here, when another one leads already.
    if (means.leads?.() === false) {
        return { outcome: { kind: "deposed", reason: "not the leader any more" }, seconds };
    }
    const late = means.late?.();
    const took = () => ({ ...seconds, replace: means.now() - previewed });
    try {
        await engine.replace(action.urn, late ? AbortSignal.any([means.abort, late]) : means.abort, means.stamp);
        return { outcome: { kind: "done" }, seconds: took() };
    } catch (error) {
        const outcome = classify(error);
        // What ended by itself at the last moment is not stuck.
        const stuck = late?.aborted && !means.abort.aborted && outcome.kind === "failed";
        return {
            outcome: stuck ? { kind: "stuck", reason: `interrupted: ${outcome.reason}` } : outcome,
            seconds: took(),
        };
    }
}

/** Everything up to the point of no return; undefined when it is to be passed. */
async function preview(action: Action, engine: Engine, means: Means): Promise<Outcome | undefined> {
    let operations: readonly Operation[];
    try {
        operations = means.previewed ?? (await engine.previewReplace(action.urn, means.stop, means.stamp));
    } catch (error) {
        if (means.stop.aborted) return { kind: "stopped", reason: "told to stop during the preview" };
        const { kind, reason } = classify(error);
        if (kind === "locked") return { kind, reason };
        return { kind: "refused", reason: `the preview failed: ${reason}`, others: [] };
    }
    const { accepted, others } = examine(operations, action.urn);
    if (!accepted) {
        const reason =
            others.length > 0
                ? `the preview changes more than ${action.slot}: ${others.map(describe).join(", ")}`
                : `the preview does not replace ${action.slot}`;
        return { kind: "refused", reason, others };
    }
    try {
        if (!(await means.confirm())) return { kind: "outdated", reason: "no longer needed after the preview" };
        if (means.stop.aborted) return { kind: "stopped", reason: "told to stop after the preview" };
        if (!(await means.take())) return { kind: "notTaken", reason: "the budget was changed by somebody else" };
    } catch (error) {
        if (error instanceof FencedOff) return { kind: "deposed", reason: error.message };
        return { kind: "notTaken", reason: messageOf(error) };
    }
    return undefined;
}

const unchanged = new Set(["same", "read", "refresh"]);
const replacing = new Set([
    "replace",
    "create-replacement",
    "delete-replaced",
    "discard-replaced",
    "remove-pending-replace",
]);

/**
 * Whether operations replace exactly one resource; `others` are those that would change more. What waits until the new
 * server is ready, a resource of its name and `-ready`, belongs to it: it is updated for the new server.
 */
export function examine(operations: readonly Operation[], urn: string): { accepted: boolean; others: Operation[] } {
    const gate = gateOf(urn);
    const others = operations.filter((operation) => {
        if (unchanged.has(operation.op)) return false;
        if (operation.urn === gate && operation.op === "update") return false;
        return operation.urn !== urn || !replacing.has(operation.op);
    });
    const replaced = operations.some((operation) => operation.urn === urn && operation.op === "create-replacement");
    return { accepted: replaced && others.length === 0, others };
}

/** The URN of a server's gate on target openstack; the type differs, so only stack, project, parents and name are its. */
function gateOf(urn: string): string {
    return urn.replace(/\$openstack:compute\/instance:Instance::(.*)$/, `$${GATE_TYPE}::$1-ready`);
}

/** Type of `OpenstackGate` (components/openstack/gate.ts). */
const GATE_TYPE = "pulumi-nodejs:dynamic/gateway:OpenstackGate";

function describe({ op, urn }: Operation): string {
    return `${op} ${urn.split("::").slice(-2).join("::")}`;
}

const patterns = {
    locked: /currently locked by|Another update is currently in progress/i,
    quota: /\bquota\b|NoValidHost|No valid host was found|Insufficient\w*Capacity|OverLimit|ENOSPC|no space left on device/i,
    invalid:
        /BadRequest|Bad request|\b400\b.*Invalid|InvalidParameter|InvalidAMI|is not a valid|invalid configuration/i,
} as const;

/** What an error of the engine means. Pulumi tells a locked stack by the error's type, all else by text only. */
export function classify(error: unknown): { kind: "locked" | "quota" | "invalid" | "failed"; reason: string } {
    const message = messageOf(error);
    const name = error instanceof Error ? error.name : "";
    const matching = name === "ConcurrentUpdateError" ? "locked" : kinds.find((kind) => patterns[kind].test(message));
    return { kind: matching ?? "failed", reason: gist(message) };
}

const kinds = ["locked", "quota", "invalid"] as const;

function messageOf(error: unknown): string {
    return error instanceof Error ? error.message : String(error);
}

/** The lines of an engine's output that tell the error, or its end; at most 500 characters. */
function gist(message: string): string {
    const lines = message.split("\n").map((line) => line.trim());
    // Providers list what went wrong below a line that only counts it; the engine adds that it failed.
    const listed = lines.filter(
        (line) => /^(error:|\* )/.test(line) && !/^error: (update failed|\d+ errors? occurred:)$/.test(line),
    );
    const naming = lines.filter((line) => /error/i.test(line) && !/^(code|stdout|stderr|err\?):/.test(line));
    const errors = listed.length > 0 ? listed : naming;
    const telling = errors.length > 0 ? errors : lines.filter((line) => line !== "").slice(-3);
    const text = [...new Set(telling)].join(" | ");
    return text.length > 500 ? `${text.slice(0, 499)}…` : text;
}
