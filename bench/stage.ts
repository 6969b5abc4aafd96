/** The deployments that are compared: made once by the real engine, then booted and stopped as they are needed. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { LoadBalancerStack } from "../components/config";
import type { ProcessMachine } from "../roles/render/process";
import { deploy, open } from "../scripts/deploy";
import { ensureTools, type ToolName, toolPath } from "../scripts/tools";
import { writeAtomically } from "../supervisor/files";
import { killMachine, machineDirectory, restartMachine, waitUntilReady } from "../supervisor/machine";
import { machineNames } from "../supervisor/record";
import { type BenchHome, benchHome, type Deployment, readDeployment } from "./deployment";
import { untilSettled } from "./settled";

/** The stacks that are compared. */
export const stacks: readonly LoadBalancerStack[] = ["consul-template-haproxy", "fabio", "serf-haproxy"];

const PROJECT = resolve(__dirname, "..");

/** Pieces of the project of which a deployment consists. */
const SOURCES = ["components", "roles", "supervisor", "gateway-sample", "scripts/tools", "index.ts", "package.json"];

/** One stack's deployment, in a folder and a network of its own, of which only the machines run that are booted. */
export class Stage {
    private readonly root: string;

    /**
     * @param directory where it is kept.
     * @param pool how many gateways can be booted.
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

    /** Has the engine make it, unless it is there, made from these sources and large enough. All is stopped then. */
    async install(say: (line: string) => void, signal: AbortSignal): Promise<void> {
        await this.powerOff();
        const made = join(this.root, "made.json");
        const wanted = { sources: fingerprint() };
        try {
            const { sources, pool } = JSON.parse(readFileSync(made, "utf8")) as { sources: string; pool: number };
            if (sources === wanted.sources && pool >= this.pool) return;
        } catch {
            // Never made, or not to its end.
        }
        rmSync(this.root, { recursive: true, force: true });
        say(`${this.stack}: the engine deploys it with ${this.pool} gateways`);
        await this.inItsEnvironment(async () => {
            const stack = await open("local", { say: () => undefined, overrides: this.overrides() });
            await deploy(stack, { say: () => undefined, signal, overrides: this.overrides() });
        });
        await this.powerOff();
        writeAtomically(made, JSON.stringify({ ...wanted, pool: this.pool }), 0o600);
    }

    /** Boots its servers, its balancers and so many gateways, from clean disks, and waits until all of them serve. */
    async boot(gateways: number, signal: AbortSignal): Promise<Deployment> {
        for (const name of machineNames(this.home.machines)) {
            const disk = join(machineDirectory(this.home, name), "lib");
            for (const file of readdirSync(disk)) rmSync(join(disk, file), { recursive: true });
        }
        return this.grow(gateways, signal);
    }

    /** Boots what is missing for so many gateways. */
    async grow(gateways: number, signal: AbortSignal): Promise<Deployment> {
        const deployment = readDeployment(this.home, (machine) => isWanted(machine, gateways));
        const boot = async (machines: readonly ProcessMachine[]) => {
            await Promise.all(machines.map((machine) => restartMachine(this.home, machine.name)));
            for (const machine of machines) await waitUntilReady(this.home, machine);
        };
        await boot(deployment.consulServers);
        await Promise.all([boot(deployment.balancers), boot(deployment.gateways)]);
        await untilSettled(deployment, signal);
        return deployment;
    }

    /** Kills all of its machines. */
    async powerOff(): Promise<void> {
        await Promise.all(machineNames(this.home.machines).map((name) => killMachine(this.home, name)));
    }

    private overrides(): Record<string, unknown> {
        return {
            "gateway:local": { network: `127.96.${10 + stacks.indexOf(this.stack)}.0/24` },
            "gateway:loadBalancer": { stack: this.stack },
            "gateway:pool": { size: this.pool },
            // The faults are the benchmark's, and so is what follows from them.
            "gateway:replacement": { enabled: false },
            "gateway:consulObjects": false,
        };
    }

    /** The engine and its providers find their folders by the environment; here each stage has its own. */
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

/** Gets the programs that the stacks consist of. */
export async function ensureStageTools(say: (line: string) => void): Promise<void> {
    const needed: ToolName[] = ["pulumi", "consul", "consul-template", "haproxy", "fabio", "serf"];
    const missing = needed.filter((tool) => !toolPath(tool));
    if (missing.length > 0) await ensureTools(missing, { progress: say });
}

function isWanted(machine: ProcessMachine, gateways: number): boolean {
    return machine.role !== "gateway" || Number(machine.name.replace(/^\D+/, "")) < gateways;
}

/** A checksum of what deployments are made from. */
function fingerprint(): string {
    const hash = createHash("sha256");
    const add = (path: string) => {
        if (!existsSync(path)) return;
        if (statSync(path).isDirectory()) for (const name of readdirSync(path).sort()) add(join(path, name));
        else hash.update(path).update(readFileSync(path));
    };
    for (const source of SOURCES) add(join(PROJECT, source));
    return hash.digest("hex");
}
