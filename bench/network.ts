/** The network that a benchmark runs in: a namespace of its own, so that nothing else is reached or disturbed. */
import { execFileSync, spawn } from "node:child_process";
import { UserError } from "../scripts/engine";

/** Set in the environment of what runs in its own namespace. */
const marker = "GATEWAY_BENCH_NETWORK";

/** Whether this process runs in a network namespace of its own. */
export const isIsolated = (): boolean => process.env[marker] === "own";

/**
 * Runs this very command again in a network namespace that has loopback only, unless it is in one.
 *
 * @returns false when it has to go on in this process: it is in one, or none can be made here.
 */
export async function isolate(): Promise<boolean> {
    if (isIsolated() || !namespaces()) return false;
    const script = 'ip link set lo up && exec "$@"';
    const argv = ["--net", "sh", "-c", script, "sh", process.execPath, ...process.execArgv, ...process.argv.slice(1)];
    const child = spawn("unshare", argv, { stdio: "inherit", env: { ...process.env, [marker]: "own" } });
    // The terminal's Ctrl-C reaches the child as well, and its end is waited for.
    const pass = (name: NodeJS.Signals) => () => name !== "SIGINT" && child.kill(name);
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, pass(name));
    process.exitCode = await new Promise<number>((done) => child.once("exit", (code) => done(code ?? 1)));
    return true;
}

function namespaces(): boolean {
    try {
        execFileSync("unshare", ["--net", "ip", "link", "set", "lo", "up"], { stdio: "ignore" });
        return true;
    } catch {
        return false;
    }
}

/** Why hosts cannot be cut off here; undefined when they can. */
export function whyNoCut(): string | undefined {
    if (!isIsolated()) return "it takes a network namespace of its own, and so root";
    try {
        execFileSync("nft", ["--version"], { stdio: "ignore" });
        return undefined;
    } catch {
        return "it takes nftables (the package nftables), which is not installed";
    }
}

const TABLE = "inet bench";

/**
 * Cuts an address off: every packet from it or to it is dropped, as if its host had lost its network.
 *
 * @throws UserError when that is not possible here; see {@link whyNoCut}.
 */
export function cutOff(address: string): void {
    const why = whyNoCut();
    if (why) throw new UserError(`${address} cannot be cut off: ${why}`);
    const rules = ["saddr", "daddr"].map((side) => `add rule ${TABLE} input ip ${side} ${address} drop`);
    const chain = `add chain ${TABLE} input { type filter hook input priority 0; }`;
    execFileSync("nft", ["-f", "-"], { input: [`add table ${TABLE}`, chain, ...rules, ""].join("\n") });
}

/** Ends every {@link cutOff}; harmless when there is none. */
export function reconnect(): void {
    if (whyNoCut() !== undefined) return;
    execFileSync("nft", ["-f", "-"], { input: `add table ${TABLE}\ndelete table ${TABLE}\n` });
}
