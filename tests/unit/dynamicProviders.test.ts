import * as assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { moduleLoader, providerText } from "../../components/dynamic/moduleProvider";
import { moduleFinder, type ProviderKey } from "../../components/dynamic/providerModules";

const project = join(__dirname, "../..");
/** Frozen, like the paths: both are in the state of deployments. */
const KEYS = ["local-instance", "credentials", "aws-readiness", "openstack-readiness"] as const;

/** The modules' paths in the text of version 0.1, which the state of its deployments holds. */
const OLD_PATHS: Readonly<Record<string, ProviderKey>> = {
    "./components/local/machineProvider.ts": "local-instance",
    "./components/credentials/credentialsProvider.ts": "credentials",
    "./components/aws/gateProvider.ts": "aws-readiness",
    "./components/openstack/gateProvider.ts": "openstack-readiness",
};

/** The text of version 0.1, letter by letter. */
const oldText = (path: string) =>
    `const fromSources = (path) => require("tsx/cjs/api").require(path, process.cwd() + "/package.json");
const load = () => (globalThis.gatewayModule ?? fromSources)("${path}");
exports.handler = () => ({
    check: async (olds, news) => load().check?.(olds, news) ?? { inputs: news },
    diff: async (...given) => load().diff(...given),
    create: async (...given) => load().create(...given),
    read: async (...given) => load().read(...given),
    update: async (...given) => load().update(...given),
    delete: async (...given) => load().delete(...given),
});
`;

/** What the engine's process does with texts, in a process of its own: here for resources that do not exist. */
function readBy(texts: readonly string[], directory: string): unknown[] {
    const code = `
        const read = (text) => require("require-from-string")(text).handler().read("nobody/0", { machine: { name: "nobody" } });
        Promise.all(${JSON.stringify(texts)}.map(read)).then((found) => console.log(JSON.stringify(found)));`;
    const { stdout, stderr } = spawnSync(process.execPath, ["--eval", code], {
        encoding: "utf8",
        cwd: directory,
        env: { PATH: process.env.PATH, GATEWAY_HOME: join(project, ".gateway-of-nobody") },
    });
    assert.equal(stderr, "");
    return JSON.parse(stdout) as unknown[];
}

/** What each module says of such a resource: there is no such machine; and the others keep what the state says. */
const kept = { id: "nobody/0", props: { machine: { name: "nobody" } } };
const FOUND = [{}, kept, kept, kept];

describe("the providers of this project's own resources", function () {
    this.timeout(60_000);

    it("are loaded by their keys from this project's folder, and by the text that version 0.1 left in the state", () => {
        const texts = [...KEYS.map(providerText), ...Object.keys(OLD_PATHS).map(oldText)];
        assert.deepEqual(readBy(texts, project), [...FOUND, ...FOUND]);
    });

    it("are loaded by their keys from the folder of another package's program", () => {
        assert.deepEqual(readBy(KEYS.map(providerText), join(project, "examples/two-pools")), FOUND);
    });

    it("are found by keys and by old paths where a process holds them itself", () => {
        const find = moduleFinder(Object.fromEntries(KEYS.map((key) => [key, () => key])));
        for (const key of KEYS) assert.equal(find(key), key);
        for (const [path, key] of Object.entries(OLD_PATHS)) assert.equal(find(path), key);
        assert.throws(() => moduleFinder({})("credentials"), /no provider "credentials" here/);
    });

    it("are named in the state by a text that never changes, and holds no path of this computer", () => {
        assert.equal(moduleLoader, "gatewayModule");
        assert.ok(!providerText("credentials").includes(project));
        assert.equal(
            providerText("credentials"),
            `const packaged = (key) => require("node:module").createRequire(process.cwd() + "/package.json")("gateway/dynamic")(key);
const load = () => (globalThis.gatewayModule ?? packaged)("credentials");
exports.handler = () => ({
    check: async (olds, news) => load().check?.(olds, news) ?? { inputs: news },
    diff: async (...given) => load().diff(...given),
    create: async (...given) => load().create(...given),
    read: async (...given) => load().read(...given),
    update: async (...given) => load().update(...given),
    delete: async (...given) => load().delete(...given),
});
`,
        );
    });
});
