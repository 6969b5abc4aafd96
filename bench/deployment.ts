/** A deployment of the `local` target that runs on this computer, as the benchmarks see it. */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type BalancerOptions, balancerStates, statusUrls } from "../replacement/observers/balancer";
import { ConsulHttp } from "../replacement/observers/consul";
import { request } from "../replacement/observers/http";
import type { DrainSettings } from "../roles/programs/drain";
import type { ProcessMachine } from "../roles/render/process";
import { UserError } from "../scripts/engine";
import { readJson } from "../supervisor/files";
import { type MachineHome, machineDirectory, readMachine, readStatus } from "../supervisor/machine";
import { machineNames, readLiveRecord } from "../supervisor/record";

/** Deadline of one question to a balancer or to Consul, seconds. */
const ASK_TIMEOUT = 1;

/** The machines of a deployment by what they do, and Consul's HTTP API. */
export interface Deployment {
    readonly home: BenchHome;
    readonly gateways: readonly ProcessMachine[];
    readonly balancers: readonly ProcessMachine[];
    /** None with Serf. */
    readonly consulServers: readonly ProcessMachine[];
    /** Undefined where nobody replaces machines. */
    readonly replacer?: ProcessMachine;
    /** The gateway's name in Consul. */
    readonly service: string;
    /** Undefined with Serf. */
    readonly consul?: ConsulHttp;
}

/** Where the machines are, and what boots them again. */
export type BenchHome = Pick<MachineHome, "machines" | "supervisor">;

/** Where the machines of a deployment are, by its folders. */
export function benchHome(home: { readonly machines: string; readonly bundles: string }): BenchHome {
    const supervisors = existsSync(home.bundles)
        ? readdirSync(home.bundles).filter((name) => name.startsWith("supervisor-"))
        : [];
    // Of several, from earlier versions, any boots a machine: what it boots is in the machine's own folder.
    return { machines: home.machines, supervisor: join(home.bundles, supervisors.at(-1) ?? "") };
}

/**
 * Reads from the machines' folders what is deployed, on the machines that are `wanted`: all of them by default.
 *
 * @throws UserError when that is nothing, or not all of a deployment.
 */
export function readDeployment(home: BenchHome, wanted: (machine: ProcessMachine) => boolean = () => true): Deployment {
    const machines = machineNames(home.machines)
        .flatMap((name) => readMachine(home, name) ?? [])
        .filter(wanted)
        // gw-2 before gw-10.
        .sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    const inRole = (role: string) => machines.filter((machine) => machine.role === role);
    const [gateways, balancers, consulServers] = [inRole("gateway"), inRole("balancer"), inRole("consul-server")];
    const [gateway, balancer, replacer] = [gateways[0], balancers[0], inRole("replacer")[0]];
    if (!balancer || !gateway) throw new UserError(`no deployment is in ${home.machines}: run npm start first`);
    const common = { home, gateways, balancers, consulServers, ...(replacer ? { replacer } : {}) };
    const registration = drainSettings(home, gateway);
    if ("serf" in registration) return { ...common, service: "" };
    const tokenFile = join(machineDirectory(home, balancer.name), "etc/consul-template/token");
    const consul = new ConsulHttp({
        // The balancers' rights are enough: they may read services and nodes. Fabio's are those of its machine's agent.
        ...(existsSync(tokenFile)
            ? { addresses: consulServers.map(consulUrl), tokenFile }
            : { addresses: balancers.map(consulUrl) }),
        timeoutSeconds: ASK_TIMEOUT,
    });
    return { ...common, service: registration.serviceId.replace(`-${gateway.name}`, ""), consul };
}

/** How a gateway takes its leave of the registry. */
export function drainSettings(home: Pick<MachineHome, "machines">, gateway: ProcessMachine): DrainSettings {
    const path = join(machineDirectory(home, gateway.name), "etc/drain.json");
    const settings = readJson<DrainSettings>(path);
    if (!settings) throw new UserError(`${path} is missing: deploy again`);
    return settings;
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
    const url = isFabio(balancer) ? statusUrls.fabio : statusUrls.haproxy;
    return { name: balancer.name, url: url(`http://${endpointOf(balancer, "balancer-status")}`) };
}

/** Whether a balancer is one with Fabio. */
export const isFabio = (balancer: ProcessMachine): boolean => balancer.services.some(({ name }) => name === "fabio");

/** The HTTP API of a machine's Consul. */
const consulUrl = (machine: ProcessMachine) => `http://${endpointOf(machine, "consul-http")}`;

/** Addresses of the gateways that a balancer gives new calls; undefined when the balancer does not answer. */
export async function usedBy(balancer: ProcessMachine): Promise<ReadonlySet<string> | undefined> {
    return balancerStates(statusPage(balancer), ASK_TIMEOUT).then(
        (states) => new Set([...states].filter(([, state]) => state === "up").map(([address]) => address)),
        () => undefined,
    );
}

/** The Consul server that leads. @throws Error when none does. */
export async function leaderOf({ consul, consulServers }: Deployment): Promise<ProcessMachine> {
    if (!consul) throw new Error("this stack has no Consul");
    const address = await consul.get<string>("/v1/status/leader");
    const leader = consulServers.find((server) => address.startsWith(`${server.address}:`));
    if (!leader) throw new Error("Consul has no leader");
    return leader;
}

/**
 * What is amiss in a deployment, in a few words each; empty when it is whole: all machines and services are up, every
 * gateway gets calls from every balancer, and Consul, where there is one, has a leader, all its peers and every gateway.
 */
export async function problems(deployment: Deployment): Promise<string[]> {
    const { gateways, balancers, consulServers, consul, replacer } = deployment;
    const machines = [...consulServers, ...balancers, ...gateways, ...(replacer ? [replacer] : [])];
    const found = await Promise.all([
        ...machines.map(async (machine) => machineProblems(deployment, machine)),
        ...balancers.map((balancer) => balancerProblems(balancer, gateways)),
        ...consulServers.map(leaderProblems),
        ...(consul
            ? [
                  registryProblems(consul, "consul", consulServers),
                  registryProblems(consul, deployment.service, gateways),
              ]
            : []),
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
    consul: ConsulHttp,
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
        balancers
            .filter((balancer) => !isFabio(balancer))
            .map((balancer) => request({ url: statusPage(balancer).url, timeoutSeconds: ASK_TIMEOUT })),
    );
    return pages.every(({ body }) => {
        const [header = "", ...rows] = body.split("\n");
        // No column before this one is ever quoted.
        const column = header.split(",").indexOf("throttle");
        return rows.every((row) => ["", "100", undefined].includes(row.split(",")[column]));
    });
}
