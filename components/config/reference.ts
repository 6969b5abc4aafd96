/** Writes the reference of the configuration, `docs/config.md`, from the schema. */
import { allowedText, DISCRIMINATOR, type Leaf, leaves, type Node, rootNode } from "./jsonSchema";
import { keyName } from "./problems";

const INTRODUCTION = `# Configuration

<!-- Written from components/config/ by tests/unit/configReference.test.ts; to renew it: UPDATE_GOLDEN=1 npm test -->

Each stack is described by its \`Pulumi.STACK.yaml\`. All keys have the namespace \`gateway\`. On every target \`gateway:targets\`
has to be set, and what the table says of each target. A value is set in the file, or by a command:

\`\`\`sh
pulumi config set --path 'gateway:pool.size' 3
pulumi config set --path 'gateway:targets[0]' local
\`\`\`

Before anything is deployed, all mistakes are reported at once: unknown keys with the nearest known one, values with what was
given and what is allowed, and keys that contradict each other. Texts that can only mean a number, \`true\` or \`false\` are
taken as such. Secrets (\`--secret\`) are refused, because the values end up in plain in files of the machines; only those of
\`gateway:secrets\` have to be set so.

On each machine the ports 8300, 8301, 8302, 8500, 8501, 9191 and 9192 are taken.

Another server than the sample, for instance one that is multiplexed and comes as an archive:

\`\`\`yaml
config:
  gateway:targets: [local]
  gateway:service:
    name: api-server
    port: 8930
    install:
      kind: archive
      url: https://example.org/api-server-1.2.tar.gz
      sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    argv: [bin/api-server, --port, "8930"]
    environment: { LOG_LEVEL: info }
    healthCheck: { kind: thrift, service: ApiService, method: getVersion }
\`\`\`
`;

/** The whole text of `docs/config.md`. */
export function configReference(): string {
    const sections = Object.entries(rootNode.properties ?? {}).map(([name, node]) => {
        const all = [...leaves()].filter(({ path }) => path[0] === name);
        return [
            `## \`${keyName([name])}\``,
            "",
            // A key without keys below it is explained in its row.
            ...(all[0]?.path.length === 1 ? [] : [sentence(node.description ?? ""), ""]),
            "| key | allowed | default | meaning |",
            "|---|---|---|---|",
            ...all.map(row),
            "",
        ].join("\n");
    });
    return [INTRODUCTION, ...sections].join("\n");
}

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

function row({ path, node, kinds, required }: Leaf): string {
    const only = kinds.length === 0 ? "" : `kind \`${kinds.join(", ")}\`: `;
    const cells = [`\`${keyName(path)}\``, allowedText(node), standardText(node, required), `${only}${meaning(node)}`];
    return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function standardText(node: Node, required: boolean): string {
    if (required) return "must be set";
    if (node.standard !== undefined) return node.standard;
    return node.default === undefined ? "none" : `\`${JSON.stringify(node.default)}\``;
}

function meaning(node: Node): string {
    const kinds = (node.oneOf ?? []).map(
        (option) => `\`${option.properties?.[DISCRIMINATOR]?.const}\`: ${option.description}`,
    );
    return [node.description, ...kinds].join("; ");
}
