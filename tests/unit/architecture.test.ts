import * as assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { consulPorts } from "../../roles/consul";
import { gatewayHealthPort } from "../../roles/gatewayHealth";
import { balancerStatusPort } from "../../roles/loadBalancer/balancer";
import { replacerPort } from "../../roles/replacer";
import { serfPorts } from "../../roles/serf";

const PAGE = "docs/architecture.md";

const text = readFileSync(PAGE, "utf8");
const [parts = "", flow = ""] = [...text.matchAll(/```mermaid\n(.*?)```/gs)].map(([, diagram = ""]) => diagram);

/** Folders that hold no part of the product, so that the picture need not show them. */
const NO_ROOMS = new Set(["tests", "examples", "node_modules"]);

const folders = (path: string) =>
    readdirSync(path, { withFileTypes: true })
        .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
        .map((entry) => entry.name);

/** Whether a folder holds TypeScript somewhere. */
function holdsCode(path: string): boolean {
    return readdirSync(path, { withFileTypes: true }).some((entry) =>
        entry.isDirectory() ? holdsCode(join(path, entry.name)) : entry.name.endsWith(".ts"),
    );
}

/** The rooms of the repository: the folders with code at its top, and the files of the program. */
const rooms = [
    ...folders(".").filter((name) => !NO_ROOMS.has(name) && holdsCode(name)),
    ...readdirSync(".").filter((name) => name.endsWith(".ts")),
].sort();

/** Whether a path exists. In any of its parts `*` and a word in capitals, such as NAME, stand for anything. */
function found(path: string, below = "."): boolean {
    const [part = "", ...rest] = path.split("/").filter((each) => each !== "");
    const pattern = new RegExp(`^${part.replace(/[.+]/g, "\\$&").replace(/\*|\b[A-Z]+\b/g, ".*")}$`);
    const matches = readdirSync(below, { withFileTypes: true }).filter(({ name }) => pattern.test(name));
    if (rest.length === 0) return matches.length > 0;
    return matches.some((entry) => entry.isDirectory() && found(rest.join("/"), join(below, entry.name)));
}

describe(PAGE, () => {
    it("names each room in the picture of the data's way, and no room that does not exist", () => {
        const named = new Set([...flow.matchAll(/(?:[a-z-]+\/)+|\b[a-z]+\.ts\b/g)].map(([name]) => name));
        for (const name of named) assert.ok(existsSync(name), `${name} does not exist`);
        const top = [...named].filter((name) => !/\/./.test(name)).map((name) => name.replace("/", ""));
        assert.deepEqual(top.sort(), rooms);
    });

    it("names each port in the picture of the parts and what differs from it, and no other", () => {
        const project = parse(readFileSync("Pulumi.yaml", "utf8")) as {
            config: Record<"service" | "loadBalancer", { default: { port: number } }>;
        };
        const ports = new Set<number>([
            ...Object.values(consulPorts),
            ...Object.values(serfPorts),
            gatewayHealthPort,
            balancerStatusPort,
            replacerPort,
            project.config.service.default.port,
            project.config.loadBalancer.default.port,
        ]);
        const section = text.slice(text.indexOf("## The parts"), text.indexOf("### Programs"));
        const named = new Set([...section.matchAll(/\b\d{4}\b/g)].map(([port]) => Number(port)));
        assert.deepEqual([...named].sort(), [...ports].sort());
        // Serf is not in the picture of the default stack.
        const drawn = new Set([...parts.matchAll(/\b\d{4}\b/g)].map(([port]) => Number(port)));
        assert.deepEqual(
            [...drawn].sort(),
            [...ports].filter((port) => port !== serfPorts.gossip && port !== serfPorts.rpc).sort(),
        );
    });

    it("lists each program", () => {
        const section = text.slice(text.indexOf("### Programs"), text.indexOf("## The flow of data"));
        const listed = [...section.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, name]) => name);
        assert.deepEqual(listed.sort(), folders("programs").sort());
    });
});

describe("CONTRIBUTING.md", () => {
    it("draws each room, and no other", () => {
        const [, picture = ""] = /## Layout\n.*?```text\n(.*?)```/s.exec(readFileSync("CONTRIBUTING.md", "utf8")) ?? [];
        const drawn = picture
            .split("\n")
            .filter((line) => !line.startsWith(" "))
            .flatMap((line) => [...(line.split(/ {3,}/)[0] ?? "").matchAll(/([a-z-]+)\/|([a-z]+\.ts)/g)])
            .map(([, folder, file]) => folder ?? file)
            .filter((name) => name !== undefined && !NO_ROOMS.has(name) && name !== "docs");
        assert.deepEqual(drawn.sort(), rooms);
    });

    it("keeps its glossary at twenty terms", () => {
        const glossary = readFileSync("CONTRIBUTING.md", "utf8").split("## Glossary\n")[1]?.split("\n## ")[0] ?? "";
        const terms = glossary.match(/^\| \*\*/gm) ?? [];
        assert.ok(terms.length > 0 && terms.length <= 20, `${terms.length} terms`);
    });
});

describe("the documentation", () => {
    const pages = [
        "README.md",
        "CONTRIBUTING.md",
        "gateway-sample/README.md",
        ...["docs", "docs/adr"].flatMap((folder) =>
            readdirSync(folder)
                .filter((name) => name.endsWith(".md"))
                .map((name) => `${folder}/${name}`),
        ),
    ];

    it("names only files and folders that there are", () => {
        const tops = [...folders("."), ...readdirSync(".").filter((name) => name.endsWith(".ts"))].join("|");
        const paths = new RegExp(`(?:^|[\`\\s("])((?:${tops.replaceAll(".", "\\.")})/[\\w./*-]*[\\w/*])`, "gm");
        for (const page of pages) {
            for (const [, path = ""] of readFileSync(page, "utf8").matchAll(paths)) {
                assert.ok(found(path), `${page} names ${path}`);
            }
        }
    });
});
