/**
 * `npm run artifacts -- --out DIR`: makes a folder with every file that machines on a cloud fetch, for any web server
 * or bucket: `DIR/SHA256/NAME`, and their list `DIR/artifacts.json`. Run again, it does only what is not done.
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
import { bundle, cloudPrograms, programFile } from "../components/bundles";
import { gatewayHome } from "../components/local/home";
import type { Artifact, ArtifactManifest } from "../roles/render/cloudInit";
import { writeAtomically } from "../supervisor/files";
import { runCommand, say } from "./console";
import { UserError } from "./engine";
import { ensureTools, pluginPath, pluginVersion } from "./tools";
import { type ToolName, tools, versions } from "./tools/manifest";

/** The tools that machines fetch: all that they run, save those that are packages of their distribution, as HAProxy. */
const TOOLS = (Object.keys(tools) as ToolName[]).filter(
    (name) => !tools[name].sources.some(({ kind }) => kind === "debian"),
);
/** Pulumi's plugins that the replacement loop's engine needs, where this computer has them. */
const PLUGINS = ["openstack", "random", "consul"];

/** A file to be published. */
interface Source {
    readonly name: string;
    readonly version: string;
    readonly file: string;
}

async function collect(signal: AbortSignal): Promise<Source[]> {
    const paths = await ensureTools(TOOLS, { progress: (line) => console.error(line), signal });
    const home = gatewayHome();
    return [
        { name: "node", version: process.versions.node, file: portableNode() },
        ...TOOLS.map((name) => ({ name, version: versions[name], file: paths[name] })),
        ...PLUGINS.flatMap((name) => {
            const version = pluginVersion(name);
            const file = pluginPath(name, version);
            if (file) return [{ name: `pulumi-resource-${name}`, version, file }];
            console.error(`${name}: Pulumi's plugin ${version} is not installed; machines of OpenStack will lack it`);
            return [];
        }),
        ...cloudPrograms.map((name) => {
            const { file, sha256 } = bundle(name);
            return { name: programFile(name), version: sha256.slice(0, 16), file: join(home.bundles, file) };
        }),
    ];
}

/** The Node that runs this. @throws UserError when it would not run elsewhere. */
function portableNode(): string {
    if (process.platform !== "linux" || process.arch !== "x64") {
        throw new UserError(
            "Machines run Linux x86-64, and the Node that runs this is for another system: run it on one.",
        );
    }
    // Distributions build Node as a library, with others of theirs.
    if ((process.config.variables as { node_shared?: unknown }).node_shared !== false) {
        throw new UserError(
            `${process.execPath} needs libraries of its distribution: run this with Node as nodejs.org publishes it.`,
        );
    }
    return process.execPath;
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
            // The source may have been replaced meanwhile.
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
        .description("Makes a folder with every file that machines on a cloud fetch, for a web server or bucket.")
        .requiredOption("-o, --out <directory>", "the folder; made if it is not there")
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
    // Last: whoever reads it finds all that it lists.
    if (!existsSync(path) || readFileSync(path, "utf8") !== text) writeAtomically(path, text, 0o644);
    for (const { name, version, sha256, size } of artifacts) {
        console.log(`${sha256}  ${String(size).padStart(10)}  ${name} ${version}`);
    }
    say(`${artifacts.length} files in ${directory}`);
}

void runCommand(main, "What is there is whole; run it again to go on.");
