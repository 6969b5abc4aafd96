/** Building from source: the fallback where only the Go module proxy answers. */

import * as fs from "node:fs";
import * as path from "node:path";
import { requireFreeSpace } from "../cache";
import { SourceError } from "../errors";
import { atLeast, GO_BUILD, type GoSource } from "../manifest";
import { findOnPath, isExecutable, lastLines, run } from "../processes";
import type { Job, Origin } from "./job";
import { putStubs, STUBS } from "./stubs";

/** Milliseconds between two lines about a running build. */
const PROGRESS_MS = 9_000;

/** Milliseconds that a build may take. Cold ones of Pulumi and Consul together take about 5 minutes on 2 cores. */
const BUILD_MS = 45 * 60_000;

/** Free space in bytes that the executable needs, with the linker's temporary copies. */
const EXECUTABLE_BYTES = 500e6;

/** The first version of Go that downloads the version that a module requires. */
const SELF_UPDATING_GO = "1.21";

/** The end of the last build of the standard library that was asked for: see {@link fromGo}. */
let standardLibrary: Promise<unknown> = Promise.resolve();

/**
 * Builds the tool in a copy of its wrapper module, so the checkout stays unchanged. `-mod=readonly` makes the go command
 * refuse every module that the committed `go.sum` does not pin.
 *
 * Several tools may be built at once, which keeps the cores busy: a build by itself often waits for one package. Only the
 * standard library, which all of them need, is built for one tool after the other; the second finds it in Go's cache.
 *
 * @throws SourceError when there is no Go, it is too old, there is no room, or the build fails.
 */
export async function fromGo(job: Job, source: GoSource): Promise<Origin> {
    const wrapper = ["go.mod", "go.sum", "tools.go"];
    const missing = wrapper.find((file) => !fs.existsSync(path.join(source.directory, file)));
    if (missing) throw new SourceError(`${path.join(source.directory, missing)} is missing`);
    const needed = /^go (\S+)/m.exec(fs.readFileSync(path.join(source.directory, "go.mod"), "utf8"))?.[1] ?? "1.25";
    const go = await findGo(job, needed);
    requireFreeSpace(job.root, EXECUTABLE_BYTES);
    requireFreeSpace(go.cache, source.diskBytes);

    const copy = path.join(job.directory, "wrapper");
    fs.mkdirSync(copy);
    for (const file of wrapper) fs.copyFileSync(path.join(source.directory, file), path.join(copy, file));
    const stubs = path.join(source.directory, STUBS);
    if (fs.existsSync(stubs)) fs.cpSync(stubs, path.join(copy, STUBS), { recursive: true });

    const started = Date.now();
    let [downloads, packages, last] = [0, 0, ""];
    const tell = () => {
        const seconds = Math.round((Date.now() - started) / 1000);
        const done = [downloads && `${downloads} modules downloaded`, packages && `${packages} packages compiled`];
        job.progress([`building, ${seconds} s`, ...done.filter(Boolean), last].filter(Boolean).join(", "));
    };
    /** Runs the go command in the copy, and returns what it prints. */
    const call = async (args: readonly string[], building = false): Promise<string> => {
        const result = await run([go.command, ...args], {
            cwd: copy,
            env: { ...process.env, GOWORK: "off", ...GO_BUILD.environment, ...source.environment },
            signal: job.signal,
            timeoutMs: BUILD_MS,
            onLine: (line) => {
                const download = /^go: downloading (\S+)/.exec(line)?.[1];
                if (download) downloads++;
                else if (building) packages++;
                else return;
                last = `last: ${download ?? line.trim()}`;
            },
        });
        if (result.code !== 0) throw new SourceError(`the build failed: ${lastLines(result.output, 4)}`);
        return result.stdout;
    };
    const build = (args: readonly string[]) => call(["build", "-v", ...GO_BUILD.flags, ...args], true);

    job.progress(`building from source with ${go.version}; the first time takes several minutes`);
    const timer = setInterval(tell, PROGRESS_MS);
    try {
        await putStubs(copy, call);
        // Downloads the modules as well.
        const format = "{{if .Standard}}{{.ImportPath}}{{end}}";
        const dependencies = await call(["list", "-mod=readonly", "-deps", "-f", format, source.package]);
        const standard = dependencies.split("\n").filter((name) => name && !/(^|\/)(internal|vendor)(\/|$)/.test(name));
        if (standard.length > 0) {
            const mine = standardLibrary.catch(() => undefined).then(() => build(standard));
            standardLibrary = mine;
            await mine;
        }
        const ldflags = ["-s -w", source.ldflags].filter(Boolean).join(" ");
        await build(["-ldflags", ldflags, "-o", path.join(job.directory, "bin", job.spec.name), source.package]);
    } finally {
        clearInterval(timer);
    }
    fs.rmSync(copy, { recursive: true });
    job.progress(`built in ${Math.round((Date.now() - started) / 1000)} s`);
    return { from: `${source.package} (${go.version})` };
}

/** The go command, its version (such as `go1.25.3`), and the directory of its build cache. */
async function findGo(job: Job, needed: string): Promise<{ command: string; version: string; cache: string }> {
    const install = `Go ${needed} or later is needed (https://go.dev/dl/)`;
    const command = findOnPath("go") ?? ["/usr/local/go/bin/go", "/usr/lib/go/bin/go"].find(isExecutable);
    if (!command) throw new SourceError(`Go is not installed; ${install}`);
    const names = ["GOVERSION", "GOTOOLCHAIN", "GOCACHE"];
    const { code, stdout, output } = await run([command, "env", ...names], {
        signal: job.signal,
        timeoutMs: 30_000,
        cwd: job.directory,
        env: { ...process.env, GOWORK: "off" },
    });
    const [version = "", toolchain = "", cache = ""] = stdout.trim().split("\n");
    if (code !== 0 || !version || !cache) throw new SourceError(`${command} does not work: ${lastLines(output, 2)}`);
    const own = version.replace(/^go/, "").split(" ")[0] ?? "";
    const updates = atLeast(own, SELF_UPDATING_GO) && toolchain !== "local";
    if (!atLeast(own, needed) && !updates) throw new SourceError(`this is ${version}; ${install}`);
    return { command, version, cache };
}
