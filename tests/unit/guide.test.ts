import * as assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { parse } from "yaml";
import { parseConfig } from "../../config";

const read = (path: string) => readFileSync(path, "utf8");
const pages = [
    "README.md",
    "CONTRIBUTING.md",
    ...readdirSync("docs")
        .filter((name) => name.endsWith(".md"))
        .map((name) => `docs/${name}`),
];

describe("the documentation", () => {
    it("shows configurations that are accepted", () => {
        const examples = [...read("docs/guide.md").matchAll(/```yaml\n(.*?)```/gs)].map(([, text = ""]) => text);
        assert.ok(examples.length >= 5);
        for (const example of examples) {
            const { config } = parse(example) as { config: Record<string, unknown> };
            const raw = Object.fromEntries(
                Object.entries(config).map(([key, value]) => [key.replace("gateway:", ""), value]),
            );
            assert.doesNotThrow(() => parseConfig(raw), example);
        }
    });

    it("names only commands that there are", () => {
        const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
        for (const page of pages) {
            for (const [, name = ""] of read(page).matchAll(/npm run (?:--silent )?([a-z][a-z0-9:]*)/g)) {
                assert.ok(scripts[name], `${page}: npm run ${name}`);
            }
        }
    });

    it("links only to what is there", () => {
        for (const page of [...pages, ...readdirSync("docs/adr").map((name) => `docs/adr/${name}`)]) {
            const folder = page.includes("/") ? page.slice(0, page.lastIndexOf("/") + 1) : "";
            for (const [, target = ""] of read(page).matchAll(/\]\(([^)#:]+?)(?:#[^)]*)?\)/g)) {
                assert.doesNotThrow(() => readFileSync(`${folder}${target}`), `${page} links to ${target}`);
            }
        }
    });

    it("numbers its decisions without holes, and gives each a date, a status and a line in the index", () => {
        const index = read("docs/adr/README.md");
        const decisions = readdirSync("docs/adr")
            .filter((name) => name !== "README.md")
            .sort();
        for (const [position, name] of decisions.entries()) {
            const number = position + 1;
            const [, title, status, date] =
                /^# \d+\. (.+)\n\n- Status: (.+)\n- Date: (\d{4}-\d\d-\d\d)\n\n## /.exec(read(`docs/adr/${name}`)) ??
                [];
            assert.ok(title && status && date, `${name} lacks a title, a status or a date`);
            assert.match(name, new RegExp(`^${String(number).padStart(4, "0")}-[a-z0-9-]+\\.md$`));
            assert.ok(read(`docs/adr/${name}`).startsWith(`# ${number}. `), `${name} has another number in its title`);
            const row = `| ${number} | [${title}](${name}) | ${date} | ${status} |`;
            assert.ok(index.includes(row), `docs/adr/README.md lacks the row ${row}`);
            // Both of two decisions say which one changes the other.
            for (const [, other = ""] of status.matchAll(/\]\(([^)]+)\)/g)) {
                const [, answer = ""] = /^- Status: (.+)$/m.exec(read(`docs/adr/${other}`)) ?? [];
                assert.ok(answer.includes(`(${name})`), `${other} does not mention ${name} in its status`);
            }
        }
    });
});
