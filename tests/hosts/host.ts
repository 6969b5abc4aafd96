/** One machine: systemd and cloud-init in a container, with a disk, a network and cgroups of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../../supervisor/wait";
import { makeCgroup, memoryOf, removeCgroup } from "./cgroups";
import { type CommandOptions, command } from "./command";
import { Disk } from "./disk";
import { imagePath } from "./image";
import type { Inhabitant, Lab } from "./lab";
import { type Addressing, type Slowness, Wire } from "./wire";

/** What a machine is made of. */
export interface HostArgs extends Addressing {
    readonly lab: Lab;
    /** Unique in the lab; letters, digits and hyphens. */
    readonly name: string;
    /** As cloud-init gets it: text, or compressed. What an API returns in base64 is `Buffer.from(text, "base64")`. */
    readonly userData: string | Uint8Array;
    /** What the cloud says about the instance; by default its `instance-id` and its `local-hostname` are the name. */
    readonly metaData?: Readonly<Record<string, unknown>>;
    /** How much it can write, MB; default 2048. */
    readonly diskMegabytes?: number;
    /**
     * The cloud's metadata service as this machine sees it, at 169.254.169.254: a program of its own, or `lab`, whoever listens
     * there in the lab (`Lab.addMetadataAddress`) and tells machines apart by their addresses. None by default.
     */
    readonly metadataServer?: MetadataServer | "lab";
}

/** A program that answers on 169.254.169.254:80, in the machine's network but not on it: what happens to the machine does not hurt it. */
export interface MetadataServer {
    readonly argv: readonly string[];
    readonly environment?: Readonly<Record<string, string>>;
}

/** Milliseconds: for systemd to be there, a metadata service to listen, cloud-init to end, a clean end, and what has been killed to be gone. */
const TIMEOUTS = { systemd: 15_000, metadata: 10_000, boot: 120_000, shutdown: 90_000, gone: 10_000 };
/** systemd's "power off" (`SIGRTMIN+4`), by number because Node knows no name. */
const SIGNAL_POWER_OFF = 38;
/** With this exit code systemd-nspawn says that the machine wants to be started again. */
const REBOOT = 133;
/** What a cloud would have made of the machine's folders before. */
const SEED = "var/lib/cloud/seed/nocloud";
/** Puts itself into cgroups, and becomes the command after `--`. */
const IN_CGROUPS = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs"; shift; done; shift; exec "$@"';
/** The environment of a command inside, as a login of root would have it. */
const ENVIRONMENT = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"];

/** A machine. It dies with the lab, if nobody destroys it before. */
export class Host implements Inhabitant {
    readonly name: string;
    readonly address: string;
    private nspawn: ChildProcess | undefined;
    private exited: Promise<void> = Promise.resolve();
    private systemd = 0;
    private metadata: ChildProcess | undefined;
    private destroyed: Promise<void> | undefined;
    private isCutOff = false;
    /** Since it ended in order to be started again, until it is. */
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
     * Makes a machine and starts it. Does not wait for cloud-init ({@link booted}).
     *
     * @throws Error when the name or the address is no good, or taken, or the machine does not start; then nothing is left of it.
     */
    static async boot(args: HostArgs): Promise<Host> {
        const { lab, name } = args;
        if (!/^[A-Za-z0-9][A-Za-z0-9-]{0,62}$/.test(name)) throw new Error(`"${name}" is no name of a machine`);
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

    /** Starts a process of this computer on behalf of the machine; what it prints goes to a file. */
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
        // It is seen by its state.
        child.on("error", () => undefined);
        return child;
    }

    private logFile(kind: string): string {
        return join(process.env.GATEWAY_HOSTS_LOGS ?? this.disk.folder, `${this.name}-${kind}.log`);
    }

    private get cgroup(): string {
        return `${this.lab.cgroup}/${this.name}`;
    }

    /** What the machine is just now; it may also have switched itself off. */
    get state(): "running" | "off" | "destroyed" {
        if (this.destroyed) return "destroyed";
        return this.rebooting || (this.nspawn && isRunning(this.nspawn)) ? "running" : "off";
    }

    /** What it printed on its console, since it was made. */
    get console(): string {
        return readFileSync(this.logFile("console"), "utf8");
    }

    /** Its root directory, as a path of this computer; also while it is off. */
    get root(): string {
        return this.disk.root;
    }

    /** Bytes of memory that it uses, caches of files included; undefined where nobody counts them. */
    get memory(): number | undefined {
        return memoryOf(this.cgroup);
    }

