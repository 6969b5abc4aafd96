/** One run of the engine on a stack, told in lines that a person can read. */
import { setTimeout as delay } from "node:timers/promises";
import * as automation from "@pulumi/pulumi/automation";
import { consulPluginAvailable, openStack, type Program, program, UserError } from "./engine";

/** How long to wait for another run on the same stack, such as the replacement loop's, milliseconds. */
const LOCK_TIMEOUT = 90_000;
const LOCK_RETRY = 1_000;

/** What the URN of every object inside Consul contains. */
const IN_CONSUL = "$consul:index/";

/** How a run speaks and is stopped. */
export interface RunOptions {
    readonly say: (line: string) => void;
    readonly signal: AbortSignal;
    /** Keys, such as `gateway:pool`, whose values are other than in the stack's file. */
    readonly overrides?: Readonly<Record<string, unknown>>;
}

/** What a run changed, or would change: for each operation (`create`, `replace`, `same` …) how many resources. */
export type Changes = Readonly<Record<string, number>>;

/** A stack that is open, and the program that it runs. */
export interface OpenStack {
    readonly stack: automation.Stack;
    readonly program: Program;
}

/** Opens a stack for {@link deploy}, {@link preview} and {@link destroy}. */
export async function open(stackName: string, options: Pick<RunOptions, "say" | "overrides">): Promise<OpenStack> {
    const own = program();
    if (!consulPluginAvailable()) {
        options.say(
            "note: the Pulumi plugin for Consul cannot be had, so its policies, token, keys and query are left out",
        );
    }
    const { overrides = {} } = options;
    return { stack: await openStack(stackName, { run: own.run, overrides }), program: own };
}

/** Brings a stack to what its configuration says, after looking at what really runs. */
export async function deploy({ stack, program: own }: OpenStack, options: RunOptions): Promise<Changes> {
    return engine(own, options, async (onEvent) => {
        await clearPendingOperations(stack, options);
        const up = async (refresh: boolean, listener = onEvent) => {
            const result = await stack.up({ refresh, onEvent: listener, signal: options.signal, ...quietUpdate });
            return result.summary.resourceChanges ?? {};
        };
        let consulFails = false;
        try {
            return await up(true, (event) => {
                const { severity, urn = "" } = event.diagnosticEvent ?? {};
                consulFails ||= severity === "error" && urn.includes(IN_CONSUL);
                onEvent(event);
            });
        } catch (error) {
            options.signal.throwIfAborted();
            if (!consulFails) throw error;
            // The objects in Consul are asked of one server. Where that is what was lost, the machines come first.
            options.say("Consul cannot be asked for its objects: bringing back the machines first");
            await refreshMachines(stack, options.signal);
            const changes = await up(false);
            await up(true);
            return changes;
        }
    });
}

/** What {@link deploy} would change. */
export async function preview({ stack, program: own }: OpenStack, options: RunOptions): Promise<Changes> {
    return engine(own, options, async (onEvent) => {
        const result = await stack.preview({ onEvent, signal: options.signal, ...quiet });
        return result.changeSummary;
    });
}

/** Removes everything that a stack deployed, and the stack. */
export async function destroy({ stack, program: own }: OpenStack, options: RunOptions): Promise<Changes> {
    return engine(own, options, async (onEvent) => {
        await clearPendingOperations(stack, options);
        const result = await stack.destroy({ onEvent, signal: options.signal, ...quietUpdate });
        return result.summary.resourceChanges ?? {};
    });
}

const quiet = { color: "never", suppressProgress: true } as const;
/** Besides, the history that is read after a run is read without its secrets, for which the CLI would write the salt. */
const quietUpdate = { ...quiet, showSecrets: false } as const;

/**
 * Operations that a killed run began are forgotten: making a machine of this computer is idempotent, so the next run simply
 * repeats them. A cloud may have made what the killed run did not hear of; that is said.
 */
