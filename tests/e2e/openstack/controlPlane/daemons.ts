/** Processes that outlive the one that started them. Their process ids and start times are recorded. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readJson } from "../../../../lib/files";
import { groupMembers, identify, isAlive, type ProcessIdentity, signal } from "../../../../lib/processes";
import { waitFor } from "../../../../lib/wait";
import { run } from "../../../../toolchain/processes";

/** Where daemons run and are recorded. */
export interface Daemons {
    /**
     * Starts a daemon, unless it runs. Its output is in `log/NAME.log`; that of an earlier run is in `log/NAME.log.1`.
     */
    start(name: string, argv: readonly string[], environment?: Readonly<Record<string, string>>): void;
    /** Ends these, with their descendants: SIGTERM, and SIGKILL after 15 s. */
    stop(...names: readonly string[]): Promise<void>;
    /** The names of the daemons that run. */
    running(): string[];
    /**
     * Waits until `condition` holds.
     *
     * @throws Error with the end of the daemon's log if it takes longer than `seconds`, or the daemon ends meanwhile.
     */
    ready(name: string, seconds: number, condition: () => Promise<boolean>): Promise<void>;
    /**
     * Runs a command to its end, in the daemons' namespace and environment. @throws Error with the end of its output.
     */
    once(argv: readonly string[], timeoutSeconds: number): Promise<string>;
    /** Whether a server listens. */
    listens(url: string): Promise<boolean>;
}

const STOP = 15_000;

/**
 * Daemons with their records and logs in a folder.
 *
 * @param namespace their network namespace; undefined: that of this process.
 * @param environment their whole environment.
 */
export function daemonsIn(
    directory: string,
    namespace: string | undefined,
    environment: Readonly<Record<string, string>>,
): Daemons {
    const [records, logs] = [join(directory, "pid"), join(directory, "log")];
    for (const folder of [records, logs]) mkdirSync(folder, { recursive: true });
    // nsenter becomes the command, so the process id stays.
    const inside = (argv: readonly string[]) =>
        namespace === undefined ? argv : ["nsenter", `--net=/run/netns/${namespace}`, "--", ...argv];
    const recordOf = (name: string) => join(records, `${name}.json`);
    const logOf = (name: string) => join(logs, `${name}.log`);
    const alive = (name: string) => {
        const record = readJson<ProcessIdentity>(recordOf(name));
        return record && isAlive(record) ? record : undefined;
    };
    const endOfLog = (name: string) =>
        existsSync(logOf(name)) ? readFileSync(logOf(name), "utf8").trimEnd().split("\n").slice(-8).join("\n") : "";

    return {
        start(name, argv, extra = {}) {
            if (alive(name)) return;
            if (existsSync(logOf(name))) renameSync(logOf(name), `${logOf(name)}.1`);
            const log = openSync(logOf(name), "a");
            const [command, ...args] = inside(argv) as [string];
            const child = spawn(command, args, {
                cwd: directory,
                env: { ...environment, ...extra },
                stdio: ["ignore", log, log],
                detached: true,
            });
            child.unref();
            child.on("error", () => undefined);
            const identity = child.pid === undefined ? undefined : identify(child.pid);
            if (!identity) throw new Error(`${name} cannot be started: ${command}`);
            writeFileSync(recordOf(name), JSON.stringify(identity));
        },
        async stop(...names) {
            const ours = names.flatMap((name) => alive(name)?.pid ?? []);
            for (const pid of ours) signal(pid, "SIGTERM");
            const left = () => ours.flatMap(groupMembers);
            await waitFor("the end of the daemons", () => left().length === 0, STOP).catch(() => {
                for (const pid of left()) signal(pid, "SIGKILL");
            });
            await waitFor("the end of killed daemons", () => left().length === 0, STOP);
            for (const name of names) rmSync(recordOf(name), { force: true });
        },
        running: () =>
            readdirSync(records)
                .map((file) => file.replace(/\.json$/, ""))
                .filter((name) => alive(name)),
        async ready(name, seconds, condition) {
            let died = false;
            await waitFor(
                `${name}`,
                async () => {
                    died = alive(name) === undefined;
                    return died || condition();
                },
                seconds * 1000,
                200,
            ).catch((error: Error) => {
                throw new Error(`${error.message}\n${endOfLog(name)}`);
            });
            if (died) throw new Error(`${name} ended:\n${endOfLog(name)}`);
        },
        async once(argv, timeoutSeconds) {
            const { code, output, stdout } = await run(inside(argv), {
                cwd: directory,
                env: environment,
                timeoutMs: timeoutSeconds * 1000,
            });
            if (code !== 0) throw new Error(`${argv.join(" ")}: ${output.trimEnd().split("\n").slice(-8).join("\n")}`);
            return stdout;
        },
        async listens(url) {
            const options = { env: environment, timeoutMs: 10_000 };
            const { code } = await run(inside(["curl", "-s", "-o", "/dev/null", "-m", "5", url]), options);
            // 1: a protocol that curl does not speak; something answered.
            return code === 0 || code === 1 || code === 52;
        },
    };
}
