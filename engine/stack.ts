/**
 * Pulumi's engine with a program of this computer: the same that `pulumi up` runs, here in this process through the
 * Automation API. Only the CLI has to be installed.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import * as automation from "@pulumi/pulumi/automation";
import { isMap, isSeq, parseDocument } from "yaml";
import { readIfThere, writeAtomically } from "../lib/files";
import { gatewayHome } from "../lib/home";
import { parseYaml, readYaml } from "../lib/yaml";
import { pluginAvailable, pluginVersion, pulumiRoot } from "../toolchain";
import { installedNode } from "../toolchain/node";
import { UserError } from "./errors";
import { findPassphrase, isSalt, type Passphrase, passphraseProblem } from "./passphrase";
import { engineMark, engineMarkOf, engineScope, isRunning, killEngine, thisRun } from "./processes";
import { startedBy } from "./startedBy";
import { describeLock, fileStateLocks, locksInMessage, rememberComputer, removeOwnDeadLocks } from "./stateLocks";

/** This checkout, the default project. */
const PROJECT = resolve(__dirname, "..");

export { UserError };

/** Where a stack's configuration comes from. */
export interface ConfigSource {
    /** Folder of the Pulumi program, with its `Pulumi.yaml` and stack files. Default: this checkout. */
    readonly project?: string;
    /** Use the last deployed configuration, not the present `Pulumi.STACK.yaml`. Default false. */
    readonly asDeployed?: boolean;
    /** Values that override those in `Pulumi.STACK.yaml`, by key, such as `gateway:pool`. */
    readonly overrides?: Readonly<Record<string, unknown>>;
}

/**
 * The CLI's environment for a stack. The user's own backend or passphrase takes precedence over those below `.gateway`.
 *
 * @throws UserError when there is no file `Pulumi.STACK.yaml`.
 */
export function engineEnvironment(stackName: string, config: ConfigSource = {}): Record<string, string> {
    const home = gatewayHome(config.project ?? PROJECT);
    mkdirSync(home.state, { recursive: true, mode: 0o700 });
    const passphrase = passphraseOf(stackName, config.project);
    const own: Record<string, string> = {
        GATEWAY_HOME: home.root,
        PULUMI_BACKEND_URL: process.env.PULUMI_BACKEND_URL ?? `file://${home.state}`,
        PULUMI_OPTION_CONFIG_FILE: syncStackConfig(stackName, passphrase, config),
        PULUMI_SKIP_UPDATE_CHECK: "true",
        PATH: enginePath(),
    };
    return { ...own, ...passphrase.environment };
}

/** Where the passphrase of a stack is from. @throws UserError when it is missing. */
export function passphraseOf(stackName: string, project = PROJECT): Passphrase {
    const home = gatewayHome(project);
    return findPassphrase(home.passphrase, () => {
        // A state in a bucket cannot be seen from here, but a stack that was opened here has left its salt.
        const isHere = (process.env.PULUMI_BACKEND_URL ?? `file://${home.state}`) === `file://${home.state}`;
        const stack = join(home.state, ".pulumi", "stacks", nameOf(project), `${stackName}.json`);
        return isHere ? existsSync(stack) : saltIn(readIfThere(home.stackConfig(stackName))) !== undefined;
    });
}

/**
 * PATH with the CLI first, then the pinned Node. The engine runs dynamic providers, and a `pulumi` command the program
 * itself, with the first `node` on PATH.
 */
function enginePath(): string {
    const node = installedNode();
    const own = [join(pulumiRoot(), "bin"), ...(node ? [dirname(node)] : [])];
    return [...new Set([...own, ...(process.env.PATH ?? "").split(delimiter)])].join(delimiter);
}

/** Whether the plugin of `@pulumi/consul` is installed. Without it the deployment omits its resources. */
export function consulPluginAvailable(): boolean {
    return pluginAvailable("consul", pluginVersion("consul"));
}

/**
 * Writes {@link effectiveConfig} outside of the checkout's files, so a deployment never changes them.
 *
 * @returns the path of the written file.
 */
