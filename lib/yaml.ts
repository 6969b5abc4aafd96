/** YAML files that users edit. */
import { readFileSync } from "node:fs";
import { type Document, parseDocument } from "yaml";

/** A mistake in a file: its place, and what is wrong. */
export class YamlError extends Error {}

/**
 * Parses YAML.
 *
 * @param path names the file in messages.
 * @throws YamlError with every mistake, such as a tab as indentation, or a key that occurs twice.
 */
export function parseYaml(path: string, text: string): Document {
    const document = parseDocument(text);
    const mistakes = document.errors.map(({ message, linePos }) => {
        // The message goes on with the line itself, which may hold a secret.
        const what = (message.split("\n")[0] ?? "").replace(/ at line \d+, column \d+:?$/, "");
        const where = linePos ? `, line ${linePos[0].line}, column ${linePos[0].col}` : "";
        return `${path}${where}: ${what}`;
    });
    if (mistakes.length > 0) throw new YamlError(mistakes.join("\n"));
    const { contents } = document;
    if (contents !== null && !("items" in contents)) throw new YamlError(`${path} holds no keys with values`);
    return document;
}

/** Reads a YAML file. @throws YamlError as {@link parseYaml}, and Error when the file cannot be read. */
export function readYaml(path: string): Document {
    return parseYaml(path, readFileSync(path, "utf8"));
}
