/** A machine's network: a namespace of its own, and a cable to the lab's bridge. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { command } from "./command";
import { BRIDGE, checkLabAddress, hardwareAddress, METADATA_ADDRESS } from "./lab";

/** The machine's interface, in its namespace. */
export const INTERFACE = "host0";
/** States of a bridge's port, by their numbers in the kernel. */
const PORT_STATES = { disabled: 0, forwarding: 3 };
/** The program that makes a cable slow. */
const RELAY = join(__dirname, "slow.py");

/** How a machine is addressed. */
export interface Addressing {
    /** Its own address, of 198.18.0.0/15. */
    readonly address: string;
    /** Bits of the network that it takes for its neighbourhood; 15 by default, all of the lab. */
    readonly prefix?: number;
    /** Where packets to all others go; nowhere by default. */
    readonly gateway?: string;
    /** Others that it answers from the start. Those that a service of the machine takes, as keepalived does, need not be told. */
    readonly extraAddresses?: readonly string[];
}

/** How slow a cable is. */
export interface Slowness {
    /** Added to each packet, in both directions: a round trip takes twice as much longer. Default 0. */
    readonly delayMs?: number;
    /** How many packets are lost, in each direction. Default 0. */
    readonly lossPercent?: number;
}

/** A machine's cable. */
export class Wire {
    /** What makes it slow. */
    private relay: ChildProcess | undefined;
    private isCut = false;

    private constructor(
        /** Name of the network namespace, for `ip netns`. */
        readonly namespace: string,
        /** The cable's end in the lab. */
        private readonly port: string,
    ) {}

    /** Path of the network namespace. */
    get path(): string {
        return `/run/netns/${this.namespace}`;
    }

    /** Lays the cable and gives the machine its addresses. @param name the machine's. */
    static async lay(name: string, addressing: Addressing): Promise<Wire> {
        const { address, prefix = 15, gateway, extraAddresses = [] } = addressing;
        for (const each of [address, ...extraAddresses]) checkLabAddress(each);
        // At most 15 characters: v18.255.255.255 is one of them.
        const port = `v${address.split(".").slice(1).join(".")}`;
        const wire = new Wire(name, port);
        await command(["ip", "netns", "add", name]);
        try {
            const inside = [INTERFACE, "address", hardwareAddress(address), "netns", name];
            await command(["ip", "link", "add", port, "type", "veth", "peer", "name", ...inside]);
            await command(["ip", "link", "set", port, "master", BRIDGE, "up"]);
            // IPv6 would only make noise.
            await wire.ip("link", "set", INTERFACE, "addrgenmode", "none");
            await wire.ip("link", "set", "lo", "up");
            await wire.ip("address", "add", `${address}/${prefix}`, "brd", "+", "dev", INTERFACE);
            for (const extra of extraAddresses) await wire.ip("address", "add", `${extra}/32`, "dev", INTERFACE);
            await wire.ip("link", "set", INTERFACE, "up");
            if (gateway) await wire.ip("route", "add", "default", "via", gateway);
        } catch (error) {
            await command(["ip", "netns", "del", name]);
            throw error;
        }
        return wire;
    }

    /** Words before a command that runs in the machine's network, but on this computer's file system. */
    get inside(): readonly string[] {
        return ["nsenter", `--net=${this.path}`, "--"];
    }

    private ip(...args: readonly string[]): Promise<string> {
        return command(["ip", "-n", this.namespace, ...args]);
    }

    /** Lets the machine know which hardware address goes with another's address. */
    async knows(address: string): Promise<void> {
        const entry = [address, "lladdr", hardwareAddress(address), "dev", INTERFACE];
        await this.ip("neigh", "replace", ...entry, "nud", "permanent");
    }

    /** Gives the machine's network the address of metadata services. */
    async addMetadataAddress(): Promise<void> {
        await this.ip("address", "add", `${METADATA_ADDRESS}/32`, "dev", "lo");
    }

    /** Has the machine ask the lab for its metadata. @param address the lab's own. */
    async askForMetadata(address: string): Promise<void> {
        await this.ip("route", "add", `${METADATA_ADDRESS}/32`, "dev", INTERFACE);
        const entry = [METADATA_ADDRESS, "lladdr", hardwareAddress(address), "dev", INTERFACE];
        await this.ip("neigh", "replace", ...entry, "nud", "permanent");
    }

    /** Lets no packet through any more, in neither direction. The machine still has a link, as on a cloud. */
    async cut(): Promise<void> {
        this.isCut = true;
        await this.setPort();
    }

    /** Lets packets through again. */
    async join(): Promise<void> {
        this.isCut = false;
        await this.setPort();
    }

    private async setPort(): Promise<void> {
        const port = this.relay ? this.bridgeSide : this.port;
        const state = this.isCut ? PORT_STATES.disabled : PORT_STATES.forwarding;
        await command(["bridge", "link", "set", "dev", port, "state", String(state)]);
    }

    /** A second cable, when it is slow: between it and the first one is the relay. */
    private get relaySide(): string {
        return this.port.replace("v", "r");
    }

    private get bridgeSide(): string {
        return this.port.replace("v", "s");
    }

    /** Has each packet wait, or lost; by a process, because not every kernel has the queueing discipline netem. */
    async slow({ delayMs = 0, lossPercent = 0 }: Slowness): Promise<void> {
        await this.unslow();
        const [near, far] = [this.relaySide, this.bridgeSide];
        await command(["ip", "link", "add", near, "type", "veth", "peer", "name", far]);
        for (const end of [near, far]) await command(["ip", "link", "set", end, "addrgenmode", "none"]);
        await command(["ip", "link", "set", this.port, "nomaster"]);
        // The lab itself is not to answer here: that would go past the relay.
        for (const end of [this.port, near]) await command(["ip", "link", "set", end, "arp", "off", "up"]);
        const argv = ["python3", RELAY, this.port, near, String(delayMs), String(lossPercent)];
        const [program, ...args] = argv as [string];
        this.relay = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
        const first = await Promise.race([
            once(this.relay.stdout as NodeJS.ReadableStream, "data"),
            once(this.relay, "exit"),
        ]);
        if (!Buffer.isBuffer(first[0])) throw new Error(`the relay of ${this.namespace} ended with ${first[0]}`);
        await command(["ip", "link", "set", far, "master", BRIDGE, "up"]);
        await this.setPort();
    }

    /** Undoes {@link slow}. */
    async unslow(): Promise<void> {
        const { relay } = this;
        if (!relay) return;
        this.relay = undefined;
        if (relay.exitCode === null && relay.signalCode === null) {
            relay.kill("SIGKILL");
            await once(relay, "exit");
        }
        await command(["ip", "link", "del", this.relaySide]);
        await command(["ip", "link", "set", this.port, "master", BRIDGE]);
        await this.setPort();
    }

    /** Removes it. */
    async remove(): Promise<void> {
        await this.unslow();
        // The kernel removes a namespace, and the cable with it, some time later; its end here has to be gone now.
        await command(["ip", "link", "del", this.port]);
        await command(["ip", "netns", "del", this.namespace]);
    }
}
