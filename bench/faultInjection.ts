/** The faults that the benchmarks inject into a deployment of the target `local`. */

import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { waitForRotation } from "../clients/readiness";
import { identify, isAlive, signal } from "../lib/processes";
import type { ProcessMachine } from "../programs/supervisor/description";
import {
    killMachine,
    machineDirectory,
    readMachine,
    readStatus,
    restartMachine,
    stopMachine,
} from "../programs/supervisor/machine";
import { readJournal } from "../replacement/journal";
import { announceGateway, withdrawGateway } from "./gatewayRegistration";
import { consulLeader, type Deployment, endpointOf, incarnationOf, isFabio, servicePid } from "./localDeployment";
import { cutOff, reconnectAll } from "./networkNamespace";

/** How long a process stays stopped, milliseconds: less than the replacement loop tolerates. */
const FROZEN_MS = 5_000;
/** Number of route changes, and the time between two of them, milliseconds: 100 in a minute. */
const CHANGES = { count: 100, everyMs: 600 } as const;

/** A kind of fault. */
export interface Fault {
    /** Its name on the command line. */
    readonly name: string;
    /** What happens, and what repairs it. */
    readonly description: string;
    /**
     * Chooses the victim and prepares the fault, so that `inject` does nothing else.
     *
     * @param trial number of the trial; gateways take turns by it.
     * @throws Error when there is no victim at the moment.
     */
    prepare(deployment: Deployment, trial: number): Promise<FaultInjection>;
    /** In the comparison: how long to watch calls after the fault, milliseconds. Default 4000. */
    readonly watchMs?: number;
}

/** A fault that is ready to be injected. */
export interface FaultInjection {
    /** The victim, such as `gateway of gw-1`. */
    readonly target: string;
    /** The gateway that the balancers must stop using. */
    readonly gateway?: ProcessMachine;
    /** Whether the replacement loop must replace that gateway. */
    readonly replaced?: boolean;
    /** Injects the fault. Resolves at once, or at the end of a sequence such as a rolling restart. */
    inject(): Promise<void>;
    /** Undoes the fault. Idempotent, and safe at any time. */
    undo(): void;
    /** Restores what the fault removed, where no replacement loop does it. */
    repair?(): Promise<void>;
    /** The fault includes `undo` after this time, milliseconds. */
    readonly undoAfterMs?: number;
    /** Whether the victim is back: as a new process or machine if it was killed. */
    isBack(): boolean;
}

/** Undoes a fault at its time, or as soon as `ended` aborts. */
export async function undoLater({ undoAfterMs, undo }: FaultInjection, ended: AbortSignal): Promise<void> {
    if (undoAfterMs === undefined) return;
    await delay(undoAfterMs, undefined, { signal: ended }).catch(() => undefined);
    undo();
}

/** The faults for any deployment, in the order in which `npm run bench:faults` injects them. */
export const faults: readonly Fault[] = [
    {
        name: "gateway-kill",
        description: "kill -9 of a gateway's process; its supervisor restarts it",
        prepare: async (deployment, trial) => {
            const gateway = turn(deployment.gateways, trial);
            return { ...signalled(deployment, [gateway], "gateway", "SIGKILL"), gateway };
        },
    },
    {
        name: "instance-kill",
        description: "kill -9 of all processes of a gateway's machine; the replacement loop replaces it",
        watchMs: 9_000,
        prepare: async (deployment, trial) => instanceKilled(deployment, turn(deployment.gateways, trial)),
    },
    {
        name: "gateway-stop",
        watchMs: FROZEN_MS + 1_500,
        description: `SIGSTOP of a gateway's process, SIGCONT after ${FROZEN_MS / 1000} s`,
        prepare: async (deployment, trial) => {
            const gateway = turn(deployment.gateways, trial);
            const process = identify(runningPid(deployment, gateway, "gateway"));
            let isBack = false;
            return {
                target: `gateway of ${gateway.name}`,
                gateway,
                inject: async () => void (process && signal(process.pid, "SIGSTOP")),
                undo: () => {
                    if (process && isAlive(process)) signal(process.pid, "SIGCONT");
                    isBack = true;
                },
                undoAfterMs: FROZEN_MS,
                isBack: () => isBack,
            };
        },
    },
    {
        name: "gateway-term",
        description: "SIGTERM of a gateway's process: it drains and exits; its supervisor restarts it",
        prepare: async (deployment, trial) => {
            const gateway = turn(deployment.gateways, trial);
            return { ...signalled(deployment, [gateway], "gateway", "SIGTERM"), gateway };
        },
    },
    {
        name: "consul-follower",
        description: "kill -9 of a Consul follower",
        prepare: async (deployment, trial) => {
            const leader = await consulLeader(deployment);
            const followers = deployment.consulServers.filter((server) => server !== leader);
            if (followers.length === 0) throw new Error("there is only one Consul server");
            return signalled(deployment, [turn(followers, trial)], "consul", "SIGKILL");
        },
    },
    {
        name: "consul-leader",
        description: "kill -9 of the Consul leader",
        prepare: async (deployment) => signalled(deployment, [await consulLeader(deployment)], "consul", "SIGKILL"),
    },
    {
        name: "consul-all",
        description: "kill -9 of all Consul servers at once",
        prepare: async (deployment) => signalled(deployment, deployment.consulServers, "consul", "SIGKILL"),
    },
    // This balancer carries the calls that are tried once. They show the view of a client with one address.
    {
        name: "balancer",
        description: "kill -9 of a balancer; clients with several addresses use another one",
        prepare: async (deployment) => {
            const [balancer] = deployment.balancers as [ProcessMachine];
            return signalled(deployment, [balancer], isFabio(balancer) ? "fabio" : "haproxy", "SIGKILL");
        },
    },
    ofBalancer("consul-template", "consul-template", "a balancer's consul-template"),
    ofBalancer("reconciler", "reconciler", "a balancer's reconciler"),
    {
        name: "replacer",
        description: "kill -9 of the replacement loop",
        prepare: async (deployment) => {
            const { replacer } = deployment;
            if (!replacer) throw new Error("this deployment has no replacement loop");
            const injection = signalled(deployment, [replacer], "replacer", "SIGKILL");
            const journal = join(machineDirectory(deployment.home, replacer.name), "lib/journal.jsonl");
            const starts = () =>
                readJournal(journal)
                    .filter((entry) => entry.kind === "start")
                    .at(-1)?.time;
            const before = starts();
            return { ...injection, isBack: () => injection.isBack() && starts() !== before };
        },
    },
];

