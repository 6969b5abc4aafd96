/** The daemon. It stands by until it becomes the leader, then runs the loop as long as it leads. */

import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Stack } from "@pulumi/pulumi/automation";
import pino from "pino";
import { ConsulHttp } from "../../clients/consul";
import { CloudSession } from "../../clients/keystone";
import { engineMark, engineMarkOf, engineScope, killEngine } from "../../engine/processes";
import { stateReader } from "../../engine/stateFile";
import { removeOwnDeadLocks, type StateLocks, stateLocks } from "../../engine/stateLocks";
import { systemClock } from "../../lib/clock";
import { readJson, writeAtomically } from "../../lib/files";
import { identify, isAlive, type ProcessIdentity } from "../../lib/processes";
import { automationEngine, type Engine, machineSlots, type SlotOf } from "../../replacement/act/engine";
import { type Inventory, openstackInventory } from "../../replacement/act/inventory";
import { orphanCleanup } from "../../replacement/act/orphanCleanup";
import { signature } from "../../replacement/core/decide";
import { type IllSince, patience as illPatience, neglected, stillIll } from "../../replacement/core/neglect";
import { fileCommands, fileStore } from "../../replacement/fileStore";
import { fileJournal, type JournalEntry } from "../../replacement/journal";
import { consulLocks, MemoryLocks } from "../../replacement/leaderLocks";
import { type Lease, type Locks, lead } from "../../replacement/lease";
import { runLoop } from "../../replacement/loop";
import { type Health, Metrics, serveMetrics } from "../../replacement/metrics";
import { type ControlPlane, localControlPlane } from "../../replacement/observe/controlPlane";
import { engineDeployment } from "../../replacement/observe/deployment";
import { novaControlPlane } from "../../replacement/observe/nova";
import { type Observe, observeWith } from "../../replacement/observe/observers";
import { consulWake } from "../../replacement/observe/wake";
import { consulCommands, type OperatorCommands } from "../../replacement/operatorCommands";
import { replacementEnvironment } from "../../replacement/serverMetadata";
import { type Snapshot, writeSnapshot } from "../../replacement/snapshot";
import { consulStore, type Store } from "../../replacement/store";
import { deployedProviderFolder } from "../../toolchain/bundles";
import { AlarmMetrics, Alarms, type CheckedState, checksOf, electionCheck, watch } from "./checks";
import type { LoadProgram } from "./deployedInputs";
import { localInventory } from "./localInventory";
import { type Settings, SettingsError } from "./settings";

/** The settings that the store and the operator commands depend on. */
type Place = Pick<Settings, "consul" | "policy"> & Partial<Pick<Settings, "store">>;

/** Consul's client; undefined where the deployment has no Consul. */
export function consulOf({ consul, policy }: Place): ConsulHttp | undefined {
    return consul && new ConsulHttp({ ...consul, timeoutSeconds: policy.observerTimeoutSeconds });
}

/** The loop's memory and pause switch. */
export function storeOf(settings: Place): Store {
    const consul = consulOf(settings);
    return consul ? consulStore(consul, settings.consul?.keyPrefix) : fileStore(fileOf(settings));
}

/** The operator commands. */
export function commandsOf(settings: Place): OperatorCommands {
    const consul = consulOf(settings);
    // The suffix comes from earlier versions, whose files must stay readable.
    return consul ? consulCommands(consul, settings.consul?.keyPrefix) : fileCommands(`${fileOf(settings)}.desk`);
}

function fileOf({ store }: Place): string {
    if (store === undefined) throw new SettingsError("the settings name neither Consul nor a file for the memory");
    return store;
}

/** The lock service that elects the leader. Without Consul the session file ensures a single daemon. */
function locksOf({ consul, policy, lease }: Settings): Locks {
    if (!consul) return new MemoryLocks(() => systemClock.elapsed(), lease).service;
    // If one server does not answer, there must be time to ask another.
    const quick = Math.min(policy.observerTimeoutSeconds, lease.renew / 2);
    return consulLocks(new ConsulHttp({ ...consul, timeoutSeconds: quick }), consul.keyPrefix, lease);
}

