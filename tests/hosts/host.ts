/** One machine: systemd and cloud-init in a container, with its own disk, network and cgroups. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../../lib/wait";
import { makeCgroup, memoryOf, removeCgroup } from "./cgroups";
import { type CommandOptions, command } from "./command";
import { Disk } from "./disk";
import { imagePath } from "./image";
import type { Inhabitant, Lab } from "./lab";
import { type Addressing, type Slowness, Wire } from "./wire";

/** The parts of a machine. */
export interface HostArgs extends Addressing {
    readonly lab: Lab;
    /** Unique in the lab; letters, digits and hyphens. */
    readonly name: string;
    /**
     * As cloud-init gets it: text, or compressed. If an API returns it in base64, pass `Buffer.from(text, "base64")`.
     */
    readonly userData: string | Uint8Array;
    /** The cloud's metadata of the instance. By default, its `instance-id` and `local-hostname` are the name. */
    readonly metaData?: Readonly<Record<string, unknown>>;
    /** Space that it can write, MB; default 2048. */
    readonly diskMegabytes?: number;
    /**
     * The cloud's metadata service as this machine sees it, at 169.254.169.254. It is either a separate program, or
     * `lab`: the program that listens there in the lab (`Lab.addMetadataAddress`) and tells machines apart by their
     * addresses. Default: none.
     */
    readonly metadataServer?: MetadataServer | "lab";
}

/**
 * A program that answers on 169.254.169.254:80 in the machine's network, but does not run on the machine: the machine's
 * faults do not affect it.
 */
export interface MetadataServer {
    readonly argv: readonly string[];
    readonly environment?: Readonly<Record<string, string>>;
}

/**
 * Deadlines in milliseconds: until systemd runs, a metadata service listens, cloud-init ends, a machine shuts down, and
 * a killed process is gone.
 */
const TIMEOUTS = { systemd: 15_000, metadata: 10_000, boot: 120_000, shutdown: 90_000, gone: 10_000 };
/** systemd's "power off" (`SIGRTMIN+4`), by number, because Node has no name for it. */
const SIGNAL_POWER_OFF = 38;
/** With this exit code, systemd-nspawn says that the machine asks for a reboot. */
const REBOOT = 133;
/** The folders that a cloud would have set up before the boot. */
const SEED = "var/lib/cloud/seed/nocloud";
/** Enters cgroups, and becomes the command after `--`. */
const IN_CGROUPS = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs"; shift; done; shift; exec "$@"';
/** The environment of a command inside, as root has it after a login. */
const ENVIRONMENT = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"];

/** A machine. It ends with the lab, unless it is destroyed before. */
export class Host implements Inhabitant {
    readonly name: string;
    readonly address: string;
    private nspawn: ChildProcess | undefined;
    private exited: Promise<void> = Promise.resolve();
    private systemd = 0;
    private metadata: ChildProcess | undefined;
    private destroyed: Promise<void> | undefined;
    private isCutOff = false;
    /** Set while it waits for the start that completes a reboot. */
    private rebooting: Promise<void> | undefined;

    private constructor(
        private readonly lab: Lab,
        args: Pick<HostArgs, "name" | "address">,
        private readonly disk: Disk,
        private readonly wire: Wire,
    ) {
        this.name = args.name;
        this.address = args.address;
    }

    /**
     * Creates a machine and starts it. It does not wait for cloud-init ({@link booted}).
     *
     * @throws Error if the name or the address is invalid or taken, or the machine does not start. Nothing is left of
     *         it then.
     */
    static async boot(args: HostArgs): Promise<Host> {
        const { lab, name } = args;
        if (!/^[A-Za-z0-9][A-Za-z0-9-]{0,62}$/.test(name))
            throw new Error(`"${name}" is not a valid name of a machine`);
        lab.reserve(name, args.address);
        const undo: (() => Promise<void>)[] = [async () => lab.release(name)];
        try {
            const disk = await Disk.make(name, imagePath(), args.diskMegabytes);
            undo.push(() => disk.remove());
            const wire = await Wire.lay(name, args);
            undo.push(() => wire.remove());
            const host = new Host(lab, args, disk, wire);
            undo.splice(0, undo.length, () => host.destroy());
            await lab.admit(host);
            host.seed(args);
            if (args.metadataServer === "lab") await wire.askForMetadata(lab.address);
            else if (args.metadataServer) await host.startMetadata(args.metadataServer);
            await host.start();
            return host;
        } catch (error) {
            for (const step of undo.reverse()) await step();
            throw error;
        }
    }

    private seed({ userData, metaData, name }: HostArgs): void {
        const seed = join(this.disk.root, SEED);
        mkdirSync(seed, { recursive: true, mode: 0o700 });
        writeFileSync(join(seed, "user-data"), userData);
        const identity = { "instance-id": name, "local-hostname": name, ...metaData };
        writeFileSync(join(seed, "meta-data"), `${JSON.stringify(identity)}\n`);
    }

