import * as assert from "node:assert/strict";
import { UserError } from "../../engine/stack";
import { engineError } from "../../scripts/deploy";

describe("the message of a failed run", () => {
    it("names each error once, without stack traces", () => {
        const error = engineError(new Error("exit code 255"), [
            "creating aws-pool: limit exceeded\n    at Object.callback (/a/b.ts:1:2)\n    at c",
            "creating aws-pool: limit exceeded",
            "other",
        ]);
        assert.ok(error instanceof UserError);
        assert.equal(error.message, "creating aws-pool: limit exceeded\nother");
    });

    it("says what to do about missing AWS credentials", () => {
        const error = engineError(new Error("exit code 255"), [
            "invocation of aws:ec2/getAmi:getAmi returned an error: 1 error occurred:\n* No valid credential sources found",
            "invocation of aws:index/getPartition:getPartition returned an error: No valid credential sources found",
        ]);
        assert.ok(error instanceof UserError);
        assert.match(
            error.message,
            /^AWS does not accept the credentials .* "aws sts get-caller-identity" succeeds\.$/,
        );
    });

    it("says what to do about an invalid OpenStack credential", () => {
        const error = engineError(new Error("exit code 255"), [
            'Error creating OpenStack networking client: Expected HTTP response code [201 203], but got 401 instead: {"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}',
        ]);
        assert.ok(error instanceof UserError);
        assert.match(error.message, /^OpenStack does not accept the application credential .* Create a new one/);
    });

    it("keeps an error that the engine did not explain", () => {
        const own = new Error("unexpected");
        assert.equal(engineError(own, []), own);
    });
});
