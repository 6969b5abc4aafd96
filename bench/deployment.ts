/** The deployment of the `local` target that runs on this computer, as the benchmarks see it. */

import { join } from "node:path";
import { type BalancerOptions, balancerStates } from "../replacement/observers/balancer";
import { ConsulHttp } from "../replacement/observers/consul";
import { request } from "../replacement/observers/http";
import type { ProcessMachine } from "../roles/render/process";
import { UserError } from "../scripts/engine";
import { readJson } from "../supervisor/files";
import { type MachineHome, machineDirectory, readMachine, readStatus } from "../supervisor/machine";
import { machineNames, readLiveRecord } from "../supervisor/record";

/** Deadline of one question to a balancer or to Consul, seconds. */
const ASK_TIMEOUT = 1;

/** The machines of a deployment by what they do, and Consul's HTTP API. */
export interface Deployment {
    readonly home: Pick<MachineHome, "machines">;
    readonly gateways: readonly ProcessMachine[];
    readonly balancers: readonly ProcessMachine[];
    readonly consulServers: readonly ProcessMachine[];
    readonly replacer: ProcessMachine;
    /** The gateway's name in Consul. */
    readonly service: string;
    readonly consul: ConsulHttp;
}

/**
 * Reads from the machines' folders what is deployed.
 *
 * @throws UserError when that is nothing, or not all of a deployment.
 */
export function readDeployment(home: Pick<MachineHome, "machines">): Deployment {
    const machines = machineNames(home.machines).flatMap((name) => readMachine(home, name) ?? []);
    const inRole = (role: string) => machines.filter((machine) => machine.role === role);
    const [gateways, balancers, consulServers] = [inRole("gateway"), inRole("balancer"), inRole("consul-server")];
    const [balancer, replacer] = [balancers[0], inRole("replacer")[0]];
    const service =
        replacer &&
        readJson<Settings>(join(machineDirectory(home, replacer.name), "etc/replacer.json"))?.consul?.service;
    if (!balancer || !replacer || !service || gateways.length === 0 || consulServers.length === 0) {
        throw new UserError(
            `no deployment with Consul and consul-template is in ${home.machines}: run npm start with that stack first`,
        );
    }
    const consul = new ConsulHttp({
        addresses: consulServers.map((server) => consulUrl(server)),
        // The balancer's token: it may read services and nodes, which is all that is asked here.
        tokenFile: join(machineDirectory(home, balancer.name), "etc/consul-template/token"),
        timeoutSeconds: ASK_TIMEOUT,
    });
    return { home, gateways, balancers, consulServers, replacer, service, consul };
}

/** What is read of the replacement loop's configuration. */
interface Settings {
    /** Undefined with a stack that has no Consul. */
    readonly consul?: { readonly service: string };
}

/** `host:port` of one of a machine's ports. @throws Error when it has no port of that name. */
export function endpointOf(machine: ProcessMachine, port: string): string {
    const found = machine.ports.find(({ name }) => name === port);
    if (!found) throw new Error(`${machine.name} has no port "${port}"`);
    return `${machine.address}:${found.port}`;
}

/** What identifies one run of a machine: new for every boot. Undefined when it does not run. */
export function incarnationOf(deployment: Deployment, machine: ProcessMachine): string | undefined {
    return readLiveRecord(machineDirectory(deployment.home, machine.name))?.incarnation;
}

/** The process of a service; undefined when it has none at the moment. */
export function pidOf(deployment: Deployment, machine: ProcessMachine, service: string): number | undefined {
    return readStatus(deployment.home, machine.name)?.services[service]?.pid;
}

/** Where a balancer says how it sees the gateways. */
function statusPage(balancer: ProcessMachine): BalancerOptions {
    return { name: balancer.name, url: `http://${endpointOf(balancer, "balancer-status")}/;csv` };
}

const consulUrl = (server: ProcessMachine) => `http://${endpointOf(server, "consul-http")}`;

