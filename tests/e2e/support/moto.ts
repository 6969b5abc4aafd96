/** moto, the emulator of AWS's API: the cloud of target aws, and the object store of target openstack. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { withLock } from "../../../lib/locks";
import { waitFor } from "../../../lib/wait";
import { sweepTemporaries, temporaryDirectory } from "../../../toolchain/cache";
import { command } from "../../hosts/command";

const REQUIREMENTS = join(__dirname, "moto.txt");
/** Deadlines of the installation and of the start on a busy computer, milliseconds. */
const TIMEOUTS = { install: 600_000, start: 60_000 };

/** The folder of its installation. Another list of requirements gives another folder. */
function home(): string {
    const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "gateway-e2e");
    return join(cache, `moto-${createHash("sha256").update(readFileSync(REQUIREMENTS)).digest("hex").slice(0, 12)}`);
}

/** The Python that has moto. */
const python = () => join(home(), "bin", "python");

/** Whether it is installed. */
export function motoInstalled(): boolean {
    return existsSync(python());
}

/**
 * Installs it for this user, outside the checkout, with checksums. It leaves an existing installation alone.
 *
 * @throws Error if there is no Python with `venv`, or no package registry.
 */
export async function installMoto(say: (line: string) => void): Promise<void> {
    const folder = home();
    const cache = resolve(folder, "..");
    const onWait = ({ pid }: { pid: number }) => say(`waiting for process ${pid}, which installs moto`);
    await withLock(join(cache, "moto", ".lock"), { onWait }, async () => {
        if (motoInstalled()) return;
        say("installing moto, the emulator of AWS's API, once; it takes a minute");
        sweepTemporaries(cache);
        const work = temporaryDirectory(cache, "moto");
        try {
            await command(["python3", "-m", "venv", work], { timeoutMs: TIMEOUTS.install });
            const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"];
            await command([join(work, "bin", "python"), ...pip, "--requirement", REQUIREMENTS], {
                timeoutMs: TIMEOUTS.install,
            });
            // Python finds its packages beside itself, so that the folder can be renamed.
            renameSync(work, folder);
        } finally {
            rmSync(work, { recursive: true, force: true });
        }
    });
}

/** A running server of moto. */
export class Moto {
    private constructor(
        /** URL of the API. */
        readonly url: string,
        private readonly process: ChildProcess,
    ) {}

    /**
     * Starts it, and waits until it answers.
     *
     * @param program what Python is to run to serve `url`.
     * @param log where it writes what it does.
     * @param cwd where it runs.
     * @throws Error when it ends, or does not answer within a minute.
     */
    static async start(url: string, program: readonly string[], log: string, cwd?: string): Promise<Moto> {
        const output = openSync(log, "a");
        const child = spawn(python(), program, {
            cwd,
            stdio: ["ignore", output, output],
            env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1" },
        });
        closeSync(output);
        const answers = async () => child.exitCode !== null || (await fetch(`${url}/moto-api/`)).ok;
        await waitFor("moto", answers, TIMEOUTS.start);
        if (child.exitCode !== null) throw new Error(`moto ended: ${readFileSync(log, "utf8").slice(-1000)}`);
        return new Moto(url, child);
    }

    /** Ends it, with its whole content. */
    async stop(): Promise<void> {
        await new Promise<void>((done) => {
            if (this.process.exitCode !== null) return done();
            this.process.once("exit", () => done());
            this.process.kill("SIGKILL");
        });
    }
}
