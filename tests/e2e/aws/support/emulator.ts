/** The emulator of AWS's API: moto with the corrections and stand-ins of `../emulator`. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { AutoScalingClient, DescribeAutoScalingGroupsCommand } from "@aws-sdk/client-auto-scaling";
import {
    DescribeInstancesCommand,
    DescribeInternetGatewaysCommand,
    DescribeLaunchTemplatesCommand,
    DescribeNetworkInterfacesCommand,
    DescribeRouteTablesCommand,
    DescribeSecurityGroupsCommand,
    DescribeSubnetsCommand,
    DescribeVolumesCommand,
    DescribeVpcsCommand,
    EC2Client,
} from "@aws-sdk/client-ec2";
import {
    DescribeLoadBalancersCommand,
    DescribeTargetGroupsCommand,
    ElasticLoadBalancingV2Client,
} from "@aws-sdk/client-elastic-load-balancing-v2";
import { DescribeParametersCommand, SSMClient } from "@aws-sdk/client-ssm";
import { sweep, temporaryDirectory } from "../../../../scripts/tools/cache";
import { withLock } from "../../../../scripts/tools/lock";
import { waitFor } from "../../../../supervisor/wait";
import { command } from "../../../hosts/command";

/** The region of every client, and the only one in which the emulator's stand-ins work. */
export const region = "eu-central-1";
/** The Python package, and what it needs. */
const FOLDER = resolve(__dirname, "../emulator");
const REQUIREMENTS = join(FOLDER, "requirements.txt");
/** Milliseconds: for the installation, and for the start on a busy computer. */
const TIMEOUTS = { install: 600_000, start: 60_000 };

/** Where it is installed: another list of requirements is another folder. */
function home(): string {
    const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "gateway-e2e");
    return join(cache, `moto-${createHash("sha256").update(readFileSync(REQUIREMENTS)).digest("hex").slice(0, 12)}`);
}

/** The Python that has moto. */
const python = () => join(home(), "bin", "python");

/** Whether the emulator is installed. */
export function emulatorInstalled(): boolean {
    return existsSync(python());
}

/**
 * Installs the emulator for this user, outside the checkout, with checksums; what is there is left alone.
 *
 * @throws Error when there is no Python with `venv`, or no package registry.
 */
