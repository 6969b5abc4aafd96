/** Commands on a stack's file that has mistakes. */
import * as assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { toolPath } from "../../toolchain";
import { makeProject, type Project } from "./support/project";

describe("a command on a stack's file with a mistake", function () {
    this.timeout(60_000);
    let project: Project;
    before(function () {
        if (!toolPath("pulumi")) {
            console.log('      skipped: Pulumi is not installed ("npm run tools")');
            this.skip();
        }
        project = makeProject("export = async () => ({});");
    });
    after(() => project?.remove());

    const MISTAKES = {
        "a tab": ["config:\n\ta: 1\n", /Pulumi\.dev\.yaml, line 2, column 1: Tabs are not allowed as indentation/],
        "a key twice": [
            "config:\n    small:a: 1\n    small:a: 2\n",
            /Pulumi\.dev\.yaml, line 3, column 5: Map keys must/,
        ],
        "no keys": ["text\n", /Pulumi\.dev\.yaml holds no keys with values/],
    } as const;
    for (const [what, [text, message]] of Object.entries(MISTAKES)) {
        it(`says where it is: ${what}`, async () => {
            writeFileSync(join(project.folder, "Pulumi.dev.yaml"), text);
            for (const command of ["preview", "up", "destroy"]) {
                const { code, output } = await project.command(command, ["dev", "--project", project.folder]);
                assert.equal(code, 1, output);
                assert.match(output, message);
                assert.doesNotMatch(output, /\n {4}at /, "no stack trace");
            }
        });
    }
});
