/** The dynamic provider of {@link LocalInstance}. It runs in the provider's process, which loads it at run time. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type ReadinessCondition, waitForQuorum, waitForRotation, waitForServing } from "../../clients/readiness";
import { writeAtomically } from "../../lib/files";
import { type GatewayHome, gatewayHome } from "../../lib/home";
import type { Binary } from "../../programs/machine";
import { fingerprint, type ProcessMachine } from "../../programs/supervisor/description";
import {
    createMachine,
    hasItsFiles,
    lastLines,
    type MachineHome,
    machineDirectory,
    readMachine,
    removeMachine,
    updateMachine,
    waitUntilReady,
} from "../../programs/supervisor/machine";
import { type MachineRecord, readLiveRecord } from "../../programs/supervisor/record";
import { gatewayHealthService } from "../../roles/gatewayHealth";
import { type ToolName, toolPath, toolPaths } from "../../toolchain";
import { packageLoader, SourceBundles } from "../../toolchain/bundles";
import { deployedEnvironment } from "../../toolchain/deployed";
import { cachedNode } from "../../toolchain/node";
import { archiveDirectory, fetchArchive } from "./archives";

/** The inputs of a {@link LocalInstance} as its provider gets them. */
export interface InstanceInputs {
    /** Tells the folders of its target's machines from those of others. Absent: the plain folder. */
    readonly area?: string | undefined;
    readonly machine: ProcessMachine;
    /** Values of the secrets that `machine` names. */
    readonly secrets: Readonly<Record<string, string>>;
    /** What a change does: a gateway is replaced, as on a cloud; a server with state is updated in place. */
    readonly onChange: "replace" | "update";
    /** What must hold after the machine was created or updated. */
    readonly gates: { readonly create: readonly ReadinessCondition[]; readonly update: readonly ReadinessCondition[] };
}

/** The outputs of a {@link LocalInstance} in addition to its inputs. */
export interface InstanceOutputs extends InstanceInputs {
    readonly name: string;
    readonly address: string;
    /** New for every boot, like a server's id on a cloud. */
    readonly incarnation: string;
}

/** Where the machines of an area have their folders. */
function machinesOf({ area }: Pick<InstanceInputs, "area">): Pick<MachineHome, "machines"> {
    const { machines } = gatewayHome();
    return { machines: area === undefined ? machines : `${machines}-${area}` };
}

function machineHome(inputs: InstanceInputs): MachineHome {
    const home = gatewayHome();
    return {
        ...machinesOf(inputs),
        supervisor: join(home.bundles, new SourceBundles().bundle("supervisor").file),
        node: cachedNode(),
        resolveBinary: (binary) => resolveBinary(home, binary),
    };
}

function resolveBinary(home: GatewayHome, { name, source }: Binary): string {
    switch (source.kind) {
        case "node":
            return cachedNode();
        case "tool":
            return existing(toolPath(source.tool as ToolName), name);
        case "bundle":
            return existing(join(home.bundles, source.file), name);
        case "archive":
            return existing(archiveDirectory(source), name);
        case "package":
            throw new Error(`${name} exists on real machines only`);
        case "project":
            return source.file === "."
                ? home.project
                : launcher(home, name, existing(join(home.bundles, source.file), name));
    }
}

function existing(path: string | undefined, name: string): string {
    if (path && existsSync(path)) return path;
    throw new Error(`${name} is not installed: run "npm run tools"`);
}

/** Variables of the deploying environment that a program needs to run the engine. None is a secret. */
const INHERITED = [
    "HOME",
    "GATEWAY_HOME",
    "GATEWAY_TOOLS",
    "XDG_CACHE_HOME",
    "PULUMI_HOME",
    "PULUMI_BACKEND_URL",
    "PULUMI_CONFIG_PASSPHRASE_FILE",
];

/** Writes a launcher for a compiled program of the project that exports `main`; see {@link SourceBundles.loopProgram}. */
function launcher(home: GatewayHome, name: string, program: string): string {
    const path = join(home.bundles, name);
    const known = INHERITED.flatMap((key) => (process.env[key] === undefined ? [] : [[key, process.env[key]]]));
    const environment = { ...Object.fromEntries(known), ...deployedEnvironment({ tools: toolPaths() }) };
    const lines = [
        `Object.assign(process.env, ${JSON.stringify(environment)});`,
        `const { createRequire, enableCompileCache } = require("node:module");`,
        // Also for the programs that it starts: the engine's dynamic provider starts anew with each run.
        `process.env.NODE_COMPILE_CACHE = ${JSON.stringify(join(home.root, "compiled"))};`,
        "enableCompileCache();",
        `globalThis.${packageLoader} = createRequire(${JSON.stringify(join(home.project, "package.json"))});`,
        `require(${JSON.stringify(program)}).main();`,
    ];
    writeAtomically(path, `${lines.join("\n")}\n`, 0o644, false);
    return path;
}

