/**
 * Builds the report of one or two runs from their raw data: an HTML page, figures, and the tables of the documentation.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { UserError } from "../../engine/stack";
import { type BenchRecord, readRecords } from "../benchRecords";
import { figures } from "./figures";
import { pageOf, type Section, svgOf } from "./render";
import { htmlOf, markdownOf, type Table, tables } from "./tables";

/** Input and output of a report. */
export interface ReportOptions {
    /** The journal of a run, and optionally of a second run of some of the same cells, to compare it with. */
    readonly journals: readonly string[];
    /** The folder for `report.html` and the figures. */
    readonly out: string;
    /** A Markdown file whose tables, between `<!-- table: NAME -->` and `<!-- end -->`, the report replaces. */
    readonly document?: string;
}

/** Writes the report. @returns the files that were written. @throws UserError when there is no data. */
export async function writeReport({ journals, out, document }: ReportOptions): Promise<string[]> {
    if (journals.length === 0) throw new UserError('There is no raw data: name a journal that "npm run bench" wrote.');
    const [first = [], second = []] = journals.map(read);
    const shown = figures(first);
    const rows = tables(first, second);
    mkdirSync(out, { recursive: true });
    const written: string[] = [];
    const write = (path: string, text: string) => {
        writeFileSync(path, text);
        written.push(path);
    };
    for (const figure of shown) write(join(out, `${figure.name}.svg`), await svgOf(figure));
    const sections: Section[] = [
        {
            html: `<p>Built from ${journals.map((path) => `<code>${basename(path)}</code>`).join(" and ")}. Click a name in a legend to highlight it.</p>`,
        },
        ...shown.map((figure) => ({ figure })),
        ...rows.map((table) => ({ html: htmlOf(table) })),
    ];
    write(join(out, "report.html"), await pageOf("Three load balancing stacks for Thrift, compared", sections));
    if (document !== undefined) write(document, withTables(readFileSync(document, "utf8"), rows));
    return written;
}

function read(path: string): BenchRecord[] {
    if (!existsSync(path)) throw new UserError(`There is no ${path}. Run "npm run bench" first.`);
    const records = readRecords(path);
    if (records.length < 2) throw new UserError(`${path} has no results.`);
    return records;
}

/**
 * Replaces the tables of a document.
 *
 * @throws UserError when the document names an unknown table.
 */
export function withTables(text: string, known: readonly Table[]): string {
    return text.replace(
        /(<!-- table: ([\w-]+) -->\n)[\s\S]*?(<!-- end -->)/g,
        (_, begin: string, name: string, end: string) => {
            const table = known.find((each) => each.name === name);
            if (!table)
                throw new UserError(
                    `No table "${name}"; the tables are: ${known.map((each) => each.name).join(", ")}.`,
                );
            return `${begin}\n${markdownOf(table)}\n\n${end}`;
        },
    );
}
