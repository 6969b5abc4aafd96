/**
 * `npm run lockfile`, after a change of dependencies: brings package-lock.json in line with package.json, and removes from
 * it what npm would warn of without reason.
 *
 * npm compares each package's `engines` with the Node that runs npm. Here that is the operator's, which only has to run npm:
 * this project's scripts run the pinned Node. There is no setting for it, so what the operator's Node may lack is not in the
 * lock file. `npm install` keeps it so; only a package that is new, or has a new version, brings its `engines` along.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { minVersion, satisfies } from "semver";

const FILE = "package-lock.json";

execFileSync("npm", ["install", "--package-lock-only", "--loglevel=error"], { stdio: "inherit" });
const lock = JSON.parse(readFileSync(FILE, "utf8")) as {
    packages: Record<string, { engines?: { node?: string } }>;
};
const oldest = minVersion(lock.packages[""]?.engines?.node ?? "*")?.version ?? "0.0.0";
for (const [path, entry] of Object.entries(lock.packages)) {
    const { node } = entry.engines ?? {};
    if (node === undefined || satisfies(oldest, node)) continue;
    delete entry.engines;
    console.log(`${path}: no longer asks for Node ${node}`);
}
writeFileSync(FILE, `${JSON.stringify(lock, undefined, 4)}\n`);
