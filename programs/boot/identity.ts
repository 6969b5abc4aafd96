/** What the machine learns about itself at boot. */
import { readFileSync } from "node:fs";
import { isIPv4 } from "node:net";
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";
import { MetadataService } from "../../clients/instanceMetadata";
import type { InstanceFact } from "../machine";
import type { IdentitySource } from "./description";
import { onDisk, type System } from "./system";

/** Every fact about an instance. */
export type Identity = Readonly<Record<InstanceFact, string>>;

/**
 * Finds out who the machine is.
 *
 * @throws Error if there is no answer or an invalid one: the values get into configuration files.
 */
export async function readIdentity(
    system: System,
    source: IdentitySource,
    metadata = new MetadataService(),
): Promise<Identity> {
    const { id, address } = source === "ec2" ? await fromEc2(metadata) : fromCloudInit(system);
    const found = { id, address, interface: interfaceOf(address, networkInterfaces()) ?? "" };
    if (!/^[A-Za-z0-9][A-Za-z0-9-]{0,59}$/.test(found.id))
        throw new Error(`"${found.id}" is not the id of an instance`);
    if (!isIPv4(found.address)) throw new Error(`"${found.address}" is not an IPv4 address`);
    return found;
}

async function fromEc2(metadata: MetadataService): Promise<Omit<Identity, "interface">> {
    const [id = "", address = ""] = [await metadata.read("instance-id"), await metadata.read("local-ipv4")];
    return { id: id.trim(), address: address.trim() };
}

function fromCloudInit(system: System): Omit<Identity, "interface"> {
    const text = readFileSync(onDisk(system, "/run/cloud-init/instance-data.json"), "utf8");
    const { v1 } = JSON.parse(text) as { v1?: { instance_id?: string } };
    return { id: v1?.instance_id ?? "", address: mainAddress(networkInterfaces(), defaultInterface(system)) ?? "" };
}

/** The interface of the default route, from `/proc/net/route`; undefined without one. */
function defaultInterface(system: System): string | undefined {
    const rows = readFileSync(onDisk(system, "/proc/net/route"), "utf8").split("\n").slice(1);
    return rows.map((row) => row.split("\t")).find(([, destination]) => destination === "00000000")?.[0];
}

/** The name of the interface that has an address. */
export function interfaceOf(address: string, interfaces: NodeJS.Dict<NetworkInterfaceInfo[]>): string | undefined {
    return Object.keys(interfaces).find((name) => interfaces[name]?.some((each) => each.address === address));
}

/** The first IPv4 address of the interface with the default route, or else of any but the loopback. */
export function mainAddress(
    interfaces: Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>,
    preferred: string | undefined,
): string | undefined {
    const others = Object.entries(interfaces).filter(([name]) => name !== preferred);
    const all = [...(interfaces[preferred ?? ""] ?? []), ...others.flatMap(([, addresses]) => addresses ?? [])];
    return all.find(({ family, internal }) => family === "IPv4" && !internal)?.address;
}
