/** A network namespace of its own for a benchmark, which then neither reaches nor disturbs anything else. */
import { execFileSync, spawn } from "node:child_process";
import { UserError } from "../engine/stack";

/** Environment variable of a process in a namespace of its own. */
const marker = "GATEWAY_BENCH_NETWORK";

/** Whether this process runs in a network namespace of its own. */
export const inOwnNamespace = (): boolean => process.env[marker] === "own";

/**
 * Runs this command again in a new network namespace that has only loopback.
 *
 * @returns false when this process must do the work itself: it is in such a namespace, or cannot create one.
 */
export async function runInOwnNamespace(): Promise<boolean> {
    if (inOwnNamespace() || !namespaces()) return false;
    const script = 'ip link set lo up && exec "$@"';
    const argv = ["--net", "sh", "-c", script, "sh", process.execPath, ...process.execArgv, ...process.argv.slice(1)];
    const child = spawn("unshare", argv, { stdio: "inherit", env: { ...process.env, [marker]: "own" } });
    // Ctrl-C on a terminal reaches the child by itself.
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

/** Why {@link cutOff} does not work here. Undefined when it works. */
export function whyNoCutOff(): string | undefined {
    if (!inOwnNamespace()) return "it needs a network namespace of its own, which needs root";
    try {
        execFileSync("nft", ["--version"], { stdio: "ignore" });
        return undefined;
    } catch {
        return 'it needs nftables (package "nftables"), which is not installed';
    }
}

const TABLE = "inet bench";

/**
 * Drops every packet from or to an address, as if its host had lost its network.
 *
 * @throws UserError when that is not possible here; see {@link whyNoCutOff}.
 */
export function cutOff(address: string): void {
    const why = whyNoCutOff();
    if (why) throw new UserError(`Cannot cut off ${address}: ${why}.`);
    const rules = ["saddr", "daddr"].map((side) => `add rule ${TABLE} input ip ${side} ${address} drop`);
    const chain = `add chain ${TABLE} input { type filter hook input priority 0; }`;
    execFileSync("nft", ["-f", "-"], { input: [`add table ${TABLE}`, chain, ...rules, ""].join("\n") });
}

/** Undoes every {@link cutOff}. Idempotent. */
export function reconnectAll(): void {
    if (whyNoCutOff() !== undefined) return;
    execFileSync("nft", ["-f", "-"], { input: `add table ${TABLE}\ndelete table ${TABLE}\n` });
}