/** The engine on the settings' stack. Its processes carry the mark of `daemon`. Changes to the project's folder. */
export async function engineOf(
    settings: Settings,
    load: LoadProgram,
    daemon: string,
    onOutput?: (text: string) => void,
): Promise<Engine> {
    const scope = engineScope(settings.stack, settings.session);
    const environment = { ...replacementEnvironment, [engineMark]: engineMarkOf(scope, daemon) };
    const { stack, prepare } = await stackOf(settings, load, environment);
    const readState = readerOf(settings);
    return automationEngine(stack, slotsOf(settings), {
        ...(readState ? { readState } : {}),
        ...(onOutput ? { onOutput } : {}),
        ...(prepare ? { prepare } : {}),
        kill: () => killEngine(scope, (found) => found.daemon === daemon),
    });
}

/** Reads the stack's state without the CLI. Call it after the stack is open, which sets the backend of this computer. */
function readerOf({ project, stack }: Pick<Settings, "project" | "stack">) {
    return stateReader(process.env.PULUMI_BACKEND_URL ?? "", project, stack);
}

/** The slots of the loop's pool. Other pools in the stack have loops of their own. */
export function slotsOf({ slots: { typeSuffix, namePrefix, pool } }: Pick<Settings, "slots">): SlotOf {
    const slotOf = machineSlots(typeSuffix, (name) => name.startsWith(namePrefix));
    if (pool === undefined) return slotOf;
    return (resource) => {
        const [type = "", name = ""] = resource.urn.split("::").slice(-2);
        const isOurs = type.includes("gateway:index:GatewayPool$") && name.replace(/-\d+$/, "") === pool;
        return isOurs ? slotOf(resource) : undefined;
    };
}

/**
 * How the engine is started. Its processes wake no others up in the middle of their work (SCHED_BATCH), so calls that the
 * balancers of this computer forward hardly wait for it. A lower priority would pass to the machines that it starts.
 */
const engineStarter = ["chrt", "--batch", "0"];

/**
 * The stack with the program and configuration as deployed, so that an undeployed edit does not block replacements.
 * Only this function imports the whole program, because the other commands do not need it.
 */
async function stackOf(
    settings: Settings,
    load: LoadProgram,
    environment: Readonly<Record<string, string>>,
): Promise<{ readonly stack: Stack; readonly prepare?: () => Promise<void> }> {
    if (settings.target !== "local") {
        const { openDeployedStack } = require("./deployedStack") as typeof import("./deployedStack");
        return openDeployedStack(load, settings, environment);
    }
    process.chdir(settings.projectDirectory);
    const { openStack, program } = require("../../engine/stack") as typeof import("../../engine/stack");
    const { run } = program(load);
    const stack = await openStack(settings.stack, {
        run,
        project: process.cwd(),
        asDeployed: true,
        environment,
        before: engineStarter,
        programs: deployedProviderFolder(),
    });
    return { stack };
}

/** The target's control plane and its inventory. */
function cloudOf(settings: Settings): { readonly controlPlane: ControlPlane; readonly inventory: Inventory } {
    const { openstack, machinesDirectory, stack, deployment = stack, policy } = settings;
    if (settings.target === "local" && machinesDirectory) {
        const isSlot = (name: string) => name.startsWith(settings.slots.namePrefix);
        return {
            controlPlane: localControlPlane(machinesDirectory),
            inventory: localInventory(machinesDirectory, isSlot),
        };
    }
    if (settings.target === "openstack" && openstack) {
        const session = new CloudSession({ ...openstack, timeoutSeconds: policy.observerTimeoutSeconds });
        return {
            controlPlane: novaControlPlane(session, { deployment }),
            inventory: openstackInventory(session, deployment, openstack.volumes),
        };
    }
    throw new SettingsError(`the settings name no control plane for target "${settings.target}"`);
}