/** Whether a balancer gives a gateway new calls; undefined when the balancer does not answer. */
export async function isUsed(balancer: ProcessMachine, gateway: ProcessMachine): Promise<boolean | undefined> {
    return balancerStates(statusPage(balancer), ASK_TIMEOUT).then(
        (states) => states.get(gateway.address) === "up",
        () => undefined,
    );
}

/** The Consul server that leads. @throws Error when none does. */
export async function leaderOf({ consul, consulServers }: Deployment): Promise<ProcessMachine> {
    const address = await consul.get<string>("/v1/status/leader");
    const leader = consulServers.find((server) => address.startsWith(`${server.address}:`));
    if (!leader) throw new Error("Consul has no leader");
    return leader;
}

/**
 * What is amiss in a deployment, in a few words each; empty when it is whole: all machines and services are up, Consul
 * has one leader and all its peers, and every gateway passes in Consul and gets calls from every balancer.
 */
export async function problems(deployment: Deployment): Promise<string[]> {
    const { gateways, balancers, consulServers } = deployment;
    const machines = [...consulServers, ...balancers, ...gateways, deployment.replacer];
    const found = await Promise.all([
        ...machines.map(async (machine) => machineProblems(deployment, machine)),
        ...balancers.map((balancer) => balancerProblems(balancer, gateways)),
        ...consulServers.map(leaderProblems),
        registryProblems(deployment, "consul", consulServers),
        registryProblems(deployment, deployment.service, gateways),
    ]);
    return found.flat();
}

function machineProblems(deployment: Deployment, machine: ProcessMachine): string[] {
    if (!incarnationOf(deployment, machine)) return [`${machine.name} does not run`];
    const services = readStatus(deployment.home, machine.name)?.services ?? {};
    return machine.services.flatMap(({ name }) => {
        const state = services[name]?.state ?? "not started";
        return state === "ready" || state === "succeeded" ? [] : [`${name} of ${machine.name} is ${state}`];
    });
}

async function balancerProblems(balancer: ProcessMachine, gateways: readonly ProcessMachine[]): Promise<string[]> {
    try {
        const states = await balancerStates(statusPage(balancer), ASK_TIMEOUT);
        return gateways.flatMap(({ name, address }) => {
            const state = states.get(address) ?? "unknown";
            return state === "up" ? [] : [`${balancer.name} has ${name} as ${state}`];
        });
    } catch (error) {
        return [(error as Error).message];
    }
}

async function leaderProblems(server: ProcessMachine): Promise<string[]> {
    // Each server is asked by itself: another's answer says nothing of whether it has joined again.
    const consul = new ConsulHttp({ addresses: [consulUrl(server)], timeoutSeconds: ASK_TIMEOUT });
    const leader = await consul.get<string>("/v1/status/leader").catch(() => "");
    return leader ? [] : [`${server.name} knows no leader`];
}

async function registryProblems(
    { consul }: Deployment,
    service: string,
    machines: readonly ProcessMachine[],
): Promise<string[]> {
    try {
        const entries = await consul.get<{ Node: { Address: string } }[]>(`/v1/health/service/${service}?passing`);
        const passing = new Set(entries.map((entry) => entry.Node.Address));
        return machines.flatMap(({ name, address }) =>
            passing.has(address) ? [] : [`${name} does not pass in Consul`],
        );
    } catch (error) {
        return [(error as Error).message];
    }
}

/** Whether every gateway gets its full share: for some seconds after a gateway came back, HAProxy gives it less. */
export async function hasFullShares({ balancers }: Deployment): Promise<boolean> {
    const pages = await Promise.all(
        balancers.map((balancer) => request({ url: statusPage(balancer).url, timeoutSeconds: ASK_TIMEOUT })),
    );
    return pages.every(({ body }) => {
        const [header = "", ...rows] = body.split("\n");
        // No column before this one is ever quoted.
        const column = header.split(",").indexOf("throttle");
        return rows.every((row) => ["", "100", undefined].includes(row.split(",")[column]));
    });
}
