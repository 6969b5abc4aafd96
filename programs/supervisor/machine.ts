/**
 * The life of a machine of this computer: create, update, inspect, stop, kill. Each function can run again after it, or
 * the whole program, was killed half-way.
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
    statSync,
    symlinkSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { readJson, writeAtomically } from "../../lib/files";
import { groupMembers, isAlive, listenerOn, signal } from "../../lib/processes";
import { waitFor } from "../../lib/wait";
import { type Binary, resolveSecrets } from "../machine";
import { fingerprint, type ProcessMachine } from "./description";
import {
    type MachineRecord,
    type MachineSpec,
    type MachineStatus,
    machineFiles,
    readLiveRecord,
    serviceDigests,
    supervisorsIn,
} from "./record";

/** The folder of the machines, and what a machine needs to start. */
export interface MachineHome {
    /** Folder with a folder for each machine. */
    readonly machines: string;
    /** The bundled supervisor (`main.ts`). */
    readonly supervisor: string;
    /** The Node that runs the supervisor. Default: the one that runs this. */
    readonly node?: string;
    /** Path of a binary's source. @throws Error with a remedy if it is missing. */
    readonly resolveBinary: (binary: Binary) => string;
}

/** Time that a machine's services may take to be ready unless the caller says otherwise, seconds. */
export const READY_SECONDS = 60;
/** Time that the supervisor itself may take to start, milliseconds. */
const SUPERVISOR_TIMEOUT = 15_000;

/** The folder of a machine. */
export function machineDirectory(home: Pick<MachineHome, "machines">, name: string): string {
    return join(home.machines, name);
}

/** The machine's record if it runs exactly this, secrets included; otherwise undefined. */
function runningAsGiven(directory: string, version: string): MachineRecord | undefined {
    const spec = readJson<MachineSpec>(join(directory, machineFiles.spec));
    return spec?.version === version && hasItsFiles(directory, spec.machine) ? readLiveRecord(directory) : undefined;
}

/** Folders of a machine besides those of its files. */
const FOLDERS = ["lib", "run", "tmp", "log"] as const;

/**
 * Whether the files and folders that a machine was given are there. Services hold sockets in them and read some only when they
 * start again, so a machine that runs without them is broken, or is about to be.
 */
export function hasItsFiles(directory: string, machine: ProcessMachine): boolean {
    // A file that was cut off is empty.
    const isThere = (path: string, empty: boolean) => {
        const found = statSync(join(directory, path), { throwIfNoEntry: false });
        return found !== undefined && (empty || found.size > 0);
    };
    return (
        FOLDERS.every((folder) => isThere(folder, true)) &&
        machine.files.every(({ path, content }) => isThere(path, content === "")) &&
        machine.binaries.every(({ name }) => isThere(join("bin", name), true))
    );
}

/**
 * Boots a machine. A machine that already runs exactly this is adopted. One that runs something else, left behind by a
 * killed run, is stopped first.
 *
 * @param keepState whether `lib`, the machine's disk, survives from the previous machine of this name.
 * @returns the machine's record. Its services may not be ready yet: see {@link waitUntilReady}.
 * @throws Error that names address, port and owner if a port of the machine is taken.
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
 * Boots a stopped or killed machine again, with the same services and disk (`lib`). A running machine is left alone.
 *
 * @returns its record. Its services may not be ready yet: see {@link waitUntilReady}.
 * @throws Error if there is no such machine, or one that names address, port and owner if a port is taken.
 */
export async function restartMachine(
    home: Pick<MachineHome, "machines" | "supervisor" | "node">,
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

/** Updates a running machine and restarts only the services that changed. @throws Error if it does not run. */
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
    ).catch((error: Error) => {
        throw new Error(`${error.message}${lastLines(directory, "supervisor")}`);
    });
    return record;
}

/** The state of the machine's services; undefined if it never ran. */
export function readStatus(home: Pick<MachineHome, "machines">, name: string): MachineStatus | undefined {
    return readJson<MachineStatus>(join(machineDirectory(home, name), machineFiles.status));
}

/** What the machine runs, from its folder; undefined if the folder does not say. */
export function readMachine(home: Pick<MachineHome, "machines">, name: string): ProcessMachine | undefined {
    return readJson<MachineSpec>(join(machineDirectory(home, name), machineFiles.spec))?.machine;
}

