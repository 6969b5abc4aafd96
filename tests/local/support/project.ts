/** A small Pulumi project without machines, on which the commands of this project run as processes. */
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const CHECKOUT = resolve(__dirname, "../../..");

/** How a command ended. */
export interface Ended {
    readonly code: number;
    readonly stdout: string;
    /** Both outputs. */
    readonly output: string;
}

/** A project in a temporary folder, with the stack `dev`. */
export interface Project {
    readonly folder: string;
    /** Its home folder, with state and passphrase. */
    readonly home: string;
    /** A copy of the home folder, and its return. */
    save(): () => void;
    /** Runs `scripts/NAME.ts`, as `npm run NAME` does. A variable that is undefined is not set. */
    command(name: string, args?: readonly string[], environment?: Environment): Promise<Ended>;
    remove(): void;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Runs a program, and waits for its end, whatever the exit code is. */
export function ended(argv: readonly string[], cwd: string, environment: Environment = {}): Promise<Ended> {
    const [file, ...args] = argv as [string];
    const env = { ...process.env, ...environment };
    return new Promise((done) => {
        execFile(file, args, { cwd, env, timeout: 100_000, maxBuffer: 1 << 26 }, (error, stdout, stderr) =>
            done({
                code: error ? (typeof error.code === "number" ? error.code : 255) : 0,
                stdout,
                output: stdout + stderr,
            }),
        );
    });
}

/** Makes a project. @param program the text of its `index.ts`. @param config the text of `Pulumi.dev.yaml`. */
export function makeProject(program: string, config = "config: {}\n"): Project {
    const folder = mkdtempSync(join(tmpdir(), "gateway-project-"));
    const home = join(folder, ".gateway");
    mkdirSync(home, { mode: 0o700 });
    symlinkSync(join(CHECKOUT, "node_modules"), join(folder, "node_modules"));
    writeFileSync(join(folder, "package.json"), '{ "name": "small", "main": "index.ts" }\n');
    writeFileSync(
        join(folder, "Pulumi.yaml"),
        "name: small\nmain: index.ts\nruntime:\n    name: nodejs\n    options: { typescript: false, nodeargs: --import=tsx }\n",
    );
    writeFileSync(join(folder, "Pulumi.dev.yaml"), config);
    writeFileSync(join(folder, "index.ts"), program);
    const own = {
        GATEWAY_HOME: home,
        PULUMI_BACKEND_URL: undefined,
        PULUMI_CONFIG_PASSPHRASE: undefined,
        PULUMI_CONFIG_PASSPHRASE_FILE: undefined,
    };
    return {
        folder,
        home,
        command: (name, args = [], environment = {}) =>
            ended([process.execPath, "--import=tsx", join(CHECKOUT, "scripts", `${name}.ts`), ...args], CHECKOUT, {
                ...own,
                ...environment,
            }),
        save: () => {
            const copy = join(folder, "saved");
            cpSync(home, copy, { recursive: true });
            return () => {
                rmSync(home, { recursive: true, force: true });
                cpSync(copy, home, { recursive: true });
            };
        },
        remove: () => rmSync(folder, { recursive: true, force: true }),
    };
}