/** Faults for the comparison only: nothing but the benchmark may change the deployment meanwhile. */
export const comparisonFaults: readonly Fault[] = [
    {
        name: "host-loss",
        description: "loss of a gateway's host: packets vanish, and connections are neither refused nor reset",
        watchMs: 12_000,
        prepare: async (deployment, trial) => {
            const gateway = turn(deployment.gateways, trial);
            const kill = instanceKilled(deployment, gateway);
            return {
                ...kill,
                inject: async () => {
                    cutOff(gateway.address);
                    await kill.inject();
                },
                undo: reconnectAll,
            };
        },
    },
    {
        name: "registry-stop",
        description:
            "loss of the whole registry for 6 s: kill -9 of all Consul servers' machines, or SIGSTOP of all Serf agents",
        watchMs: 8_000,
        prepare: async (deployment) =>
            deployment.consul ? serversGone(deployment, 6_000) : agentsFrozen(deployment, 6_000),
    },
    {
        name: "registry-empty",
        description: "the registry lists no gateway for 5 s, while all of them serve",
        watchMs: 8_000,
        prepare: async (deployment) => {
            const { gateways, home } = deployment;
            return {
                target: gateways.map((gateway) => gateway.name).join(", "),
                inject: async () => {
                    await Promise.all(gateways.map((gateway) => withdrawGateway(home, gateway)));
                    await delay(5_000);
                    await Promise.all(gateways.map((gateway) => announceGateway(home, gateway)));
                },
                undo: () => undefined,
                // An interrupted trial must not leave the registry empty.
                repair: async () => void (await Promise.all(gateways.map((gateway) => announceGateway(home, gateway)))),
                isBack: () => true,
            };
        },
    },
    {
        name: "agent-restart",
        description: "kill -9 of the registry's agents on a balancer and on a gateway; their supervisors restart them",
        prepare: async (deployment, trial) => {
            const machines = [deployment.balancers[0] as ProcessMachine, turn(deployment.gateways, trial)];
            return signalled(deployment, machines, deployment.consul ? "consul" : "serf", "SIGKILL");
        },
    },
    {
        name: "scale",
        description: "four more gateways boot, serve, drain and stop",
        watchMs: 1_000,
        prepare: async (deployment) => {
            const names = [2, 3, 4, 5].map((index) => `gw-${index}`);
            return {
                target: names.join(", "),
                inject: async () => {
                    await Promise.all(names.map((name) => restartMachine(deployment.home, name)));
                    await inRotation(deployment, names);
                    await Promise.all(names.map((name) => stopMachine(deployment.home, name)));
                },
                undo: () => undefined,
                repair: async () => void (await Promise.all(names.map((name) => stopMachine(deployment.home, name)))),
                isBack: () => true,
            };
        },
    },
    {
        name: "rolling-restart",
        description: "each gateway's machine in turn drains, stops and boots, as in a deployment",
        watchMs: 1_000,
        prepare: async (deployment) => {
            const names = deployment.gateways.map((gateway) => gateway.name);
            return {
                target: names.join(", "),
                inject: async () => {
                    for (const name of names) {
                        await stopMachine(deployment.home, name);
                        await restartMachine(deployment.home, name);
                        await inRotation(deployment, [name]);
                    }
                },
                undo: () => undefined,
                repair: async () =>
                    void (await Promise.all(names.map((name) => restartMachine(deployment.home, name)))),
                isBack: () => true,
            };
        },
    },
    {
        name: "route-changes",
        description: `a gateway leaves the registry and returns, ${CHANGES.count} changes in a minute`,
        watchMs: 1_000,
        prepare: async (deployment, trial) => {
            const gateway = turn(deployment.gateways, trial);
            return {
                target: gateway.name,
                inject: async () => {
                    const begun = performance.now();
                    for (let change = 0; change < CHANGES.count; change++) {
                        await (change % 2 === 0 ? withdrawGateway : announceGateway)(deployment.home, gateway);
                        await delay(Math.max(0, begun + (change + 1) * CHANGES.everyMs - performance.now()));
                    }
                },
                undo: () => undefined,
                repair: () => announceGateway(deployment.home, gateway),
                isBack: () => true,
            };
        },
    },
];

