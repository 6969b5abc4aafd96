/**
 * Pulumi's engine with this project's own program: the same `index.ts` that `pulumi up` runs, here inside this process
 * through the Automation API, so that nothing but the CLI has to be installed.
 */
import { randomBytes } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { delimiter, join, resolve } from "node:path";
import * as automation from "@pulumi/pulumi/automation";
import { parseDocument } from "yaml";
import { gatewayHome } from "../components/local/home";
import { engineMark, engineScope, killEngine, markOf } from "../replacement/engineProcesses";
import { readJson, writeAtomically } from "../supervisor/files";
import { identify, isAlive } from "../supervisor/process";
import { pluginAvailable, pluginVersion, pulumiRoot } from "./tools";

const PROJECT = resolve(__dirname, "..");

/** A user's mistake, or something that the user can mend: shown as its message alone. */
export class UserError extends Error {}

/** Where a stack's configuration comes from. */
export interface ConfigSource {
    /** Take it as it was deployed last, whatever `Pulumi.STACK.yaml` says now. Default false. */
    readonly asDeployed?: boolean;
    /** Keys, such as `gateway:pool`, whose values are other than in `Pulumi.STACK.yaml`. */
    readonly overrides?: Readonly<Record<string, unknown>>;
}

/**
 * The environment in which the CLI works on a stack of this checkout. What the user set stays: a backend or a
 * passphrase of one's own is used instead of those below `.gateway`.
 *
 * @throws UserError when there is no file `Pulumi.STACK.yaml`.
 */
export function engineEnvironment(stackName: string, config: ConfigSource = {}): Record<string, string> {
    const home = gatewayHome(PROJECT);
    mkdirSync(home.state, { recursive: true, mode: 0o700 });
    const own: Record<string, string> = {
        GATEWAY_HOME: home.root,
        PULUMI_BACKEND_URL: process.env.PULUMI_BACKEND_URL ?? `file://${home.state}`,
        PULUMI_OPTION_CONFIG_FILE: syncStackConfig(stackName, config),
        PULUMI_SKIP_UPDATE_CHECK: "true",
        PATH: [...new Set([join(pulumiRoot(), "bin"), ...(process.env.PATH ?? "").split(delimiter)])].join(delimiter),
    };
    if (usesOwnPassphrase()) {
        if (!existsSync(home.passphrase)) {
            writeAtomically(home.passphrase, randomBytes(32).toString("base64url"), 0o600);
        }
        own.PULUMI_CONFIG_PASSPHRASE_FILE = home.passphrase;
    }
    return own;
}

/** Whether the stack's secrets are encrypted with this checkout's passphrase, and not with one of the user's. */
function usesOwnPassphrase(): boolean {
    const { PULUMI_CONFIG_PASSPHRASE: given, PULUMI_CONFIG_PASSPHRASE_FILE: file } = process.env;
    return !given && (!file || file === gatewayHome(PROJECT).passphrase);
}

/** Whether the plugin of `@pulumi/consul` is installed; without it the deployment does without its resources. */
export function consulPluginAvailable(): boolean {
    return pluginAvailable("consul", pluginVersion("consul"));
}

/**
 * Writes the configuration that the engine works with, {@link effectiveConfig}, beside the checkout: so a deployment
 * never changes it.
 *
 * @returns the path of that file.
 */
function syncStackConfig(stackName: string, { asDeployed = false, overrides = {} }: ConfigSource): string {
    const committed = join(PROJECT, `Pulumi.${stackName}.yaml`);
    if (!existsSync(committed)) {
        const known = readdirSync(PROJECT).flatMap((name) => /^Pulumi\.(.+)\.yaml$/.exec(name)?.[1] ?? []);
        throw new UserError(
            `there is no Pulumi.${stackName}.yaml; the stacks of this project are: ${known.join(", ")}`,
        );
    }
    const effective = gatewayHome(PROJECT).stackConfig(stackName);
    if (asDeployed && existsSync(effective)) return effective;
    const text = effectiveConfig(readFileSync(committed, "utf8"), {
        ...(existsSync(effective) ? { earlier: readFileSync(effective, "utf8") } : {}),
        ownPassphrase: usesOwnPassphrase(),
        // Without its plugin the engine would fail the whole deployment for what no machine needs.
        overrides: { ...(consulPluginAvailable() ? {} : { "gateway:consulObjects": false }), ...overrides },
    });
    writeAtomically(effective, text, 0o600);
    return effective;
}

/**
 * A stack's configuration with the salt that belongs to the passphrase. With a passphrase of the user's that is the
 * committed one; with this checkout's own it is the one of the last deployment, and a committed one, which `pulumi` by
 * hand may have written, is of another.
 */
