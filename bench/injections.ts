/** The faults that can be made in a deployment of the `local` target. */

import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { readJournal } from "../replacement/journal";
import type { ProcessMachine } from "../roles/render/process";
import { waitForRotation } from "../supervisor/gates";
import { killMachine, machineDirectory, readStatus, restartMachine, stopMachine } from "../supervisor/machine";
import { identify, isAlive, signal } from "../supervisor/process";
import { type Deployment, endpointOf, incarnationOf, isFabio, leaderOf, pidOf } from "./deployment";
import { cutOff, reconnect } from "./network";
import { announce, withdraw } from "./registration";

/** How long a stopped process stays so, milliseconds: less than the replacement loop bears. */
const FROZEN_MS = 5_000;
/** Changes of the routes, and the time between two of them, milliseconds: 100 in a minute. */
const CHANGES = { count: 100, everyMs: 600 } as const;

/** A kind of fault. */
export interface Fault {
    /** Its name on the command line. */
    readonly name: string;
    /** What happens, and who mends it. */
    readonly what: string;
    /**
     * Chooses the victim and gets ready, so that `strike` does nothing but the fault.
     *
     * @param trial number of this trial: gateways take turns by it.
     * @throws Error when there is no such victim at the moment.
     */
    prepare(deployment: Deployment, trial: number): Promise<Strike>;
    /** How long calls are watched from the fault on, milliseconds, in the comparison. Default 4 s. */
    readonly watchMs?: number;
}

/** A fault that is about to be made. */
export interface Strike {
    /** The victim, such as `gateway of gw-1`. */
    readonly target: string;
    /** The gateway that the balancers have to stop using. */
    readonly gateway?: ProcessMachine;
    /** Whether the replacement loop has to replace that gateway. */
    readonly replaced?: boolean;
    /** Makes the fault. What is a course of events ends when they are over. */
    strike(): Promise<void>;
    /** Takes the fault back; safe at any time and as often as one likes. */
    undo(): void;
    /** Boots what nobody else would boot again; where there is a replacement loop, that is its work. */
    mend?(): Promise<void>;
    /** After this time, milliseconds, `undo` is part of the fault. */
    readonly undoAfterMs?: number;
    /** Whether the victim itself is back, as something new where it was killed. */
    isBack(): boolean;
}