    /** Switches the machine on; with what it had on its disk when it was switched off. */
    async start(): Promise<void> {
        if (this.state !== "off") throw new Error(`${this.name} is ${this.state}`);
        await this.launch();
    }

    private async launch(): Promise<void> {
        const nspawn = [
            ...["systemd-nspawn", "--quiet", "--boot", `--directory=${this.disk.root}`, `--machine=${this.name}`],
            // There need be no systemd outside.
            ...["--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off"],
            `--network-namespace-path=${this.wire.path}`,
            // To take addresses, as keepalived does.
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

    /** A machine that is off answers nothing; one that wants to boot again does. */
    private onExit(code: number | null): void {
        const next = code === REBOOT ? this.launch() : this.wire.cut();
        const settled = next
            // It is seen by its state.
            .catch(() => undefined)
            .finally(() => {
                if (this.rebooting === settled) this.rebooting = undefined;
            });
        if (code === REBOOT) this.rebooting = settled;
    }

    /**
     * Waits until cloud-init has done all that the user data says.
     *
     * @param timeout milliseconds; default two minutes.
     * @throws Error when it takes longer, cloud-init reports errors, or the machine went off.
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
     * @throws Error with its last words when it fails or takes longer than `timeoutMs` (default: 30 s).
     */
    exec(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
        if (this.state !== "running") return Promise.reject(new Error(`${this.name} is ${this.state}`));
        const inside = ["nsenter", "--target", String(this.systemd), "--all", "--", ...ENVIRONMENT];
        return command([...inside, ...argv], options, `${this.name}: ${argv.join(" ")}`);
    }

    /** Sends a signal to every process of a service inside, as `SIGSTOP`: it has a connection for everyone, and an answer for nobody. */
    async signal(service: string, name: NodeJS.Signals): Promise<void> {
        await this.exec(["systemctl", "kill", `--signal=${name}`, service]);
    }

    /** The journal, of one unit or all, from its disk: also of a machine that is off. */
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

    /** Takes the power away: no process gets to say anything any more, nor does the kernel, and connects time out. */
    async powerOff(): Promise<void> {
        if (this.state !== "running") return;
        await this.wire.cut();
        process.kill(this.systemd, "SIGKILL");
        await this.hasExited(TIMEOUTS.gone);
    }

    /** Ends it as `poweroff` does, so that services can stop in their way. @param timeout milliseconds; default 90 s. */
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

    /** Takes it off the network: it runs on, and connects, to and from it, time out. */
    async cutOff(): Promise<void> {
        this.isCutOff = true;
        await this.wire.cut();
    }

    /** Undoes {@link cutOff}. */
    async reconnect(): Promise<void> {
        this.isCutOff = false;
        if (this.state === "running") await this.wire.join();
    }

    /** Makes its network slow or lossy; without arguments, as it was. */
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
            // One that is being removed just now needs to know nothing.
            if (!this.destroyed) throw error;
        }
    }

    /** Removes it with all that it had; the power goes first. Its address and name can be had again afterwards. */
    destroy(): Promise<void> {
        this.destroyed ??= this.takeApart();
        return this.destroyed;
    }

    private async takeApart(): Promise<void> {
        await this.rebooting;
        await this.wire.cut();
        if (this.nspawn && isRunning(this.nspawn)) {
            // Without systemd there is nothing but nspawn yet.
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
        // Whoever was killed may take a moment to be gone.
        await waitFor(`the end of ${this.name}'s processes`, () => removeCgroup(this.cgroup), TIMEOUTS.gone);
        this.lab.release(this.name);
    }
}

function isRunning(child: ChildProcess): boolean {
    return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

/** The machine's first process: the child of systemd-nspawn that is systemd by now. */
function firstProcess(nspawn: number): number | undefined {
    const children = readFileSync(`/proc/${nspawn}/task/${nspawn}/children`, "utf8").trim().split(" ");
    const found = children.find((pid) => pid && readFileSync(`/proc/${pid}/comm`, "utf8").trim() === "systemd");
    return found ? Number(found) : undefined;
}

/** Whether somebody in the network of a process listens on a TCP port. */
function listens(pid: number, port: number): boolean {
    const [LISTEN, hexPort] = ["0A", port.toString(16).padStart(4, "0").toUpperCase()];
    return ["tcp", "tcp6"].some((protocol) =>
        readFileSync(`/proc/${pid}/net/${protocol}`, "utf8")
            .split("\n")
            .map((line) => line.trim().split(/\s+/))
            .some(([, local = "", , state]) => state === LISTEN && local.endsWith(`:${hexPort}`)),
    );
}