/** All observers of the settings. */
export function observersOf(settings: Settings, engine: Engine, store: Store, commands?: OperatorCommands): Observe {
    return observeWith({
        deployment: engineDeployment(engine, systemClock),
        controlPlane: cloudOf(settings).controlPlane,
        consul: consulOf(settings),
        service: settings.consul?.service ?? "",
        balancers: settings.balancers,
        store,
        ...(commands ? { commands } : {}),
        clock: systemClock,
        timeoutSeconds: settings.policy.observerTimeoutSeconds,
    });
}

/** What a daemon leaves on disk for its successor on the same machine. */
interface SessionFile extends ProcessIdentity {
    readonly session: string;
}

/**
 * Kills what an earlier daemon on this machine left running, vouches that it is dead, and then releases its lease. So
 * neither this daemon nor the next leader on another machine has to wait for what nobody does any more.
 *
 * @param vouch removes the locks of this machine's dead engines. Must not throw.
 * @throws SettingsError when the earlier daemon is alive.
 */
export async function succeed(
    sessionFile: string,
    scope: string,
    daemon: string,
    locks: Locks,
    vouch: () => Promise<void> = async () => undefined,
): Promise<void> {
    const earlier = readJson<SessionFile>(sessionFile);
    if (!earlier) return;
    if (earlier.pid !== process.pid && isAlive(earlier)) {
        throw new SettingsError(`process ${earlier.pid} already runs the loop on this machine`);
    }
    await killEngine(scope, (found) => found.daemon !== daemon);
    // Before another daemon can lead: it would find the lock, and wait.
    await vouch();
    // If Consul does not answer, the session ends by itself.
    await locks.release(earlier.session).catch(() => undefined);
}

/** How often the daemon checks what will fail one day, in seconds. */
const CHECK_EVERY = 300;

/** Log level `alarm`: above pino's `error` (50), below `fatal` (60). */
const ALARM_LEVEL = 55;

type Log = pino.Logger<"alarm">;

/** How often the leader publishes an unchanged snapshot, in seconds. */
const PUBLISH_EVERY = 5;

