/** Tools that are already on this computer. */

import * as fs from "node:fs";
import * as path from "node:path";
import { reasonOf, SourceError } from "../errors";
import type { PathSource } from "../manifest";
import { findOnPath, isExecutable } from "../processes";
import { checkVersion, type Job, type Origin } from "./job";

/**
 * Links to the tool on PATH, or at another usual place, if its version is accepted.
 *
 * @throws SourceError when there is none in an accepted version.
 */
export async function fromPath(job: Job, source: PathSource): Promise<Origin> {
    const places = [findOnPath(job.spec.name), ...(source.also?.(process.env) ?? []).filter(isExecutable)];
    const found = [...new Set(places.filter((place) => place !== undefined))];
    const problems: string[] = [];
    for (const place of found) {
        try {
            await checkVersion(job.spec, place, job.signal);
            fs.symlinkSync(fs.realpathSync(place), path.join(job.directory, "bin", job.spec.name));
            return { from: place };
        } catch (error) {
            job.signal?.throwIfAborted();
            problems.push(reasonOf(error));
        }
    }
    throw new SourceError(problems.join("; ") || "not there");
}
