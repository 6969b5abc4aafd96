/** A preview and a deployment after something that was deployed has gone. */
import * as assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { toolPath } from "../../toolchain";
import { makeProject, type Project } from "./support/project";

const PROGRAM = `
import * as pulumi from "@pulumi/pulumi";
const provider: pulumi.dynamic.ResourceProvider = {
    async create({ path }) {
        require("node:fs").writeFileSync(path, "x");
        return { id: path, outs: { path } };
    },
    async read(id, props) {
        return require("node:fs").existsSync(id) ? { id, props } : {};
    },
};
class Thing extends pulumi.dynamic.Resource {
    constructor(name: string, path: string) {
        super(provider, name, { path });
    }
}
export = async () => void new Thing("thing", process.env.GATEWAY_HOME + "/thing");
`;

describe("what was deployed and has gone", function () {
    this.timeout(120_000);
    let project: Project;
    before(function () {
        if (!toolPath("pulumi")) {
            console.log('      skipped: Pulumi is not installed ("npm run tools")');
            this.skip();
        }
        project = makeProject(PROGRAM);
    });
    after(() => project?.remove());

    const run = async (name: string) => {
        const { code, output } = await project.command(name, ["dev", "--project", project.folder]);
        assert.equal(code, 0, output);
        return output;
    };

    it("is in the preview, as the deployment creates it again; the preview itself keeps nothing", async () => {
        const thing = join(project.home, "thing");
        await run("up");
        assert.ok(existsSync(thing));
        assert.match(await run("preview"), /no changes: 2 unchanged/);
        rmSync(thing);
        const state = () => readFileSync(join(project.home, "state/.pulumi/stacks/small/dev.json"), "utf8");
        const before = state();
        assert.match(await run("preview"), /would create thing/);
        assert.equal(state(), before);
        assert.match(await run("up"), /changes: .*1 created/);
        assert.ok(existsSync(thing));
        assert.match(await run("preview"), /no changes/);
    });
});
