/**
 * What the dynamic provider of {@link LocalInstance} does. It runs in the provider's own process, which imports it at
 * run time: the provider that Pulumi serialises into the state is only a pointer to this file.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fingerprint, type ProcessMachine } from "../../roles/render/process";
import type { Binary } from "../../roles/role";
import { type ToolName, toolPath } from "../../scripts/tools";
import { writeAtomically } from "../../supervisor/files";
import { type Gate, waitForQuorum, waitForRotation, waitForServing } from "../../supervisor/gates";
import {
    createMachine,
    type MachineHome,
    machineDirectory,
    readMachine,
    removeMachine,
    updateMachine,
    waitUntilReady,
} from "../../supervisor/machine";
import { type MachineRecord, readLiveRecord } from "../../supervisor/record";
import { bundle } from "../bundles";
import { archiveDirectory, fetchArchive } from "./archives";
import { type GatewayHome, gatewayHome } from "./home";

/** The inputs of a {@link LocalInstance} as its provider gets them. */
export interface InstanceInputs {
    readonly machine: ProcessMachine;
    /** Values of the secrets that `machine` names. */
    readonly secrets: Readonly<Record<string, string>>;
    /** What a change does: a gateway is replaced, as on a cloud; a server that holds state is updated in place. */
    readonly onChange: "replace" | "update";
    /** What has to hold after the machine was created, or updated. */
    readonly gates: { readonly create: readonly Gate[]; readonly update: readonly Gate[] };
}

/** What a {@link LocalInstance} gives out besides its inputs. */
export interface InstanceOutputs extends InstanceInputs {
    readonly name: string;
    readonly address: string;
    /** New for every boot: what a server id is on a cloud. */
    readonly incarnation: string;
}

function machineHome(): MachineHome {
    const home = gatewayHome();
    return {
        machines: home.machines,
        supervisor: join(home.bundles, bundle("supervisor").file),
        resolveBinary: (binary) => resolveBinary(home, binary),
    };
}

function resolveBinary(home: GatewayHome, { name, source }: Binary): string {
    switch (source.kind) {
        case "node":
            return process.execPath;
        case "tool":
            return existing(toolPath(source.tool as ToolName), name);
        case "bundle":
            return existing(join(home.bundles, source.file), name);
        case "archive":
            return existing(archiveDirectory(source), name);
        case "package":
            throw new Error(`${name} is for real machines only`);
        case "project":
            return source.file === "." ? home.project : launcher(home, name, join(home.project, source.file));
    }
}

function existing(path: string | undefined, name: string): string {
    if (path && existsSync(path)) return path;
    throw new Error(`${name} is not installed: run "npm run tools"`);
}

/** What a program of this project that runs the engine needs of the environment that deployed it. None is a secret. */
const INHERITED = [
    "HOME",
    "GATEWAY_HOME",
    "GATEWAY_TOOLS",
    "XDG_CACHE_HOME",
    "PULUMI_HOME",
    "PULUMI_BACKEND_URL",
    "PULUMI_CONFIG_PASSPHRASE_FILE",
];

/** Makes what starts a program of this project that runs from its TypeScript sources and exports `main`. */
function launcher(home: GatewayHome, name: string, module: string): string {
    const path = join(home.bundles, name);
    const known = INHERITED.flatMap((key) => (process.env[key] === undefined ? [] : [[key, process.env[key]]]));
    const lines = [
        `Object.assign(process.env, ${JSON.stringify(Object.fromEntries(known))});`,
        `require(${JSON.stringify(join(home.project, "node_modules/tsx/dist/cjs/api/index.cjs"))}).register();`,
        `require(${JSON.stringify(module)}).main();`,
    ];
    writeAtomically(path, `${lines.join("\n")}\n`, 0o644, false);
    return path;
}

/** Gets what a machine needs and this computer does not have yet. */
async function fetchArchives(machine: ProcessMachine): Promise<void> {
    for (const { source } of machine.binaries) if (source.kind === "archive") await fetchArchive(source);
}

async function passGates(inputs: InstanceInputs, gates: readonly Gate[]): Promise<void> {
    for (const gate of gates) {
        if (gate.kind === "services") await waitUntilReady(machineHome(), inputs.machine, gate.except);
        else if (gate.kind === "quorum") await waitForQuorum(gate.servers);
        else if (gate.kind === "rotation") await waitForRotation(gate.balancers, gate.address);
        else await waitForServing(gate.balancer, gate.others);
    }
}

function outputs(inputs: InstanceInputs, record: MachineRecord): InstanceOutputs {
    const { machine, secrets, onChange, gates } = inputs;
    return {
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
    const record = await createMachine(machineHome(), inputs.machine, inputs.secrets, inputs.onChange === "update");
    const result = { id: idOf(record), outs: outputs(inputs, record) };
    await passGates(inputs, inputs.gates.create).catch((error: Error) => {
        throw Object.assign(error, { id: result.id, properties: result.outs, reasons: [error.message] });
    });
    return result;
}

/** Whether the inputs differ, and whether that takes a new machine. */
export async function diff(_id: string, olds: InstanceOutputs, news: InstanceInputs) {
    const renamed = olds.machine.name !== news.machine.name || olds.machine.address !== news.machine.address;
    const same = (key: keyof InstanceInputs) => JSON.stringify(sorted(olds[key])) === JSON.stringify(sorted(news[key]));
    const rebuilt = fingerprint(olds.machine) !== fingerprint(news.machine) || !same("secrets");
    const changes = rebuilt || renamed || !same("gates") || !same("onChange");
    const replaces = renamed || (rebuilt && news.onChange === "replace") ? ["machine"] : [];
    // A slot has one address, so the old machine has to go before the new one comes.
    return { changes, replaces, deleteBeforeReplace: true };
}

/** Changes what runs on the machine in place. */
export async function update(
    _id: string,
    _olds: InstanceOutputs,
    news: InstanceInputs,
): Promise<{ outs: InstanceOutputs }> {
    await fetchArchives(news.machine);
    const record = await updateMachine(machineHome(), news.machine, news.secrets);
    await passGates(news, news.gates.update);
    return { outs: outputs(news, record) };
}

/** What really runs: nothing when the machine is dead or another one has its name. */
export async function read(id: string, props: InstanceOutputs): Promise<{ id?: string; props?: InstanceOutputs }> {
    const home = gatewayHome();
    const record = readLiveRecord(machineDirectory(home, nameOf(id)));
    const machine = readMachine(home, nameOf(id));
    if (!record || !machine || idOf(record) !== id) return {};
    return { id, props: outputs({ ...props, machine }, record) };
}

/** Drains and stops the machine. One that has been replaced behind the engine's back is left alone. */
async function remove(id: string): Promise<void> {
    const home = gatewayHome();
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
