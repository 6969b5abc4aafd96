/** A deployment of the target `local` that runs on this computer, as the benchmarks see it. */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type BalancerOptions, balancerStates, statusUrls } from "../clients/balancerStatus";
import { ConsulHttp } from "../clients/consul";
import { UserError } from "../engine/stack";
import { readJson } from "../lib/files";
import { request } from "../lib/http";
import type { DrainSettings } from "../programs/drain/main";
import type { ProcessMachine } from "../programs/supervisor/description";
import { type MachineHome, machineDirectory, readMachine, readStatus } from "../programs/supervisor/machine";
import { machineNames, readLiveRecord } from "../programs/supervisor/record";

/** Deadline of a request to a balancer or to Consul, seconds. */
const ASK_TIMEOUT = 1;

/** The machines of a deployment by role, and Consul's HTTP API. */
export interface Deployment {
    readonly home: BenchHome;
    readonly gateways: readonly ProcessMachine[];
    readonly balancers: readonly ProcessMachine[];
    /** Empty with Serf. */
    readonly consulServers: readonly ProcessMachine[];
    /** Undefined without a replacement loop. */
    readonly replacer?: ProcessMachine;
    /** The gateway's name in Consul. */
    readonly service: string;
    /** Undefined with Serf. */
    readonly consul?: ConsulHttp;
}

/** The folder of the machines, and the supervisor program that boots them. */
export type BenchHome = Pick<MachineHome, "machines" | "supervisor">;

/** The {@link BenchHome} of a deployment's folders. */
export function benchHome(home: { readonly machines: string; readonly bundles: string }): BenchHome {
    const supervisors = existsSync(home.bundles)
        ? readdirSync(home.bundles).filter((name) => name.startsWith("supervisor-"))
        : [];
    // Earlier versions may have left others. Any of them boots a machine, whose folder says what to run.
    return { machines: home.machines, supervisor: join(home.bundles, supervisors.at(-1) ?? "") };
}

/**
 * Reads a deployment from the machines' folders.
 *
 * @param wanted selects machines. Default: all.
 * @throws UserError when the deployment is missing or incomplete.
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
    if (!balancer || !gateway)
        throw new UserError(`There is no deployment in ${home.machines}. Run "npm start" first.`);
    const common = { home, gateways, balancers, consulServers, ...(replacer ? { replacer } : {}) };
    const registration = drainSettings(home, gateway);
    if ("serf" in registration) return { ...common, service: "" };
    const tokenFile = join(machineDirectory(home, balancer.name), "etc/consul-template/token");
    const consul = new ConsulHttp({
        // A balancer's token may read services and nodes. Fabio uses the agent of its machine.
        ...(existsSync(tokenFile)
            ? { addresses: consulServers.map(consulUrl), tokenFile }
            : { addresses: balancers.map(consulUrl) }),
        timeoutSeconds: ASK_TIMEOUT,
    });
    return { ...common, service: registration.serviceId.replace(`-${gateway.name}`, ""), consul };
}

/** How a gateway deregisters before it stops. */
export function drainSettings(home: Pick<MachineHome, "machines">, gateway: ProcessMachine): DrainSettings {
    const path = join(machineDirectory(home, gateway.name), "etc/drain.json");
    const settings = readJson<DrainSettings>(path);
    if (!settings) throw new UserError(`${path} is missing. Deploy again.`);
    return settings;
}

/** `host:port` of a named port of a machine. @throws Error when the machine has no such port. */
export function endpointOf(machine: ProcessMachine, port: string): string {
    const found = machine.ports.find(({ name }) => name === port);
    if (!found) throw new Error(`${machine.name} has no port "${port}"`);
    return `${machine.address}:${found.port}`;
}

/** Identifies one boot of a machine. Undefined when the machine does not run. */
export function incarnationOf(deployment: Deployment, machine: ProcessMachine): string | undefined {
    return readLiveRecord(machineDirectory(deployment.home, machine.name))?.incarnation;
}

/** The process id of a service. Undefined when it has no process at the moment. */
export function servicePid(deployment: Deployment, machine: ProcessMachine, service: string): number | undefined {
    return readStatus(deployment.home, machine.name)?.services[service]?.pid;
}

/** The status page of a balancer, with the states of the gateways. */
function statusPage(balancer: ProcessMachine): BalancerOptions {
    const url = isFabio(balancer) ? statusUrls.fabio : statusUrls.haproxy;
    return { name: balancer.name, url: url(`http://${endpointOf(balancer, "balancer-status")}`) };
}

/** Whether a balancer runs Fabio. */
export const isFabio = (balancer: ProcessMachine): boolean => balancer.services.some(({ name }) => name === "fabio");

/** The HTTP API of the Consul agent on a machine. */
const consulUrl = (machine: ProcessMachine) => `http://${endpointOf(machine, "consul-http")}`;

/** Addresses of the gateways that get new calls from a balancer. Undefined when the balancer does not answer. */
export async function gatewaysInUse(balancer: ProcessMachine): Promise<ReadonlySet<string> | undefined> {
    return balancerStates(statusPage(balancer), ASK_TIMEOUT).then(
        (states) => new Set([...states].filter(([, state]) => state === "up").map(([address]) => address)),
        () => undefined,
    );
}

/** The leader among the Consul servers. @throws Error when there is none. */
export async function consulLeader({ consul, consulServers }: Deployment): Promise<ProcessMachine> {
    if (!consul) throw new Error("this stack has no Consul");
    const address = await consul.get<string>("/v1/status/leader");
    const leader = consulServers.find((server) => address.startsWith(`${server.address}:`));
    if (!leader) throw new Error("Consul has no leader");
    return leader;
}

/**
 * The problems of a deployment, a short text each. None when it is healthy: all machines and services are up, every
 * gateway gets calls from every balancer, and Consul, where there is one, has a leader, all its peers and every gateway.
 */
export async function deploymentProblems(deployment: Deployment): Promise<string[]> {
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
    if (!incarnationOf(deployment, machine)) return [`${machine.name} is not running`];
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
            return state === "up" ? [] : [`${balancer.name} reports ${name} as ${state}`];
        });
    } catch (error) {
        return [(error as Error).message];
    }
}

async function leaderProblems(server: ProcessMachine): Promise<string[]> {
    // Ask each server: the answer of another does not show that this one has joined again.
    const consul = new ConsulHttp({ addresses: [consulUrl(server)], timeoutSeconds: ASK_TIMEOUT });
    const leader = await consul.get<string>("/v1/status/leader").catch(() => "");
    return leader ? [] : [`${server.name} has no leader`];
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
            passing.has(address) ? [] : [`${name} is not passing in Consul`],
        );
    } catch (error) {
        return [(error as Error).message];
    }
}

/**
 * Whether every gateway gets its full share of calls. HAProxy sends less to a gateway for some seconds after its
 * return.
 */
export async function hasFullShares({ balancers }: Deployment): Promise<boolean> {
    const pages = await Promise.all(
        balancers
            .filter((balancer) => !isFabio(balancer))
            .map((balancer) => request({ url: statusPage(balancer).url, timeoutSeconds: ASK_TIMEOUT })),
    );
    return pages.every(({ body }) => {
        const [header = "", ...rows] = body.split("\n");
        // No column before this one is quoted.
        const column = header.split(",").indexOf("throttle");
        return rows.every((row) => ["", "100", undefined].includes(row.split(",")[column]));
    });
}
