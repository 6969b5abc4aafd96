/**
 * A lab: the namespaces of a process and its descendants, with a separate network. Everything in a lab (the engine, an
 * emulator of a cloud's API, a load generator, the tests) reaches the lab's machines and nothing else. Labs do not see
 * each other. When the first process of a lab ends, for whatever reason, the kernel ends all others and removes every
 * mount, interface and namespace.
 */
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { BlockList, isIPv4 } from "node:net";
import { constants } from "node:os";
import { thisProcess } from "../../lib/processes";
import { labCgroup, removeCgroup, sweepCgroups } from "./cgroups";
import { command } from "./command";
import { ensureImage, whyNoMachines } from "./image";

/** The variable that marks processes in a lab; its value is the name of the lab's cgroup. */
const MARK = "GATEWAY_LAB";
/** The bridge to which every machine's cable leads, in the lab's network namespace. */
export const BRIDGE = "lab0";
/** Folder of a lab's files, in its memory. */
export const LAB_FOLDER = "/run/gateway-lab";
/** The lab's network. RFC 2544 reserves it for benchmarks, so it is not a real one. */
const [NETWORK, PREFIX] = ["198.18.0.0", 15];
/** File watchers (inotify instances) that the machines of two suites need, with room to spare. */
const WATCHERS = 1024;
/** The address of clouds' metadata services. */
export const METADATA_ADDRESS = "169.254.169.254";
/** The lab's own first address. */
const FIRST_ADDRESS = "198.18.0.1";

/**
 * The first process of a lab. It waits for the command and adopts orphans. The lab has its own `/run`, for the names of
 * network namespaces (`ip netns`) and the records of systemd-nspawn.
 */
const INIT = `
set -e
mount -t tmpfs -o mode=755 lab /run
mkdir /run/netns /run/lock ${LAB_FOLDER}
ip link set lo up
set +e
"$@"
exit $?
`;

/** Whether this process is in a lab. */
export function inLab(): boolean {
    const mark = process.env[MARK];
    if (!mark) return false;
    try {
        return readFileSync("/proc/1/environ", "utf8").split("\0").includes(`${MARK}=${mark}`);
    } catch {
        return false;
    }
}

/** Why this process cannot boot machines; undefined if it can. */
export function whyNoLab(): string | undefined {
    return whyNoMachines() ?? (inLab() ? undefined : "not in a lab: see tests/hosts/enter.ts");
}

/**
 * Runs a command in a new lab, and waits for its end. It builds the image first, because that needs the network
 * outside. SIGINT, SIGTERM and SIGHUP end the lab at once.
 *
 * @returns the command's exit code.
 * @throws Error if this computer cannot boot machines.
 */
