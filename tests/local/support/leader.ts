/**
 * A daemon without a loop: it is elected, starts a child in the engine's place, and writes as often as it can, as long
 * as it leads. Arguments: Consul's URL, the keys' prefix, a log that all daemons share, and a session file of its own.
 */
import { spawn } from "node:child_process";
import { appendFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { ConsulHttp } from "../../../clients/consul";
import { engineMark, engineMarkOf, killEngine } from "../../../engine/processes";
import { systemClock } from "../../../lib/clock";
import { writeAtomically } from "../../../lib/files";
import { identify } from "../../../lib/processes";
import { succeed } from "../../../programs/replacer/daemon";
import { consulLocks } from "../../../replacement/leaderLocks";
import { lead } from "../../../replacement/lease";
import { consulStore } from "../../../replacement/store";

/** Consul's shortest TTL, and the rest in proportion. */
const times = { ttl: 10, lockDelay: 2, renew: 2, stopAfter: 6, retry: 0.5 };

async function main([url = "", prefix = "", log = "", sessionFile = ""]: string[]): Promise<void> {
    const consul = new ConsulHttp({ addresses: [url], timeoutSeconds: 1 });
    const store = consulStore(consul, prefix);
    const locks = consulLocks(consul, prefix, times);
    const me = String(process.pid);
    const stack = prefix.replace("/", "");
    const say = (what: object) =>
        appendFileSync(log, `${JSON.stringify({ pid: process.pid, at: Date.now(), ...what })}\n`);
    await succeed(sessionFile, stack, me, locks);
    const stop = new AbortController();
    process.on("SIGTERM", () => stop.abort());
    await lead(
        {
            locks,
            clock: systemClock,
            holder: { host: me, pid: process.pid },
            signal: stop.signal,
            times,
            tell: (event) => say({ event }),
            onSession: (session) =>
                writeAtomically(sessionFile, JSON.stringify({ session, ...identify(process.pid) }), 0o600),
        },
        async (lease) => {
            const env = { PATH: process.env.PATH, [engineMark]: engineMarkOf(stack, me) };
            spawn("sleep", ["600"], { env, stdio: "ignore" });
            while (!stop.signal.aborted && lease.holds()) {
                try {
                    const { memory, index } = await store.load();
                    // Between here and the write another daemon may have become the leader: the fence has to see it.
                    const taken = [...memory.taken.slice(-1), lease.epoch];
                    const stored = await store.save({ ...memory, taken }, index, lease);
                    if (stored) say({ wrote: stored.index, epoch: lease.epoch });
                } catch (error) {
                    say({ error: (error as Error).name });
                }
                await delay(50);
            }
            await killEngine(stack, (found) => found.daemon === me);
        },
    );
    say({ ended: true });
}

void main(process.argv.slice(2));
