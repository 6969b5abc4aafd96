import * as assert from "node:assert/strict";
import { parse } from "yaml";
import { effectiveConfig } from "../../scripts/engine";

const committed = (salt?: string) => `${salt ? `encryptionsalt: ${salt}\n` : ""}config:\n  gateway:targets: [local]\n`;
const saltOf = (text: string) => (parse(text) as { encryptionsalt?: string }).encryptionsalt;

describe("the configuration that the engine works with", () => {
    it("keeps the salt of the last deployment", () => {
        for (const ownPassphrase of [true, false]) {
            assert.equal(
                saltOf(effectiveConfig(committed(), { earlier: committed("v1:mine"), ownPassphrase })),
                "v1:mine",
            );
        }
    });

    it("has no salt before the first one", () => {
        assert.equal(saltOf(effectiveConfig(committed(), { ownPassphrase: true })), undefined);
    });

    it("does not use the salt of somebody else's passphrase, which would make every run fail", () => {
        const of = (earlier?: string) =>
            saltOf(effectiveConfig(committed("v1:other"), { ...(earlier ? { earlier } : {}), ownPassphrase: true }));
        assert.equal(of(), undefined);
        assert.equal(of(committed("v1:mine")), "v1:mine");
    });

    it("uses the committed salt with the user's passphrase", () => {
        const earlier = committed("v1:old");
        assert.equal(saltOf(effectiveConfig(committed("v1:team"), { earlier, ownPassphrase: false })), "v1:team");
    });

    it("has the values that differ from the committed ones", () => {
        const text = effectiveConfig(committed(), { ownPassphrase: true, overrides: { "gateway:pool": { size: 3 } } });
        assert.deepEqual(parse(text).config, { "gateway:targets": ["local"], "gateway:pool": { size: 3 } });
    });
});
