/**
 * `npm run artifacts -- --out DIR`: writes every file that machines on a cloud fetch, as `DIR/SHA256/NAME`, and their list
 * `DIR/artifacts.json`, for any web server or bucket. It skips files that are there already.
 */
import { createHash } from "node:crypto";
import {
    constants,
    copyFileSync,
    createReadStream,
    existsSync,
    mkdirSync,
    readFileSync,
    renameSync,
    rmSync,
    statSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { Command } from "commander";
import { UserError } from "../engine/stack";
import { writeAtomically } from "../lib/files";
import { gatewayHome } from "../lib/home";
import type { Artifact, ArtifactManifest } from "../programs/boot/description";
import { ensureTools, pluginPath, pluginVersion } from "../toolchain";
import { cloudPrograms, programFile, SourceBundles } from "../toolchain/bundles";
import { type ToolName, tools, versions } from "../toolchain/manifest";
import { checkedNode, machineArchitecture, nodeExecutable, pinnedNode } from "../toolchain/node";
import { runCommand, say } from "./console";

/** The tools that machines fetch: all except those that their distribution packages, such as HAProxy. */
const TOOLS = (Object.keys(tools) as ToolName[]).filter(
    (name) => !tools[name].sources.some(({ kind }) => kind === "debian"),
);
/** Pulumi plugins for the replacement loop's engine. They are optional on this computer. */
const PLUGINS = ["openstack", "consul"];

/** A file to publish. */
interface Source {
    readonly name: string;
    readonly version: string;
    readonly file: string;
}

async function collect(signal: AbortSignal): Promise<Source[]> {
    const paths = await ensureTools(TOOLS, { progress: (line) => console.error(line), signal });
    const home = gatewayHome();
    const bundles = new SourceBundles();
    return [
        { name: "node", version: pinnedNode.version, file: machineNode() },
        ...TOOLS.map((name) => ({ name, version: versions[name], file: paths[name] })),
        ...PLUGINS.flatMap((name) => {
            const version = pluginVersion(name);
            const file = pluginPath(name, version);
            if (file) return [{ name: `pulumi-resource-${name}`, version, file }];
            console.error(`${name}: Pulumi plugin ${version} is not installed; machines on OpenStack will not have it`);
            return [];
        }),
        ...cloudPrograms.map((name) => {
            const { file, sha256 } = bundles.bundle(name);
            return { name: programFile(name), version: sha256.slice(0, 16), file: join(home.bundles, file) };
        }),
    ];
}

/**
 * The pinned Node, independent of the one that runs this.
 *
 * @throws UserError when this computer's platform differs from the machines'.
 */
function machineNode(): string {
    if (process.platform !== "linux" || process.arch !== machineArchitecture) {
        throw new UserError(
            `Machines run Linux on x86-64, and this is ${process.platform} on ${process.arch}. ` +
                "Run this command on such a computer.",
        );
    }
    return checkedNode(nodeExecutable());
}

async function publish(source: Source, directory: string): Promise<Artifact> {
    const sha256 = await sha256Of(source.file);
    const folder = join(directory, sha256);
    const path = join(folder, source.name);
    const { size } = statSync(source.file);
    if (!existsSync(path) || statSync(path).size !== size || (await sha256Of(path)) !== sha256) {
        mkdirSync(folder, { recursive: true });
        const part = `${path}.${process.pid}.part`;
        try {
            copyFileSync(source.file, part, constants.COPYFILE_FICLONE);
            // Another process may have replaced the source in between.
            if ((await sha256Of(part)) !== sha256) throw new UserError(`${source.file} changed while it was copied`);
            renameSync(part, path);
        } finally {
            rmSync(part, { force: true });
        }
    }
    return { name: source.name, version: source.version, sha256, size };
}

async function sha256Of(path: string): Promise<string> {
    const hash = createHash("sha256");
    await pipeline(createReadStream(path), hash);
    return hash.digest("hex");
}

async function main(signal: AbortSignal): Promise<void> {
    const command = new Command("artifacts")
        .description("Writes a folder with every file that machines on a cloud fetch, for a web server or bucket.")
        .requiredOption("-o, --out <directory>", "the folder, created if missing")
        .parse();
    const directory = resolve(command.opts<{ out: string }>().out);
    const artifacts: Artifact[] = [];
    for (const source of await collect(signal)) {
        signal.throwIfAborted();
        artifacts.push(await publish(source, directory));
    }
    const manifest: ArtifactManifest = { artifacts };
    const path = join(directory, "artifacts.json");
    const text = `${JSON.stringify(manifest, undefined, 4)}\n`;
    // Write the list last, so that all files in it exist.
    if (!existsSync(path) || readFileSync(path, "utf8") !== text) writeAtomically(path, text, 0o644);
    for (const { name, version, sha256, size } of artifacts) {
        console.log(`${sha256}  ${String(size).padStart(10)}  ${name} ${version}`);
    }
    say(`${artifacts.length} files in ${directory}`);
}

void runCommand(main, "Finished files are complete. Run it again to continue.");