    private async startMetadata({ argv, environment }: MetadataServer): Promise<void> {
        await this.wire.addMetadataAddress();
        const server = this.spawn([...this.wire.inside, ...argv], "metadata", environment);
        this.metadata = server;
        await waitFor(
            `${this.name}'s metadata service`,
            () => {
                if (!isRunning(server)) throw new Error(`it ended with ${server.exitCode ?? server.signalCode}`);
                return listens(server.pid as number, 80);
            },
            TIMEOUTS.metadata,
        );
    }

    /** Starts a process of this computer for the machine; its output goes to a file. */
    private spawn(
        argv: readonly string[],
        log: string,
        environment: Readonly<Record<string, string>> = {},
    ): ChildProcess {
        const output = openSync(this.logFile(log), "a");
        const [program, ...args] = argv as [string];
        const child = spawn(program, args, {
            stdio: ["ignore", output, output],
            env: { ...process.env, ...environment },
        });
        closeSync(output);
        // Its state shows the failure.
        child.on("error", () => undefined);
        return child;
    }

    private logFile(kind: string): string {
        return join(process.env.GATEWAY_HOSTS_LOGS ?? this.disk.folder, `${this.name}-${kind}.log`);
    }

    private get cgroup(): string {
        return `${this.lab.cgroup}/${this.name}`;
    }

    /** The machine's present state. It may also have switched itself off. */
    get state(): "running" | "off" | "destroyed" {
        if (this.destroyed) return "destroyed";
        return this.rebooting || (this.nspawn && isRunning(this.nspawn)) ? "running" : "off";
    }

    /** Its console's output, since it was created. */
    get console(): string {
        return readFileSync(this.logFile("console"), "utf8");
    }

    /** Its root directory, as a path of this computer; also valid while it is off. */
    get root(): string {
        return this.disk.root;
    }

    /** Bytes of memory that it uses, including caches of files; undefined if the kernel does not count them. */
    get memory(): number | undefined {
        return memoryOf(this.cgroup);
    }

    /** Switches the machine on, with the content that its disk had when it was switched off. */
    async start(): Promise<void> {
        if (this.state !== "off") throw new Error(`${this.name} is ${this.state}`);
        await this.launch();
    }

    private async launch(): Promise<void> {
        const nspawn = [
            ...["systemd-nspawn", "--quiet", "--boot", `--directory=${this.disk.root}`, `--machine=${this.name}`],
            // This works without systemd outside.
            ...["--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off"],
            `--network-namespace-path=${this.wire.path}`,
            // To add addresses, as keepalived does.
            "--capability=CAP_NET_ADMIN",
        ];
        if (!this.isCutOff) await this.wire.join();
        const child = this.spawn(
            ["sh", "-c", IN_CGROUPS, "sh", ...makeCgroup(this.cgroup), "--", ...nspawn],
            "console",
        );
        this.nspawn = child;
        this.exited = new Promise((done) => {
            child.once("exit", (code) => {
                done();
                if (this.nspawn === child && !this.destroyed) this.onExit(code);
            });
            child.once("error", () => done());
        });
        this.systemd = await waitFor(
            `${this.name}'s systemd`,
            () => {
                if (!isRunning(child)) throw new Error(this.console.trim().split("\n").at(-1));
                return firstProcess(child.pid as number);
            },
            TIMEOUTS.systemd,
            20,
        );
    }

    /** A machine that is off answers nothing. One that wants to reboot starts again. */
    private onExit(code: number | null): void {
        const next = code === REBOOT ? this.launch() : this.wire.cut();
        const settled = next
            // Its state shows the failure.
            .catch(() => undefined)
            .finally(() => {
                if (this.rebooting === settled) this.rebooting = undefined;
            });
        if (code === REBOOT) this.rebooting = settled;
    }

    /**
     * Waits until cloud-init has completed the user data.
     *
     * @param timeout milliseconds; default two minutes.
     * @throws Error if it takes longer, cloud-init reports errors, or the machine went off.
     */
    async booted(timeout = TIMEOUTS.boot): Promise<this> {
        const result = await waitFor(
            `${this.name}'s boot`,
            () => {
                if (this.state !== "running") return { errors: [`the machine is ${this.state}`] };
                const path = `/proc/${this.systemd}/root/run/cloud-init/result.json`;
                return existsSync(path) && (JSON.parse(readFileSync(path, "utf8")) as { v1: { errors: string[] } }).v1;
            },
            timeout,
            100,
        );
        if (result.errors.length > 0) throw new Error(`${this.name} did not boot: ${result.errors.join("; ")}`);
        return this;
    }

