import * as assert from "node:assert/strict";
import { Environment } from "./support/environment";
import { missingParts } from "./support/requirements";

const startedAt = Date.now();
const say = (line: string) => console.log(`      ${((Date.now() - startedAt) / 1000).toFixed(1)} s  ${line}`);

describe("target openstack, end to end", function () {
    this.timeout(900_000);
    let environment: Environment;

    before(async function () {
        const missing = await missingParts();
        if (missing.length > 0) {
            console.log(`      skipped, for want of: ${missing.join("; ")}`);
            this.skip();
        }
        environment = await Environment.open(say);
    });

    after(async () => environment?.close());

    it("is deployed", async () => {
        const { outputs } = await environment.engine("deploy");
        say(JSON.stringify(outputs.openstack));
        assert.deepEqual([...(await environment.servers()).keys()].sort(), []);
    });
});
