/** Leaving out of a Go build what nothing here uses, which is most of what these programs consist of. */

import * as fs from "node:fs";
import * as path from "node:path";
import { SourceError } from "../errors";
import { type Kept, prune } from "./pruneGo";

/** The folder of a wrapper module with what its build leaves out: a folder for each package, named by its import path. */
export const STUBS = "stubs";

/** In a package's folder: what is kept of the package, as {@link Kept}. Used where it is too large to write a stub of. */
const KEPT = "kept.json";

/** The line by which a stub names the files of its package that it is compiled in place of; `*` stands for any text. */
const IN_PLACE_OF = /^\/\/ In place of: (.+)$/m;

/** Tests are never compiled, and their data is most of what a large module holds. */
const NOT_COPIED = /^testdata$|_test\.go$/;

/** The files below `stubs/` of a wrapper module, relative to that and sorted; none when it leaves nothing out. */
export function stubFiles(wrapper: string): string[] {
    const root = path.join(wrapper, STUBS);
    if (!fs.existsSync(root)) return [];
    const found = fs.readdirSync(root, { recursive: true, withFileTypes: true });
    return found
        .filter((entry) => entry.isFile())
        .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)))
        .sort();
}

/**
 * Makes a build leave out what the stubs of its wrapper module stand for. Each module of which a part is left out is copied
 * from Go's module cache, whose content `go.sum` has proven, into `stubbed/`; there the stubs take the place of the
 * files that they name; and the wrapper's `go.mod` gets a `replace` by the copy.
 *
 * @param module The wrapper module: a copy of it, because this changes it.
 * @param go Runs the go command in the wrapper module and returns what it prints.
 * @throws SourceError when a stub names no file, or one that its package does not have: in another version of the package, what
 *     it leaves out may be elsewhere. Also when `go.sum` does not name a module's content.
 */
export async function putStubs(module: string, go: (args: readonly string[]) => Promise<string>): Promise<void> {
    const stubs = stubFiles(module);
    if (stubs.length === 0) return;
    const packages = [...new Set(stubs.map((file) => path.dirname(file)))];
    const required = new Map(packages.map((name) => [name, pinnedModule(module, name)]));
    const needed = new Set([...required.values()].map(({ name, version }) => `${name}@${version}`));
    // Not `go list`, which gets all that the packages import as well, the most part of which is about to be left out.
    const directories = new Map(
        (await go(["mod", "download", "-json", ...needed]))
            .split(/^(?=\{)/m)
            .map((text) => JSON.parse(text) as { Path: string; Dir: string })
            .map((downloaded) => [downloaded.Path, downloaded.Dir]),
    );
    for (const [name, directory] of directories) copyModule(directory, path.join(module, "stubbed", name));
    for (const [name, { name: moduleName }] of required) {
        const home = path.join(module, "stubbed", moduleName, path.relative(moduleName, name));
        const stub = path.join(module, STUBS, name);
        if (!fs.existsSync(home)) throw new SourceError(`there is no package ${name} to leave something out of`);
        if (fs.existsSync(path.join(stub, KEPT))) pruneIn(home, path.join(stub, KEPT));
        else putInto(home, stub);
    }
    await go(["mod", "edit", ...[...directories.keys()].map((name) => `-replace=${name}=./stubbed/${name}`)]);
}

/** The module that a package belongs to, at the version that `go.mod` requires and whose content `go.sum` names. */
export function pinnedModule(module: string, name: string): { name: string; version: string } {
    const [requirements, sums] = ["go.mod", "go.sum"].map((file) => fs.readFileSync(path.join(module, file), "utf8"));
    const candidates = [...(requirements ?? "").matchAll(/^(?:\t|require )(\S+) (v\S+)/gm)]
        .map(([, path = "", version = ""]) => ({ name: path, version }))
        .filter((candidate) => `${name}/`.startsWith(`${candidate.name}/`))
        .sort((a, b) => b.name.length - a.name.length);
    const [found] = candidates;
    if (!found) throw new SourceError(`go.mod requires no module with the package ${name}`);
    if (!sums?.includes(`\n${found.name} ${found.version} h1:`))
        throw new SourceError(`go.sum does not name the content of ${found.name} ${found.version}`);
    return found;
}

/** Copies a module. Its files and folders can be changed then, which Go's module cache does not allow. */
function copyModule(from: string, to: string): void {
    fs.mkdirSync(to, { recursive: true });
    for (const entry of fs.readdirSync(from, { withFileTypes: true })) {
        if (NOT_COPIED.test(entry.name)) continue;
        const [source, target] = [path.join(from, entry.name), path.join(to, entry.name)];
        if (entry.isDirectory()) copyModule(source, target);
        else fs.copyFileSync(source, target, fs.constants.COPYFILE_FICLONE);
    }
}

/** The Go files of a folder. */
function goFiles(directory: string): string[] {
    return fs.readdirSync(directory).filter((file) => file.endsWith(".go"));
}

/** Removes the files of a package that its stubs are in place of, and puts the stubs there. */
function putInto(home: string, stubs: string): void {
    const files = goFiles(home);
    for (const stub of goFiles(stubs)) {
        const from = path.join(stubs, stub);
        const patterns = IN_PLACE_OF.exec(fs.readFileSync(from, "utf8"))?.[1]?.trim().split(/\s+/) ?? [];
        if (patterns.length === 0) throw new SourceError(`${from} does not say which files it is in place of`);
        for (const pattern of patterns) {
            const matcher = new RegExp(`^${pattern.replaceAll(".", "\\.").replaceAll("*", ".*")}$`);
            const matched = files.filter((file) => matcher.test(file));
            if (matched.length === 0) throw new SourceError(`${from} is in place of ${pattern}, which is not there`);
            for (const file of matched) fs.rmSync(path.join(home, file), { force: true });
        }
        fs.copyFileSync(from, path.join(home, stub));
    }
}

/** Leaves of the files of a package what is kept. */
function pruneIn(home: string, kept: string): void {
    const files = goFiles(home).map((file) => path.join(home, file));
    const texts = Object.fromEntries(files.map((file) => [file, fs.readFileSync(file, "utf8")]));
    const left = prune(texts, JSON.parse(fs.readFileSync(kept, "utf8")) as Kept);
    for (const file of files) fs.rmSync(file);
    for (const [file, text] of Object.entries(left)) fs.writeFileSync(file, text);
}
