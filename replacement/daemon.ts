/** The daemon: it stands by until it is elected, and then runs the loop for as long as it leads. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Stack } from "@pulumi/pulumi/automation";
import pino from "pino";
import { readJson, writeAtomically } from "../supervisor/files";
import { identify, isAlive, type ProcessIdentity } from "../supervisor/process";
import { systemClock } from "./clock";
import { type Decision, signature } from "./decide";
import { consulDesk, type Desk } from "./desk";
import { automationEngine, type Engine, machineSlots } from "./engine";
import { engineMark, engineScope, killEngine, markOf } from "./engineProcesses";
import { fileDesk, fileStore } from "./fileStore";
import { type Inventory, localInventory, openstackInventory } from "./inventory";
import { janitor } from "./janitor";
import { fileJournal, type JournalEntry } from "./journal";
import { type Lease, type Locks, lead } from "./lease";
import { consulLocks, MemoryLocks } from "./locks";
import { runLoop } from "./loop";
import { type Health, Metrics, serveMetrics } from "./metrics";
import type { Observation } from "./observation";
import { type Observe, observeWith } from "./observe";
import { ConsulHttp } from "./observers/consul";
import { type ControlPlane, localControlPlane } from "./observers/controlPlane";
import { engineDeployment } from "./observers/deployment";
import { CloudSession } from "./observers/keystone";
import { novaControlPlane } from "./observers/nova";
import { consulWake } from "./observers/watch";
import { type Settings, SettingsError } from "./settings";
import { writeSnapshot } from "./snapshot";
import { stateLocks } from "./stateLocks";
import { consulStore, type Store } from "./store";

/** What is used of `deployedStack`. */
interface DeployedModule {
    openDeployedStack(
        stackName: string,
        directory: string,
        environment: Readonly<Record<string, string>>,
    ): Promise<{ readonly stack: Stack; readonly prepare: () => Promise<void> }>;
}

/** What is used of `scripts/engine`: the stack with the same program that `pulumi up` runs. */
interface EngineModule {
    openStack(
        stackName: string,
        config: { readonly asDeployed: boolean; readonly environment: Readonly<Record<string, string>> },
    ): Promise<Stack>;
}

/** What the store and the desk depend on. */
type Place = Pick<Settings, "consul" | "policy"> & Partial<Pick<Settings, "store">>;

/** Consul as the settings say; undefined where the deployment has none. */
export function consulOf({ consul, policy }: Place): ConsulHttp | undefined {
    return consul && new ConsulHttp({ ...consul, timeoutSeconds: policy.observerTimeoutSeconds });
}

/** The loop's memory and pause switch. */
export function storeOf(settings: Place): Store {
    const consul = consulOf(settings);
    return consul ? consulStore(consul, settings.consul?.keyPrefix) : fileStore(fileOf(settings));
}

/** Where operators and the leader meet. */
export function deskOf(settings: Place): Desk {
    const consul = consulOf(settings);
    return consul ? consulDesk(consul, settings.consul?.keyPrefix) : fileDesk(`${fileOf(settings)}.desk`);
}

function fileOf({ store }: Place): string {
    if (store === undefined) throw new SettingsError("the settings name neither Consul nor a file for the memory");
    return store;
}

/** Who decides which daemon leads. Without Consul there is one daemon, which its session's file sees to. */
function locksOf({ consul, policy, lease }: Settings): Locks {
    if (!consul) return new MemoryLocks(() => systemClock.elapsed(), lease).service;
    // A server that does not answer must leave the time to ask another one.
    const quick = Math.min(policy.observerTimeoutSeconds, lease.renew / 2);
    return consulLocks(new ConsulHttp({ ...consul, timeoutSeconds: quick }), consul.keyPrefix, lease);
}

/** The engine on the settings' stack; its processes bear the mark of `daemon`. Changes to the project's folder. */
export async function engineOf(settings: Settings, daemon: string, onOutput?: (text: string) => void): Promise<Engine> {
    const { typeSuffix, namePrefix } = settings.slots;
    const slotOf = machineSlots(typeSuffix, (name) => name.startsWith(namePrefix));
    const scope = engineScope(settings.stack, settings.session);
    const environment = { [engineMark]: markOf(scope, daemon) };
    const { stack, prepare } = await stackOf(settings, environment);
    return automationEngine(stack, slotOf, {
        ...(onOutput ? { onOutput } : {}),
        ...(prepare ? { prepare } : {}),
        kill: () => killEngine(scope, (found) => found.daemon === daemon),
    });
}

/**
 * The stack, with the program and its configuration as deployed, so that an edit that nobody has deployed yet does not
 * hold up the healing. What brings the whole program along is imported only here: the other commands do not need it.
 */
async function stackOf(
    { target, stack, projectDirectory }: Settings,
    environment: Readonly<Record<string, string>>,
): Promise<{ readonly stack: Stack; readonly prepare?: () => Promise<void> }> {
    if (target !== "local") {
        const { openDeployedStack } = require("./deployedStack") as DeployedModule;
        return openDeployedStack(stack, projectDirectory, environment);
    }
    process.chdir(projectDirectory);
    const { openStack } = require("../scripts/engine") as EngineModule;
    return { stack: await openStack(stack, { asDeployed: true, environment }) };
}