function syncStackConfig(
    stackName: string,
    { kind, isNew = false }: Passphrase,
    { project = PROJECT, asDeployed = false, overrides = {} }: ConfigSource,
): string {
    const committed = join(project, `Pulumi.${stackName}.yaml`);
    if (!existsSync(committed)) {
        const known = readdirSync(project).flatMap((name) => /^Pulumi\.(.+)\.yaml$/.exec(name)?.[1] ?? []);
        throw new UserError(
            `there is no Pulumi.${stackName}.yaml; the stacks of this project are: ${known.join(", ")}`,
        );
    }
    const home = gatewayHome(project);
    const effective = home.stackConfig(stackName);
    if (asDeployed && existsSync(effective) && !isNew) return effective;
    const text = effectiveConfig(readFileSync(committed, "utf8"), {
        ...(existsSync(effective) && !isNew ? { earlier: readFileSync(effective, "utf8") } : {}),
        ownPassphrase: kind === "own",
        path: committed,
        // Without its plugin the whole deployment would fail for resources that no machine needs.
        overrides: { ...(consulPluginAvailable() ? {} : { "gateway:consulObjects": false }), ...overrides },
    });
    writeAtomically(effective, text, 0o600);
    return effective;
}

/**
 * A stack's configuration with the salt that belongs to the passphrase. For the user's passphrase that is the committed
 * salt, for this checkout's the one of the last deployment. In that case a committed salt, which a `pulumi` command may
 * have written, belongs to another passphrase.
 */
export function effectiveConfig(
    committed: string,
    {
        earlier = "",
        ownPassphrase,
        overrides = {},
        path = "the stack's file",
    }: {
        /** The effective configuration of the last deployment. */
        readonly earlier?: string;
        readonly ownPassphrase: boolean;
        readonly overrides?: Readonly<Record<string, unknown>>;
        /** The committed file, for messages. */
        readonly path?: string;
    },
): string {
    const document = parseYaml(path, committed);
    const salt = (ownPassphrase ? undefined : document.get(SALT)) ?? saltIn(earlier);
    if (salt === undefined) document.delete(SALT);
    else document.set(SALT, salt);
    for (const [key, value] of Object.entries(overrides)) document.setIn(["config", key], value);
    return document.toString();
}

const SALT = "encryptionsalt";

/** The salt in the effective configuration of the last deployment; undefined also when it was cut off. */
function saltIn(earlier = ""): string | undefined {
    const { contents } = parseDocument(earlier);
    const salt: unknown = isMap(contents) ? contents.get(SALT) : undefined;
    return isSalt(salt) ? salt : undefined;
}

/** Whether a stack has machines on this computer, whose loop runs here. */
export function deploysHere(stackName: string, project = PROJECT): boolean {
    const targets = readYaml(join(project, `Pulumi.${stackName}.yaml`)).getIn(["config", "gateway:targets"]);
    return isSeq(targets) && targets.toJSON().includes("local");
}

/** The `loadBalancer.stack` that `Pulumi.STACK.yaml` names; undefined when it names none, or is no such file. */
export function balancingStack(stackName: string): string | undefined {
    const path = join(PROJECT, `Pulumi.${stackName}.yaml`);
    if (!existsSync(path)) return undefined;
    const stack = readYaml(path).getIn(["config", "gateway:loadBalancer", "stack"]);
    return typeof stack === "string" ? stack : undefined;
}

/** The program, and what it failed with: the engine reports an error as text only. */
export interface Program {
    readonly run: automation.PulumiFn;
    readonly failure: () => Error | undefined;
}

/**
 * A program for the engine.
 *
 * @param load loads it. It brings Pulumi's whole SDK along, so that is done only when the engine runs it.
 */
export function program(load: () => automation.PulumiFn): Program {
    let failure: Error | undefined;
    return {
        run: async () => {
            failure = undefined;
            try {
                return await load()();
            } catch (error) {
                failure = error as Error;
                throw error;
            }
        },
        failure: () => failure,
    };
}

/** The default program, for stacks that are only inspected. */
const noProgram = async () => {
    throw new Error("this stack was opened without a program");
};

/**
 * Opens a stack, and creates it if necessary. Removes what a killed run left behind: processes of its engine, and its
 * lock.
 *
 * @throws UserError when there is no such stack.
 */