/** Runs until SIGTERM or SIGINT. The first signal lets a replacement finish; a second one, or `stopSeconds`, interrupts it. */
export async function daemon(settings: Settings, load: LoadProgram): Promise<void> {
    const log = pino({ base: { stack: settings.stack }, customLevels: { alarm: ALARM_LEVEL } });
    const stop = new AbortController();
    const abort = new AbortController();
    const onSignal = (name: NodeJS.Signals) => {
        log.info({ signal: name }, stop.signal.aborted ? "interrupting" : "stopping");
        if (stop.signal.aborted) abort.abort();
        stop.abort();
        setTimeout(() => abort.abort(), settings.stopSeconds * 1000).unref();
    };
    process.on("SIGTERM", onSignal).on("SIGINT", onSignal);

    const id = randomUUID();
    const [store, commands] = [storeOf(settings), commandsOf(settings)];
    const locks = locksOf(settings);
    const scope = engineScope(settings.stack, settings.session);
    const stateLocksHere = stateLocks(process.env.PULUMI_BACKEND_URL ?? "", settings.project, settings.stack);
    const disk = fileJournal(settings.journal, settings.journalMaxBytes);
    /** Records what happens outside of the loop's rounds. A full disk must not end the daemon. */
    const record = (entry: JournalEntry) => {
        try {
            disk.append(entry);
        } catch (error) {
            log.warn({ where: "journal" }, (error as Error).message);
        }
    };
    const vouch = voucher(stateLocksHere, settings.policy.lockRetrySeconds, (entry) => {
        logEntry(log, entry);
        record(entry);
    });
    await succeed(settings.session, scope, id, locks, vouch);

    const metrics = new Metrics();
    let health: Omit<Health, "healthy"> = { role: "standby", lastSign: systemClock.now() };
    const patience = 10 * settings.policy.intervalSeconds + settings.lease.ttl + 5;
    const busy = { acting: false };
    const endpoint = settings.listen
        ? await serveMetrics(settings.listen, metrics, () => ({
              healthy: busy.acting || systemClock.now() - health.lastSign < patience,
              ...health,
          }))
        : undefined;

    const onOutput = (text: string) => log.debug({ engine: text.trimEnd() });
    const engine = await engineOf(settings, load, id, onOutput).catch((error: Error) => {
        // Without it nothing is ever replaced, so this must not only be the last line of a log.
        log.alarm({ alarm: "engine" }, error.message);
        record({ kind: "error", time: systemClock.now(), where: "alarm engine", message: error.message });
        throw error;
    });
    loadAhead(load, log);
    const readState = readerOf(settings);
    const alarmMetrics = new AlarmMetrics(metrics.registry);
    const alarms = new Alarms(systemClock, (alarm, ended) => {
        alarmMetrics.told(alarm, ended);
        if (ended) log.info({ alarm: alarm.name }, `no longer: ${alarm.text}`);
        else {
            log.alarm({ alarm: alarm.name }, alarm.text);
            record({ kind: "error", time: alarm.since, where: `alarm ${alarm.name}`, message: alarm.text });
        }
    });
    const watching = watch({
        checks: checksOf({
            state: async () => (await readState?.())?.deployment as CheckedState | undefined,
            consul: consulOf(settings),
            gossipKeyFile: settings.consul?.gossipKeyFile,
            now: () => systemClock.now(),
            ends: (certificate, time) => alarmMetrics.ends(certificate, time),
        }),
        clock: systemClock,
        signal: stop.signal,
        seconds: CHECK_EVERY,
        alarms,
        failed: (name, message) => log.warn({ where: `check ${name}` }, message),
    });
    const electing = watch({
        // While the engine works, the loop decides nothing; that has a deadline of its own.
        checks: [
            electionCheck(
                () => (busy.acting ? systemClock.now() : health.lastSign),
                illPatience(settings.policy),
                () => systemClock.now(),
            ),
        ],
        clock: systemClock,
        signal: stop.signal,
        seconds: settings.policy.intervalSeconds,
        alarms,
        failed: (name, message) => log.warn({ where: `check ${name}` }, message),
    });
    const publisher = publishWith(commands, log);
    const note = (entry: JournalEntry) => {
        logEntry(log, entry);
        metrics.journaled(entry);
    };
    const observe = observersOf(settings, engine, store, commands);

    const term = async (lease: Lease) => {
        let illSince: IllSince = {};
        await runLoop({
            observe: async (fresh) => {
                const start = systemClock.elapsed();
                try {
                    return await observe(fresh);
                } finally {
                    metrics.observed(systemClock.elapsed() - start);
                }
            },
            store,
            engine: {
                ...engine,
                replace: async (...given) => {
                    busy.acting = true;
                    await engine.replace(...given).finally(() => {
                        busy.acting = false;
                        health = { ...health, lastSign: systemClock.now() };
                    });
                },
            },
            journal: {
                append(entry) {
                    publisher.record(entry);
                    disk.append(entry);
                },
            },
            orphanCleanup: orphanCleanup({
                scope,
                daemon: id,
                engine,
                locks: stateLocksHere,
                inventory: cloudOf(settings).inventory,
            }),
            commands,
            ...(settings.consul && {
                wake: consulWake(
                    { ...settings.consul, timeoutSeconds: settings.policy.observerTimeoutSeconds },
                    settings.consul.service,
                    systemClock,
                ),
            }),
            policy: settings.policy,
            clock: systemClock,
            lease,
            host: hostname(),
            signal: stop.signal,
            abort: abort.signal,
            log: note,
            onDecision: (decision, observation) => {
                health = { role: "leader", lastSign: observation.time };
                metrics.decided(decision, observation);
                const { policy } = settings;
                illSince = stillIll(illSince, decision);
                alarms.set("neglect", neglected(illSince, decision, policy));
                const snapshot = { pid: process.pid, policy, observation, decision, alarms: alarms.all() };
                publisher.decided(snapshot);
                writeSnapshot(settings.snapshot, snapshot);
            },
        });
        health = { role: "standby", lastSign: systemClock.now() };
        // The next leader looks after them.
        alarms.set("neglect", undefined);
    };
    await lead(
        {
            locks: {
                ...locks,
                renew: async (session) => {
                    const renewed = await locks.renew(session);
                    if (health.role === "standby") {
                        health = { ...health, lastSign: systemClock.now() };
                        // Beside the renewal: the state may be slow to answer, and the lease must not wait for it.
                        void vouch();
                    }
                    return renewed;
                },
            },
            clock: systemClock,
            holder: { host: hostname(), pid: process.pid },
            signal: stop.signal,
            times: settings.lease,
            tell: (event) => {
                const entry: JournalEntry = { kind: "leadership", time: systemClock.now(), event };
                note(entry);
                disk.append(entry);
            },
            onSession: (session) => {
                const file: SessionFile = {
                    session,
                    ...(identify(process.pid) ?? { pid: process.pid, startTime: "" }),
                };
                writeAtomically(settings.session, JSON.stringify(file), 0o600);
            },
        },
        term,
    );
    await Promise.all([publisher.flushed(), watching, electing]);
    endpoint?.close();
}

