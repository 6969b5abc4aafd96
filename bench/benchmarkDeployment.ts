/**
 * The deployments that the comparison measures. The real engine creates each once; then machines boot and stop as
 * needed.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { LoadBalancerStack } from "../config";
import { writeAtomically } from "../lib/files";
import type { ProcessMachine } from "../programs/supervisor/description";
import { killMachine, machineDirectory, restartMachine, waitUntilReady } from "../programs/supervisor/machine";
import { machineNames } from "../programs/supervisor/record";
import { deploy, open } from "../scripts/deploy";
import { ensureTools, type ToolName, toolPath } from "../toolchain";
import { waitUntilSettled } from "./deploymentRecovery";
import { type BenchHome, benchHome, type Deployment, readDeployment } from "./localDeployment";
import { comparedStacks } from "./trialMatrix";

const PROJECT = resolve(__dirname, "..");

/** The files and folders of the project that determine a deployment. */
const SOURCES = [
    ...["clients", "components", "config", "engine", "gateway-sample", "lib", "programs", "replacement", "roles"],
    ...["toolchain", "index.ts", "loop.ts", "package.json"],
];

/** The deployment of one stack, in a folder and an address range of its own. */
export class BenchmarkDeployment {
    private readonly root: string;

    /**
     * @param directory parent of the deployment's folder.
     * @param pool the most gateways that can boot.
     */
    constructor(
        readonly stack: LoadBalancerStack,
        directory: string,
        private readonly pool: number,
    ) {
        this.root = resolve(directory, stack);
    }

    private get home(): BenchHome {
        return benchHome({ machines: join(this.root, "machines"), bundles: join(this.root, "bundles") });
    }

    /**
     * Deploys with the engine, unless a deployment of these sources and size exists. All machines are stopped
     * afterwards.
     */
    async install(say: (line: string) => void, signal: AbortSignal): Promise<void> {
        await this.powerOff();
        const made = join(this.root, "made.json");
        const wanted = { sources: fingerprint() };
        try {
            const { sources, pool } = JSON.parse(readFileSync(made, "utf8")) as { sources: string; pool: number };
            if (sources === wanted.sources && pool >= this.pool) return;
        } catch {
            // Never deployed, or not completely.
        }
        rmSync(this.root, { recursive: true, force: true });
        say(`${this.stack}: deploying with ${this.pool} gateways`);
        await this.inItsEnvironment(async () => {
            const stack = await open("local", { say: () => undefined, overrides: this.overrides() });
            await deploy(stack, { say: () => undefined, signal, overrides: this.overrides() });
        });
        await this.powerOff();
        writeAtomically(made, JSON.stringify({ ...wanted, pool: this.pool }), 0o600);
    }

    /**
     * Boots the Consul servers, the balancers and `gateways` gateways from clean disks, and waits until all of them
     * serve.
     */
    async boot(gateways: number, signal: AbortSignal): Promise<Deployment> {
        for (const name of machineNames(this.home.machines)) {
            const disk = join(machineDirectory(this.home, name), "lib");
            for (const file of readdirSync(disk)) rmSync(join(disk, file), { recursive: true });
        }
        return this.grow(gateways, signal);
    }

    /** Boots the machines that are missing for `gateways` gateways, and waits until all of them serve. */
    async grow(gateways: number, signal: AbortSignal): Promise<Deployment> {
        const deployment = readDeployment(this.home, (machine) => isWanted(machine, gateways));
        const boot = async (machines: readonly ProcessMachine[]) => {
            await Promise.all(machines.map((machine) => restartMachine(this.home, machine.name)));
            for (const machine of machines) await waitUntilReady(this.home, machine);
        };
        await boot(deployment.consulServers);
        await Promise.all([boot(deployment.balancers), boot(deployment.gateways)]);
        await waitUntilSettled(deployment, signal);
        return deployment;
    }

    /** Kills all machines. */
    async powerOff(): Promise<void> {
        await Promise.all(machineNames(this.home.machines).map((name) => killMachine(this.home, name)));
    }

    private overrides(): Record<string, unknown> {
        return {
            "gateway:local": { network: `127.96.${10 + comparedStacks.indexOf(this.stack)}.0/24` },
            "gateway:loadBalancer": { stack: this.stack },
            "gateway:pool": { size: this.pool },
            // The benchmark itself repairs what its faults break.
            "gateway:replacement": { enabled: false },
            "gateway:consulObjects": false,
        };
    }

    /** Runs `work` with the environment that leads the engine and its providers to this deployment's folder. */
    private async inItsEnvironment(work: () => Promise<void>): Promise<void> {
        const earlier = { ...process.env };
        process.env.GATEWAY_HOME = this.root;
        try {
            await work();
        } finally {
            for (const key of Object.keys(process.env)) if (!(key in earlier)) delete process.env[key];
            Object.assign(process.env, earlier);
        }
    }
}

/** Installs the programs of all stacks. */
export async function ensureStackTools(say: (line: string) => void): Promise<void> {
    const needed: ToolName[] = ["pulumi", "consul", "consul-template", "haproxy", "fabio", "serf"];
    const missing = needed.filter((tool) => !toolPath(tool));
    if (missing.length > 0) await ensureTools(missing, { progress: say });
}

function isWanted(machine: ProcessMachine, gateways: number): boolean {
    return machine.role !== "gateway" || Number(machine.name.replace(/^\D+/, "")) < gateways;
}

/** A checksum of {@link SOURCES}. */
function fingerprint(): string {
    const hash = createHash("sha256");
    const add = (path: string) => {
        if (statSync(path).isDirectory()) for (const name of readdirSync(path).sort()) add(join(path, name));
        else hash.update(path).update(readFileSync(path));
    };
    for (const source of SOURCES) add(join(PROJECT, source));
    return hash.digest("hex");
}