/** Downloads what a machine needs and this computer lacks. */
async function fetchArchives(machine: ProcessMachine): Promise<void> {
    for (const { source } of machine.binaries) if (source.kind === "archive") await fetchArchive(source);
}

async function passGates(inputs: InstanceInputs, gates: readonly ReadinessCondition[]): Promise<void> {
    for (const gate of gates) {
        if (gate.kind === "services") await waitUntilReady(machinesOf(inputs), inputs.machine, gate);
        else if (gate.kind === "quorum") await waitForQuorum(gate.servers);
        else if (gate.kind === "rotation") {
            const { balancers, address, timeoutSeconds } = gate;
            const timeout = timeoutSeconds === undefined ? undefined : 1000 * timeoutSeconds;
            await waitForRotation(balancers, address, timeout).catch((error: Error) => {
                // It says what the server answered to the last health check.
                const directory = machineDirectory(machinesOf(inputs), inputs.machine.name);
                throw new Error(`${error.message}${lastLines(directory, gatewayHealthService)}`);
            });
        } else await waitForServing(gate.balancer, gate.others);
    }
}

function outputs(inputs: InstanceInputs, record: MachineRecord): InstanceOutputs {
    const { area, machine, secrets, onChange, gates } = inputs;
    return {
        ...(area === undefined ? {} : { area }),
        machine,
        secrets,
        onChange,
        gates,
        name: machine.name,
        address: machine.address,
        incarnation: record.incarnation,
    };
}

function idOf(record: MachineRecord): string {
    return `${record.name}/${record.incarnation}`;
}

function nameOf(id: string): string {
    return id.split("/")[0] ?? id;
}

/**
 * Boots the machine and waits for its gates. A machine that runs but does not pass them is told to the engine with its
 * id, so that it is not forgotten.
 */
export async function create(inputs: InstanceInputs): Promise<{ id: string; outs: InstanceOutputs }> {
    await fetchArchives(inputs.machine);
    const record = await createMachine(
        machineHome(inputs),
        inputs.machine,
        inputs.secrets,
        inputs.onChange === "update",
    );
    const result = { id: idOf(record), outs: outputs(inputs, record) };
    await passGates(inputs, inputs.gates.create).catch((error: Error) => {
        throw Object.assign(error, { id: result.id, properties: result.outs, reasons: [error.message] });
    });
    return result;
}

/** Whether the inputs differ, and whether that takes a new machine. */
export async function diff(_id: string, olds: InstanceOutputs, news: InstanceInputs) {
    const moved = olds.area !== news.area;
    const renamed = olds.machine.name !== news.machine.name || olds.machine.address !== news.machine.address || moved;
    const same = (key: keyof InstanceInputs) => JSON.stringify(sorted(olds[key])) === JSON.stringify(sorted(news[key]));
    const rebuilt = fingerprint(olds.machine) !== fingerprint(news.machine) || !same("secrets");
    const changes = rebuilt || renamed || !same("gates") || !same("onChange");
    const replaces = renamed || (rebuilt && news.onChange === "replace") ? ["machine"] : [];
    // A slot has one address, so the old machine must go first.
    return { changes, replaces, deleteBeforeReplace: true };
}

/** Changes what runs on the machine in place. */
export async function update(
    _id: string,
    _olds: InstanceOutputs,
    news: InstanceInputs,
): Promise<{ outs: InstanceOutputs }> {
    await fetchArchives(news.machine);
    const record = await updateMachine(machineHome(news), news.machine, news.secrets);
    await passGates(news, news.gates.update);
    return { outs: outputs(news, record) };
}

/** What really runs: nothing if the machine is dead, has lost files, or another one has its name. */
export async function read(id: string, props: InstanceOutputs): Promise<{ id?: string; props?: InstanceOutputs }> {
    const home = machinesOf(props);
    const record = readLiveRecord(machineDirectory(home, nameOf(id)));
    const machine = readMachine(home, nameOf(id));
    if (!record || !machine || idOf(record) !== id) return {};
    if (!hasItsFiles(machineDirectory(home, nameOf(id)), machine)) return {};
    return { id, props: outputs({ ...props, machine }, record) };
}

/** Drains and stops the machine. A machine that the loop has replaced meanwhile is left alone. */
async function remove(id: string, props: InstanceOutputs): Promise<void> {
    const home = machinesOf(props);
    const record = readLiveRecord(machineDirectory(home, nameOf(id)));
    if (record && idOf(record) !== id) return;
    await removeMachine(home, nameOf(id));
}

export { remove as delete };

function sorted(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(sorted);
    if (value === null || typeof value !== "object") return value;
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}
