/** Who used how much CPU and memory while something went on. */
import type { ProcessMachine } from "../roles/render/process";
import { machineDirectory } from "../supervisor/machine";
import { readLiveRecord } from "../supervisor/record";
import { type Deployment, isFabio, pidOf } from "./deployment";
import { type Part, type Parts, parts } from "./records";
import { coreSeconds, groupUsage, sum, type Usage, usageOf } from "./usage";

/** Begins to count. @returns what ends it: the parts' CPU since then and their memory now, and how busy all cores were. */
export function account(deployment: Deployment, generator: number): () => { parts: Parts; busy: number } {
    const begun = performance.now();
    const before = usages(deployment, generator);
    const cores = coreSeconds();
    return () => {
        const seconds = (performance.now() - begun) / 1000;
        const after = usages(deployment, generator);
        const now = coreSeconds();
        const used = parts.map((part) => {
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

function usages(deployment: Deployment, generator: number): Record<Part, Usage> {
    const { balancers, gateways, consulServers } = deployment;
    const balancer = balancers[0] as ProcessMachine;
    const machine = (each: ProcessMachine) => {
        const record = readLiveRecord(machineDirectory(deployment.home, each.name));
        return record ? groupUsage(record.pid) : sum([]);
    };
    const service = (each: ProcessMachine, name: string) => usageOf(pidOf(deployment, each, name) ?? 0);
    const proxy = service(balancer, isFabio(balancer) ? "fabio" : "haproxy");
    const servers = sum(gateways.map((gateway) => service(gateway, "gateway")));
    return {
        proxy,
        helpers: minus(machine(balancer), proxy),
        registry: sum(consulServers.map(machine)),
        gateways: servers,
        sidecars: minus(sum(gateways.map(machine)), servers),
        generator: usageOf(generator),
    };
}

const minus = (a: Usage, b: Usage): Usage => ({
    cpuSeconds: a.cpuSeconds - b.cpuSeconds,
    memoryBytes: a.memoryBytes - b.memoryBytes,
});
