/**
 * The life of a machine of this computer, for those who make it: create, update, look, stop, kill. Each function can
 * be run again after it, or the whole program, was killed half-way.
 */
import { spawn } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import {
    chmodSync,
    closeSync,
    existsSync,
    mkdirSync,
    openSync,
    readFileSync,
    renameSync,
    rmSync,
    symlinkSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { fingerprint, type ProcessMachine } from "../roles/render/process";
import { type Binary, resolveSecrets } from "../roles/role";
import { readJson, writeAtomically } from "./files";
import { groupMembers, isAlive, listenerOn, signal, supervisorsIn } from "./process";
import {
    type MachineRecord,
    type MachineSpec,
    type MachineStatus,
    machineFiles,
    readLiveRecord,
    serviceDigests,
} from "./record";
import { waitFor } from "./wait";

/** Where machines are and what they are made with. */
export interface MachineHome {
    /** Folder with a folder for each machine. */
    readonly machines: string;
    /** The bundled supervisor (`main.ts`). */
    readonly supervisor: string;
    /** Path of what a binary's source names. @throws Error with a remedy when it is not there. */
    readonly resolveBinary: (binary: Binary) => string;
}

/** How long a machine's services may take to be ready, milliseconds. */
const READY_TIMEOUT = 60_000;
/** How long the supervisor itself may take to start, milliseconds. */
const SUPERVISOR_TIMEOUT = 15_000;

/** The folder of a machine. */
export function machineDirectory(home: Pick<MachineHome, "machines">, name: string): string {
    return join(home.machines, name);
}

/** The machine's record when it runs just what is given, secrets included; otherwise undefined. */
function runningAsGiven(directory: string, version: string): MachineRecord | undefined {
    const spec = readJson<MachineSpec>(join(directory, machineFiles.spec));
    return spec?.version === version ? readLiveRecord(directory) : undefined;
}

/**
 * Boots a machine. One that already runs exactly this is adopted; one that runs something else, left behind by a run
 * that was killed, is stopped first.
 *
 * @param keepState whether `lib`, the machine's disk, survives from the machine that had this name before.
 * @returns the record of the machine, whose services may not be ready yet: see {@link waitUntilReady}.
 * @throws Error naming address, port and owner when a port of the machine is taken.
 */
export async function createMachine(
    home: MachineHome,
    machine: ProcessMachine,
    secrets: Readonly<Record<string, string>>,
    keepState: boolean,
): Promise<MachineRecord> {
    const directory = machineDirectory(home, machine.name);
    const spec = makeSpec(machine, secrets);
    const adopted = runningAsGiven(directory, spec.version);
    if (adopted) return adopted;

    await stopMachine(home, machine.name);
    await checkPorts(machine);
    if (existsSync(directory)) {
        const previous = shelve(home, machine.name);
        mkdirSync(directory, { mode: 0o700 });
        if (keepState && existsSync(join(previous, "lib"))) renameSync(join(previous, "lib"), join(directory, "lib"));
    } else {
        mkdirSync(directory, { recursive: true, mode: 0o700 });
    }
    writeMachine(home, directory, machine, secrets, spec);
    return boot(home, directory);
}

/**
 * Boots a machine again that was stopped or killed: what it runs and its disk (`lib`) are as they were. One that runs is
 * left as it is.
 *
 * @returns its record; its services may not be ready yet: see {@link waitUntilReady}.
 * @throws Error when there is no such machine, or naming address, port and owner when one of its ports is taken.
 */
export async function restartMachine(
    home: Pick<MachineHome, "machines" | "supervisor">,
    name: string,
): Promise<MachineRecord> {
    const directory = machineDirectory(home, name);
    const machine = readMachine(home, name);
    if (!machine) throw new Error(`there is no machine ${name} in ${home.machines}`);
    const live = readLiveRecord(directory);
    if (live) return live;
    await killUnrecorded(home, name);
    await checkPorts(machine);
    rmSync(join(directory, "run"), { recursive: true, force: true });
    mkdirSync(join(directory, "run"), { mode: 0o700 });
    return boot(home, directory);
}

/** Makes a running machine what is given, restarting only the services that changed. @throws Error when it does not run. */
export async function updateMachine(
    home: MachineHome,
    machine: ProcessMachine,
    secrets: Readonly<Record<string, string>>,
): Promise<MachineRecord> {
    const directory = machineDirectory(home, machine.name);
    const record = readLiveRecord(directory);
    if (!record) return createMachine(home, machine, secrets, true);
    const spec = makeSpec(machine, secrets);
    writeMachine(home, directory, machine, secrets, spec);
    signal(record.pid, "SIGHUP");
    await waitFor(
        `${machine.name} to take over its new configuration`,
        () => readStatus(home, machine.name)?.spec === spec.version,
        SUPERVISOR_TIMEOUT + stopTime(machine),
    );
    return record;
}

/** How the machine's services are; undefined when it was never up. */
export function readStatus(home: Pick<MachineHome, "machines">, name: string): MachineStatus | undefined {
    return readJson<MachineStatus>(join(machineDirectory(home, name), machineFiles.status));
}

/** What the machine has to run, from its folder; undefined when it has none. */
export function readMachine(home: Pick<MachineHome, "machines">, name: string): ProcessMachine | undefined {
    return readJson<MachineSpec>(join(machineDirectory(home, name), machineFiles.spec))?.machine;
}

/**
 * Waits until every service is ready and every oneshot of `machine` has succeeded.
 *
 * @param except names of services that are not waited for.
 * @throws Error with the states, and the end of the log of the first service that is not ready.
 */
export async function waitUntilReady(
    home: Pick<MachineHome, "machines">,
    machine: ProcessMachine,
    except: readonly string[] = [],
): Promise<void> {
    const waitedFor = machine.services.filter((service) => !except.includes(service.name));
    const missing = () => {
        const states = readStatus(home, machine.name)?.services ?? {};
        return waitedFor.filter(({ name }) => !["ready", "succeeded"].includes(states[name]?.state ?? ""));
    };
    await waitFor(`${machine.name} to be ready`, () => missing().length === 0, READY_TIMEOUT).catch((error: Error) => {
        const states = missing().map(({ name }) => {
            const status = readStatus(home, machine.name)?.services[name];
            return `${name} is ${status?.state ?? "not started"}${status?.lastEnd ? ` (ended with ${status.lastEnd})` : ""}`;
        });
        const log = missing()[0] ? lastLines(machineDirectory(home, machine.name), missing()[0]?.name ?? "") : "";
        throw new Error(`${error.message}; ${states.join(", ")}${log}`);
    });
}

/** Stops a machine in order, and kills what is left after its time. Nothing happens when it does not run. */
export async function stopMachine(home: Pick<MachineHome, "machines">, name: string): Promise<void> {
    const record = readLiveRecord(machineDirectory(home, name));
    if (!record) return killUnrecorded(home, name);
    const machine = readMachine(home, name);
    signal(record.pid, "SIGTERM");
    const limit = SUPERVISOR_TIMEOUT + (machine ? stopTime(machine) : 0);
    await waitFor(`${name} to stop`, () => !isAlive(record), limit).catch(() => killMachine(home, name));
    await waitFor(`${name}'s processes to end`, () => groupMembers(record.pid).length === 0, 5_000);
}

/** Kills a supervisor that has not written its record yet, left behind by a creator that was killed just then. */
async function killUnrecorded(home: Pick<MachineHome, "machines">, name: string): Promise<void> {
    const groups = supervisorsIn(machineDirectory(home, name));
    for (const group of groups) signal(-group, "SIGKILL");
    await waitFor(`${name} to be gone`, () => groups.every((group) => groupMembers(group).length === 0), 5_000, 5);
}

/** Kills all processes of a machine at once, as a power loss would. @returns false when it does not run. */
export async function killMachine(home: Pick<MachineHome, "machines">, name: string): Promise<boolean> {
    const record = readLiveRecord(machineDirectory(home, name));
    if (!record) return false;
    // The supervisor leads its own process group, and its services are in it.
    signal(-record.pid, "SIGKILL");
    await waitFor(`${name} to be gone`, () => !isAlive(record) && groupMembers(record.pid).length === 0, 5_000, 5);
    return true;
}

/** Stops a machine and keeps its folder, for study, as `NAME.previous` until the next one of that name goes. */
export async function removeMachine(home: Pick<MachineHome, "machines">, name: string): Promise<void> {
    await stopMachine(home, name);
    if (existsSync(machineDirectory(home, name))) shelve(home, name);
}

function shelve(home: Pick<MachineHome, "machines">, name: string): string {
    const previous = `${machineDirectory(home, name)}.previous`;
    rmSync(previous, { recursive: true, force: true });
    renameSync(machineDirectory(home, name), previous);
    return previous;
}

function contentsOf(machine: ProcessMachine, secrets: Readonly<Record<string, string>>): Map<string, string> {
    return new Map(machine.files.map((file) => [file.path, resolveSecrets(file.content, secrets)]));
}

function makeSpec(machine: ProcessMachine, secrets: Readonly<Record<string, string>>): MachineSpec {
    const contents = contentsOf(machine, secrets);
    const digests = serviceDigests(machine, contents);
    const version = createHash("sha256")
        .update(JSON.stringify([fingerprint(machine), [...contents]]))
        .digest("hex");
    return { machine, digests, version };
}

function writeMachine(
    home: MachineHome,
    directory: string,
    machine: ProcessMachine,
    secrets: Readonly<Record<string, string>>,
    spec: MachineSpec,
): void {
    const contents = contentsOf(machine, secrets);
    for (const file of machine.files) {
        const path = join(directory, file.path);
        writeAtomically(path, contents.get(file.path) ?? "", file.mode, false);
        chmodSync(path, file.mode);
    }
    const bin = join(directory, "bin");
    mkdirSync(bin, { recursive: true, mode: 0o700 });
    for (const binary of machine.binaries) {
        const link = join(bin, binary.name);
        rmSync(link, { force: true });
        symlinkSync(home.resolveBinary(binary), link);
    }
    for (const folder of ["lib", "run", "tmp", "log"])
        mkdirSync(join(directory, folder), { recursive: true, mode: 0o700 });
    writeAtomically(join(directory, machineFiles.spec), JSON.stringify(spec, undefined, 2), 0o600);
}

async function boot(home: Pick<MachineHome, "supervisor">, directory: string): Promise<MachineRecord> {
    const incarnation = randomUUID();
    const log = openSync(join(directory, machineFiles.log, "supervisor.log"), "a", 0o600);
    try {
        // In a session of its own: neither Ctrl-C nor the end of the command that started it reaches the machine.
        const child = spawn(process.execPath, [home.supervisor, incarnation], {
            cwd: directory,
            detached: true,
            stdio: ["ignore", log, log],
            env: { PATH: process.env.PATH },
        });
        child.on("error", () => {});
        child.unref();
    } finally {
        closeSync(log);
    }
    return waitFor(
        `the supervisor in ${directory}`,
        () => {
            const record = readLiveRecord(directory);
            return record?.incarnation === incarnation ? record : undefined;
        },
        SUPERVISOR_TIMEOUT,
    ).catch((error: Error) => {
        throw new Error(`${error.message}${lastLines(directory, "supervisor")}`);
    });
}

function stopTime(machine: ProcessMachine): number {
    const seconds = machine.services.map(
        (service) => service.stopTimeoutSeconds * (1 + service.beforeStop.length + (service.afterStop ?? []).length),
    );
    return 1000 * seconds.reduce((sum, each) => sum + each, 0);
}

/** The last lines of a service's log, to be appended to a message. */
function lastLines(directory: string, service: string): string {
    const path = join(directory, machineFiles.log, `${service}.log`);
    try {
        const lines = readFileSync(path, "utf8").trimEnd().split("\n").slice(-5);
        return `\n  the end of ${path}:\n${lines.map((line) => `    ${line}`).join("\n")}`;
    } catch {
        return "";
    }
}

async function checkPorts(machine: ProcessMachine): Promise<void> {
    const taken: string[] = [];
    for (const { name, port, protocol } of machine.ports) {
        if (protocol === "udp") continue;
        const free = await new Promise<boolean>((done) => {
            const server = createServer();
            server.once("error", (error: NodeJS.ErrnoException) => done(error.code !== "EADDRINUSE"));
            server.listen({ host: machine.address, port, exclusive: true }, () => server.close(() => done(true)));
        });
        const owner = free ? undefined : listenerOn(machine.address, port);
        if (!free) taken.push(`${machine.address}:${port} (${name})${owner ? `, by ${owner}` : ""}`);
    }
    if (taken.length === 0) return;
    throw new Error(
        `${machine.name} cannot start: in use: ${taken.join("; ")}. ` +
            "End that process, or choose another network: pulumi config set --path 'gateway:local.network' 127.91.0.0/24",
    );
}
