/** Collects every problem of a configuration, in the user's terms. */
import { distance } from "fastest-levenshtein";
import type { z } from "zod";
import {
    allowedText,
    DISCRIMINATOR,
    keysAt,
    keysText,
    leaves,
    type Node,
    nodeAt,
    type Path,
    requiredAt,
    valueAt,
} from "./jsonSchema";
import { CONFIG_KEYS, configSchema, type ParsedConfig } from "./schema";

/** The namespace of the configuration, which is the project's name. */
export const NAMESPACE = "gateway";

/** One problem. */
export interface Problem {
    /** The whole key, such as `gateway:pool.size`. */
    readonly key: string;
    /** The value that was given, and what is allowed. */
    readonly message: string;
    /** The command that corrects it; empty if the message says enough. */
    readonly remedy: string;
}

/** A path as Pulumi writes it: `gateway:service.argv[0]`, `gateway:service.environment["a.b"]`. */
export function keyName(path: Path): string {
    return path.reduce<string>((name, part, depth) => {
        if (depth === 0) return `${NAMESPACE}:${part}`;
        if (typeof part === "number") return `${name}[${part}]`;
        return /^[\w-]+$/.test(part) ? `${name}.${part}` : `${name}[${JSON.stringify(part)}]`;
    }, "");
}

const SECRET_NAME = /SECRET|TOKEN|PASSWORD|KEY/i;

/** Whether the name of an environment variable suggests that its value is a secret. */
export const looksSecret = (name: string): boolean => SECRET_NAME.test(name);

/** Whether the value at a path may be, or contain, a secret that no message should show. */
const mayBeSecret = (path: Path) => path.some((part) => part === "environment" || looksSecret(String(part)));