function instanceKilled(deployment: Deployment, gateway: ProcessMachine): FaultInjection {
    const before = incarnationOf(deployment, gateway);
    return {
        target: gateway.name,
        gateway,
        replaced: true,
        inject: async () => void (await killMachine(deployment.home, gateway.name)),
        undo: () => undefined,
        repair: async () => void (await restartMachine(deployment.home, gateway.name)),
        isBack: () => ![undefined, before].includes(incarnationOf(deployment, gateway)),
    };
}

function serversGone({ home, consulServers }: Deployment, forMs: number): FaultInjection {
    const names = consulServers.map((server) => server.name);
    const boot = async () => void (await Promise.all(names.map((name) => restartMachine(home, name))));
    return {
        target: names.join(", "),
        inject: async () => {
            await Promise.all(names.map((name) => killMachine(home, name)));
            await delay(forMs);
            await boot();
        },
        undo: () => undefined,
        repair: boot,
        isBack: () => true,
    };
}

function agentsFrozen(deployment: Deployment, forMs: number): FaultInjection {
    const machines = [...deployment.balancers, ...deployment.gateways];
    const agents = machines.flatMap((machine) => identify(runningPid(deployment, machine, "serf")) ?? []);
    let isBack = false;
    return {
        target: `serf of ${machines.map((machine) => machine.name).join(", ")}`,
        inject: async () => {
            for (const agent of agents) signal(agent.pid, "SIGSTOP");
        },
        undo: () => {
            for (const agent of agents) if (isAlive(agent)) signal(agent.pid, "SIGCONT");
            isBack = true;
        },
        undoAfterMs: forMs,
        isBack: () => isBack,
    };
}

/** Waits until every balancer sends calls to the named gateways. */
async function inRotation({ home, balancers }: Deployment, names: readonly string[]): Promise<void> {
    const pages = balancers.map((balancer) => `http://${endpointOf(balancer, "balancer-status")}`);
    await Promise.all(names.map((name) => waitForRotation(pages, readMachine(home, name)?.address ?? "")));
}

function ofBalancer(name: string, service: string, what: string): Fault {
    return {
        name,
        description: `kill -9 of ${what}`,
        prepare: async (deployment) => signalled(deployment, deployment.balancers.slice(0, 1), service, "SIGKILL"),
    };
}

/**
 * Sends a signal to a service on several machines at once. The service is back when each has a new process that is
 * ready.
 */
function signalled(
    deployment: Deployment,
    machines: readonly ProcessMachine[],
    service: string,
    name: NodeJS.Signals,
): FaultInjection {
    const victims = machines.map((machine) => ({ machine, pid: runningPid(deployment, machine, service) }));
    return {
        target: `${service} of ${machines.map((machine) => machine.name).join(", ")}`,
        inject: async () => {
            for (const { pid } of victims) signal(pid, name);
        },
        undo: () => undefined,
        isBack: () =>
            victims.every(({ machine, pid }) => {
                const status = readStatus(deployment.home, machine.name)?.services[service];
                return status?.state === "ready" && status.pid !== undefined && status.pid !== pid;
            }),
    };
}

function runningPid(deployment: Deployment, machine: ProcessMachine, service: string): number {
    const pid = servicePid(deployment, machine, service);
    if (pid === undefined) throw new Error(`${service} of ${machine.name} is not running`);
    return pid;
}

const turn = (machines: readonly ProcessMachine[], trial: number) =>
    machines[trial % machines.length] as ProcessMachine;
