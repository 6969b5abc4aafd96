/**
 * Runs one machine of this computer: its services, until it gets a signal. `machine.ts` starts it in the machine's
 * folder as `node supervisor.cjs INCARNATION`.
 *
 * SIGTERM or SIGINT: stop everything in reverse order and exit. SIGHUP: read `spec.json` again and restart what
 * changed.
 */
import { appendFileSync, copyFileSync, mkdirSync, readdirSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { readJson, writeAtomically } from "../../lib/files";
import { identify } from "../../lib/processes";
import { type MachineRecord, type MachineSpec, type MachineStatus, machineFiles, readLiveRecord } from "./record";
import { SupervisedService } from "./service";

/** Size at which a log is moved to `NAME.1`, bytes. One old log is kept. */
const LOG_LIMIT = 16 * 1024 * 1024;
/** Milliseconds between two checks of the logs' sizes. */
const LOG_CHECK_EVERY = 10_000;
/** Milliseconds between two checks that the status is there. */
const STATUS_CHECK_EVERY = 2_000;

const directory = process.cwd();
let services: SupervisedService[] = [];
/** The spec that the services follow. */
let applied = "";
let stopping = false;
/** Stops and reloads are done one after the other. */
let work = Promise.resolve();

function say(message: string): void {
    try {
        const path = join(directory, machineFiles.log, "supervisor.log");
        appendFileSync(path, `${new Date().toISOString()} ${message}\n`, { mode: 0o600 });
    } catch {
        // A full disk must not stop the supervision.
    }
}

function readSpec(): MachineSpec {
    const spec = readJson<MachineSpec>(join(directory, machineFiles.spec));
    if (!spec) throw new Error(`${machineFiles.spec} is missing or not JSON`);
    return spec;
}

/** Starts every service that may start now, and publishes the state of all. */
function changed(): void {
    if (!stopping) {
        for (const service of services) {
            const free = service.definition.after.every((name) => services.find((s) => s.name === name)?.settled);
            if (service.state === "waiting" && free) {
                say(`${service.name} starts`);
                service.start();
            }
        }
    }
    const status: MachineStatus = {
        spec: applied,
        services: Object.fromEntries(
            services.map((service) => [
                service.name,
                {
                    state: service.state,
                    ...(service.pid === undefined ? {} : { pid: service.pid }),
                    restarts: service.restarts,
                    ...(service.lastEnd === undefined ? {} : { lastEnd: service.lastEnd }),
                    since: service.since.toISOString(),
                },
            ]),
        ),
    };
    try {
        writeAtomically(join(directory, machineFiles.status), JSON.stringify(status, undefined, 2), 0o644, false);
    } catch (error) {
        say(`status not written: ${(error as Error).message}`);
    }
}

/** Makes a service reload its configuration. */
function reload(name: string): void {
    services.find((service) => service.name === name)?.reload();
}

/** Brings the services to what the spec says: only changed, new and removed ones are touched. */
async function apply(spec: MachineSpec): Promise<void> {
    const restartDigest = (name: string) => spec.restartDigests?.[name] ?? spec.digests[name] ?? "";
    const keeps = (service: SupervisedService) => restartDigest(service.name) === service.restartDigest;
    for (const service of [...services].reverse().filter((s) => !keeps(s))) {
        say(`${service.name} stops: changed or removed`);
        await service.stop();
    }
    services = spec.machine.services.map((definition) => {
        const kept = services.find((service) => service.name === definition.name && keeps(service));
        const digest = spec.digests[definition.name] ?? "";
        const own = restartDigest(definition.name);
        return kept ?? new SupervisedService(definition, digest, own, directory, { changed, say, reload });
    });
    for (const service of services) {
        const digest = spec.digests[service.name] ?? "";
        if (service.digest !== digest) await service.takeOver(digest);
    }
    applied = spec.version;
    changed();
}

async function stopAll(reason: string): Promise<void> {
    if (stopping) return;
    stopping = true;
    say(`stops: ${reason}`);
    for (const service of [...services].reverse()) await service.stop();
    say("stopped");
    process.exit(0);
}

function limitLogs(): void {
    const logs = join(directory, machineFiles.log);
    for (const name of readdirSync(logs).filter((entry) => entry.endsWith(".log"))) {
        const path = join(logs, name);
        try {
            if (statSync(path).size <= LOG_LIMIT) continue;
            // Services append, so a truncated log continues at its new end.
            copyFileSync(path, `${path}.1`);
            truncateSync(path, 0);
        } catch (error) {
            say(`${name} not rotated: ${(error as Error).message}`);
        }
    }
}

function main(): void {
    const incarnation = process.argv[2];
    const self = identify(process.pid);
    if (!incarnation || !self) throw new Error("usage: supervisor INCARNATION");
    const other = readLiveRecord(directory);
    if (other) throw new Error(`already run by process ${other.pid}`);
    const spec = readSpec();
    for (const folder of [machineFiles.log, "run", "lib", "tmp"]) mkdirSync(folder, { recursive: true, mode: 0o700 });
    const record: MachineRecord = {
        name: spec.machine.name,
        incarnation,
        ...self,
        createdAt: new Date().toISOString(),
    };
    writeAtomically(join(directory, machineFiles.record), JSON.stringify(record));
    say(`incarnation ${incarnation}, process ${self.pid}`);

    const enqueue = (task: () => Promise<void>) => {
        work = work.then(task).catch((error: Error) => say(`failed: ${error.message}`));
    };
    process.on("SIGTERM", () => enqueue(() => stopAll("told to")));
    process.on("SIGINT", () => enqueue(() => stopAll("interrupted")));
    process.on("SIGHUP", () => enqueue(() => apply(readSpec())));
    process.on("uncaughtException", (error) => say(`unexpected: ${error.stack}`));
    setInterval(limitLogs, LOG_CHECK_EVERY);
    // Others wait for what it says, so a lost one is written again.
    setInterval(() => readJson(join(directory, machineFiles.status)) ?? changed(), STATUS_CHECK_EVERY);
    enqueue(() => apply(spec));
}

main();