async function clearPendingOperations(stack: automation.Stack, { signal, say }: RunOptions): Promise<void> {
    const { deployment } = (await stack.exportStack()) as {
        deployment?: { pending_operations?: { type: string; resource: { urn: string } }[] };
    };
    const pending = deployment?.pending_operations ?? [];
    if (pending.length === 0) return;
    for (const { type, resource } of pending) {
        if (type === "creating" && !resource.urn.includes("dynamic/gateway:")) {
            say(`a run was killed while it made ${nameOf(resource.urn)}: it may exist, unknown to the stack's state`);
        }
    }
    await stack.refresh({ clearPendingCreates: true, signal, ...quietUpdate }).catch(async () => {
        signal.throwIfAborted();
        await refreshMachines(stack, signal, { clearPendingCreates: true });
    });
}

/** Looks at what really runs, but for what is inside Consul. */
async function refreshMachines(
    stack: automation.Stack,
    signal: AbortSignal,
    options: automation.RefreshOptions = {},
): Promise<void> {
    await stack.refresh({ ...options, exclude: [`**${IN_CONSUL}**`], signal, ...quietUpdate });
}

/** Runs the engine, waits for another one to end, and turns a failure into one message. */
async function engine(
    own: Program,
    { say, signal }: RunOptions,
    run: (onEvent: (event: automation.EngineEvent) => void) => Promise<Changes>,
): Promise<Changes> {
    const deadline = Date.now() + LOCK_TIMEOUT;
    for (let attempt = 0; ; attempt++) {
        const errors: string[] = [];
        try {
            return await run(reporter(say, errors));
        } catch (error) {
            signal.throwIfAborted();
            const failure = own.failure();
            if (failure) throw new UserError(failure.message);
            if (!(error instanceof automation.ConcurrentUpdateError)) throw failed(error as Error, errors);
            if (Date.now() > deadline) {
                throw new UserError("another run has been working on this stack for too long: wait for it, or end it");
            }
            if (attempt === 0) say("another run is working on this stack; waiting for it");
            await delay(LOCK_RETRY, undefined, { signal });
        }
    }
}

/** What a provider says when it finds nobody to work as, in many words and once for each resource. */
const NO_CREDENTIALS = /No valid credential sources found|security token included in the request is (invalid|expired)/;

/** What OpenStack's identity service says to a credential that is no good any more, and its provider in other words. */
const NO_OPENSTACK =
    /The request you have made requires authentication|Authentication failed|Could not find Application Credential/;

/** One message of all that went wrong, without the stacks of programs that are not ours to read. */
export function failed(error: Error, errors: readonly string[]): Error {
    if (errors.length === 0) return error;
    if (errors.some((each) => NO_CREDENTIALS.test(each))) {
        return new UserError(
            "AWS knows nobody by the credentials that are found here: sign in as for AWS's own tools " +
                '(AWS_PROFILE, "aws sso login"), until "aws sts get-caller-identity" answers',
        );
    }
    if (errors.some((each) => NO_OPENSTACK.test(each))) {
        return new UserError(
            "OpenStack knows nobody by the application credential in clouds.yaml: it has expired or was removed; make a new one " +
                "(openstack application credential create gateway) and write its id and secret there",
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

const WORDS: Readonly<Record<string, readonly [string, string]>> = {
    create: ["create", "created"],
    update: ["update", "updated"],
    replace: ["replace", "replaced"],
    "create-replacement": ["create its replacement", "replacement created"],
    "delete-replaced": ["take out", "taken out"],
    delete: ["remove", "removed"],
};

/** Tells of each resource that changes, and collects what went wrong. */
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

/** What takes long, or is a machine: worth a line of its own. */
function isMachine(urn: string): boolean {
    return /(gateway:Instance|gateway:AwsGate|instance:Instance|group:Group|loadBalancer:LoadBalancer)::/.test(urn);
}

/** Changes in words: "2 created, 11 unchanged". */
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
