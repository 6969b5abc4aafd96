/**
 * Writes the list of the gateways that Serf knows to be alive, for the reconciler. Run as `node serf-members.cjs
 * SETTINGS` until SIGTERM.
 *
 * One handler serves all events: it ignores their content, asks for all members, and writes the whole list. It also
 * does so every 10 s in case an event is lost. While the agent does not answer, the list stays as it is.
 */
import { existsSync, readFileSync } from "node:fs";
import { SerfClient, type SerfMember, type SerfRpcAddress, serfEvent } from "../../clients/serf";
import { writeAtomically } from "../../lib/files";
import type { Backend } from "../reconciler/backends";

/** The program's settings. */
export interface MembersSettings {
    readonly rpc: SerfRpcAddress;
    /** The backend list to write. */
    readonly list: string;
}

/** Milliseconds between two looks at rest. */
const LOOK_EVERY = 10_000;
/**
 * Delays of the looks after an event, milliseconds: at once, and again, because a gateway's draining tag travels
 * separately from the event.
 */
const AFTER_EVENT = [0, 200, 1_000] as const;
/** Pause before the next try to reach the agent, milliseconds. */
const RETRY = 500;
const EVENTS = ["member-join", "member-leave", "member-failed", "member-update", "member-reap", `user:${serfEvent}`];

/** The gateways that get calls: alive and not draining, ordered by name. */
export function backendsOf(members: readonly SerfMember[]): Backend[] {
    return members
        .filter(({ status, tags }) => status === "alive" && tags.role === "gw" && tags.state === undefined)
        .map(({ name, address, tags }) => ({ id: name, address, port: Number(tags.port) }))
        .sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Keeps the list in line with the members until the signal is aborted. Never throws: problems are logged. */
export async function followMembers(
    { rpc, list }: MembersSettings,
    signal: AbortSignal,
    say: (message: string) => void,
): Promise<void> {
    let told = "";
    const tell = (message: string) => {
        if (message !== told) say(message);
        told = message;
    };
    const pause = (milliseconds: number, wake: (resolve: () => void) => void = () => {}) =>
        new Promise<void>((done) => {
            const end = () => {
                clearTimeout(timer);
                signal.removeEventListener("abort", end);
                done();
            };
            const timer = setTimeout(end, milliseconds);
            signal.addEventListener("abort", end);
            wake(end);
            if (signal.aborted) end();
        });

    while (!signal.aborted) {
        let client: SerfClient | undefined;
        try {
            client = await SerfClient.connect(rpc);
            let lost: Error | undefined;
            let looks: number[] = [0];
            let wake = () => {};
            void client.ended.then((error) => {
                lost = error;
                wake();
            });
            await client.onEvents(EVENTS, () => {
                const now = Date.now();
                looks = AFTER_EVENT.map((delay) => now + delay);
                wake();
            });
            while (!signal.aborted) {
                if (lost) throw lost;
                const due = looks[0] ?? Number.POSITIVE_INFINITY;
                if (due <= Date.now()) {
                    looks.shift();
                    const text = `${JSON.stringify(backendsOf(await client.members()), undefined, 2)}\n`;
                    if (!existsSync(list) || readFileSync(list, "utf8") !== text) {
                        writeAtomically(list, text, 0o644, false);
                    }
                    tell("the agent answers");
                    if (looks.length === 0) looks = [Date.now() + LOOK_EVERY];
                    continue;
                }
                await pause(due - Date.now(), (end) => {
                    wake = end;
                });
            }
        } catch (error) {
            tell(`${(error as Error).message}; the list stays as it is`);
            await pause(RETRY);
        } finally {
            client?.close();
        }
    }
}

if (require.main === module) {
    const settings = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as MembersSettings;
    const end = new AbortController();
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => end.abort());
    void followMembers(settings, end.signal, (message) => console.log(`${new Date().toISOString()} ${message}`));
}