export function effectiveConfig(
    committed: string,
    {
        earlier = "",
        ownPassphrase,
        overrides = {},
    }: {
        /** The effective configuration of the last deployment. */
        readonly earlier?: string;
        readonly ownPassphrase: boolean;
        readonly overrides?: Readonly<Record<string, unknown>>;
    },
): string {
    const SALT = "encryptionsalt";
    const document = parseDocument(committed);
    const salt = (ownPassphrase ? undefined : document.get(SALT)) ?? parseDocument(earlier).get(SALT);
    if (salt === undefined) document.delete(SALT);
    else document.set(SALT, salt);
    for (const [key, value] of Object.entries(overrides)) document.setIn(["config", key], value);
    return document.toString();
}

/** The `loadBalancer.stack` that `Pulumi.STACK.yaml` names; undefined when it names none, or is no such file. */
export function balancingStack(stackName: string): string | undefined {
    const path = join(PROJECT, `Pulumi.${stackName}.yaml`);
    if (!existsSync(path)) return undefined;
    const stack = parseDocument(readFileSync(path, "utf8")).getIn(["config", "gateway:loadBalancer", "stack"]);
    return typeof stack === "string" ? stack : undefined;
}

/** The program, and what it failed with: the engine reports an error as text only. */
export interface Program {
    readonly run: automation.PulumiFn;
    readonly failure: () => Error | undefined;
}

/** The project's program for the engine. */
export function program(): Program {
    let failure: Error | undefined;
    return {
        run: async () => {
            failure = undefined;
            try {
                // Not before it is needed: it brings Pulumi's whole SDK along.
                return await (require("../index") as () => Promise<Record<string, unknown>>)();
            } catch (error) {
                failure = error as Error;
                throw error;
            }
        },
        failure: () => failure,
    };
}

/**
 * Opens a stack of this checkout and makes it where it does not exist yet. What a run left behind which was killed is
 * removed: processes of its engine, and its lock.
 *
 * @throws UserError when there is no such stack.
 */
export async function openStack(
    stackName: string,
    {
        run = program().run,
        environment: extra = {},
        ...config
    }: ConfigSource & {
        readonly run?: automation.PulumiFn;
        /** What the CLI gets besides, and no other process. */
        readonly environment?: Readonly<Record<string, string>>;
    } = {},
): Promise<automation.Stack> {
    const environment = engineEnvironment(stackName, config);
    const pulumiCommand = await automation.PulumiCommand.get({ root: pulumiRoot() });
    // The dynamic provider's process inherits ours where the Automation API's does not reach.
    Object.assign(process.env, environment);
    const scope = engineScope(stackName, gatewayHome(PROJECT).root);
    await killEngine(scope, ({ daemon }) => !isRunning(daemon));
    removeStaleLocks(stackName);
    const inline = { stackName, projectName: "gateway", program: run };
    const workspace = { pulumiCommand, envVars: { ...environment, [engineMark]: markOf(scope, thisRun()), ...extra } };
    const select = () => automation.LocalWorkspace.selectStack(inline, { ...workspace, workDir: PROJECT });
    try {
        return await select();
    } catch (error) {
        if (!(error instanceof automation.StackNotFoundError)) throw error;
        // The CLI writes the salt of a new stack beside the project file that it is run with: not the checkout's.
        const { root } = gatewayHome(PROJECT);
        copyFileSync(join(PROJECT, "Pulumi.yaml"), join(root, "Pulumi.yaml"));
        await automation.LocalWorkspace.createStack(inline, { ...workspace, workDir: root });
        return select();
    }
}

/** This process, for the mark of the engine's processes: pids are used again, but not together with a start time. */
function thisRun(): string {
    return `${process.pid}.${identify(process.pid)?.startTime}`;
}

function isRunning(run: string): boolean {
    const [pid, startTime = ""] = run.split(".");
    return isAlive({ pid: Number(pid), startTime });
}

/** The lock files of a stack whose state is kept on this computer. */
function lockFiles(stackName: string): string[] {
    const directory = join(gatewayHome(PROJECT).state, ".pulumi", "locks", "organization", "gateway", stackName);
    return existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : [];
}

/**
 * Removes the locks whose owner is dead. The CLI's lock has no expiry, and `pulumi cancel` would also take the lock of
 * a run that is alive.
 */
function removeStaleLocks(stackName: string): void {
    for (const path of lockFiles(stackName)) {
        const lock = readJson<{ pid: number; hostname: string }>(path);
        if (lock && lock.hostname === hostname() && !identify(lock.pid)) rmSync(path, { force: true });
    }
}
