/** A preview as a comment on a pull request. */
import { type Changes, describeChanges, isChange } from "./deploy";

/** The result of a preview. */
export type PreviewResult = { readonly lines: readonly string[] } & (
    | { readonly changes: Changes }
    | { readonly failure: string }
);

/** Lines that the report shows at most: enough for a reader, and below GitHub's limit of 65,536 characters. */
const MAX_LINES = 200;

/** The report, in GitHub's Markdown. */
export function previewMarkdown(stack: string, result: PreviewResult): string {
    const heading = `### Preview of \`${stack}\``;
    if ("failure" in result) {
        return [heading, "", "The preview failed:", "", ...fenced(result.failure.split("\n")), ""].join("\n");
    }
    const { changes, lines } = result;
    const verdict = isChange(changes) ? `**Changes:** ${words(changes)}` : "**No changes.**";
    const shown = lines.slice(0, MAX_LINES);
    const rest = lines.length > shown.length ? [`… and ${lines.length - shown.length} more`] : [];
    const details =
        lines.length === 0
            ? []
            : ["<details><summary>Resources</summary>", "", ...fenced([...shown, ...rest]), "", "</details>", ""];
    return [heading, "", verdict, "", ...details].join("\n");
}

/** Changes as text, as still to be made. */
const words = (changes: Changes) =>
    describeChanges(changes)
        .replace(/\bcreated\b/, "to create")
        .replace(/\bupdated\b/, "to update")
        .replace(/\breplaced\b/, "to replace")
        .replace(/\bremoved\b/, "to remove");

/** Lines as a code block. Its fence is longer than any in the lines, so that none can close it. */
function fenced(lines: readonly string[]): string[] {
    const longest = Math.max(2, ...lines.flatMap((line) => [...line.matchAll(/`+/g)].map(([run]) => run.length)));
    const fence = "`".repeat(longest + 1);
    return [fence, ...lines, fence];
}
