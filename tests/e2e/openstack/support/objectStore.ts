/** An object store for the stack's state, with the API of S3: moto, as every OpenStack with Ceph or Swift has one. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { sweep, temporaryDirectory } from "../../../../scripts/tools/cache";
import { withLock } from "../../../../scripts/tools/lock";
import { waitFor } from "../../../../supervisor/wait";
import { command } from "../../../hosts/command";

const REQUIREMENTS = join(__dirname, "objectStore.txt");
/** Milliseconds: for the installation, and for the start on a busy computer. */
const TIMEOUTS = { install: 600_000, start: 60_000 };

/** Where it is installed: another list of requirements is another folder. */
function home(): string {
    const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "gateway-e2e");
    return join(cache, `moto-${createHash("sha256").update(readFileSync(REQUIREMENTS)).digest("hex").slice(0, 12)}`);
}

const python = () => join(home(), "bin", "python");

/** Whether it is installed. */
export function objectStoreInstalled(): boolean {
    return existsSync(python());
}

/** Installs it for this user, outside the checkout, with checksums. @throws Error when it cannot be had. */
export async function installObjectStore(say: (line: string) => void): Promise<void> {
    const cache = resolve(home(), "..");
    const onWait = ({ pid }: { pid: number }) => say(`waiting for process ${pid}, which installs the object store`);
    await withLock(cache, "moto", { onWait }, async () => {
        if (objectStoreInstalled()) return;
        say("installing the object store, once; it takes a minute");
        sweep(cache);
        const work = temporaryDirectory(cache, "moto");
        try {
            await command(["python3", "-m", "venv", work]);
            const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"];
            await command([join(work, "bin", "python"), ...pip, "--requirement", REQUIREMENTS], {
                timeoutMs: TIMEOUTS.install,
            });
            renameSync(work, home());
        } finally {
            rmSync(work, { recursive: true, force: true });
        }
    });
}

/** Its keys: it takes any. */
export const stateKeys = { access: "state-access", secret: "state-secret" } as const;

/** A running object store with one bucket. */
export class ObjectStore {
    private constructor(
        /** The bucket's URL, as the engine takes it. */
        readonly backend: string,
        private readonly process: ChildProcess,
    ) {}

    /** Starts it. @param log where it writes what it answers. */
    static async start(address: string, port: number, bucket: string, log: string): Promise<ObjectStore> {
        const output = openSync(log, "a");
        const child = spawn(python(), ["-m", "moto.server", "-H", address, "-p", String(port)], {
            stdio: ["ignore", output, output],
            env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1" },
        });
        closeSync(output);
        const endpoint = `http://${address}:${port}`;
        await waitFor(
            "the object store",
            async () => {
                if (child.exitCode !== null) throw new Error(readFileSync(log, "utf8").slice(-500));
                return (await fetch(`${endpoint}/moto-api/`)).ok;
            },
            TIMEOUTS.start,
        );
        const client = new S3Client({
            region: "us-east-1",
            endpoint,
            forcePathStyle: true,
            credentials: { accessKeyId: stateKeys.access, secretAccessKey: stateKeys.secret },
        });
        await client.send(new CreateBucketCommand({ Bucket: bucket }));
        client.destroy();
        const query = `endpoint=${address}:${port}&disableSSL=true&s3ForcePathStyle=true&region=us-east-1`;
        return new ObjectStore(`s3://${bucket}?${query}`, child);
    }

    /** Ends it, with all that was in it. */
    async stop(): Promise<void> {
        await new Promise<void>((done) => {
            if (this.process.exitCode !== null) return done();
            this.process.once("exit", () => done());
            this.process.kill("SIGKILL");
        });
    }
}
