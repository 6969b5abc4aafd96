import { createHash } from "node:crypto";
import * as openstack from "@pulumi/openstack";
import * as pulumi from "@pulumi/pulumi";
import type { MachineCondition } from "../../programs/boot/delivery";
import type { Layout } from "../../programs/machine";
import { deploymentKey, epochKey, slotKey, slotMetadata } from "../../replacement/serverMetadata";
import { type Role, secretsOf } from "../../roles/role";
import type { OpenstackContext } from "./context";
import { OpenstackReadiness } from "./readiness";

/** A machine with a name and an address of its own. */
export interface OpenstackMachineArgs {
    readonly target: OpenstackContext;
    /** Its name, for instance `gw-0`. */
    readonly machine: string;
    readonly address: pulumi.Output<string>;
    /** What it is to be. */
    readonly content: pulumi.Output<{ readonly role: Role; readonly layout: Layout }>;
    /** Its role with made-up values, for what has to be known beforehand: which secrets it reads. */
    readonly shape: Role;
    /** Name of its flavour. */
    readonly flavor: string;
    /** The security group of its kind. */
    readonly group: openstack.networking.SecGroup;
    readonly serverGroup: openstack.compute.ServerGroup;
    /** Every secret of the deployment. */
    readonly secrets: pulumi.Output<Record<string, string>>;
    /** What has to hold before it counts as ready. */
    readonly gates: pulumi.Input<readonly MachineCondition[]>;
    /** An address besides its own that it may have. */
    readonly sharedAddress?: pulumi.Input<string>;
    /** Whether the replacement loop may replace it. Default false. */
    readonly isSlot?: boolean;
    /** What has to be there before. */
    readonly after: readonly pulumi.Resource[];
}

/** What is made for an {@link OpenstackMachineArgs}. */
export interface OpenstackMachine {
    readonly server: openstack.compute.Instance;
    readonly port: openstack.networking.Port;
    /** Depend on it to come after this machine is ready. */
    readonly ready: OpenstackReadiness;
}

/** Key of the metadata that names a machine which is no slot of the pool. */
const MACHINE_KEY = "gateway-machine";
/** How long a machine may take from its start until it says that it is ready, seconds, where no policy says it. */
const BOOT_SECONDS = 600;

/**
 * A server that is replaced as a whole, in place: the old one has to go first, because both have the same address and the
 * same name. Nothing of it has to be kept: Consul's servers get their state from each other, and the others have none.
 *
 * Its port is a resource of its own, made first and kept: so the address is the same for every server that the machine
 * ever has, and no port is left when one of them fails.
 */
export function openstackMachine(name: string, args: OpenstackMachineArgs, parent: pulumi.Resource): OpenstackMachine {
    const { target, machine, secrets } = args;
    const { settings, network, names } = target;
    const child = { parent };
    const port = new openstack.networking.Port(
        `${name}-port`,
        {
            name: names.nameOf(machine),
            networkId: network.networkId,
            adminStateUp: true,
            fixedIps: [{ subnetId: network.subnetId, ipAddress: args.address }],
            securityGroupIds: [network.members.id, args.group.id],
            ...(args.sharedAddress === undefined ? {} : { allowedAddressPairs: [{ ipAddress: args.sharedAddress }] }),
            tags: names.tags(),
        },
        { ...child, deleteBeforeReplace: true },
    );
    const own = pulumi.secret(secrets.apply((all) => pick(all, secretsOf(args.shape))));
    const userData = args.content.apply(({ role, layout }) => target.userData(role, layout));
    const stamp = slotMetadata(machine);
    const server = new openstack.compute.Instance(
        name,
        {
            name: names.nameOf(machine),
            flavorName: args.flavor,
            ...boot(target),
            networks: [{ port: port.id }],
            userData,
            schedulerHints: [{ group: args.serverGroup.id }],
            metadata: {
                [deploymentKey]: names.deployment,
                ...(args.isSlot ? { [slotKey]: machine, [epochKey]: stamp.epoch } : { [MACHINE_KEY]: machine }),
            },
            // The guest is shut down before it goes, which drains it.
            stopBeforeDestroy: true,
            // A cloud that keeps deleted servers for a while would keep the port's address with them.
            forceDelete: true,
            ...(settings.keyPair ? { keyPair: settings.keyPair } : {}),
            ...(settings.availabilityZone ? { availabilityZone: settings.availabilityZone } : {}),
        },
        {
            ...child,
            deleteBeforeReplace: true,
            // The provider would rebuild, resize or, for a secret, leave the server as it is.
            replacementTrigger: fingerprint([userData, target.imageId, args.flavor, own]),
            ignoreChanges: args.isSlot && !stamp.fresh ? [`metadata["${epochKey}"]`] : [],
            dependsOn: [...network.routes, ...args.after],
        },
    );
    const ready = new OpenstackReadiness(
        `${name}-ready`,
        {
            cloud: target.cloud,
            region: settings.region ?? "",
            serverId: server.id,
            secrets: own,
            gates: args.gates,
            timeoutSeconds: target.replacement?.bootGraceSeconds ?? BOOT_SECONDS,
        },
        child,
    );
    return { server, port, ready };
}

/** Where the server boots from. Its disk goes with it in either case. */
function boot({ settings, imageId }: OpenstackContext) {
    const { bootVolume } = settings;
    if (!bootVolume) return { imageId };
    return {
        blockDevices: [
            {
                uuid: imageId,
                sourceType: "image",
                destinationType: "volume",
                bootIndex: 0,
                volumeSize: bootVolume.sizeGib,
                deleteOnTermination: true,
                ...(bootVolume.type ? { volumeType: bootVolume.type } : {}),
            },
        ],
    };
}

function pick(secrets: Readonly<Record<string, string>>, names: readonly string[]): Record<string, string> {
    return Object.fromEntries(names.map((name) => [name, secrets[name] ?? ""]));
}

/**
 * A checksum of all that makes a new server necessary. It is no secret although secrets are in it, among them random ones:
 * it tells nothing of them, and a secret could not be shown as the reason for a replacement.
 */
function fingerprint(parts: readonly pulumi.Input<unknown>[]): pulumi.Output<string> {
    const text = pulumi.all([...parts]).apply((known) => JSON.stringify(known));
    return pulumi.unsecret(text.apply((all) => createHash("sha256").update(all).digest("hex")));
}
