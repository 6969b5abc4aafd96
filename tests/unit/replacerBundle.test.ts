import * as assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundle } from "../../components/bundles";

describe("the replacement loop as one file", () => {
    const earlier = process.env.GATEWAY_HOME;
    let home: string;

    before(() => {
        home = mkdtempSync(join(tmpdir(), "gateway-bundle-"));
        process.env.GATEWAY_HOME = home;
    });

    after(() => {
        if (earlier === undefined) delete process.env.GATEWAY_HOME;
        else process.env.GATEWAY_HOME = earlier;
        rmSync(home, { recursive: true, force: true });
    });

    it("starts the loop, and no other program of which it holds a part", function () {
        this.timeout(60_000);
        const { status, stdout, stderr } = spawnSync(
            process.execPath,
            [join(home, "bundles", bundle("replacer").file), "daemon"],
            { encoding: "utf8", env: { PATH: process.env.PATH } },
        );
        assert.deepEqual([status, stdout, stderr], [1, "", "--config is missing: the daemon's settings\n"]);
    });
});
