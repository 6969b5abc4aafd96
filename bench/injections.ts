/** The faults that can be made in a deployment of the `local` target. */

import { join } from "node:path";
import { readJournal } from "../replacement/journal";
import type { ProcessMachine } from "../roles/render/process";
import { killMachine, machineDirectory, readStatus } from "../supervisor/machine";
import { identify, isAlive, signal } from "../supervisor/process";
import { type Deployment, incarnationOf, leaderOf, pidOf } from "./deployment";

/** How long a stopped process stays so, milliseconds: less than the replacement loop bears. */
const FROZEN_MS = 5_000;

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
}

/** A fault that is about to be made. */
export interface Strike {
    /** The victim, such as `gateway of gw-1`. */
    readonly target: string;
    /** The gateway that the balancers have to stop using. */
    readonly gateway?: ProcessMachine;
    /** Whether the replacement loop has to replace that gateway. */
    readonly replaced?: boolean;
    strike(): Promise<void>;
    /** Takes the fault back; safe at any time and as often as one likes. */
    undo(): void;
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
        prepare: async (deployment, trial) => {
            const gateway = turn(deployment.gateways, trial);
            const before = incarnationOf(deployment, gateway);
            return {
                target: gateway.name,
                gateway,
                replaced: true,
                strike: async () => void (await killMachine(deployment.home, gateway.name)),
                undo: () => undefined,
                isBack: () => ![undefined, before].includes(incarnationOf(deployment, gateway)),
            };
        },
    },
    {
        name: "gateway-stop",
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
    ofBalancer("balancer", "haproxy", "a balancer; only clients with several addresses go on"),
    ofBalancer("consul-template", "consul-template", "a balancer's consul-template"),
    ofBalancer("reconciler", "reconciler", "a balancer's reconciler"),
    {
        name: "replacer",
        what: "kill -9 of the replacement loop",
        prepare: async (deployment) => {
            const strike = signalled(deployment, [deployment.replacer], "replacer", "SIGKILL");
            const journal = join(machineDirectory(deployment.home, deployment.replacer.name), "lib/journal.jsonl");
            const starts = () =>
                readJournal(journal)
                    .filter((entry) => entry.kind === "start")
                    .at(-1)?.time;
            const before = starts();
            return { ...strike, isBack: () => strike.isBack() && starts() !== before };
        },
    },
];

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
