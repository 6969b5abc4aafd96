/** A balancer of real processes in a temporary folder, and Thrift servers behind it. */
import * as assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import {
    closeSync,
    mkdirSync,
    mkdtempSync,
    openSync,
    readFileSync,
    renameSync,
    rmSync,
    symlinkSync,
    writeFileSync,
} from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { buildSync } from "esbuild";
import { HaproxyRuntime } from "../../../clients/haproxyRuntime";
import { waitFor } from "../../../lib/wait";
import type { Backend } from "../../../programs/reconciler/backends";
import type { ReconcilerStatus } from "../../../programs/reconciler/status";
import { gatewayHealthPort } from "../../../roles/gatewayHealth";
import { thriftCall } from "../../../roles/healthCheck";
import { balancerStatusUrl, type HaproxyBalancerArgs, haproxyBalancer } from "../../../roles/loadBalancer/balancer";
import { processLayout } from "../../../roles/render/process";
import type { Role } from "../../../roles/role";
import { bundleTarget } from "../../../toolchain/node";

let lastNetwork = 0;

/**
 * Gives addresses that no other test of this process uses, and probably no other process: 127.(100…199).x.y. Test files run
 * side by side, in processes of their own.
 */
export function testNetwork(): (host: number) => string {
    lastNetwork += 1;
    const network = `127.${100 + (lastNetwork % 100)}.${process.pid % 250}`;
    return (host) => `${network}.${host}`;
}

/** How a {@link FakeGateway} answers the health check `ping`, and its machine's endpoint those of balancers. */
export type Health = "reply" | "exception" | "silence";

/**
 * A Thrift server, unframed, and the health endpoint of its machine. It answers every call with an empty result, `ping` as
 * `health` says, and the method `slow` only once {@link release} is called.
 */
export class FakeGateway {
    health: Health = "reply";
    /** Number of calls answered, without health checks. */
    calls = 0;
    /** Number of balancers' health checks that passed. */
    passes = 0;
    /** Number of calls that came before the first health check was answered. */
    early = 0;
    private readonly sockets = new Set<Socket>();
    private readonly held: (() => void)[] = [];
    private server: Server | undefined;
    private readonly endpoint = createHttpServer((_, response) => {
        if (!this.server || this.health === "silence") response.statusCode = 503;
        else if (this.health === "exception") response.statusCode = 404;
        else this.passes += 1;
        response.end();
    });

    constructor(
        readonly address: string,
        readonly port = 9190,
        /** Whether it also stands for its machine's health endpoint. */
        private readonly hasEndpoint = true,
    ) {}

    async start(): Promise<this> {
        const server = createServer((socket) => this.serve(socket));
        this.server = server;
        await new Promise<void>((done, fail) => {
            server.on("error", fail);
            server.listen(this.port, this.address, done);
        });
        const { endpoint } = this;
        if (this.hasEndpoint && !endpoint.listening) {
            await new Promise<void>((done, fail) => {
                endpoint.on("error", fail);
                endpoint.listen(gatewayHealthPort, this.address, done);
            });
        }
        return this;
    }

    /** Dies: closes the port and resets every connection. */
    async kill(): Promise<void> {
        const { server } = this;
        this.server = undefined;
        if (!server) return;
        for (const socket of this.sockets) socket.resetAndDestroy();
        this.endpoint.closeAllConnections();
        const listening = [server, this.endpoint].filter((each) => each.listening);
        await Promise.all(listening.map((each) => new Promise((done) => each.close(done))));
    }

    /** Answers the calls of `slow`. */
    release(): void {
        for (const answer of this.held.splice(0)) answer();
    }

    backend(id: string): Backend {
        return { id, address: this.address, port: this.port };
    }

    private serve(socket: Socket): void {
        this.sockets.add(socket);
        socket.on("close", () => this.sockets.delete(socket));
        socket.on("error", () => {});
        let buffered = Buffer.alloc(0);
        socket.on("data", (chunk: Buffer) => {
            buffered = Buffer.concat([buffered, chunk]);
            for (;;) {
                const size = buffered.length < 8 ? Infinity : 8 + buffered.readUInt32BE(4) + 5;
                if (buffered.length < size) return;
                this.answer(socket, buffered.subarray(8, size - 5));
                buffered = buffered.subarray(size);
            }
        });
    }

    private answer(socket: Socket, name: Buffer): void {
        const isCheck = name.toString() === "ping";
        if (isCheck && this.health === "silence") return;
        const type = isCheck && this.health === "exception" ? 3 : 2;
        const head = Buffer.from([0x80, 1, 0, type, 0, 0, 0, name.length]);
        const text = Buffer.from("Draining");
        const exception = Buffer.concat([Buffer.from([11, 0, 1, 0, 0, 0, text.length]), text]);
        const body = Buffer.concat([...(type === 3 ? [exception] : []), Buffer.from([0])]);
        const reply = Buffer.concat([head, name, Buffer.alloc(4), body]);
        const send = () => socket.write(reply);
        if (isCheck) {
            send();
            return;
        }
        this.calls += 1;
        if (this.passes < 2) this.early += 1;
        if (name.toString() === "slow") this.held.push(send);
        else send();
    }
}

