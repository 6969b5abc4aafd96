import * as assert from "node:assert/strict";
import { failed } from "../../scripts/deploy";
import { UserError } from "../../scripts/engine";

describe("what a failed run says", () => {
    it("names each error once, without stacks", () => {
        const error = failed(new Error("exit code 255"), [
            "creating aws-pool: limit exceeded\n    at Object.callback (/a/b.ts:1:2)\n    at c",
            "creating aws-pool: limit exceeded",
            "other",
        ]);
        assert.ok(error instanceof UserError);
        assert.equal(error.message, "creating aws-pool: limit exceeded\nother");
    });

    it("says in one sentence that nobody is signed in", () => {
        const error = failed(new Error("exit code 255"), [
            "invocation of aws:ec2/getAmi:getAmi returned an error: 1 error occurred:\n* No valid credential sources found",
            "invocation of aws:index/getPartition:getPartition returned an error: No valid credential sources found",
        ]);
        assert.ok(error instanceof UserError);
        assert.match(error.message, /^AWS knows nobody .* "aws sts get-caller-identity" answers$/);
    });

    it("says in one sentence that OpenStack does not take the credential any more", () => {
        const error = failed(new Error("exit code 255"), [
            'Error creating OpenStack networking client: Expected HTTP response code [201 203], but got 401 instead: {"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}',
        ]);
        assert.ok(error instanceof UserError);
        assert.match(error.message, /^OpenStack knows nobody by the application credential .* make a new one/);
    });

    it("keeps an error that the engine did not explain", () => {
        const own = new Error("unexpected");
        assert.equal(failed(own, []), own);
    });
});