export async function openStack(
    stackName: string,
    {
        run = noProgram,
        environment: extra = {},
        before = [],
        programs,
        ...config
    }: ConfigSource & {
        /** The program; see {@link program}. Default: none, which is enough to look at the stack's state. */
        readonly run?: automation.PulumiFn;
        /** Further environment of the CLI, and of no other process. */
        readonly environment?: Readonly<Record<string, string>>;
        /** A command that starts the CLI, such as `nice`, with its arguments. Default: none. */
        readonly before?: readonly string[];
        /** A folder whose programs the engine prefers to those beside the CLI. Default: none. */
        readonly programs?: string | undefined;
    } = {},
): Promise<automation.Stack> {
    const { project = PROJECT } = config;
    const { root } = gatewayHome(project);
    const environment = engineEnvironment(stackName, config);
    const pulumiCommand = startedBy(before, await automation.PulumiCommand.get({ root: pulumiRoot() }));
    // The dynamic provider inherits this process's environment where the Automation API's does not reach it.
    Object.assign(process.env, environment);
    const scope = engineScope(stackName, root);
    await killEngine(scope, ({ daemon }) => !isRunning(daemon));
    const projectName = nameOf(project);
    const backend = environment.PULUMI_BACKEND_URL ?? "";
    // The CLI's locks do not expire, and `pulumi cancel` would also remove the lock of a living run.
    const locks = fileStateLocks(backend, projectName, stackName);
    if (locks) await removeOwnDeadLocks(locks);
    rememberComputer(backend);
    const inline = { stackName, projectName, program: run };
    const workspace = {
        pulumiCommand,
        envVars: {
            ...environment,
            ...(programs ? { PATH: [programs, environment.PATH].join(delimiter) } : {}),
            [engineMark]: engineMarkOf(scope, thisRun()),
            ...extra,
        },
    };
    const select = () => automation.LocalWorkspace.selectStack(inline, { ...workspace, workDir: project });
    try {
        return await select();
    } catch (error) {
        if (!(error instanceof automation.StackNotFoundError)) {
            throw repairable(stackName, project, (error as Error).message) ?? error;
        }
        // The CLI writes a new stack's salt beside the project file, so it gets a copy outside of the checkout.
        copyFileSync(join(project, "Pulumi.yaml"), join(root, "Pulumi.yaml"));
        await automation.LocalWorkspace.createStack(inline, { ...workspace, workDir: root });
        return select();
    }
}

/** A project's name, by which its state is kept. */
function nameOf(project: string): string {
    return String(readYaml(join(project, "Pulumi.yaml")).get("name"));
}

/** What the engine said of a stack that somebody else uses: who that is, and the command that ends it. */
export async function whoUses(stackName: string, project: string, said: string): Promise<string> {
    const read = await fileStateLocks(process.env.PULUMI_BACKEND_URL ?? "", nameOf(project), stackName)?.list();
    const held = read && read.length > 0 ? read : locksInMessage(said);
    return held.length > 0 ? held.map((lock) => describeLock(lock, stackName)).join("\n") : said;
}

/** What makes a state in files unreadable, as the engine says it. */
const DAMAGED = /failed to load checkpoint|unmarshal(l)?ing checkpoint|could not deserialize deployment/;

/** A failure of the engine that the user can repair, as one message; undefined for any other. */
export function repairable(stackName: string, project: string | undefined, said: string): UserError | undefined {
    const told = passphraseProblem(stackName, said, passphraseOf(stackName, project));
    if (told !== undefined) return new UserError(told);
    if (!DAMAGED.test(said)) return undefined;
    const why = said.split("\n").find((line) => DAMAGED.test(line)) ?? "";
    const { state } = gatewayHome(project ?? PROJECT);
    return new UserError(
        `The state of stack ${stackName} is damaged (${why.trim()}). The engine keeps its last version beside it: in ${state} that is ` +
            `.pulumi/stacks/${nameOf(project ?? PROJECT)}/${stackName}.json.bak. Copy it over the file without .bak, and deploy.`,
    );
}