export async function runInLab(argv: readonly string[], say: (line: string) => void): Promise<number> {
    await ensureImage(say);
    sweepCgroups();
    allowWatchers();
    const cgroup = labCgroup(thisProcess());
    const namespaces = ["--net", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"];
    // Ends with this process. `--kill-child` then ends its child, and with it the whole lab.
    const lab = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", ...namespaces, "sh", "-c", INIT, "lab", ...argv];
    const child = spawn(lab[0] as string, lab.slice(1), { stdio: "inherit", env: { ...process.env, [MARK]: cgroup } });
    const end = () => child.kill("SIGKILL");
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
    for (const name of signals) process.on(name, end);
    try {
        return await new Promise<number>((done, fail) => {
            child.once("error", fail);
            child.once("exit", (code, signal) => done(code ?? 128 + constants.signals[signal ?? "SIGKILL"]));
        });
    } finally {
        for (const name of signals) process.off(name, end);
        // If a process in it is still ending, the next lab removes it.
        removeCgroup(cgroup);
    }
}

/**
 * Lets the machines' systemd and programs watch files: by default the kernel allows a user 128 watchers, and the machines of
 * all labs together count as one user.
 */
function allowWatchers(): void {
    const limit = "/proc/sys/fs/inotify/max_user_instances";
    try {
        if (Number(readFileSync(limit, "utf8")) < WATCHERS) writeFileSync(limit, String(WATCHERS));
    } catch {
        // It is read-only in some containers, where a few machines still work.
    }
}

/** Throws unless a lab may have this address. */
export function checkLabAddress(address: string): void {
    const network = new BlockList();
    network.addSubnet(NETWORK, PREFIX);
    if (!isIPv4(address) || !network.check(address))
        throw new Error(`${address} is not an address of a lab; allowed: addresses of ${NETWORK}/${PREFIX}`);
}

/** What a lab needs to know about one of its machines. */
export interface Inhabitant {
    readonly name: string;
    readonly address: string;
    /** Tells it the hardware address of another address, whether or not a machine answers there. */
    knows(address: string): Promise<void>;
    destroy(): Promise<void>;
}

/** The network of this process's lab, and its machines. */
export class Lab {
    private static current: Lab | undefined;
    private readonly inhabitants = new Map<string, Inhabitant>();
    /** By the machines' names. */
    private readonly addresses = new Map<string, string>();

    private constructor(
        /** The lab's first address, at which machines reach programs that run in the lab. */
        readonly address: string,
        /** Name of the lab's cgroup. */
        readonly cgroup: string,
    ) {}

    /**
     * Creates the network. A process can have one lab at a time.
     *
     * @param address the lab's own first address, of 198.18.0.0/15.
     * @throws Error if this process is not in a lab ({@link whyNoLab}).
     */
    static async open(address = FIRST_ADDRESS): Promise<Lab> {
        const reason = whyNoLab();
        if (reason) throw new Error(reason);
        if (Lab.current) throw new Error("the lab is open already");
        checkLabAddress(address);
        mkdirSync(LAB_FOLDER, { recursive: true });
        const lab = new Lab(address, process.env[MARK] as string);
        Lab.current = lab;
        // It has a fixed hardware address, which would otherwise change with the machines.
        await command(["ip", "link", "add", BRIDGE, "address", hardwareAddress(address), "type", "bridge"]);
        await command(["ip", "address", "add", `${address}/${PREFIX}`, "dev", BRIDGE]);
        await command(["ip", "link", "set", BRIDGE, "up"]);
        return lab;
    }

    /** Adds an address to the lab, for instance for a load balancer of the cloud that a test stands in for. */
    async addAddress(address: string): Promise<void> {
        checkLabAddress(address);
        await command(["ip", "address", "add", `${address}/32`, "dev", BRIDGE]);
    }

    /** Removes it. Connects to it then time out. */
    async removeAddress(address: string): Promise<void> {
        await command(["ip", "address", "del", `${address}/32`, "dev", BRIDGE]);
    }

    /** Adds the metadata services' address to the lab, for machines with `metadataServer: "lab"`. */
    async addMetadataAddress(): Promise<void> {
        await command(["ip", "address", "add", `${METADATA_ADDRESS}/32`, "dev", BRIDGE]);
    }

    /** Reserves a name and an address for a machine. @throws Error if another machine has one of them. */
    reserve(name: string, address: string): void {
        checkLabAddress(address);
        for (const [other, taken] of this.addresses) {
            if (other === name) throw new Error(`the lab already has a machine ${name}`);
            if (taken === address) throw new Error(`${other} has the address ${address}`);
        }
        this.addresses.set(name, address);
    }

    /**
     * Adds a machine. From now on, everyone knows the hardware address of its address. Clouds' networks work the same
     * way: the network answers that question, not the machine. So a connect to a machine that is gone times out; it is
     * not refused.
     */
    async admit(newcomer: Inhabitant): Promise<void> {
        const others = [...this.inhabitants.values()];
        this.inhabitants.set(newcomer.name, newcomer);
        const { address } = newcomer;
        const entry = [address, "lladdr", hardwareAddress(address), "dev", BRIDGE];
        await command(["ip", "neigh", "replace", ...entry, "nud", "permanent"]);
        for (const other of others) {
            await other.knows(address);
            await newcomer.knows(other.address);
        }
    }

    /** Removes a machine from the list. Its name and address are free again. */
    release(name: string): void {
        this.inhabitants.delete(name);
        this.addresses.delete(name);
    }

    /** Destroys the machines and the network. */
    async close(): Promise<void> {
        await Promise.all([...this.inhabitants.values()].map((inhabitant) => inhabitant.destroy()));
        await command(["ip", "link", "del", BRIDGE]);
        Lab.current = undefined;
    }
}

/** The hardware address that belongs to an address, the same for every machine that ever has it. */
export function hardwareAddress(address: string): string {
    const octets = address.split(".").map((octet) => Number(octet).toString(16).padStart(2, "0"));
    return ["02", "00", ...octets].join(":");
}
