import * as aws from "@pulumi/aws";
import type * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { AwsConfig } from "../../config";

/** The image that machines boot from. */
export interface MachineImage {
    readonly id: pulumi.Output<string>;
    /** The name of its root volume, which a launch template must repeat to change it. */
    readonly rootDevice: pulumi.Output<string>;
}

/** Debian's own account at AWS: https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm */
const DEBIAN = "136693071363";

/**
 * The given image, or an official Debian 12 for x86-64: the newest when the deployment is made, and the same from then on. A newer
 * one appears every few weeks. To take it at once would replace every machine by an unrelated change, or by one between a
 * preview and its deployment. With `gateway:aws.newestImage` a deployment takes it.
 *
 * @param opts with AWS's provider.
 * @param randomProvider Pulumi's provider of random values.
 */
export function machineImage(
    name: string,
    { imageId, newestImage }: Pick<AwsConfig, "imageId" | "newestImage">,
    opts: { readonly parent: pulumi.Resource; readonly provider: pulumi.ProviderResource },
    randomProvider: pulumi.ProviderResource,
): MachineImage {
    const found = aws.ec2.getAmiOutput(
        imageId
            ? { filters: [{ name: "image-id", values: [imageId] }] }
            : {
                  mostRecent: true,
                  owners: [DEBIAN],
                  filters: [
                      { name: "name", values: ["debian-12-amd64-*"] },
                      { name: "virtualization-type", values: ["hvm"] },
                  ],
              },
        opts,
    );
    if (imageId) return { id: found.id, rootDevice: found.rootDeviceName };
    // Nobody needs its value. It remembers in the state which image was found.
    const kept = new random.RandomId(
        name,
        { byteLength: 1, keepers: { id: found.id, rootDevice: found.rootDeviceName } },
        { parent: opts.parent, provider: randomProvider, ignoreChanges: newestImage ? [] : ["keepers"] },
    );
    const part = (key: string) => kept.keepers.apply((keepers) => keepers?.[key] ?? "");
    return { id: part("id"), rootDevice: part("rootDevice") };
}
