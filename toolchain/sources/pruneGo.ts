/**
 * Leaving out of a Go package what is not reached from a few of its names. Meant for the generated clients of clouds: a file of
 * megabytes for each half of the protocol, all in the layout of gofmt, of hundreds of operations that do not know each other.
 */

/** What is kept of a package. */
export interface Kept {
    /** Functions, types and variables. */
    readonly names: readonly string[];
    /** Methods, by type. Of these types no method is kept but those and the ones that what is kept mentions; of others, all. */
    readonly methods: Readonly<Record<string, readonly string[]>>;
}

/** One declaration, or group of them in parentheses, with the comment above it. */
interface Declaration {
    readonly text: string;
    /** The names that it declares; of a method, its own. */
    readonly names: readonly string[];
    /** Of a method, the type. */
    readonly receiver?: string;
    /** The names that it mentions, its own and some of no consequence among them. */
    readonly words: ReadonlySet<string>;
}

/** A source file: what is above its declarations, and those. */
interface SourceFile {
    readonly packageClause: string;
    /** The lines of its imports. */
    readonly imports: readonly string[];
    readonly declarations: readonly Declaration[];
}

/** The start of a declaration, or of the comment above one, in the layout of gofmt. */
const START = /^(?:func|type|var|const)\b|^\/\//;
const METHOD = /^func \((?:\w+ )?\*?(\w+)[^)]*\) (\w+)/m;
const SINGLE = /^(?:func|type|var|const) (\w+)/m;
const GROUP = /^(?:type|var|const) \($/m;
const IMPORT = /^(?:import )?\s*(?:(\w+|\.) )?"([^"]+)"$/;

/**
 * Leaves out what is not reached.
 *
 * What reaches what is decided by names alone: too much may stay, never too little, as far as the package does not call its own
 * methods by reflection. What the compiler misses it says.
 *
 * @param files The package's files, by name.
 * @returns the files that are left, by name.
 */
export function prune(files: Readonly<Record<string, string>>, kept: Kept): Record<string, string> {
    const parsed = Object.entries(files).map(([name, text]) => ({ name, ...parse(text) }));
    const all = parsed.flatMap((file) => file.declarations);
    const mentioned = new Set([...kept.names, ...Object.entries(kept.methods).flat(2), "init"]);
    const reached = new Set<Declaration>();
    for (let before = -1; before < reached.size; ) {
        before = reached.size;
        for (const declaration of all) {
            if (reached.has(declaration) || !isReached(declaration)) continue;
            reached.add(declaration);
            for (const word of declaration.words) mentioned.add(word);
        }
    }
    function isReached({ names, receiver }: Declaration): boolean {
        const named = names.some((name) => mentioned.has(name));
        return receiver === undefined ? named : mentioned.has(receiver) && (named || !(receiver in kept.methods));
    }

    return Object.fromEntries(
        parsed.flatMap(({ name, packageClause, imports, declarations }) => {
            const left = declarations.filter((declaration) => reached.has(declaration));
            if (left.length === 0) return [];
            const words = new Set(left.flatMap((declaration) => [...declaration.words]));
            const used = imports.filter((line) => importedNames(line).some((word) => words.has(word)));
            return [[name, `${[packageClause, ...used, ...left.map(({ text }) => text)].join("\n\n")}\n`]];
        }),
    );
}

function parse(text: string): SourceFile {
    const blocks: string[][] = [[]];
    let comment = false;
    for (const line of text.split("\n")) {
        // A comment belongs to what follows it.
        if (START.test(line) && !comment) blocks.push([]);
        comment = line.startsWith("//");
        blocks.at(-1)?.push(line);
    }
    const parts = blocks.map((block) => ({ block, found: declaration(block.join("\n").trimEnd()) }));
    const first = parts.findIndex(({ found }) => found !== undefined);
    const top = (first < 0 ? blocks : blocks.slice(0, first)).flat();
    return {
        packageClause: top.find((line) => line.startsWith("package ")) ?? "",
        imports: top.filter((line) => IMPORT.test(line)).map((line) => `import ${line.replace("import ", "").trim()}`),
        declarations: parts.map(({ found }) => found).filter((found) => found !== undefined),
    };
}

function declaration(text: string): Declaration | undefined {
    const words = new Set(text.replaceAll(/\/\/.*$/gm, "").match(/[A-Za-z_]\w*/g));
    const method = METHOD.exec(text);
    if (method?.[1] && method[2]) return { text, names: [method[2]], receiver: method[1], words };
    const single = SINGLE.exec(text)?.[1];
    if (single) return single === "_" ? undefined : { text, names: [single], words };
    const grouped = GROUP.test(text) ? [...text.matchAll(/^\t(\w+)/gm)].map(([, name = ""]) => name) : [];
    return grouped.length > 0 ? { text, names: grouped, words } : undefined;
}

/** The names by which a file may know the package that a line imports: `v4` of `signer/v4` calls itself so, `v2` of `yaml/v2` not. */
function importedNames(line: string): string[] {
    const [, alias, from = ""] = IMPORT.exec(line) ?? [];
    return alias ? [alias] : from.split("/").slice(/\/v\d+$/.test(from) ? -2 : -1);
}