/** Every fault, in the order in which they are made. */
export const faults: readonly Fault[] = [
    {
        name: "gateway-kill",
        what: "kill -9 of a gateway's process; its supervisor starts it again",
        prepare: async (deployment, trial) => {
            const gateway = turn(deployment.gateways, trial);
            return { ...signalled(deployment, [gateway], "gateway", "SIGKILL"), gateway };
        },
    },
    {
        name: "instance-kill",
        what: "kill -9 of all processes of a gateway's machine; the replacement loop makes a new one",
        watchMs: 9_000,
        prepare: async (deployment, trial) => instanceKilled(deployment, turn(deployment.gateways, trial)),
    },
    {
        name: "gateway-stop",
        watchMs: FROZEN_MS + 1_500,
        what: `SIGSTOP of a gateway's process, SIGCONT after ${FROZEN_MS / 1000} s`,
        prepare: async (deployment, trial) => {
            const gateway = turn(deployment.gateways, trial);
            const process = identify(runningPid(deployment, gateway, "gateway"));
            let isBack = false;
            return {
                target: `gateway of ${gateway.name}`,
                gateway,
                strike: async () => void (process && signal(process.pid, "SIGSTOP")),
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
        what: "SIGTERM of a gateway's process: it drains and ends; its supervisor starts it again",
        prepare: async (deployment, trial) => {
            const gateway = turn(deployment.gateways, trial);
            return { ...signalled(deployment, [gateway], "gateway", "SIGTERM"), gateway };
        },
    },
    {
        name: "consul-follower",
        what: "kill -9 of a Consul server that does not lead",
        prepare: async (deployment, trial) => {
            const leader = await leaderOf(deployment);
            const followers = deployment.consulServers.filter((server) => server !== leader);
            if (followers.length === 0) throw new Error("there is only one Consul server");
            return signalled(deployment, [turn(followers, trial)], "consul", "SIGKILL");
        },
    },
    {
        name: "consul-leader",
        what: "kill -9 of the Consul server that leads",
        prepare: async (deployment) => signalled(deployment, [await leaderOf(deployment)], "consul", "SIGKILL"),
    },
    {
        name: "consul-all",
        what: "kill -9 of all Consul servers at once",
        prepare: async (deployment) => signalled(deployment, deployment.consulServers, "consul", "SIGKILL"),
    },
    // The balancer through which the calls go that are tried once: they show what a client with one address sees.
    {
        name: "balancer",
        what: "kill -9 of a balancer; only clients with several addresses go on",
        prepare: async (deployment) => {
            const [balancer] = deployment.balancers as [ProcessMachine];
            return signalled(deployment, [balancer], isFabio(balancer) ? "fabio" : "haproxy", "SIGKILL");
        },
    },
    ofBalancer("consul-template", "consul-template", "a balancer's consul-template"),
    ofBalancer("reconciler", "reconciler", "a balancer's reconciler"),
    {
        name: "replacer",
        what: "kill -9 of the replacement loop",
        prepare: async (deployment) => {
            const { replacer } = deployment;
            if (!replacer) throw new Error("there is no replacement loop");
            const strike = signalled(deployment, [replacer], "replacer", "SIGKILL");
            const journal = join(machineDirectory(deployment.home, replacer.name), "lib/journal.jsonl");
            const starts = () =>
                readJournal(journal)
                    .filter((entry) => entry.kind === "start")
                    .at(-1)?.time;
            const before = starts();
            return { ...strike, isBack: () => strike.isBack() && starts() !== before };
        },
    },
];

/** Faults that only the comparison makes, where nobody but the benchmark changes the deployment. */
export const stagedFaults: readonly Fault[] = [
    {
        name: "host-loss",
        what: "a gateway's machine is gone and its network with it: packets vanish, nothing is refused or reset",
        watchMs: 12_000,
        prepare: async (deployment, trial) => {
            const gateway = turn(deployment.gateways, trial);
            const kill = instanceKilled(deployment, gateway);
            return {
                ...kill,
                strike: async () => {
                    cutOff(gateway.address);
                    await kill.strike();
                },
                undo: reconnect,
            };
        },
    },
    {
        name: "registry-stop",
        what: "the whole registry is gone for 6 s: kill -9 of all Consul servers' machines, SIGSTOP of all Serf agents",
        watchMs: 8_000,
        prepare: async (deployment) =>
            deployment.consul ? serversGone(deployment, 6_000) : agentsFrozen(deployment, 6_000),
    },
    {
        name: "registry-empty",
        what: "the registry says for 5 s that there is no gateway, while all of them serve",
        watchMs: 8_000,
        prepare: async (deployment) => {
            const { gateways, home } = deployment;
            return {
                target: gateways.map((gateway) => gateway.name).join(", "),
                strike: async () => {
                    await Promise.all(gateways.map((gateway) => withdraw(home, gateway)));
                    await delay(5_000);
                    await Promise.all(gateways.map((gateway) => announce(home, gateway)));
                },
                undo: () => undefined,
                // Whoever interrupts it must not leave it so.
                mend: async () => void (await Promise.all(gateways.map((gateway) => announce(home, gateway)))),
                isBack: () => true,
            };
        },
    },
    {
        name: "agent-restart",
        what: "kill -9 of the registry's agents on a balancer and on a gateway; their supervisors start them again",
        prepare: async (deployment, trial) => {
            const machines = [deployment.balancers[0] as ProcessMachine, turn(deployment.gateways, trial)];
            return signalled(deployment, machines, deployment.consul ? "consul" : "serf", "SIGKILL");
        },
    },
    {
        name: "scale",
        what: "four more gateways, and when all serve they are drained and stopped again",
        watchMs: 1_000,
        prepare: async (deployment) => {
            const names = [2, 3, 4, 5].map((index) => `gw-${index}`);
            return {
                target: names.join(", "),
                strike: async () => {
                    await Promise.all(names.map((name) => restartMachine(deployment.home, name)));
                    await inRotation(deployment, names);
                    await Promise.all(names.map((name) => stopMachine(deployment.home, name)));
                },
                undo: () => undefined,
                mend: async () => void (await Promise.all(names.map((name) => stopMachine(deployment.home, name)))),
                isBack: () => true,
            };
        },
    },
    {
        name: "rolling-restart",
        what: "every gateway's machine is drained, stopped and booted, one after the other, as a deployment does",
        watchMs: 1_000,
        prepare: async (deployment) => {
            const names = deployment.gateways.map((gateway) => gateway.name);
            return {
                target: names.join(", "),
                strike: async () => {
                    for (const name of names) {
                        await stopMachine(deployment.home, name);
                        await restartMachine(deployment.home, name);
                        await inRotation(deployment, [name]);
                    }
                },
                undo: () => undefined,
                mend: async () => void (await Promise.all(names.map((name) => restartMachine(deployment.home, name)))),
                isBack: () => true,
            };
        },
    },
    {
        name: "route-changes",
        what: `a gateway is taken out of the registry and put back, ${CHANGES.count} changes in a minute`,
        watchMs: 1_000,
        prepare: async (deployment, trial) => {
            const gateway = turn(deployment.gateways, trial);
            return {
                target: gateway.name,
                strike: async () => {
                    const begun = performance.now();
                    for (let change = 0; change < CHANGES.count; change++) {
                        await (change % 2 === 0 ? withdraw : announce)(deployment.home, gateway);
                        await delay(Math.max(0, begun + (change + 1) * CHANGES.everyMs - performance.now()));
                    }
                },
                undo: () => undefined,
                mend: () => announce(deployment.home, gateway),
                isBack: () => true,
            };
        },
    },
];

function instanceKilled(deployment: Deployment, gateway: ProcessMachine): Strike {
    const before = incarnationOf(deployment, gateway);
    return {
        target: gateway.name,
        gateway,
        replaced: true,
        strike: async () => void (await killMachine(deployment.home, gateway.name)),
        undo: () => undefined,
        mend: async () => void (await restartMachine(deployment.home, gateway.name)),
        isBack: () => ![undefined, before].includes(incarnationOf(deployment, gateway)),
    };
}

function serversGone({ home, consulServers }: Deployment, forMs: number): Strike {
    const names = consulServers.map((server) => server.name);
    const boot = async () => void (await Promise.all(names.map((name) => restartMachine(home, name))));
    return {
        target: names.join(", "),
        strike: async () => {
            await Promise.all(names.map((name) => killMachine(home, name)));
            await delay(forMs);
            await boot();
        },
        undo: () => undefined,
        mend: boot,
        isBack: () => true,
    };
}

function agentsFrozen(deployment: Deployment, forMs: number): Strike {
    const machines = [...deployment.balancers, ...deployment.gateways];
    const agents = machines.flatMap((machine) => identify(runningPid(deployment, machine, "serf")) ?? []);
    let isBack = false;
    return {
        target: `serf of ${machines.map((machine) => machine.name).join(", ")}`,
        strike: async () => {
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

/** Waits until every balancer sends calls to these gateways. */
async function inRotation({ home, balancers, gateways }: Deployment, names: readonly string[]): Promise<void> {
    const pages = balancers.map((balancer) => `http://${endpointOf(balancer, "balancer-status")}`);
    const network = (gateways[0] as ProcessMachine).address.replace(/\d+$/, "");
    void home;
    await Promise.all(names.map((name) => waitForRotation(pages, `${network}${50 + Number(name.slice(3))}`)));
}

function ofBalancer(name: string, service: string, what: string): Fault {
    return {
        name,
        what: `kill -9 of ${what}`,
        prepare: async (deployment) => signalled(deployment, deployment.balancers.slice(0, 1), service, "SIGKILL"),
    };
}

/** A signal to one service on some machines at once; it is back when each has a process that is new and ready. */
function signalled(
    deployment: Deployment,
    machines: readonly ProcessMachine[],
    service: string,
    name: NodeJS.Signals,
): Strike {
    const victims = machines.map((machine) => ({ machine, pid: runningPid(deployment, machine, service) }));
    return {
        target: `${service} of ${machines.map((machine) => machine.name).join(", ")}`,
        strike: async () => {
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
    const pid = pidOf(deployment, machine, service);
    if (pid === undefined) throw new Error(`${service} of ${machine.name} does not run`);
    return pid;
}

const turn = (machines: readonly ProcessMachine[], trial: number) =>
    machines[trial % machines.length] as ProcessMachine;