    /**
     * Runs a command inside, as root.
     *
     * @returns its standard output, without white space at its end.
     * @throws Error with the last lines of its output if it fails or takes longer than `timeoutMs` (default: 30 s).
     */
    exec(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
        if (this.state !== "running") return Promise.reject(new Error(`${this.name} is ${this.state}`));
        const inside = ["nsenter", "--target", String(this.systemd), "--all", "--", ...ENVIRONMENT];
        return command([...inside, ...argv], options, `${this.name}: ${argv.join(" ")}`);
    }

    /**
     * Sends a signal to every process of a service inside. After `SIGSTOP`, the service accepts connections but answers
     * nothing.
     */
    async signal(service: string, name: NodeJS.Signals): Promise<void> {
        await this.exec(["systemctl", "kill", `--signal=${name}`, service]);
    }

    /** The journal of one unit or of all. It comes from the disk, so it is readable while the machine is off. */
    journal(unit?: string): Promise<string> {
        const of = unit ? [`--unit=${unit}`] : [];
        return command([
            "journalctl",
            `--directory=${join(this.root, "var/log/journal")}`,
            "--no-pager",
            "--quiet",
            ...of,
        ]);
    }

    /** Takes the power away. No process and no kernel sends anything any more, and connects time out. */
    async powerOff(): Promise<void> {
        if (this.state !== "running") return;
        await this.wire.cut();
        process.kill(this.systemd, "SIGKILL");
        await this.hasExited(TIMEOUTS.gone);
    }

    /** Shuts it down as `poweroff` does, so that services stop in order. @param timeout milliseconds; default 90 s. */
    async shutdown(timeout = TIMEOUTS.shutdown): Promise<void> {
        if (this.state !== "running") return;
        process.kill(this.systemd, SIGNAL_POWER_OFF);
        await this.hasExited(timeout);
        await this.wire.cut();
    }

    private async hasExited(timeout: number): Promise<void> {
        await waitFor(`the end of ${this.name}`, () => this.state !== "running", timeout, 20);
        await this.exited;
    }

    /** Cuts it off from the network. It continues to run, and connects to and from it time out. */
    async cutOff(): Promise<void> {
        this.isCutOff = true;
        await this.wire.cut();
    }

    /** Undoes {@link cutOff}. */
    async reconnect(): Promise<void> {
        this.isCutOff = false;
        if (this.state === "running") await this.wire.join();
    }

    /** Makes its network slow or lossy. Without arguments, makes it normal again. */
    async slow(slowness?: Slowness): Promise<void> {
        if (slowness) await this.wire.slow(slowness);
        else await this.wire.unslow();
    }

    /** Fills its disk. */
    fillDisk(): Promise<void> {
        return this.disk.fill();
    }

    /** Undoes {@link fillDisk}. */
    freeDisk(): void {
        this.disk.free();
    }

    async knows(address: string): Promise<void> {
        try {
            await this.wire.knows(address);
        } catch (error) {
            // A machine that is being removed needs no update.
            if (!this.destroyed) throw error;
        }
    }

    /** Takes its power away and removes it. Its address and name are free afterwards. */
    destroy(): Promise<void> {
        this.destroyed ??= this.takeApart();
        return this.destroyed;
    }

    private async takeApart(): Promise<void> {
        await this.rebooting;
        await this.wire.cut();
        if (this.nspawn && isRunning(this.nspawn)) {
            // Before systemd starts, there is only nspawn.
            process.kill(this.systemd || (this.nspawn.pid as number), "SIGKILL");
            await this.exited;
        }
        if (this.metadata && isRunning(this.metadata)) {
            const server = this.metadata;
            await new Promise((done) => {
                server.once("exit", done);
                server.kill("SIGKILL");
            });
        }
        await this.wire.remove();
        await this.disk.remove();
        // A killed process may take a moment to end.
        await waitFor(`the end of ${this.name}'s processes`, () => removeCgroup(this.cgroup), TIMEOUTS.gone);
        this.lab.release(this.name);
    }
}

function isRunning(child: ChildProcess): boolean {
    return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

/** The machine's first process: the child of systemd-nspawn that has become systemd. */
function firstProcess(nspawn: number): number | undefined {
    const children = readFileSync(`/proc/${nspawn}/task/${nspawn}/children`, "utf8").trim().split(" ");
    const found = children.find((pid) => pid && readFileSync(`/proc/${pid}/comm`, "utf8").trim() === "systemd");
    return found ? Number(found) : undefined;
}

/** Whether a program in the network of a process listens on a TCP port. */
function listens(pid: number, port: number): boolean {
    const [LISTEN, hexPort] = ["0A", port.toString(16).padStart(4, "0").toUpperCase()];
    return ["tcp", "tcp6"].some((protocol) =>
        readFileSync(`/proc/${pid}/net/${protocol}`, "utf8")
            .split("\n")
            .map((line) => line.trim().split(/\s+/))
            .some(([, local = "", , state]) => state === LISTEN && local.endsWith(`:${hexPort}`)),
    );
}