/** A client's connection, for one call at a time. */
export class Client {
    private readonly socket: Socket;
    private failure: Error | undefined;
    private waiting: { done: () => void; fail: (error: Error) => void } | undefined;

    constructor(address: string, port: number) {
        this.socket = connect(port, address);
        this.socket.setNoDelay(true);
        this.socket.on("data", () => this.waiting?.done());
        this.socket.on("error", (error) => this.end(error));
        this.socket.on("close", () => this.end(new Error("connection closed")));
    }

    get closed(): boolean {
        return this.failure !== undefined;
    }

    /** @throws Error if the connection ends first. */
    call(method = "echo"): Promise<void> {
        if (this.failure) return Promise.reject(this.failure);
        return new Promise<void>((done, fail) => {
            this.waiting = { done, fail };
            this.socket.write(thriftCall(method, false));
        });
    }

    close(): void {
        this.socket.destroy();
    }

    private end(error: Error): void {
        this.failure ??= error;
        this.waiting?.fail(error);
    }
}

/** One call on a new connection. */
export async function callOnce(address: string, port: number): Promise<void> {
    const client = new Client(address, port);
    try {
        await client.call();
    } finally {
        client.close();
    }
}

/** A process that a test started. */
export class TestProcess {
    private readonly child: ChildProcess;
    readonly ended: Promise<number | null>;

    constructor(
        argv: readonly string[],
        cwd: string,
        private readonly logFile: string,
        environment: Readonly<Record<string, string>> = {},
    ) {
        const log = openSync(logFile, "a");
        // Ends with the test run, however that ends.
        this.child = spawn("setpriv", ["--pdeathsig", "KILL", "--", ...argv], {
            ...{ cwd, stdio: ["ignore", log, log] },
            env: { ...process.env, ...environment },
        });
        closeSync(log);
        this.ended = new Promise((done) => this.child.once("exit", (code) => done(code)));
    }

    get pid(): number | undefined {
        return this.child.pid;
    }

    get log(): string {
        return readFileSync(this.logFile, "utf8");
    }

    /** Ends the process. @returns its exit code; null after a signal. */
    stop(signal: NodeJS.Signals = "SIGKILL"): Promise<number | null> {
        if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
        return this.ended;
    }
}

let bundle: string | undefined;

/** The reconciler, bundled as a deployment does. */
function reconcilerBundle(): string {
    bundle ??= buildSync({
        absWorkingDir: join(__dirname, "..", "..", ".."),
        entryPoints: ["programs/reconciler/main.ts"],
        bundle: true,
        platform: "node",
        target: bundleTarget,
        format: "cjs",
        write: false,
        logLevel: "silent",
    }).outputFiles[0]?.text;
    return bundle ?? "";
}

/** Writes a role's files below a folder, as a machine does. */
export function writeRole(directory: string, role: Role): void {
    for (const file of role.files) {
        mkdirSync(dirname(join(directory, file.path)), { recursive: true });
        writeFileSync(join(directory, file.path), file.content);
    }
}

/** A balancer: HAProxy and the reconciler, as in the role. */
export class TestBalancer {
    readonly directory = mkdtempSync(join(tmpdir(), "gw-"));
    readonly runtime = new HaproxyRuntime(join(this.directory, "run/haproxy.sock"));
    haproxy: TestProcess | undefined;
    reconciler: TestProcess | undefined;
    readonly role: Role;

    constructor(
        readonly address: string,
        haproxyPath: string,
        args: Partial<HaproxyBalancerArgs> = {},
    ) {
        const layout = processLayout("lb-test", address);
        this.role = haproxyBalancer(
            {
                port: 9190,
                slots: 16,
                networks: ["127.0.0.0/8"],
                maxConnections: 200,
                drainSeconds: 30,
                reconcilerBundle: { file: "", sha256: "" },
                haproxyVersion: "2.6",
                ...args,
            },
            layout,
        );
        for (const name of ["bin", "run", "lib"]) mkdirSync(join(this.directory, name));
        writeRole(this.directory, this.role);
        symlinkSync(haproxyPath, join(this.directory, "bin/haproxy"));
        symlinkSync(process.execPath, join(this.directory, "bin/node"));
        writeFileSync(join(this.directory, "bin/reconciler.cjs"), reconcilerBundle());
    }

    private run(name: string, starter: readonly string[] = []): TestProcess {
        const service = this.role.services.find((each) => each.name === name);
        return new TestProcess(
            [...starter, ...(service?.argv ?? [])],
            this.directory,
            join(this.directory, `${name}.log`),
        );
    }

