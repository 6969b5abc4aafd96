/** The machines of this computer and their services, as their supervisors say. */
import { join } from "node:path";
import type { GatewayHome } from "../lib/home";
import { readMachine, readStatus } from "../programs/supervisor/machine";
import { type MachineStatus, machineNames, readLiveRecord, readRecord } from "../programs/supervisor/record";
import { runningMachines } from "../programs/supervisor/running";

/** A machine of this computer. */
export interface MachineHealth {
    readonly name: string;
    readonly address: string;
    /** The supervisor's process; absent when the machine does not run. */
    readonly pid?: number;
    readonly services: readonly ServiceHealth[];
    /** What is wrong with it, in words; empty when it is healthy. */
    readonly ailments: readonly string[];
}

/** A service of a machine. */
export interface ServiceHealth {
    readonly name: string;
    /** As its supervisor says; "unknown" when that says nothing. */
    readonly state: string;
    readonly restarts: number;
    readonly lastEnd?: string;
}

/** A service that has restarted this often, and runs for less than this many seconds, is taken for one that fails for ever. */
const FAILING = { restarts: 3, seconds: 15 };

/** Every machine of the home folder, and those that run although their folder was removed. */
export function machinesHealth(home: Pick<GatewayHome, "root" | "machines">, now = Date.now()): MachineHealth[] {
    const found = runningMachines(home.root).filter(
        ({ directory, pid, removed }) => removed || readRecord(directory)?.pid !== pid,
    );
    // The supervisor of a removed folder makes it again, with nothing but its log and its status in it.
    const known = machineNames(home.machines)
        .filter((name) => !found.some((lost) => lost.name === name) || readMachine(home, name))
        .map((name) => healthOf(home, name, now));
    const lost = found.map(({ name, pid }) => ({
        name,
        address: "?",
        pid,
        services: [],
        ailments: ["it runs, but its folder or its record was removed"],
    }));
    return [...known, ...lost];
}

function healthOf(home: Pick<GatewayHome, "machines">, name: string, now: number): MachineHealth {
    const machine = readMachine(home, name);
    const record = readLiveRecord(join(home.machines, name));
    const states = readStatus(home, name)?.services ?? {};
    const services = (machine?.services ?? []).map((service): ServiceHealth => {
        const { state, restarts = 0, lastEnd } = states[service.name] ?? {};
        return {
            name: service.name,
            // Without its supervisor, nothing of the machine runs, whatever was written last.
            state: record ? (state ?? "unknown") : "stopped",
            restarts,
            ...(lastEnd === undefined ? {} : { lastEnd }),
        };
    });
    return {
        name,
        address: machine?.address ?? "?",
        ...(record ? { pid: record.pid } : {}),
        services,
        ailments: record
            ? [
                  ...(machine ? [] : ["its description is lost"]),
                  ...services.flatMap((service) => ailmentOf(service, states[service.name], now) ?? []),
              ]
            : ["it does not run"],
    };
}

function ailmentOf(
    { name, state, restarts, lastEnd }: ServiceHealth,
    status: MachineStatus["services"][string] | undefined,
    now: number,
): string | undefined {
    const history = restarts > 0 || lastEnd ? ` (${restarts} restarts${lastEnd ? `, ended with ${lastEnd}` : ""})` : "";
    if (state !== "ready" && state !== "succeeded") return `${name} is ${state}${history}`;
    // One without a readiness check counts as ready at once, so it is ready for a moment at each start.
    const since = (now - Date.parse(status?.since ?? "")) / 1000;
    const fails = state === "ready" && restarts >= FAILING.restarts && since < FAILING.seconds;
    return fails ? `${name} restarts again and again${history}` : undefined;
}

/** The machines as lines of text, with what is wrong first. */
export function renderMachines(machines: readonly MachineHealth[]): string {
    const rows = machines.map(({ name, address, pid, services, ailments }) => [
        name,
        address,
        ailments.length > 0 ? "NOT HEALTHY" : "healthy",
        pid === undefined ? "-" : String(pid),
        services.map((service) => `${service.name}:${service.state}`).join(" ") || "-",
    ]);
    const all = [["MACHINE", "ADDRESS", "IS", "PROCESS", "SERVICES"], ...rows];
    const widths = [0, 1, 2, 3].map((column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
    return `${all.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")).join("\n")}\n`;
}
