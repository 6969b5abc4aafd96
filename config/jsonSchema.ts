/** Looks up paths in the JSON schema that zod derives from ours, and puts into words what a key allows. */
import { z } from "zod";
import { configSchema } from "./schema";

/** The part of JSON Schema that zod emits for our schema, and our own `meta` properties. */
export interface Node {
    readonly type?: string;
    readonly description?: string;
    readonly properties?: Readonly<Record<string, Node>>;
    readonly required?: readonly string[];
    readonly additionalProperties?: Node | boolean;
    readonly propertyNames?: Node;
    readonly items?: Node;
    readonly oneOf?: readonly Node[];
    readonly enum?: readonly unknown[];
    readonly const?: unknown;
    readonly minimum?: number;
    readonly maximum?: number;
    readonly exclusiveMinimum?: number;
    readonly default?: unknown;
    /** What is allowed, in words, if the type does not say it well. */
    readonly allowed?: string;
    /** A valid value of a key that has no default. */
    readonly example?: unknown;
    /** The default, in words, if it is not a constant. */
    readonly standard?: string;
    /** The unit of a number, such as `seconds`. */
    readonly unit?: string;
}

/** The path of a value in the configuration, from its top-level key. */
export type Path = readonly (string | number)[];

/** The whole configuration's schema, as its user writes it (defaults not filled in). */
export const rootNode = z.toJSONSchema(configSchema, { io: "input", unrepresentable: "any" }) as Node;

/** The value at a path, or undefined if there is none. It ignores prototypes. */
export function valueAt(value: unknown, path: Path): unknown {
    return path.reduce<unknown>((inner, key) => {
        if (typeof inner !== "object" || inner === null || !Object.hasOwn(inner, key)) return undefined;
        return (inner as Record<string | number, unknown>)[key];
    }, value);
}

/** The key that tells the alternatives of a union apart. */
export const DISCRIMINATOR = "kind";

/** The alternative of a union that a value selects, or undefined if it selects none. */
function alternative(node: Node, value: unknown): Node | undefined {
    if (node.oneOf === undefined) return node;
    const kind = valueAt(value, [DISCRIMINATOR]);
    return node.oneOf.find((option) => option.properties?.[DISCRIMINATOR]?.const === kind);
}

/**
 * The schema at a path.
 *
 * @param value the whole configuration, which selects the alternatives of unions.
 * @returns undefined if the schema has nothing at that path.
 */
export function nodeAt(path: Path, value: unknown): Node | undefined {
    let node: Node | undefined = rootNode;
    for (const [depth, key] of path.entries()) {
        if (node?.oneOf !== undefined && key === DISCRIMINATOR) return discriminatorOf(node);
        node = node && alternative(node, valueAt(value, path.slice(0, depth)));
        node = typeof key === "number" ? node?.items : node && child(node, key);
    }
    return node;
}

function child(node: Node, key: string): Node | undefined {
    if (node.properties !== undefined && Object.hasOwn(node.properties, key)) return node.properties[key];
    return typeof node.additionalProperties === "object" ? node.additionalProperties : undefined;
}

function discriminatorOf(union: Node): Node {
    const kinds = (union.oneOf ?? []).map((option) => option.properties?.[DISCRIMINATOR]?.const);
    return { type: "string", enum: kinds, example: kinds[0] };
}

/** The keys that the map at a path may have. */
export function keysAt(path: Path, value: unknown): string[] {
    const node = nodeAt(path, value);
    return Object.keys((node && alternative(node, valueAt(value, path)))?.properties ?? {});
}

/** Whether the path must have a value, because it has no default. */
export function requiredAt(path: Path, value: unknown): boolean {
    const parent = path.slice(0, -1);
    const node = nodeAt(parent, value);
    const key = path.at(-1) as string;
    return (
        key === DISCRIMINATOR || (node && alternative(node, valueAt(value, parent)))?.required?.includes(key) === true
    );
}

const list = (items: readonly string[], last: string) =>
    items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} ${last} ${items.at(-1)}`;

/** What a key allows, in words, such as `a whole number from 1 to 200`. */
export function allowedText(node: Node): string {
    if (node.allowed !== undefined) return node.allowed;
    if (node.const !== undefined) return String(node.const);
    if (node.enum !== undefined) return list(node.enum.map(String), "or");
    if (node.oneOf !== undefined) return `a map whose ${DISCRIMINATOR} is ${allowedText(discriminatorOf(node))}`;
    switch (node.type) {
        case "integer":
        case "number":
            return `${node.type === "integer" ? "a whole number" : "a number"}${rangeText(node)}`;
        case "boolean":
            return "true or false";
        case "string":
            return "a string";
        case "array":
            return node.items === undefined ? "a list" : `a list; in it, ${allowedText(node.items)}`;
        case "object":
            return node.properties === undefined
                ? "a map of strings"
                : `a map with ${keysText(Object.keys(node.properties))}`;
        default:
            return "another value";
    }
}

/** The maximum number of names that a message lists. */
const MAX_KEYS = 12;

/** The keys of a map, in words. */
export const keysText = (keys: readonly string[]): string =>
    keys.length > MAX_KEYS
        ? "the keys of docs/config.md"
        : `the ${keys.length === 1 ? "key" : "keys"} ${list(keys, "and")}`;

function rangeText(node: Node): string {
    // For an integer without limits, zod writes the limits of safe integers.
    const finite = (limit: number | undefined) =>
        limit !== undefined && Math.abs(limit) < Number.MAX_SAFE_INTEGER ? limit : undefined;
    const above = node.exclusiveMinimum;
    const from = finite(node.minimum) ?? (node.type === "integer" && above !== undefined ? above + 1 : undefined);
    const to = finite(node.maximum);
    const unit = node.unit === undefined ? "" : ` of ${node.unit}`;
    const least = from !== undefined ? `from ${from}` : above !== undefined ? `more than ${above}` : "";
    const most =
        to === undefined ? "" : least === "" ? `up to ${to}` : from === undefined ? `and up to ${to}` : `to ${to}`;
    const range = [least, most].filter((part) => part !== "").join(" ");
    return range === "" ? unit : `${unit}${unit === "" ? "" : ","} ${range}`;
}

/** A place in the schema with a single value, a list, a free map or a union. */
export interface Leaf {
    readonly path: readonly string[];
    readonly node: Node;
    /** The alternatives of unions to which it belongs, such as `archive`. */
    readonly kinds: readonly string[];
    readonly required: boolean;
}

/** Every leaf of the schema, in the schema's order. */
export function* leaves(
    node: Node = rootNode,
    path: readonly string[] = [],
    kinds: readonly string[] = [],
    required = false,
): Generator<Leaf> {
    if (node.oneOf !== undefined) yield { path, node, kinds, required };
    if (node.oneOf === undefined && node.properties === undefined) {
        yield { path, node, kinds, required };
        return;
    }
    for (const option of node.oneOf ?? [node]) {
        const kind = option.properties?.[DISCRIMINATOR]?.const;
        for (const [key, inner] of Object.entries(option.properties ?? {})) {
            if (kind !== undefined && key === DISCRIMINATOR) continue;
            const innerKinds = kind === undefined ? kinds : [...kinds, String(kind)];
            yield* leaves(inner, [...path, key], innerKinds, option.required?.includes(key) === true);
        }
    }
}