/**
 * Waits until every service is ready and every oneshot of `machine` has succeeded.
 *
 * @param options.except names of services that need not be ready. Default none.
 * @param options.timeoutSeconds how long they may take. Default {@link READY_SECONDS}.
 * @throws Error with the states, and the end of the log of the first service that is not ready.
 */
export async function waitUntilReady(
    home: Pick<MachineHome, "machines">,
    machine: ProcessMachine,
    {
        except = [],
        timeoutSeconds = READY_SECONDS,
    }: { readonly except?: readonly string[] | undefined; readonly timeoutSeconds?: number | undefined } = {},
): Promise<void> {
    const waitedFor = machine.services.filter((service) => !except.includes(service.name));
    const missing = () => {
        const states = readStatus(home, machine.name)?.services ?? {};
        return waitedFor.filter(({ name }) => !["ready", "succeeded"].includes(states[name]?.state ?? ""));
    };
    await waitFor(`${machine.name} to be ready`, () => missing().length === 0, 1000 * timeoutSeconds).catch(
        (error: Error) => {
            const states = missing().map(({ name }) => {
                const status = readStatus(home, machine.name)?.services[name];
                return `${name} is ${status?.state ?? "not started"}${status?.lastEnd ? ` (ended with ${status.lastEnd})` : ""}`;
            });
            const log = missing()[0] ? lastLines(machineDirectory(home, machine.name), missing()[0]?.name ?? "") : "";
            throw new Error(`${error.message}; ${states.join(", ")}${log}`);
        },
    );
}

/** Stops a machine gracefully, and kills what is left after its time. Does nothing if it does not run. */
export async function stopMachine(home: Pick<MachineHome, "machines">, name: string): Promise<void> {
    const record = readLiveRecord(machineDirectory(home, name));
    if (!record) return killUnrecorded(home, name);
    const machine = readMachine(home, name);
    signal(record.pid, "SIGTERM");
    const limit = SUPERVISOR_TIMEOUT + (machine ? stopTime(machine) : 0);
    await waitFor(`${name} to stop`, () => !isAlive(record), limit).catch(() => killMachine(home, name));
    await waitFor(`${name}'s processes to end`, () => groupMembers(record.pid).length === 0, 5_000);
}

/** Kills a supervisor without a record: its creator was killed before the record was written. */
async function killUnrecorded(home: Pick<MachineHome, "machines">, name: string): Promise<void> {
    const groups = supervisorsIn(machineDirectory(home, name));
    for (const group of groups) signal(-group, "SIGKILL");
    await waitFor(`${name} to be gone`, () => groups.every((group) => groupMembers(group).length === 0), 5_000, 5);
}

/** Kills all processes of a machine at once, as a power loss does. @returns false if it does not run. */
export async function killMachine(home: Pick<MachineHome, "machines">, name: string): Promise<boolean> {
    const record = readLiveRecord(machineDirectory(home, name));
    if (!record) return false;
    // The supervisor leads its own process group, and its services are in it.
    signal(-record.pid, "SIGKILL");
    await waitFor(`${name} to be gone`, () => !isAlive(record) && groupMembers(record.pid).length === 0, 5_000, 5);
    return true;
}

/** Stops a machine and keeps its folder for study as `NAME.previous`, until the next machine of that name goes. */
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
    return { machine, digests, restartDigests: serviceDigests(machine, contents, true), version };
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
    for (const folder of FOLDERS) mkdirSync(join(directory, folder), { recursive: true, mode: 0o700 });
    writeAtomically(join(directory, machineFiles.spec), JSON.stringify(spec, undefined, 2), 0o600);
}

async function boot(home: Pick<MachineHome, "supervisor" | "node">, directory: string): Promise<MachineRecord> {
    const incarnation = randomUUID();
    const log = openSync(join(directory, machineFiles.log, "supervisor.log"), "a", 0o600);
    try {
        // In its own session: neither Ctrl-C nor the end of the command that started it reaches the machine.
        // At ordinary priority, even if this process runs as a batch job, as the replacement loop's engine does.
        const argv = ["--other", "0", home.node ?? process.execPath, home.supervisor, incarnation];
        const child = spawn("chrt", argv, {
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

/** The last lines of a service's log, to append to a message. */
export function lastLines(directory: string, service: string): string {
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
