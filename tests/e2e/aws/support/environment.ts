/**
 * The environment of a deployment to AWS: the emulator of its API, stand-ins for what the emulator lacks, and real
 * machines.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command } from "../../../hosts/command";
import { Fleet } from "../../../hosts/fleet";
import { Lab } from "../../../hosts/lab";
import { type Listening, serveFolder } from "../../../hosts/standIns";
import { type EngineResult, runEngine } from "../../support/engine";
import type { EngineTask } from "../../support/engineRun";
import { artifactsFolder } from "../../support/requirements";
import { emulatedCloud } from "./cloud";
import { Emulator, region } from "./emulator";
import { MetadataStandIn } from "./metadata";
import { NetworkLoadBalancerStandIn } from "./networkLoadBalancer";

/** The stack to deploy: the committed one, at the emulator. */
export const STACK = "aws-dev";
/** Addresses reserved for tests, beside the lab's own. */
const NETWORK = "198.19.0.0/16";
/** Everybody in the lab may call. */
const CLIENTS = "198.18.0.0/15";
/** Ports of the lab's own address. */
const PORTS = { api: 8000, artifacts: 8080 };
/** Deadline of the pipeline's script, milliseconds. */
const PIPELINE_TIMEOUT = 300_000;
/** Availability zones: one for each Consul server. */
export const ZONES = ["a", "b", "c"].map((letter) => `${region}${letter}`);

/** The environment of the tests. */
export class Environment {
    /** How long AutoScaling ignores a new instance's health, seconds: longer than a boot takes on a busy computer. */
    static readonly graceSeconds = 120;

    private constructor(
        readonly lab: Lab,
        readonly emulator: Emulator,
        readonly metadata: MetadataStandIn,
        readonly fleet: Fleet,
        readonly balancer: NetworkLoadBalancerStandIn,
        private readonly artifacts: Listening,
        private readonly home: string,
        private readonly undo: (() => Promise<void> | void)[],
        private readonly say: (line: string) => void,
    ) {}

    /**
     * Sets everything up, without a deployment.
     *
     * @param say receives messages that help to explain a failed test.
     */
    static async open(say: (line: string) => void): Promise<Environment> {
        const home = mkdtempSync(join(tmpdir(), "gateway-e2e-aws-"));
        const undo: (() => Promise<void> | void)[] = [() => rmSync(home, { recursive: true, force: true })];
        try {
            const lab = await Lab.open();
            undo.push(() => lab.close());
            await lab.addMetadataAddress();
            const metadata = new MetadataStandIn();
            await metadata.start();
            undo.push(() => metadata.stop());
            const artifacts = await serveFolder(artifactsFolder("aws"), lab.address, PORTS.artifacts);
            undo.push(() => artifacts.close());
            const emulator = await Emulator.start(lab.address, PORTS.api, join(home, "emulator.log"));
            undo.push(() => emulator.stop());
            const balancer = new NetworkLoadBalancerStandIn(lab, emulator.clients, say);
            balancer.start();
            undo.push(() => balancer.stop());
            const fleet = new Fleet(lab, emulatedCloud(emulator.clients, metadata), { say });
            fleet.start();
            undo.push(() => fleet.stop());
            return new Environment(lab, emulator, metadata, fleet, balancer, artifacts, home, undo, say);
        } catch (error) {
            await takeDown(undo);
            throw error;
        }
    }

    /** The settings that differ from the committed ones. */
    private overrides(changes: Readonly<Record<string, unknown>>): Record<string, unknown> {
        return {
            "gateway:image": {
                artifacts: this.artifacts.url,
                manifest: join(artifactsFolder("aws"), "artifacts.json"),
            },
            "gateway:aws": {
                region,
                network: { kind: "own", cidr: NETWORK, zones: ZONES },
                clientCidrs: [CLIENTS],
                // The shortest that AWS allows.
                checkSeconds: 5,
                checkpointSeconds: 5,
                emulator: { api: this.emulator.url },
            },
            "gateway:replacement": { bootGraceSeconds: Environment.graceSeconds },
            "gateway:loadBalancer": { drainSeconds: 5 },
            ...changes,
        };
    }

    /** Runs the engine on the stack. @param changes keys with other values than usual. */
    engine(action: EngineTask["action"], changes: Readonly<Record<string, unknown>> = {}): Promise<EngineResult> {
        const task = { action, stack: STACK, overrides: this.overrides(changes) };
        return runEngine(task, { GATEWAY_HOME: this.home }, this.say);
    }

    /**
     * Runs the pipeline's script on the committed stack, which knows no emulator. As in the pipeline, the environment
     * provides the credentials for AWS; here it also provides AWS's address.
     *
     * @returns the comment on the pull request.
     */
    async previewAsPipeline(): Promise<string> {
        const home = join(this.home, "pipeline");
        mkdirSync(home);
        const report = join(home, "report.md");
        await command(["scripts/ci/preview.sh", STACK, report], {
            timeoutMs: PIPELINE_TIMEOUT,
            env: {
                ...process.env,
                GATEWAY_HOME: home,
                AWS_ENDPOINT_URL: this.emulator.url,
                AWS_ACCESS_KEY_ID: "test",
                AWS_SECRET_ACCESS_KEY: "test",
            },
        });
        return readFileSync(report, "utf8");
    }

    /** Takes everything down. */
    close(): Promise<void> {
        return takeDown(this.undo);
    }
}

async function takeDown(undo: readonly (() => Promise<void> | void)[]): Promise<void> {
    for (const step of [...undo].reverse()) await step();
}
