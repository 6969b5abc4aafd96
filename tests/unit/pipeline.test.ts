import * as assert from "node:assert/strict";
import { accessSync, constants, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { previewMarkdown } from "../../scripts/previewReport";
import { versions } from "../../toolchain";
import { pinnedNode } from "../../toolchain/node";

const project = join(__dirname, "../..");

interface Step {
    readonly uses?: string;
    readonly run?: string;
    readonly with?: Record<string, unknown>;
    readonly env?: Record<string, string>;
}

interface Job {
    readonly if?: string;
    readonly environment?: string;
    readonly permissions: Record<string, string>;
    readonly strategy?: { readonly matrix: { readonly stack: readonly string[] } };
    readonly steps: readonly Step[];
}

interface Workflow {
    readonly on: Record<string, unknown>;
    readonly permissions: Record<string, string>;
    readonly jobs: Record<string, Job>;
}

const text = (name: string) => readFileSync(join(project, ".github/workflows", name), "utf8");
const workflow = (name: string) => parse(text(name)) as Workflow;
const job = (name: string, of: string) => {
    const found = workflow(name).jobs[of];
    assert.ok(found, `${name} has no job ${of}`);
    return found;
};
const runs = ({ steps }: Job) => steps.flatMap(({ run }) => (run === undefined ? [] : [run]));
const action = ({ steps }: Job, name: string) => steps.find(({ uses }) => uses?.startsWith(`${name}@`));

/** An expression in the syntax of workflows. */
const expression = (name: string) => `\${{ ${name} }}`;

/** The stacks that need a cloud account. */
const cloudStacks = readdirSync(project)
    .flatMap((name) => /^Pulumi\.(.+)\.yaml$/.exec(name)?.[1] ?? [])
    .filter((stack) => stack !== "local")
    .sort();

describe("the preview of pull requests", () => {
    it("never runs code from a fork with secrets", () => {
        assert.deepEqual(Object.keys(workflow("preview.yml").on), ["pull_request"]);
        assert.deepEqual(workflow("preview.yml").permissions, {});
        const open = job("preview.yml", "local");
        assert.equal(open.if, undefined);
        assert.deepEqual(open.permissions, { contents: "read" });
        assert.doesNotMatch(JSON.stringify(open), /secrets\.|vars\./);
        const closed = job("preview.yml", "cloud");
        assert.match(closed.if ?? "", /github\.event\.pull_request\.head\.repo\.full_name == github\.repository/);
    });

    it("identifies itself to the cloud by the stack's environment", () => {
        for (const [name, of, environment] of [
            ["preview.yml", "cloud", `preview-${expression("matrix.stack")}`],
            ["deploy.yml", "up", expression("matrix.stack")],
        ] as const) {
            const { environment: own, permissions, steps } = job(name, of);
            assert.equal(own, environment);
            assert.equal(permissions["id-token"], "write");
            const login = action(job(name, of), "aws-actions/configure-aws-credentials");
            assert.deepEqual(Object.keys(login?.with ?? {}), ["role-to-assume", "aws-region"]);
            assert.doesNotMatch(JSON.stringify(steps), /AWS_SECRET_ACCESS_KEY|AWS_ACCESS_KEY_ID/);
        }
    });

    it("covers every stack", () => {
        assert.deepEqual(job("preview.yml", "cloud").strategy?.matrix.stack, cloudStacks);
        assert.deepEqual(job("deploy.yml", "up").strategy?.matrix.stack, cloudStacks);
    });

    it("runs the official action with the pinned version of the engine, and comments", () => {
        const preview = action(job("preview.yml", "cloud"), "pulumi/actions")?.with ?? {};
        assert.deepEqual(
            [preview.command, preview["stack-name"], preview["comment-on-pr"], preview["pulumi-version"]],
            ["preview", expression("matrix.stack"), true, versions.pulumi],
        );
        const up = action(job("deploy.yml", "up"), "pulumi/actions")?.with ?? {};
        assert.deepEqual(
            [up.command, up["stack-name"], up["suppress-outputs"], up["pulumi-version"]],
            ["up", expression("matrix.stack"), true, versions.pulumi],
        );
    });

    it("looks at what there is before a preview, as before the deployment", () => {
        for (const [name, of] of [
            ["preview.yml", "cloud"],
            ["deploy.yml", "up"],
        ] as const) {
            const step = action(job(name, of), "pulumi/actions");
            assert.equal(step?.env?.PULUMI_OPTION_REFRESH, "true");
            // The action would run it as a command of its own, which writes the state.
            assert.equal(step?.with?.refresh, undefined);
        }
    });

    it("does nothing that a command line cannot do", () => {
        assert.deepEqual(runs(job("preview.yml", "local")), ['scripts/ci/preview.sh local "$GITHUB_STEP_SUMMARY"']);
        assert.deepEqual(runs(job("preview.yml", "cloud")), [
            `scripts/ci/prepare.sh ${expression("matrix.stack")}`,
            "scripts/ci/openstack-login.sh",
        ]);
        assert.deepEqual(runs(job("deploy.yml", "up")), [
            `scripts/ci/prepare.sh ${expression("matrix.stack")}`,
            "scripts/ci/openstack-login.sh",
            `scripts/ci/publish.sh ${expression("vars.ARTIFACTS_BUCKET")}`,
        ]);
        for (const script of ["prepare.sh", "publish.sh", "preview.sh", "openstack-login.sh"])
            accessSync(join(project, "scripts/ci", script), constants.X_OK);
        assert.match(
            readFileSync(join(project, "scripts/ci/preview.sh"), "utf8"),
            /^scripts\/ci\/prepare\.sh "\$stack"$/m,
        );
    });

    it("pins every action by its commit, with the version in a comment, and Node by its exact version", () => {
        for (const name of ["preview.yml", "deploy.yml"]) {
            const uses = text(name).match(/uses: .*/g) ?? [];
            assert.ok(uses.length > 0);
            for (const each of uses) assert.match(each, /@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
            for (const { steps } of Object.values(workflow(name).jobs))
                for (const { uses: used, with: settings } of steps)
                    if (used?.startsWith("actions/setup-node@"))
                        assert.equal(settings?.["node-version"], pinnedNode.version);
        }
    });
});

describe("the report of a preview", () => {
    it("says what would change", () => {
        const report = previewMarkdown("aws-dev", {
            changes: { create: 2, update: 1, same: 5 },
            lines: ["would create a", "would update b"],
        });
        assert.equal(
            report,
            [
                "### Preview of `aws-dev`",
                "",
                "**Changes:** 2 to create, 1 to update, 5 unchanged",
                "",
                "<details><summary>Resources</summary>",
                "",
                "```",
                "would create a",
                "would update b",
                "```",
                "",
                "</details>",
                "",
            ].join("\n"),
        );
    });

    it("says that nothing would change, or why the preview failed", () => {
        assert.match(previewMarkdown("local", { changes: { same: 5 }, lines: [] }), /\*\*No changes\.\*\*/);
        assert.match(
            previewMarkdown("local", { failure: "2 problems", lines: [] }),
            /The preview failed:\n\n```\n2 problems/,
        );
    });

    it("cannot break out of its code block, and stays short", () => {
        const report = previewMarkdown("x", { failure: "a\n```\n# b", lines: [] });
        assert.match(report, /^````\na\n```\n# b\n````$/m);
        const long = previewMarkdown("x", { changes: { create: 500 }, lines: Array(500).fill("would create y") });
        assert.match(long, /… and 300 more/);
    });
});
