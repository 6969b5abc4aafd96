/** What the builds from source leave out. */

import * as assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type GoSource, tools } from "../../toolchain/manifest";
import { type Kept, prune } from "../../toolchain/sources/pruneGo";
import { pinnedModule, putStubs, STUBS, stubFiles } from "../../toolchain/sources/stubs";

describe("stubs of Go packages", () => {
    let directory: string;
    let calls: string[][];

    function write(files: Record<string, string>): void {
        for (const [name, text] of Object.entries(files)) {
            fs.mkdirSync(dirname(join(directory, name)), { recursive: true });
            fs.writeFileSync(join(directory, name), text);
        }
    }

    /** The go command, whose module cache has one module. */
    const go = async (args: readonly string[]): Promise<string> => {
        calls.push([...args]);
        if (args[1] !== "download") return "";
        return JSON.stringify({ Path: "example.org/big", Dir: join(directory, "cache/big@v1.2.0") }, undefined, "\t");
    };
    const put = () => putStubs(join(directory, "wrapper"), go);
    const stubbed = (name: string) => join(directory, "wrapper/stubbed/example.org/big", name);

    beforeEach(() => {
        directory = fs.mkdtempSync(join(tmpdir(), "stubs-"));
        calls = [];
        write({
            "wrapper/go.mod": "module x\n\nrequire (\n\texample.org v9.9.9\n\texample.org/big v1.2.0 // indirect\n)\n",
            "wrapper/go.sum": "example.org v9.9.9 h1:a=\nexample.org/big v1.2.0 h1:b=\n",
            "wrapper/stubs/example.org/big/cloud/left_out.go": "// In place of: aws*.go gcp.go\n\npackage cloud\n",
            "cache/big@v1.2.0/go.mod": "module example.org/big\n",
            "cache/big@v1.2.0/big.go": "package big\n",
            "cache/big@v1.2.0/big_test.go": "package big\n",
            "cache/big@v1.2.0/testdata/huge": "",
            "cache/big@v1.2.0/cloud/aws.go": "package cloud\n",
            "cache/big@v1.2.0/cloud/aws_login.go": "package cloud\n",
            "cache/big@v1.2.0/cloud/cloud.go": "package cloud\n",
            "cache/big@v1.2.0/cloud/gcp.go": "package cloud\n",
        });
        // As in Go's module cache.
        fs.chmodSync(join(directory, "cache/big@v1.2.0/cloud/aws.go"), 0o444);
    });

    afterEach(() => fs.rmSync(directory, { recursive: true, force: true }));

    it("take the place of the files that they name, in a copy of the module", async () => {
        await put();
        assert.deepEqual(fs.readdirSync(stubbed("cloud")).sort(), ["cloud.go", "left_out.go"]);
        assert.deepEqual(fs.readdirSync(stubbed("")).sort(), ["big.go", "cloud", "go.mod"]);
        assert.deepEqual(calls, [
            ["mod", "download", "-json", "example.org/big@v1.2.0"],
            ["mod", "edit", "-replace=example.org/big=./stubbed/example.org/big"],
        ]);
        assert.equal(fs.readdirSync(join(directory, "cache/big@v1.2.0/cloud")).length, 4);
    });

    it("change nothing where there are none", async () => {
        fs.rmSync(join(directory, "wrapper/stubs"), { recursive: true });
        await put();
        assert.deepEqual(calls, []);
    });

    it("are refused where the package has no such file, or they name none", async () => {
        write({ "wrapper/stubs/example.org/big/cloud/left_out.go": "// In place of: azure.go\n\npackage cloud\n" });
        await assert.rejects(put(), /left_out\.go is in place of azure\.go, which is not there/);
        write({ "wrapper/stubs/example.org/big/cloud/left_out.go": "package cloud\n" });
        await assert.rejects(put(), /does not say which files it is in place of/);
    });

    it("are refused where the module has no such package", async () => {
        write({ "wrapper/stubs/example.org/big/clouds/left_out.go": "// In place of: *.go\n\npackage cloud\n" });
        await assert.rejects(put(), /there is no package example\.org\/big\/clouds/);
    });

    it("are refused where nothing pins the module or its content", async () => {
        write({ "wrapper/go.sum": "example.org/big v1.2.0/go.mod h1:b=\n" });
        await assert.rejects(put(), /go\.sum does not name the content of example\.org\/big v1\.2\.0/);
        write({ "wrapper/go.mod": "module x\n" });
        await assert.rejects(put(), /go\.mod requires no module with the package example\.org\/big\/cloud/);
    });

    it("may say instead what is kept of a package", async () => {
        fs.rmSync(join(directory, "wrapper/stubs/example.org/big/cloud/left_out.go"));
        write({
            "wrapper/stubs/example.org/big/cloud/kept.json": JSON.stringify({ names: ["Used"], methods: {} }),
            "cache/big@v1.2.0/cloud/cloud.go": "package cloud\n\nfunc Used() {}\n\nfunc Unused() {}\n",
        });
        await put();
        assert.deepEqual(fs.readdirSync(stubbed("cloud")), ["cloud.go"]);
        assert.equal(fs.readFileSync(stubbed("cloud/cloud.go"), "utf8"), "package cloud\n\nfunc Used() {}\n");
    });

    for (const spec of Object.values(tools)) {
        const source = spec.sources.find((found): found is GoSource => found.kind === "go");
        if (!source || stubFiles(source.directory).length === 0) continue;
        it(`of ${spec.title} are of packages whose modules are pinned, and say what is missing`, () => {
            for (const file of stubFiles(source.directory)) {
                assert.ok(pinnedModule(source.directory, dirname(file)).version.startsWith("v"), file);
                const text = fs.readFileSync(join(source.directory, STUBS, file), "utf8");
                if (file.endsWith(".json")) continue;
                assert.match(text, /^\/\/ In place of: \S.*\n\/\/\n\/\/ \S/, file);
                // Whatever can fail says so; the others hold types, or change nothing.
                if (/\b(errors\.New|status\.Error|ui\.Error)\(/.test(text))
                    assert.match(text, /not\s+in\s+this\s+build\s+(" \+\s+")?of/, file);
            }
        });
    }
});

describe("pruning a Go package", () => {
    const client = `// Package big is a client.
package big

import (
	"context"
	"fmt"
	smithy "example.org/smithy-go"
	"example.org/signer/v4"
	"example.org/json/v2"
	"example.org/yaml/v2"
)

const Version = "1"

const (
	first = iota
	second
)

// Client calls.
type Client struct {
	signer v4.Signer
}

var _ fmt.Stringer = (*Client)(nil)

// New makes a client.
func New(
	ctx context.Context,
) *Client {
	return &Client{}
}

func (c *Client) Read(in *ReadInput) error {
	return c.invoke(&reader{second})
}

// Write is left out, yaml.Node with it.
func (c *Client) Write(in *yaml.Node) error {
	return c.invoke(&writer{})
}

func (c *Client) invoke(op any) error {
	return smithy.Wrap(json.Marshal(op))
}
`;
    const operations = `package big

type ReadInput struct{}

type reader struct{ kind int }

func (*reader) ID() string { return "Read" }

type writer struct{}

func (*writer) ID() string { return "Write" }
`;
    const kept: Kept = { names: ["New"], methods: { Client: ["Read"] } };
    const left = prune(
        { "client.go": client, "operations.go": operations, "version.go": "package big\n\nvar x = 1\n" },
        kept,
    );

    it("keeps what is reached from the names, and no file in which nothing is", () => {
        assert.deepEqual(Object.keys(left), ["client.go", "operations.go"]);
        const text = Object.values(left).join("");
        for (const reached of ["func New(", "ctx context.Context", ") Read(", ") invoke(", "type ReadInput", "second"])
            assert.ok(text.includes(reached), reached);
        for (const unreached of ["Write", "writer", "Version", "fmt.Stringer"])
            assert.ok(!text.includes(unreached), unreached);
    });

    it("keeps all methods of the types that no methods are chosen of", () => {
        assert.match(left["operations.go"] ?? "", /func \(\*reader\) ID\(\)/);
    });

    it("keeps the imports that are used, by whichever name", () => {
        const imports = (left["client.go"] ?? "").match(/^import .*$/gm);
        assert.deepEqual(imports, [
            'import "context"',
            'import smithy "example.org/smithy-go"',
            'import "example.org/signer/v4"',
            'import "example.org/json/v2"',
        ]);
    });
});
