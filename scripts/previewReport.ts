/** A preview as a comment on a pull request. Pure. */
import { type Changes, describeChanges, isChange } from "./deploy";

/** What came of a preview. */
export type PreviewResult = { readonly lines: readonly string[] } & (
    | { readonly changes: Changes }
    | { readonly failure: string }
);

/** More lines than a reader looks at; GitHub's limit of a comment, 65,536 characters, is further off. */
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

/** The counts as of something that is still to be done. */
const words = (changes: Changes) =>
    describeChanges(changes)
        .replace(/\bcreated\b/, "to create")
        .replace(/\bupdated\b/, "to update")
        .replace(/\breplaced\b/, "to replace")
        .replace(/\bremoved\b/, "to remove");

/** Lines as code; a fence longer than any in them, so that none can end it. */
function fenced(lines: readonly string[]): string[] {
    const longest = Math.max(2, ...lines.flatMap((line) => [...line.matchAll(/`+/g)].map(([run]) => run.length)));
    const fence = "`".repeat(longest + 1);
    return [fence, ...lines, fence];
}
