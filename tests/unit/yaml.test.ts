import * as assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cloudLogin } from "../../components/openstack/cloudsYaml";
import { effectiveConfig } from "../../engine/stack";
import { parseYaml, YamlError } from "../../lib/yaml";

const mistakes = (text: string) => {
    try {
        parseYaml("Pulumi.local.yaml", text);
    } catch (error) {
        assert.ok(error instanceof YamlError);
        return error.message.split("\n");
    }
    assert.fail("no mistake was found");
};

describe("a YAML file that a user edits", () => {
    it("is told with line and column where it has a tab", () => {
        const [first = ""] = mistakes("config:\n    gateway:targets: [local]\n    gateway:pool:\n\tsize: 2\n");
        assert.match(first, /^Pulumi\.local\.yaml, line 4, column 1: Tabs are not allowed as indentation$/);
    });

    it("is told with line and column where a key occurs twice", () => {
        assert.deepEqual(mistakes("config:\n    gateway:pool: { size: 2 }\n    gateway:pool: { size: 3 }\n"), [
            "Pulumi.local.yaml, line 3, column 5: Map keys must be unique",
        ]);
    });

    it("is told with every mistake, and without the text, which may be a secret", () => {
        const found = mistakes("a: 1\na: s3cr3t\nb: [s3cr3t\nc: 2\n");
        assert.ok(found.length >= 2, found.join("\n"));
        for (const each of found) {
            assert.match(each, /^Pulumi\.local\.yaml, line \d+, column \d+: /);
            assert.doesNotMatch(each, /s3cr3t/);
        }
    });

    it("is told when it is no map", () => {
        for (const text of ["just text", "42"]) assert.match(mistakes(text)[0] ?? "", /holds no keys with values$/);
    });

    it("may be empty", () => {
        assert.equal(parseYaml("x", "# nothing\n").toJSON(), null);
    });

    it("is the stack's file, which a message names", () => {
        const path = "/checkout/Pulumi.local.yaml";
        assert.throws(() => effectiveConfig("config:\n\ta: 1\n", { ownPassphrase: true, path }), {
            message: /^\/checkout\/Pulumi\.local\.yaml, line 2, column 1: Tabs/,
        });
    });

    it("is clouds.yaml, and secure.yaml", () => {
        const folder = mkdtempSync(join(tmpdir(), "gateway-yaml-"));
        try {
            const path = join(folder, "clouds.yaml");
            const login = () => cloudLogin("c", undefined, { OS_CLIENT_CONFIG_FILE: path });
            writeFileSync(path, "clouds:\n\tc: {}\n");
            assert.throws(login, { message: /clouds\.yaml, line 2, column 1: Tabs/ });
            writeFileSync(path, "clouds:\n    c: { auth: { auth_url: a } }\n");
            writeFileSync(join(folder, "secure.yaml"), "clouds: {}\nclouds: { c: { auth: { x: s3cr3t } } }\n");
            assert.throws(login, { message: /secure\.yaml, line 2, column 1: Map keys must be unique$/ });
        } finally {
            rmSync(folder, { recursive: true, force: true });
        }
    });
});
