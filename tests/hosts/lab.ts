/**
 * A lab: namespaces of a process and all that it starts, with a network that nothing else is in. Whatever runs in a lab (the
 * engine, an emulator of a cloud's API, a load generator, the tests) reaches its machines and nothing else, labs do not see each
 * other, and when the first process of a lab ends, by whatever, the kernel ends all others, and undoes every mount, interface and
 * namespace.
 */
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { BlockList, isIPv4 } from "node:net";
import { constants } from "node:os";
import { self } from "../../scripts/tools/processes";
import { labCgroup, removeCgroup, sweepCgroups } from "./cgroups";
import { command } from "./command";
import { ensureImage, whyNoMachines } from "./image";

/** The variable that says that a process is in a lab; the value is the name of the lab's cgroup. */
const MARK = "GATEWAY_LAB";
/** The bridge that every machine's cable leads to, in the lab's own network namespace. */
export const BRIDGE = "lab0";
/** Where a lab keeps what is only in its memory. */
export const LAB_FOLDER = "/run/gateway-lab";
/** The lab's network, for measurements of networks (RFC 2544): it can be no real one. */
const [NETWORK, PREFIX] = ["198.18.0.0", 15];
/** The address of clouds' metadata services. */
export const METADATA_ADDRESS = "169.254.169.254";
/** The lab's own first address. */
const FIRST_ADDRESS = "198.18.0.1";

/**
 * The first process of a lab, which waits for the command and takes in orphans. Its `/run` is the lab's, for the names of
 * network namespaces (`ip netns`) and what systemd-nspawn notes there.
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

/** Why this process cannot boot machines; undefined when it can. */
export function whyNoLab(): string | undefined {
    return whyNoMachines() ?? (inLab() ? undefined : "not in a lab: see tests/hosts/enter.ts");
}

/**
 * Runs a command in a lab of its own, and waits for its end. What needs the world outside comes before: the image is built here.
 * SIGINT, SIGTERM and SIGHUP end the lab at once.
 *
 * @returns the command's exit code.
 * @throws Error when this computer cannot boot machines.
 */
export async function runInLab(argv: readonly string[], say: (line: string) => void): Promise<number> {
    await ensureImage(say);
    sweepCgroups();
    const cgroup = labCgroup(self());
    const namespaces = ["--net", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"];
    // Dies with this process, and then its child by --kill-child, and with that all of the lab.
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
        // If somebody in it is still dying, the next lab does it.
        removeCgroup(cgroup);
    }
}

/** Throws unless it is an address that a lab may have. */
export function checkLabAddress(address: string): void {
    const network = new BlockList();
    network.addSubnet(NETWORK, PREFIX);
    if (!isIPv4(address) || !network.check(address))
        throw new Error(`${address} is no address of a lab: those are of ${NETWORK}/${PREFIX}`);
}

/** What a lab has to know about a machine that is in it. */
export interface Inhabitant {
    readonly name: string;
    readonly address: string;
    /** Lets it reach another address by the hardware address that goes with it, whether or not somebody answers there. */
    knows(address: string): Promise<void>;
    destroy(): Promise<void>;
}

/** The network of this process's lab, and the machines in it. */
export class Lab {
    private static current: Lab | undefined;
    private readonly inhabitants = new Map<string, Inhabitant>();
    /** By the machines' names. */
    private readonly addresses = new Map<string, string>();

    private constructor(
        /** The lab's first address, where the machines reach what runs in the lab. */
        readonly address: string,
        /** Name of the lab's cgroup. */
        readonly cgroup: string,
    ) {}

    /**
     * Lays the network. A process has one lab, so it has to be closed before another is opened.
     *
     * @param address the lab's own first address, of 198.18.0.0/15.
     * @throws Error when this process is in no lab ({@link whyNoLab}).
     */
    static async open(address = FIRST_ADDRESS): Promise<Lab> {
        const reason = whyNoLab();
        if (reason) throw new Error(reason);
        if (Lab.current) throw new Error("the lab is open already");
        checkLabAddress(address);
        mkdirSync(LAB_FOLDER, { recursive: true });
        const lab = new Lab(address, process.env[MARK] as string);
        Lab.current = lab;
        // With a hardware address of its own: otherwise it would change with the machines.
        await command(["ip", "link", "add", BRIDGE, "address", hardwareAddress(address), "type", "bridge"]);
        await command(["ip", "address", "add", `${address}/${PREFIX}`, "dev", BRIDGE]);
        await command(["ip", "link", "set", BRIDGE, "up"]);
        return lab;
    }

    /** Gives the lab one more address, as for a load balancer of the cloud that a test stands in for. */
    async addAddress(address: string): Promise<void> {
        checkLabAddress(address);
        await command(["ip", "address", "add", `${address}/32`, "dev", BRIDGE]);
    }

    /** Takes it away again: connects to it then time out. */
    async removeAddress(address: string): Promise<void> {
        await command(["ip", "address", "del", `${address}/32`, "dev", BRIDGE]);
    }

    /** Gives the lab the metadata services' address, for machines that ask it (`metadataServer: "lab"`). */
    async addMetadataAddress(): Promise<void> {
        await command(["ip", "address", "add", `${METADATA_ADDRESS}/32`, "dev", BRIDGE]);
    }

    /** Holds a name and an address for a machine. @throws Error when another has one of them. */
    reserve(name: string, address: string): void {
        checkLabAddress(address);
        for (const [other, taken] of this.addresses) {
            if (other === name) throw new Error(`there is a machine ${name} in the lab`);
            if (taken === address) throw new Error(`${other} has the address ${address}`);
        }
        this.addresses.set(name, address);
    }

    /**
     * Takes a machine in. Everyone knows from now on which hardware address its address has, as in the networks of clouds, where
     * the network answers that question, not the machine: a connect to one that is gone times out, it is not refused.
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

    /** Forgets a machine: its name and address are free again. */
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

/** The hardware address that goes with an address: the same for every machine that ever has it. */
export function hardwareAddress(address: string): string {
    const octets = address.split(".").map((octet) => Number(octet).toString(16).padStart(2, "0"));
    return ["02", "00", ...octets].join(":");
}