    /** Starts HAProxy and waits until it answers. */
    async startHaproxy(): Promise<void> {
        this.haproxy = this.run("haproxy");
        await waitFor("HAProxy to start", () => this.statistics(), 5_000, 10);
    }

    /** @param starter a command that runs the reconciler. Default none. */
    startReconciler(starter: readonly string[] = []): void {
        this.reconciler = this.run("reconciler", starter);
    }

    /** Changes HAProxy's configuration, and runs the role's command for it. @returns its exit code. */
    async reload(change: (config: string) => string): Promise<number | null> {
        const path = join(this.directory, "etc/haproxy/haproxy.cfg");
        writeFileSync(path, change(readFileSync(path, "utf8")));
        const { reload } = this.role.services.find((each) => each.name === "haproxy") ?? {};
        assert.deepEqual(reload?.files, ["etc/haproxy/haproxy.cfg"]);
        const environment = { MAINPID: String(this.haproxy?.pid) };
        return new TestProcess(reload.command, this.directory, join(this.directory, "reload.log"), environment).ended;
    }

    /** Runs the role's commands before a stop of HAProxy. */
    async beforeStop(): Promise<void> {
        const [command = []] = this.role.services.find((each) => each.name === "haproxy")?.beforeStop ?? [];
        await new TestProcess(command, this.directory, join(this.directory, "stop.log")).stop("SIGCONT");
    }

    async start(...backends: Backend[]): Promise<void> {
        this.write(backends);
        await this.startHaproxy();
        this.startReconciler();
        await this.settled(backends);
    }

    /** Replaces the list by renaming a file. */
    write(list: readonly Backend[] | string): void {
        const path = join(this.directory, "run/backends.json");
        writeFileSync(`${path}.tmp`, typeof list === "string" ? list : JSON.stringify(list));
        renameSync(`${path}.tmp`, path);
    }

    /** Waits until exactly these are up, and no other has a connection. */
    async settled(backends: readonly Backend[], timeout = 8_000): Promise<void> {
        const expected = backends.map(({ address, port }) => `${address}:${port}`).sort();
        await waitFor(
            `${expected.join(" ")} to be up`,
            async () => {
                const servers = (await this.servers()).filter(
                    ({ status, sessions }) => status !== "MAINT" && !(status === "DRAIN" && sessions === 0),
                );
                const up = servers.filter(({ status }) => status.startsWith("UP")).map(({ address }) => address);
                if (up.sort().join() === expected.join() && up.length === servers.length) return true;
                throw new Error(JSON.stringify(servers));
            },
            timeout,
            20,
        );
    }

    private async statistics(): Promise<string> {
        const response = await fetch(`${balancerStatusUrl({ address: this.address })}/;csv`);
        return response.text();
    }

    /** HAProxy's servers as its status page shows them. */
    async servers(): Promise<{ name: string; status: string; address: string; sessions: number; total: number }[]> {
        const [heading = "", ...lines] = (await this.statistics()).trim().split("\n");
        const columns = heading.replace("# ", "").split(",");
        return lines
            .map((line) => line.split(","))
            .map((fields) => (name: string) => fields[columns.indexOf(name)] ?? "")
            .filter((field) => field("pxname") === "gateways" && field("svname") !== "BACKEND")
            .map((field) => ({
                name: field("svname"),
                status: field("status"),
                address: field("addr"),
                sessions: Number(field("scur")),
                total: Number(field("stot")),
            }));
    }

    /** The server at an address; undefined if there is none, or only one in maintenance. */
    async server(gateway: FakeGateway) {
        const key = `${gateway.address}:${gateway.port}`;
        return (await this.servers()).find(({ address, status }) => address === key && status !== "MAINT");
    }

    status(): ReconcilerStatus {
        return JSON.parse(readFileSync(join(this.directory, "run/reconciler.json"), "utf8")) as ReconcilerStatus;
    }

    client(): Client {
        return new Client(this.address, 9190);
    }

    /** Ends everything and removes the folder. */
    async stop(): Promise<void> {
        await Promise.all([this.reconciler?.stop(), this.haproxy?.stop()]);
        rmSync(this.directory, { recursive: true, force: true });
    }
}

/** Calls the balancer repeatedly until stopped, each time on a new connection. */
export class Traffic {
    calls = 0;
    readonly failures: string[] = [];
    private stopped = false;
    private readonly workers: Promise<void>[];

    constructor(balancer: TestBalancer, workers = 4) {
        this.workers = Array.from({ length: workers }, async () => {
            while (!this.stopped) {
                this.calls += 1;
                await callOnce(balancer.address, 9190).catch((error: Error) => this.failures.push(error.message));
                // No server answers any more, so more calls would tell nothing.
                if (this.failures.length > 100) return;
            }
        });
    }

    async stop(): Promise<void> {
        this.stopped = true;
        await Promise.all(this.workers);
    }
}