export async function installEmulator(say: (line: string) => void): Promise<void> {
    const folder = home();
    const cache = resolve(folder, "..");
    const onWait = ({ pid }: { pid: number }) => say(`waiting for process ${pid}, which installs the emulator`);
    await withLock(cache, "moto", { onWait }, async () => {
        if (emulatorInstalled()) return;
        say("installing the emulator of AWS's API, once; it takes a minute");
        sweep(cache);
        const work = temporaryDirectory(cache, "moto");
        try {
            await command(["python3", "-m", "venv", work]);
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

/** What EC2's spot service, AutoScaling and so on are asked with. Any credentials will do. */
export interface Clients {
    readonly ec2: EC2Client;
    readonly scaling: AutoScalingClient;
    readonly balancing: ElasticLoadBalancingV2Client;
    readonly parameters: SSMClient;
}

/** The running emulator. */
export class Emulator {
    private constructor(
        /** URL of the API. */
        readonly url: string,
        readonly clients: Clients,
        private readonly process: ChildProcess,
    ) {}

    /**
     * Starts it.
     *
     * @param log where it writes what goes wrong.
     */
    static async start(address: string, port: number, log: string): Promise<Emulator> {
        const output = openSync(log, "a");
        const child = spawn(python(), ["-m", "fleet", address, String(port)], {
            cwd: FOLDER,
            stdio: ["ignore", output, output],
            env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1" },
        });
        closeSync(output);
        const url = `http://${address}:${port}`;
        const answers = async () => child.exitCode !== null || (await fetch(`${url}/moto-api/`)).ok;
        await waitFor("the emulator", answers, TIMEOUTS.start);
        if (child.exitCode !== null) throw new Error(`the emulator ended: ${readFileSync(log, "utf8").slice(-1000)}`);
        const settings = { region, endpoint: url, credentials: { accessKeyId: "test", secretAccessKey: "test" } };
        const clients = {
            ec2: new EC2Client(settings),
            scaling: new AutoScalingClient(settings),
            balancing: new ElasticLoadBalancingV2Client(settings),
            parameters: new SSMClient(settings),
        };
        return new Emulator(url, clients, child);
    }

    /** Plays EC2: recommends AutoScaling to replace a spot instance. */
    async recommendRebalance(instance: string): Promise<void> {
        const answer = await fetch(`${this.url}/stand-in/rebalance/${instance}`, { method: "POST" });
        if (!answer.ok) throw new Error(`the emulator answers ${answer.status}`);
    }

    /** The ids of all that exists in it, of the kinds that a deployment makes; instances only as long as they run. */
    async inventory(): Promise<string[]> {
        const { ec2, scaling, balancing, parameters } = this.clients;
        const running = { Name: "instance-state-name", Values: ["running", "stopped"] };
        const found = await Promise.all([
            ec2.send(new DescribeVpcsCommand({})).then(({ Vpcs }) => Vpcs?.map(({ VpcId }) => VpcId)),
            ec2.send(new DescribeSubnetsCommand({})).then(({ Subnets }) => Subnets?.map(({ SubnetId }) => SubnetId)),
            ec2
                .send(new DescribeInternetGatewaysCommand({}))
                .then(({ InternetGateways }) => InternetGateways?.map(({ InternetGatewayId }) => InternetGatewayId)),
            ec2
                .send(new DescribeRouteTablesCommand({}))
                .then(({ RouteTables }) => RouteTables?.map(({ RouteTableId }) => RouteTableId)),
            ec2
                .send(new DescribeSecurityGroupsCommand({}))
                .then(({ SecurityGroups }) => SecurityGroups?.map(({ GroupId }) => GroupId)),
            ec2
                .send(new DescribeNetworkInterfacesCommand({}))
                .then(({ NetworkInterfaces }) =>
                    NetworkInterfaces?.map(({ NetworkInterfaceId }) => NetworkInterfaceId),
                ),
            ec2.send(new DescribeVolumesCommand({})).then(({ Volumes }) => Volumes?.map(({ VolumeId }) => VolumeId)),
            ec2
                .send(new DescribeLaunchTemplatesCommand({}))
                .then(({ LaunchTemplates }) => LaunchTemplates?.map(({ LaunchTemplateId }) => LaunchTemplateId)),
            ec2
                .send(new DescribeInstancesCommand({ Filters: [running] }))
                .then(({ Reservations }) =>
                    Reservations?.flatMap(({ Instances = [] }) => Instances.map(({ InstanceId }) => InstanceId)),
                ),
            scaling
                .send(new DescribeAutoScalingGroupsCommand({}))
                .then(({ AutoScalingGroups }) =>
                    AutoScalingGroups?.map(({ AutoScalingGroupARN }) => AutoScalingGroupARN),
                ),
            balancing
                .send(new DescribeLoadBalancersCommand({}))
                .then(({ LoadBalancers }) => LoadBalancers?.map(({ LoadBalancerArn }) => LoadBalancerArn)),
            balancing
                .send(new DescribeTargetGroupsCommand({}))
                .then(({ TargetGroups }) => TargetGroups?.map(({ TargetGroupArn }) => TargetGroupArn)),
            parameters
                .send(new DescribeParametersCommand({}))
                .then(({ Parameters }) => Parameters?.map(({ Name }) => Name)),
            this.identities(),
        ]);
        return found.flatMap((ids) => (ids ?? []).flatMap((id) => id ?? [])).sort();
    }

    /** Roles and instance profiles; just for them another library would be needed. */
    private async identities(): Promise<string[]> {
        const scope = `${region}/iam/aws4_request`;
        const authorization = `AWS4-HMAC-SHA256 Credential=test/20260101/${scope}, SignedHeaders=host, Signature=none`;
        const answers = await Promise.all(
            ["ListRoles", "ListInstanceProfiles"].map(async (action) => {
                const body = new URLSearchParams({ Action: action, Version: "2010-05-08" });
                const answer = await fetch(this.url, { method: "POST", headers: { authorization }, body });
                if (!answer.ok) throw new Error(`${action}: the emulator answers ${answer.status}`);
                return answer.text();
            }),
        );
        return answers.flatMap((xml) => [...xml.matchAll(/<Arn>(.*?)<\/Arn>/g)].map(([, arn = ""]) => arn));
    }

    /** Ends it, with all that was in it. */
    async stop(): Promise<void> {
        for (const client of Object.values(this.clients)) client.destroy();
        await new Promise<void>((done) => {
            if (this.process.exitCode !== null) return done();
            this.process.once("exit", () => done());
            this.process.kill("SIGKILL");
        });
    }
}
