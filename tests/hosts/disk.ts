/** A machine's disk: what it changes of the image is on a file system of its own, of a size of its own, that can be full. */
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, statfsSync, truncateSync, writeSync } from "node:fs";
import { join } from "node:path";
import { command } from "./command";
import { LAB_FOLDER } from "./lab";

/** Size of a disk that is not told, MB. It takes only what is written to it. */
const MEGABYTES = 2048;
const BLOCK = 4096;

/** A machine's disk, mounted. */
export class Disk {
    private constructor(
        /** Where it is mounted, and what else there is about the machine. */
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
     * Makes a disk with the image's content.
     *
     * @param name the machine's.
     * @param megabytes how much the machine can write; default 2048.
     */
    static async make(name: string, image: string, megabytes = MEGABYTES): Promise<Disk> {
        const disk = new Disk(join(LAB_FOLDER, name));
        for (const folder of [disk.root, disk.own]) mkdirSync(folder, { recursive: true });
        // Not in memory. Its name is gone as soon as it is mounted, and it itself once it is not mounted any more.
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
        // Volatile: to wait for this computer's disk would only make everybody slow.
        const options = `lowerdir=${image},upperdir=${upper},workdir=${working},volatile`;
        await command(["mount", "-t", "overlay", "overlay", "-o", options, disk.root]);
        return disk;
    }

    /** Leaves not a byte to the machine. */
    async fill(): Promise<void> {
        const { bavail, bsize } = statfsSync(this.own);
        // Reserved, not written: the file system's own notes about it take some blocks besides.
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

    /** Gives back what {@link fill} took. */
    free(): void {
        rmSync(this.filler, { force: true });
    }

    /** Removes it; no machine runs on it. */
    async remove(): Promise<void> {
        await command(["umount", this.root]);
        await command(["umount", this.own]);
        rmSync(this.folder, { recursive: true });
    }
}