/** A value as messages show it: short, on one line, and hidden if it may be a secret. */
function show(value: unknown, hidden: boolean): string {
    if (typeof value === "object" && value !== null) {
        // A misplaced list or map may contain anything.
        return Array.isArray(value) ? (value.length === 0 ? "an empty list" : "a list") : "a map";
    }
    if (hidden) return `a ${value === null ? "null" : typeof value} (not shown)`;
    const text = JSON.stringify(value);
    return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** The maximum number of wrong letters in a misspelt name for which another name is suggested. */
const allowedDistance = (name: string) => Math.max(2, Math.floor(name.length / 3));

/** The nearest of some names, if one is near enough. */
function nearest(name: string, candidates: readonly string[]): string | undefined {
    const [best] = candidates
        .map((candidate) => ({ candidate, far: distance(name.toLowerCase(), candidate.toLowerCase()) }))
        .sort((a, b) => a.far - b.far);
    return best !== undefined && best.far <= allowedDistance(name) ? best.candidate : undefined;
}

/**
 * The command that corrects a key. It sets a valid value if the schema knows one; otherwise it removes the key, and the
 * default applies.
 *
 * @param given the present value, or undefined.
 */
function remedyFor(path: Path, node: Node, given: unknown): string {
    const choice = node.enum && typeof given === "string" ? nearest(given, node.enum.map(String)) : undefined;
    const value = choice ?? node.example ?? node.default ?? node.enum?.[0];
    if (Array.isArray(value) && value.length > 0) {
        const set = setCommand([...path, 0], value[0]);
        // The command cannot turn another kind of value into a list.
        return given === undefined || Array.isArray(given) ? set : `${rmCommand(path)} && ${set}`;
    }
    if (value === undefined || (typeof value === "object" && value !== null)) {
        return given === undefined ? "" : rmCommand(path);
    }
    return setCommand(path, value);
}

/** The command that sets a scalar. */
function setCommand(path: Path, value: unknown): string {
    const text = String(value);
    // Without a type, the command would store a string of digits as a number.
    const type = typeof value === "string" && /^(\d+|true|false)$/.test(text) ? " --type string" : "";
    return `pulumi config set ${keyArgument(path)} ${quoted(text)}${type}`;
}

const rmCommand = (path: Path) => `pulumi config rm ${keyArgument(path)}`;

const keyArgument = (path: Path) => (path.length === 1 ? quoted(keyName(path)) : `--path '${escaped(keyName(path))}'`);

const escaped = (text: string) => text.replaceAll("'", "'\\''");

const quoted = (text: string) => (/^[\w.:/-]+$/.test(text) ? text : `'${escaped(text)}'`);

/** Removes the value at a path. */
function remove(value: unknown, path: Path): void {
    const holder = valueAt(value, path.slice(0, -1));
    const key = path.at(-1);
    if (Array.isArray(holder) && typeof key === "number") holder.splice(key, 1);
    else if (typeof holder === "object" && holder !== null && key !== undefined) Reflect.deleteProperty(holder, key);
}

function put(value: unknown, path: Path, replacement: unknown): void {
    const holder = valueAt(value, path.slice(0, -1));
    const key = path.at(-1);
    if (typeof holder !== "object" || holder === null || key === undefined) return;
    Object.defineProperty(holder, key, { value: replacement, writable: true, enumerable: true, configurable: true });
}

/** The number or boolean that a string means, if the schema wants one there and the string has only one reading. */
function coerced(value: unknown, node: Node | undefined): number | boolean | undefined {
    if (typeof value !== "string" || node === undefined) return undefined;
    if ((node.type === "integer" || node.type === "number") && /^-?(0|[1-9]\d{0,14})(\.\d{1,9})?$/.test(value)) {
        return Number(value);
    }
    if (node.type === "boolean" && (value === "true" || value === "false")) return value === "true";
    return undefined;
}

/** The result of reading a configuration. */
export interface Reading {
    /** The configuration. Valid values stand in for wrong ones, so that further checks can run. */
    readonly config: ParsedConfig | undefined;
    readonly problems: readonly Problem[];
    /** Paths at which {@link config} does not have the user's value. */
    readonly unreliable: readonly Path[];
}

/** More than any realistic configuration needs. It only guards against an endless loop. */
const MAX_ROUNDS = 1000;

/**
 * Reads a configuration against the schema and collects every problem.
 *
 * zod stops looking below and beside some mistakes. So this function notes each mistake, removes it or puts a valid
 * value in its place, and checks again until nothing is wrong.
 *
 * @param secretKeys top-level keys whose values no message may show.
 */
export function readAgainstSchema(raw: Readonly<Record<string, unknown>>, secretKeys: readonly string[] = []): Reading {
    const value: Record<string, unknown> = JSON.parse(JSON.stringify(raw));
    const found = new Map<string, Problem>();
    const unreliable: Path[] = [];
    const hidden = (path: Path) => secretKeys.includes(String(path[0])) || mayBeSecret(path);
    for (let round = 0; round < MAX_ROUNDS; round++) {
        const result = configSchema.safeParse(value);
        if (result.success) return { config: result.data, problems: [...found.values()], unreliable };
        // Misspelt names come first, because they explain what is missing. Deeper and later ones come first, so that
        // paths stay valid.
        const issues = [...result.error.issues].sort(
            (a, b) =>
                Number(b.code === "unrecognized_keys") - Number(a.code === "unrecognized_keys") || laterFirst(a, b),
        );
        for (const issue of issues) settle(issue);
    }
    return { config: undefined, problems: [...found.values()], unreliable };

    function note(path: Path, message: string, remedy: string): void {
        const key = keyName(path);
        if (!found.has(key)) found.set(key, { key, message, remedy });
        unreliable.push(path);
    }

    function settle(issue: z.core.$ZodIssue): void {
        const path = issue.path as Path;
        if (issue.code === "unrecognized_keys") {
            for (const key of issue.keys) settleUnknown([...path, key]);
            return;
        }
        const given = valueAt(value, path);
        const node = nodeAt(path, value);
        const meant = coerced(given, node);
        if (meant !== undefined) {
            put(value, path, meant);
            return;
        }
        if (issue.code === "invalid_key") {
            const names = nodeAt(path.slice(0, -1), value)?.propertyNames;
            note(
                path,
                `not a valid name; allowed: ${names === undefined ? "other names" : allowedText(names)}`,
                rmCommand(path),
            );
            remove(value, path);
            return;
        }
        const allowed = node === undefined ? issue.message : allowedText(node);
        if (given === undefined) {
            // An earlier problem, a misspelt name, already explains why this key is missing.
            if (!isUnreliable(unreliable, path)) {
                note(path, `not set; allowed: ${allowed}`, node === undefined ? "" : remedyFor(path, node, given));
            }
        } else if (!(Array.isArray(given) && isUnreliable(unreliable, path))) {
            // A list from which wrong items were removed is not wrong itself.
            const quotes = node?.type === "string" && (typeof given === "number" || typeof given === "boolean");
            const remedy = node === undefined || quotes ? "" : remedyFor(path, node, given);
            note(path, `got ${show(given, hidden(path))}; allowed: ${allowed}${quotes ? ", in quotes" : ""}`, remedy);
        }
        repair(path, node);
    }

    function settleUnknown(path: Path): void {
        const name = String(path.at(-1));
        const parent = path.slice(0, -1);
        const given = valueAt(value, path);
        const siblings = keysAt(parent, value);
        const sibling = nearest(name, siblings);
        const meant = sibling === undefined ? elsewhere(path) : [...parent, sibling];
        if (meant === undefined) {
            note(path, `no such key; allowed: ${keysText(siblings)}`, rmCommand(path));
        } else {
            const target = nodeAt(meant, value);
            const scalar =
                typeof given !== "object" && ["string", "integer", "number", "boolean"].includes(target?.type ?? "");
            const remedy =
                scalar && !hidden(path) ? `${rmCommand(path)} && ${setCommand(meant, given)}` : "rename it in the file";
            note(path, `no such key; did you mean ${keyName(meant)}?`, remedy);
            unreliable.push(meant);
        }
        remove(value, path);
    }

    function repair(path: Path, node: Node | undefined): void {
        if (path.length === 0) return;
        if (path.at(-1) === DISCRIMINATOR) repair(path.slice(0, -1), nodeAt(path.slice(0, -1), value));
        else if (node?.example !== undefined) put(value, path, structuredClone(node.example));
        else if (valueAt(value, path) !== undefined && !requiredAt(path, value)) remove(value, path);
        else repair(path.slice(0, -1), nodeAt(path.slice(0, -1), value));
    }
}

/** Another place in the configuration where a key has the name of an unknown key, if there is one. */
function elsewhere(unknown: Path): Path | undefined {
    const name = String(unknown.at(-1)).toLowerCase();
    for (const { path } of leaves()) {
        if (path.at(-1)?.toLowerCase() === name && keyName(path) !== keyName(unknown)) return path;
    }
    return undefined;
}

const startsWith = (path: Path, prefix: Path) => prefix.every((part, depth) => path[depth] === part);

/** Whether a path, or one above or below it, is unreliable. */
export function isUnreliable(unreliable: readonly Path[], path: Path): boolean {
    return unreliable.some((other) => startsWith(path, other) || startsWith(other, path));
}

function laterFirst(a: z.core.$ZodIssue, b: z.core.$ZodIssue): number {
    const last = (issue: z.core.$ZodIssue) => issue.path.filter((part) => typeof part === "number").at(-1) ?? -1;
    return Number(last(b)) - Number(last(a));
}

/** Problems in the order of the schema's top-level keys, then of their names. Keys of other namespaces come last. */
export function inSchemaOrder(problems: readonly Problem[]): Problem[] {
    const rank = ({ key }: Problem) => {
        const [, top] = key.startsWith(`${NAMESPACE}:`) ? (/:([^.[]*)/.exec(key) ?? []) : [];
        const index = (CONFIG_KEYS as readonly (string | undefined)[]).indexOf(top);
        return index < 0 ? CONFIG_KEYS.length : index;
    };
    return [...problems].sort((a, b) => rank(a) - rank(b) || (a.key === b.key ? 0 : a.key < b.key ? -1 : 1));
}

/**
 * The problem of a key whose namespace is nearly `gateway`, such as `gatewy:pool`. Pulumi itself would ignore it
 * silently.
 *
 * @param key a whole key of another namespace.
 */
export function namespaceProblem(key: string): Problem | undefined {
    const [namespace = "", name = ""] = key.split(/:(.*)/s);
    if (namespace === NAMESPACE || distance(namespace.toLowerCase(), NAMESPACE) > 2) return undefined;
    return { key, message: `no such namespace; did you mean ${NAMESPACE}:${name}?`, remedy: `pulumi config rm ${key}` };
}