/**
 * Vouches for this machine's dead engines: the leader may be on another machine, and cannot know that they are dead. Does it at
 * most once in `seconds`, because each time it asks the state's backend. Does not throw.
 */
export function voucher(
    locks: StateLocks | undefined,
    seconds: number,
    write: (entry: JournalEntry) => void,
): () => Promise<void> {
    let last = Number.NEGATIVE_INFINITY;
    let failing = "";
    return async () => {
        if (!locks || systemClock.elapsed() - last < seconds) return;
        last = systemClock.elapsed();
        try {
            for (const lock of await removeOwnDeadLocks(locks)) {
                const reason = `process ${lock.pid} on ${lock.host} locked the stack and is dead, says its own machine`;
                write({ kind: "recovery", time: systemClock.now(), step: { kind: "removeLock", lock, reason } });
            }
            failing = "";
        } catch (error) {
            const { message } = error as Error;
            if (message !== failing) write({ kind: "error", time: systemClock.now(), where: "vouch", message });
            failing = message;
        }
    };
}

/** Loads the program before it is needed, because that takes longer than any step of a replacement on this machine. */
function loadAhead(load: LoadProgram, log: Log): void {
    try {
        load();
    } catch (error) {
        // Each preview says so, too.
        log.error({ where: "program" }, (error as Error).message);
    }
}

/** Publishes for operators, one item after the other. Logs a failure once and does not retry. */
function publishWith(commands: OperatorCommands, log: Log) {
    let queue = Promise.resolve();
    let failing = "";
    let waiting = 0;
    let last = { sign: "", time: Number.NEGATIVE_INFINITY };
    const enqueue = (what: () => Promise<void>) => {
        // Limits the daemon's memory while Consul does not answer.
        if (waiting > 100) return;
        waiting++;
        queue = queue.then(what).then(
            () => {
                waiting--;
                failing = "";
            },
            (error: Error) => {
                waiting--;
                if (failing !== error.message) log.warn({ where: "publish" }, error.message);
                failing = error.message;
            },
        );
    };
    return {
        record: (entry: JournalEntry) => enqueue(() => commands.record(entry)),
        decided(snapshot: Snapshot) {
            const { decision, alarms } = snapshot;
            const sign = JSON.stringify([signature(decision), alarms]);
            if (sign === last.sign && decision.time - last.time < PUBLISH_EVERY) return;
            last = { sign, time: decision.time };
            enqueue(() => commands.publish(snapshot));
        },
        flushed: () => queue,
    };
}

function logEntry(log: Log, entry: JournalEntry): void {
    switch (entry.kind) {
        case "decision":
            log.info({ reasons: entry.decision.reasons, actions: entry.decision.actions }, "decision");
            break;
        case "action":
            log.info({ action: entry.action, ...entry.report }, "action");
            break;
        case "leadership":
            log.info({ event: entry.event }, "leadership");
            break;
        case "recovery":
            log.warn({ step: entry.step, error: entry.error }, "recovery");
            break;
        case "request":
            log.info({ request: entry.request, done: entry.done, text: entry.text }, "request");
            break;
        case "error":
            log.warn({ where: entry.where }, entry.message);
            break;
        default:
            log.info(entry.kind);
    }
}
