/** A machine's network: its own namespace, and a cable to the lab's bridge. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { command } from "./command";
import { BRIDGE, checkLabAddress, hardwareAddress, METADATA_ADDRESS } from "./lab";

/** The machine's interface, in its namespace. */
export const INTERFACE = "host0";
/** States of a bridge's port, by their numbers in the kernel. */
const PORT_STATES = { disabled: 0, forwarding: 3 };
/** The program that delays a cable's packets. */
const RELAY = join(__dirname, "slow.py");

/** A machine's addresses. */
export interface Addressing {
    /** Its own address, of 198.18.0.0/15. */
    readonly address: string;
    /** Prefix length of the network that it reaches directly; default 15, the whole lab. */
    readonly prefix?: number;
    /** The router for all other addresses; default none. */
    readonly gateway?: string;
    /**
     * Further addresses that it has from the start. Addresses that its services add later, as keepalived does, need not
     * be here.
     */
    readonly extraAddresses?: readonly string[];
}

/** The delay and loss of a cable. */
export interface Slowness {
    /** Delay of each packet, in both directions: a round trip takes twice as much longer. Default 0. */
    readonly delayMs?: number;
    /** Percentage of packets lost in each direction. Default 0. */
    readonly lossPercent?: number;
}

/** A machine's cable. */
export class Wire {
    /** The process that makes it slow. */
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

    /** Creates the cable and gives the machine its addresses. @param name the machine's. */
    static async lay(name: string, addressing: Addressing): Promise<Wire> {
        const { address, prefix = 15, gateway, extraAddresses = [] } = addressing;
        for (const each of [address, ...extraAddresses]) checkLabAddress(each);
        // At most 15 characters, such as v18.255.255.255.
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

    /** The prefix of a command that runs in the machine's network, but on this computer's file system. */
    get inside(): readonly string[] {
        return ["nsenter", `--net=${this.path}`, "--"];
    }

    private ip(...args: readonly string[]): Promise<string> {
        return command(["ip", "-n", this.namespace, ...args]);
    }

    /** Tells the machine the hardware address of another's address. */
    async knows(address: string): Promise<void> {
        const entry = [address, "lladdr", hardwareAddress(address), "dev", INTERFACE];
        await this.ip("neigh", "replace", ...entry, "nud", "permanent");
    }

    /** Adds the metadata services' address to the machine's network. */
    async addMetadataAddress(): Promise<void> {
        await this.ip("address", "add", `${METADATA_ADDRESS}/32`, "dev", "lo");
    }

    /** Makes the lab answer the machine's requests for metadata. @param address the lab's own. */
    async askForMetadata(address: string): Promise<void> {
        await this.ip("route", "add", `${METADATA_ADDRESS}/32`, "dev", INTERFACE);
        const entry = [METADATA_ADDRESS, "lladdr", hardwareAddress(address), "dev", INTERFACE];
        await this.ip("neigh", "replace", ...entry, "nud", "permanent");
    }

    /** Drops every packet, in both directions. The machine still has a link, as on a cloud. */
    async cut(): Promise<void> {
        this.isCut = true;
        await this.setPort();
    }

    /** Lets packets pass again. */
    async join(): Promise<void> {
        this.isCut = false;
        await this.setPort();
    }

    private async setPort(): Promise<void> {
        const port = this.relay ? this.bridgeSide : this.port;
        const state = this.isCut ? PORT_STATES.disabled : PORT_STATES.forwarding;
        await command(["bridge", "link", "set", "dev", port, "state", String(state)]);
    }

    /** A second cable, if it is slow: the relay is between it and the first. */
    private get relaySide(): string {
        return this.port.replace("v", "r");
    }

    private get bridgeSide(): string {
        return this.port.replace("v", "s");
    }

    /** Delays or drops packets. A process does this, because not every kernel has the queueing discipline netem. */
    async slow({ delayMs = 0, lossPercent = 0 }: Slowness): Promise<void> {
        await this.unslow();
        const [near, far] = [this.relaySide, this.bridgeSide];
        await command(["ip", "link", "add", near, "type", "veth", "peer", "name", far]);
        for (const end of [near, far]) await command(["ip", "link", "set", end, "addrgenmode", "none"]);
        await command(["ip", "link", "set", this.port, "nomaster"]);
        // The lab itself must not answer here, because that would bypass the relay.
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
        // The kernel removes a namespace and its cable some time later. This end must be gone now.
        await command(["ip", "link", "del", this.port]);
        await command(["ip", "netns", "del", this.namespace]);
    }
}
