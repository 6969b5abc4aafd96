/**
 * A machine's disk. The machine's changes to the image go to a separate file system of limited size, which can be full.
 */
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, statfsSync, truncateSync, writeSync } from "node:fs";
import { join } from "node:path";
import { command } from "./command";
import { LAB_FOLDER } from "./lab";

/** Default size of a disk, MB. It takes only the space that is written. */
const MEGABYTES = 2048;
const BLOCK = 4096;

/** A machine's disk, mounted. */
export class Disk {
    private constructor(
        /** The folder of the mount, and of other files of the machine. */
        readonly folder: string,
    ) {}

    /** The machine's root directory. */
    get root(): string {
        return join(this.folder, "root");
    }

    private get own(): string {
        return join(this.folder, "disk");
    }

    private get filler(): string {
        return join(this.own, "filler");
    }

    /**
     * Creates a disk with the image's content.
     *
     * @param name the machine's.
     * @param megabytes how much the machine can write; default 2048.
     */
    static async make(name: string, image: string, megabytes = MEGABYTES): Promise<Disk> {
        const disk = new Disk(join(LAB_FOLDER, name));
        for (const folder of [disk.root, disk.own]) mkdirSync(folder, { recursive: true });
        // Not in memory. The file loses its name as soon as it is mounted, and vanishes once it is unmounted.
        const work = mkdtempSync("/var/tmp/gateway-lab-");
        try {
            const file = join(work, "disk");
            closeSync(openSync(file, "wx", 0o600));
            truncateSync(file, megabytes * 1024 * 1024);
            await command(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", file]);
            await command(["mount", "-o", "loop,noatime,noinit_itable", file, disk.own]);
        } finally {
            rmSync(work, { recursive: true });
        }
        const [upper, working] = [join(disk.own, "upper"), join(disk.own, "work")];
        for (const folder of [upper, working]) mkdirSync(folder);
        // Volatile, because waits for this computer's disk would only slow everything down.
        const options = `lowerdir=${image},upperdir=${upper},workdir=${working},volatile`;
        await command(["mount", "-t", "overlay", "overlay", "-o", options, disk.root]);
        return disk;
    }

    /** Fills the disk to the last byte. */
    async fill(): Promise<void> {
        const { bavail, bsize } = statfsSync(this.own);
        // Reserved, not written. The file system's own records of it take some more blocks.
        const size = Math.floor(bavail * bsize * 0.99);
        if (size > 0) await command(["fallocate", "--length", String(size), this.filler]);
        const file = openSync(this.filler, "a");
        try {
            for (;;) writeSync(file, Buffer.alloc(BLOCK));
        } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
        } finally {
            closeSync(file);
        }
    }

    /** Frees the space that {@link fill} took. */
    free(): void {
        rmSync(this.filler, { force: true });
    }

    /** Removes it. No machine may run on it. */
    async remove(): Promise<void> {
        await command(["umount", this.root]);
        await command(["umount", this.own]);
        rmSync(this.folder, { recursive: true });
    }
}
