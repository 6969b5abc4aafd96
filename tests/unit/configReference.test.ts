import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { parse } from "yaml";
import { parseConfig } from "../../config";
import { configReference } from "../../config/reference";

const FILE = "docs/config.md";

describe(FILE, () => {
    it("matches the schema", () => {
        const text = configReference();
        if (process.env.UPDATE_GOLDEN === "1") writeFileSync(FILE, text);
        assert.equal(
            readFileSync(FILE, "utf8"),
            text,
            "out of date; to regenerate it: UPDATE_GOLDEN=1 npx mocha tests/unit/configReference.test.ts",
        );
    });

    it("shows a valid example", () => {
        const [, example = ""] = /```yaml\n(.*?)```/s.exec(readFileSync(FILE, "utf8")) ?? [];
        const entries = Object.entries(parse(example).config).map(([key, value]) => [key.split(":")[1], value]);
        assert.deepEqual(parseConfig(Object.fromEntries(entries)).warnings, []);
    });
});
