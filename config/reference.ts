/** Writes the reference of the configuration, `docs/config.md`, from the schema. */
import { RESERVED_PORTS } from "./checks";
import { allowedText, DISCRIMINATOR, type Leaf, leaves, type Node, rootNode } from "./jsonSchema";
import { keyName } from "./problems";

const INTRODUCTION = `# Configuration

<!-- Generated from the schema by tests/unit/configReference.test.ts. To regenerate it: UPDATE_GOLDEN=1 npx mocha tests/unit/configReference.test.ts -->

The file \`Pulumi.STACK.yaml\` describes the stack STACK. All keys have the namespace \`gateway\`. Every stack must set \`gateway:targets\`, and
the keys that the tables mark as required for its targets. Set a value in the file, or with a command:

\`\`\`sh
pulumi config set --path 'gateway:pool.size' 3
pulumi config set --path 'gateway:targets[0]' local
\`\`\`

The program reports all mistakes at once, before it deploys anything: unknown keys with the nearest known one, invalid values with what
is allowed, and keys that contradict each other. It accepts a string where only a number, \`true\` or \`false\` can be meant. It refuses
secrets (\`--secret\`), because values end up in plain text in files on the machines. Only the keys of \`gateway:secrets\` must be set as
secrets.

These ports of a machine are reserved: ${Object.keys(RESERVED_PORTS).join(", ")}.

This example runs another server than the sample: it is multiplexed and comes as an archive.

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
            // The row itself explains a key that has no keys below it.
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
