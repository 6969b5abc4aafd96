import * as aws from "@pulumi/aws";
import type * as pulumi from "@pulumi/pulumi";

/** The image that machines boot from. */
export interface MachineImage {
    readonly id: pulumi.Output<string>;
    /** The name of its root volume, which a launch template must repeat to change it. */
    readonly rootDevice: pulumi.Output<string>;
}

/** Debian's own account at AWS: https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm */
const DEBIAN = "136693071363";

/**
 * The given image, or the newest official Debian 12 for x86-64. The newest one changes every few weeks, and the next
 * deployment then replaces every machine, one after the other. `gateway:aws.imageId` pins it.
 */
export function machineImage(imageId: string | undefined, options: pulumi.InvokeOptions): MachineImage {
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
        options,
    );
    return { id: found.id, rootDevice: found.rootDeviceName };
}
