/** A machine's network: a namespace of its own, and a cable to the lab's bridge. */
import { command } from "./command";
import { BRIDGE, checkLabAddress, hardwareAddress, METADATA_ADDRESS } from "./lab";

/** The machine's interface, in its namespace. */
export const INTERFACE = "host0";
/** States of a bridge's port. */
const [DISABLED, FORWARDING] = ["0", "3"];

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

/** A machine's cable. */
export class Wire {
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
        await this.setPort(DISABLED as string);
    }

    /** Lets packets through again. */
    async join(): Promise<void> {
        await this.setPort(FORWARDING as string);
    }

    private async setPort(state: string): Promise<void> {
        await command(["bridge", "link", "set", "dev", this.port, "state", state]);
    }

    /** Removes it. */
    async remove(): Promise<void> {
        // The kernel removes a namespace, and the cable with it, some time later; its end here has to be gone now.
        await command(["ip", "link", "del", this.port]);
        await command(["ip", "netns", "del", this.namespace]);
    }
}
