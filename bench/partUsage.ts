/** CPU time and memory that the parts of a deployment use during a measurement. */

import type { ProcessMachine } from "../programs/supervisor/description";
import { machineDirectory } from "../programs/supervisor/machine";
import { readLiveRecord } from "../programs/supervisor/record";
import { type Part, type Parts, partNames } from "./benchRecords";
import { type Deployment, isFabio, servicePid } from "./localDeployment";
import { coreSeconds, type ProcessUsage, processGroupUsage, processUsage, sumUsage } from "./processUsage";

/**
 * Starts measuring.
 *
 * @returns a function that gives each part's CPU since then and its memory now, and the share of all cores that was
 * busy.
 */
export function startUsageMeasurement(deployment: Deployment, generator: number): () => { parts: Parts; busy: number } {
    const begun = performance.now();
    const before = usages(deployment, generator);
    const cores = coreSeconds();
    return () => {
        const seconds = (performance.now() - begun) / 1000;
        const after = usages(deployment, generator);
        const now = coreSeconds();
        const used = partNames.map((part) => {
            const cpu = (after[part].cpuSeconds - before[part].cpuSeconds) / seconds;
            return [part, { cores: round(Math.max(0, cpu), 4), mib: round(after[part].memoryBytes / 2 ** 20, 1) }];
        });
        return {
            parts: Object.fromEntries(used) as Parts,
            busy: round((now.busy - cores.busy) / (now.all - cores.all), 3),
        };
    };
}

const round = (value: number, digits: number) => Number(value.toFixed(digits));

function usages(deployment: Deployment, generator: number): Record<Part, ProcessUsage> {
    const { balancers, gateways, consulServers } = deployment;
    const balancer = balancers[0] as ProcessMachine;
    const machine = (each: ProcessMachine) => {
        const record = readLiveRecord(machineDirectory(deployment.home, each.name));
        return record ? processGroupUsage(record.pid) : sumUsage([]);
    };
    const service = (each: ProcessMachine, name: string) => processUsage(servicePid(deployment, each, name) ?? 0);
    const proxy = service(balancer, isFabio(balancer) ? "fabio" : "haproxy");
    const servers = sumUsage(gateways.map((gateway) => service(gateway, "gateway")));
    return {
        proxy,
        helpers: minus(machine(balancer), proxy),
        registry: sumUsage(consulServers.map(machine)),
        gateways: servers,
        sidecars: minus(sumUsage(gateways.map(machine)), servers),
        generator: processUsage(generator),
    };
}

const minus = (a: ProcessUsage, b: ProcessUsage): ProcessUsage => ({
    cpuSeconds: a.cpuSeconds - b.cpuSeconds,
    memoryBytes: a.memoryBytes - b.memoryBytes,
});
