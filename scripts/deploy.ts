/** Runs of the engine on a stack, reported in readable lines. */
import { resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import * as automation from "@pulumi/pulumi/automation";
import {
    consulPluginAvailable,
    deploysHere,
    openStack,
    type Program,
    passphraseOf,
    program,
    repairable,
    UserError,
    whoUses,
} from "../engine/stack";

/** The longest wait for another run on the same stack, such as the replacement loop's, milliseconds. */
const LOCK_TIMEOUT = 90_000;
const LOCK_RETRY = 1_000;

/** This project, whose program is `index.ts`. */
const PROJECT = resolve(__dirname, "..");

/** Part of the URN of every object inside Consul. */
const IN_CONSUL = "$consul:index/";

/** Options of a run of the engine. */
export interface EngineRunOptions {
    /** Prints a line of the report. */
    readonly say: (line: string) => void;
    readonly signal: AbortSignal;
    /** Values by key, such as `gateway:pool`, that replace those of the stack's file. */
    readonly overrides?: Readonly<Record<string, unknown>>;
    /** Folder of the program, which its `package.json` names. Default: this project's. */
    readonly project?: string;
    /** The longest wait for another run on the same stack, milliseconds. Default 90 s. */
    readonly lockTimeout?: number;
}

/** Number of resources for each operation (`create`, `replace`, `same` …) that a run made, or would make. */
export type Changes = Readonly<Record<string, number>>;

/** An open stack and its program. */
export interface OpenStack {
    readonly stack: automation.Stack;
    readonly program: Program;
}

/** Opens a stack for {@link deploy}, {@link preview} and {@link destroy}. */
export async function open(
    stackName: string,
    options: Pick<EngineRunOptions, "say" | "overrides" | "project">,
): Promise<OpenStack> {
    const { overrides = {}, project = PROJECT } = options;
    const own = program(() => require(project));
    if (!consulPluginAvailable()) {
        options.say(
            "note: the Pulumi plugin for Consul is not available: skipping its policies, token, keys and query",
        );
    }
    const stack = await openStack(stackName, { run: own.run, overrides, project });
    if (passphraseOf(stackName, project).kind === "value" && deploysHere(stackName, project)) {
        options.say(
            "note: the replacement loop does not get PULUMI_CONFIG_PASSPHRASE, and cannot replace anything without it; write the " +
                "passphrase to a file, and name that in PULUMI_CONFIG_PASSPHRASE_FILE instead",
        );
    }
    return { stack, program: own };
}

/** Deploys a stack, after a refresh of its state. */
export async function deploy({ stack, program: own }: OpenStack, given: EngineRunOptions): Promise<Changes> {
    return engine(stack, own, given, async (onEvent, signal) => {
        const options = { ...given, signal };
        await clearPendingOperations(stack, options);
        const up = async (refresh: boolean, listener = onEvent) => {
            const result = await stack.up({ refresh, onEvent: listener, signal: options.signal, ...quietUpdate });
            return result.summary.resourceChanges ?? {};
        };
        const consul = watchConsul(onEvent);
        try {
            return await up(true, consul.onEvent);
        } catch (error) {
            options.signal.throwIfAborted();
            if (!consul.failed()) throw error;
            // One server answers for the objects in Consul. When that server is lost, the machines must come back
            // first.
            options.say("Cannot read the objects in Consul: bringing back the machines first");
            await refreshMachines(stack, options.signal);
            const changes = await up(false);
            await up(true);
            return changes;
        }
    });
}

/** Passes events on, and notes whether an object in Consul failed. */
function watchConsul(onEvent: (event: automation.EngineEvent) => void) {
    let failed = false;
    return {
        failed: () => failed,
        onEvent: (event: automation.EngineEvent) => {
            const { severity, urn = "" } = event.diagnosticEvent ?? {};
            failed ||= severity === "error" && urn.includes(IN_CONSUL);
            onEvent(event);
        },
    };
}

/** Shows what {@link deploy} would change: it looks at what there is, as a deployment does, and keeps nothing of that. */
export async function preview({ stack, program: own }: OpenStack, options: EngineRunOptions): Promise<Changes> {
    return engine(stack, own, options, async (onEvent, signal) => {
        const look = async (refresh: boolean, listener = onEvent) => {
            const result = await stack.preview({ refresh, onEvent: listener, signal, ...quiet });
            return result.changeSummary;
        };
        const consul = watchConsul(onEvent);
        try {
            return await look(true, consul.onEvent);
        } catch (error) {
            options.signal.throwIfAborted();
            if (!consul.failed()) throw error;
            options.say(
                "Cannot read the objects in Consul: a preview of what is in the state. A deployment brings back the machines",
            );
            return look(false);
        }
    });
}

/** Removes everything that a stack deployed, and the stack. */
export async function destroy({ stack, program: own }: OpenStack, options: EngineRunOptions): Promise<Changes> {
    return engine(stack, own, options, async (onEvent, signal) => {
        await clearPendingOperations(stack, { ...options, signal });
        const result = await stack.destroy({ onEvent, signal, ...quietUpdate });
        return result.summary.resourceChanges ?? {};
    });
}

const quiet = { color: "never", suppressProgress: true } as const;
/**
 * To show secrets in the history that follows an update, the CLI would write the salt into the committed stack file.
 */
const quietUpdate = { ...quiet, showSecrets: false } as const;

/**
 * Clears the operations that a killed run left pending. Creating a machine of this computer is idempotent, so the next run
 * repeats it. A cloud may have created resources without the killed run's knowledge: this prints a warning for each.
 */
async function clearPendingOperations(stack: automation.Stack, { signal, say }: EngineRunOptions): Promise<void> {
    const { deployment } = (await stack.exportStack()) as {
        deployment?: { pending_operations?: { type: string; resource: { urn: string } }[] };
    };
    const pending = deployment?.pending_operations ?? [];
    if (pending.length === 0) return;
    for (const { type, resource } of pending) {
        if (type === "creating" && !resource.urn.includes("dynamic/gateway:")) {
            say(
                `warning: a run was killed while it created ${nameOf(resource.urn)}, which may exist outside the state`,
            );
        }
    }
    await stack.refresh({ clearPendingCreates: true, signal, ...quietUpdate }).catch(async () => {
        signal.throwIfAborted();
        await refreshMachines(stack, signal, { clearPendingCreates: true });
    });
}

/** Refreshes the state of everything except the objects in Consul. */
async function refreshMachines(
    stack: automation.Stack,
    signal: AbortSignal,
    options: automation.RefreshOptions = {},
): Promise<void> {
    await stack.refresh({ ...options, exclude: [`**${IN_CONSUL}**`], signal, ...quietUpdate });
}

/** Runs the engine, waits for another run to end, and turns a failure into one message. */
async function engine(
    stack: automation.Stack,
    own: Program,
    { say, signal, project = PROJECT, lockTimeout = LOCK_TIMEOUT }: EngineRunOptions,
    run: (onEvent: (event: automation.EngineEvent) => void, signal: AbortSignal) => Promise<Changes>,
): Promise<Changes> {
    const deadline = Date.now() + lockTimeout;
    for (let attempt = 0; ; attempt++) {
        const errors: string[] = [];
        try {
            // A signal of its own: the SDK adds a listener for each run, and removes none.
            return await run(reporter(say, errors), AbortSignal.any([signal]));
        } catch (error) {
            signal.throwIfAborted();
            const failure = own.failure();
            if (failure) throw new UserError(failure.message);
            if (!(error instanceof automation.ConcurrentUpdateError)) {
                const said = [(error as Error).message, ...errors].join("\n");
                throw repairable(stack.name, project, said) ?? engineError(error as Error, errors);
            }
            const who = await whoUses(stack.name, project, error.message);
            if (Date.now() > deadline) throw new UserError(`Another run still uses this stack: ${who}`);
            if (attempt === 0) say(`another run uses this stack; waiting for it to end: ${who}`);
            await delay(LOCK_RETRY, undefined, { signal });
        }
    }
}

/** A provider's error without valid credentials. It comes in many words and once for each resource. */
const NO_CREDENTIALS = /No valid credential sources found|security token included in the request is (invalid|expired)/;

/** Errors of OpenStack's identity service and of its provider about an invalid credential. */
const NO_OPENSTACK =
    /The request you have made requires authentication|Authentication failed|Could not find Application Credential/;

/** Merges all errors of a run into one message, without stack traces. */
export function engineError(error: Error, errors: readonly string[]): Error {
    if (errors.length === 0) return error;
    if (errors.some((each) => NO_CREDENTIALS.test(each))) {
        return new UserError(
            "AWS does not accept the credentials of this computer. Sign in as for AWS's own tools " +
                '(AWS_PROFILE, "aws sso login"), until "aws sts get-caller-identity" succeeds.',
        );
    }
    if (errors.some((each) => NO_OPENSTACK.test(each))) {
        return new UserError(
            "OpenStack does not accept the application credential in clouds.yaml: it has expired or was deleted. Create a " +
                'new one ("openstack application credential create gateway"), and write its id and secret there.',
        );
    }
    const told = errors.map((each) =>
        each
            .replace(/^\s+at .*$/gm, "")
            .replace(/\n{2,}/g, "\n")
            .trim(),
    );
    return new UserError([...new Set(told)].join("\n"));
}

/** Operations of the engine in words: in a preview, and when done. */
const WORDS: Readonly<Record<string, readonly [string, string]>> = {
    create: ["create", "created"],
    update: ["update", "updated"],
    replace: ["replace", "replaced"],
    "create-replacement": ["create its replacement", "replacement created"],
    "delete-replaced": ["remove the replaced", "replaced one removed"],
    delete: ["remove", "removed"],
};

/** Reports each resource that changes, and collects the errors. */
function reporter(say: (line: string) => void, errors: string[]): (event: automation.EngineEvent) => void {
    const begun = new Map<string, number>();
    return ({ resourcePreEvent, resOutputsEvent, diagnosticEvent }) => {
        if (diagnosticEvent?.severity === "error") errors.push(diagnosticEvent.message.trim());
        if (diagnosticEvent?.severity === "warning") say(`warning: ${diagnosticEvent.message.trim()}`);
        const before = resourcePreEvent?.metadata;
        if (before && WORDS[before.op]) begun.set(`${before.op} ${before.urn}`, Date.now());
        const planned = resourcePreEvent?.planning && before ? WORDS[before.op]?.[0] : undefined;
        if (planned && before && before.op !== "replace") say(`would ${planned} ${nameOf(before.urn)}`);
        const after = resOutputsEvent?.metadata;
        const done = after && !resOutputsEvent?.planning ? WORDS[after.op]?.[1] : undefined;
        if (done && after) {
            const since = begun.get(`${after.op} ${after.urn}`);
            const took = since === undefined ? "" : ` (${((Date.now() - since) / 1000).toFixed(1)} s)`;
            if (isMachine(after.urn)) say(`${nameOf(after.urn)}: ${done}${took}`);
        }
    };
}

function nameOf(urn: string): string {
    return urn.split("::").at(-1) ?? urn;
}

/** Whether a resource deserves a line of its own: machines, and what takes long. */
function isMachine(urn: string): boolean {
    return /(gateway:Instance|gateway:AwsGate|instance:Instance|group:Group|loadBalancer:LoadBalancer)::/.test(urn);
}

/** Changes as text: "2 created, 11 unchanged". */
export function describeChanges(changes: Changes): string {
    const words: Record<string, string> = {
        create: "created",
        update: "updated",
        replace: "replaced",
        delete: "removed",
        same: "unchanged",
    };
    const parts = Object.entries(changes).map(([op, count]) => `${count} ${words[op] ?? op}`);
    return parts.length > 0 ? parts.join(", ") : "nothing";
}

/** Whether anything changed. */
export function isChange(changes: Changes): boolean {
    return Object.keys(changes).some((op) => op !== "same");
}
