import * as assert from "node:assert/strict";
import { parse } from "yaml";
import { effectiveConfig } from "../../engine/stack";

const committed = (salt?: string) => `${salt ? `encryptionsalt: ${salt}\n` : ""}config:\n  gateway:targets: [local]\n`;
/** A salt as the engine writes it. */
const salt = (name: string) => `v1:${name.padEnd(11, "A")}=:v1:${"B".repeat(16)}:${"C".repeat(30)}==`;
const saltOf = (text: string) => (parse(text) as { encryptionsalt?: string }).encryptionsalt;

describe("the stack file that the engine uses", () => {
    it("keeps the salt of the last deployment", () => {
        for (const ownPassphrase of [true, false]) {
            assert.equal(
                saltOf(effectiveConfig(committed(), { earlier: committed(salt("mine")), ownPassphrase })),
                salt("mine"),
            );
        }
    });

    it("has no salt before the first one", () => {
        assert.equal(saltOf(effectiveConfig(committed(), { ownPassphrase: true })), undefined);
    });

    it("does not use the salt of another passphrase, which would make every run fail", () => {
        const of = (earlier?: string) =>
            saltOf(effectiveConfig(committed(salt("other")), { ...(earlier ? { earlier } : {}), ownPassphrase: true }));
        assert.equal(of(), undefined);
        assert.equal(of(committed(salt("mine"))), salt("mine"));
    });

    it("uses the committed salt with the user's passphrase", () => {
        const earlier = committed(salt("old"));
        assert.equal(saltOf(effectiveConfig(committed(salt("team")), { earlier, ownPassphrase: false })), salt("team"));
    });

    it("has no salt when that of the last deployment was cut off, or its file is no YAML", () => {
        const whole = committed(salt("mine"));
        for (const earlier of [whole.slice(0, 50), `${whole}\t: [`.slice(5), "", "[", "- a"])
            assert.equal(saltOf(effectiveConfig(committed(), { earlier, ownPassphrase: true })), undefined);
    });

    it("has the values that differ from the committed ones", () => {
        const text = effectiveConfig(committed(), { ownPassphrase: true, overrides: { "gateway:pool": { size: 3 } } });
        assert.deepEqual(parse(text).config, { "gateway:targets": ["local"], "gateway:pool": { size: 3 } });
    });
});
