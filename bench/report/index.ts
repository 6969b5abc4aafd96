/** Makes the report of one or two runs from their raw data: an HTML page, figures, and the tables of the documentation. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { UserError } from "../../scripts/engine";
import { type BenchRecord, readRecords } from "../records";
import { figures } from "./figures";
import { pageOf, type Section, svgOf } from "./render";
import { htmlOf, markdownOf, type Table, tables } from "./tables";

/** Where a report goes. */
export interface ReportOptions {
    /** The raw data of the run; of a second run of some of the same cells too, which is compared with the first. */
    readonly journals: readonly string[];
    /** The folder for `report.html` and the figures. */
    readonly out: string;
    /** A Markdown file whose tables, between `<!-- table: NAME -->` and `<!-- end -->`, are renewed. */
    readonly document?: string;
}

/** Writes the report. @returns the files that were written. @throws UserError when there is no data. */
export async function report({ journals, out, document }: ReportOptions): Promise<string[]> {
    if (journals.length === 0) throw new UserError("there is no raw data: name a journal that npm run bench wrote");
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
            html: `<p>Rebuilt from ${journals.map((path) => `<code>${basename(path)}</code>`).join(" and ")}. Click a name in a legend to see it alone.</p>`,
        },
        ...shown.map((figure) => ({ figure })),
        ...rows.map((table) => ({ html: htmlOf(table) })),
    ];
    write(join(out, "report.html"), await pageOf("Three ways to balance Thrift calls, compared", sections));
    if (document !== undefined) write(document, withTables(readFileSync(document, "utf8"), rows));
    return written;
}

function read(path: string): BenchRecord[] {
    if (!existsSync(path)) throw new UserError(`there is no ${path}: run npm run bench first`);
    const records = readRecords(path);
    if (records.length < 2) throw new UserError(`there is nothing measured in ${path}`);
    return records;
}

/**
 * A document with its tables renewed.
 *
 * @throws UserError when it asks for a table that there is not.
 */
export function withTables(text: string, known: readonly Table[]): string {
    return text.replace(
        /(<!-- table: ([\w-]+) -->\n)[\s\S]*?(<!-- end -->)/g,
        (_, begin: string, name: string, end: string) => {
            const table = known.find((each) => each.name === name);
            if (!table)
                throw new UserError(`there is no table "${name}": ${known.map((each) => each.name).join(", ")}`);
            return `${begin}\n${markdownOf(table)}\n\n${end}`;
        },
    );
}