/** The control plane that the target has, and its inventory where it has one. */
function cloudOf(settings: Settings): { readonly controlPlane: ControlPlane; readonly inventory: Inventory } {
    const { openstack, machinesDirectory, stack, policy } = settings;
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
            controlPlane: novaControlPlane(session, { deployment: stack }),
            inventory: openstackInventory(session, stack, openstack.volumes),
        };
    }
    throw new SettingsError(`the settings name no control plane for target "${settings.target}"`);
}

/** All observers of the settings. */
export function observersOf(settings: Settings, engine: Engine, store: Store, desk?: Desk): Observe {
    return observeWith({
        deployment: engineDeployment(engine, systemClock),
        controlPlane: cloudOf(settings).controlPlane,
        consul: consulOf(settings),
        service: settings.consul?.service ?? "",
        balancers: settings.balancers,
        store,
        ...(desk ? { desk } : {}),
        clock: systemClock,
        timeoutSeconds: settings.policy.observerTimeoutSeconds,
    });
}

/** What a daemon leaves on disk for the one that is started after it on the same machine. */
interface SessionFile extends ProcessIdentity {
    readonly session: string;
}

/**
 * Ends what an earlier daemon on this machine has left running, and only then gives its lock back: so a daemon that was
 * restarted need not wait until its predecessor's session has ended.
 *
 * @throws SettingsError when the earlier daemon is alive.
 */
export async function succeed(sessionFile: string, scope: string, daemon: string, locks: Locks): Promise<void> {
    const earlier = readJson<SessionFile>(sessionFile);
    if (!earlier) return;
    if (earlier.pid !== process.pid && isAlive(earlier)) {
        throw new SettingsError(`process ${earlier.pid} runs the loop of this machine already`);
    }
    await killEngine(scope, (found) => found.daemon !== daemon);
    // Without an answer the session ends by itself.
    await locks.release(earlier.session).catch(() => undefined);
}

/** How often the leader publishes what it sees when nothing changes, in seconds. */
const PUBLISH_EVERY = 5;

/** Runs until SIGTERM or SIGINT. The first lets a replacement end, the second, or too long a wait, does not. */
export async function daemon(settings: Settings): Promise<void> {
    const log = pino({ base: { stack: settings.stack } });
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
    const [store, desk] = [storeOf(settings), deskOf(settings)];
    const locks = locksOf(settings);
    const scope = engineScope(settings.stack, settings.session);
    await succeed(settings.session, scope, id, locks);

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

    const disk = fileJournal(settings.journal, settings.journalMaxBytes);
    const engine = await engineOf(settings, id, (text) => log.debug({ engine: text.trimEnd() }));
    const publisher = publishWith(desk, settings, log);
    const note = (entry: JournalEntry) => {
        logEntry(log, entry);
        metrics.journaled(entry);
    };
    const observe = observersOf(settings, engine, store, desk);

    const term = async (lease: Lease) => {
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
                    });
                },
            },
            journal: {
                append(entry) {
                    publisher.record(entry);
                    disk.append(entry);
                },
            },
            janitor: janitor({
                scope,
                daemon: id,
                engine,
                locks: stateLocks(process.env.PULUMI_BACKEND_URL ?? "", "gateway", settings.stack),
                inventory: cloudOf(settings).inventory,
            }),
            desk,
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
                publisher.decided(decision, observation);
                writeSnapshot(settings.snapshot, { pid: process.pid, policy: settings.policy, observation, decision });
            },
        });
        health = { role: "standby", lastSign: systemClock.now() };
    };
    await lead(
        {
            locks: {
                ...locks,
                renew: async (session) => {
                    const renewed = await locks.renew(session);
                    if (health.role === "standby") health = { ...health, lastSign: systemClock.now() };
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
    await publisher.flushed();
    endpoint?.close();
}

/** Publishes at the desk, one thing after the other; what fails is logged once and not tried again. */
function publishWith(desk: Desk, settings: Settings, log: pino.Logger) {
    let queue = Promise.resolve();
    let failing = "";
    let waiting = 0;
    let last = { sign: "", time: Number.NEGATIVE_INFINITY };
    const later = (what: () => Promise<void>) => {
        // A desk that does not answer must not make the daemon grow.
        if (waiting > 100) return;
        waiting++;
        queue = queue.then(what).then(
            () => {
                waiting--;
                failing = "";
            },
            (error: Error) => {
                waiting--;
                if (failing !== error.message) log.warn({ where: "desk" }, error.message);
                failing = error.message;
            },
        );
    };
    return {
        record: (entry: JournalEntry) => later(() => desk.record(entry)),
        decided(decision: Decision, observation: Observation) {
            const sign = signature(decision);
            if (sign === last.sign && decision.time - last.time < PUBLISH_EVERY) return;
            last = { sign, time: decision.time };
            later(() => desk.publish({ pid: process.pid, policy: settings.policy, observation, decision }));
        },
        flushed: () => queue,
    };
}

function logEntry(log: pino.Logger, entry: JournalEntry): void {
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
