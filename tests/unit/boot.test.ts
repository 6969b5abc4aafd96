import * as assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
    chmodSync,
    existsSync,
    mkdirSync,
    mkdtempSync,
    readdirSync,
    readFileSync,
    readlinkSync,
    rmSync,
    statSync,
    writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type NetworkInterfaceInfo, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import * as tar from "tar";
import { MetadataService } from "../../clients/instanceMetadata";
import { applyMachine, type Sources } from "../../programs/boot/applyMachine";
import { bake } from "../../programs/boot/bakeImage";
import { ensureBinary } from "../../programs/boot/binaries";
import type { CloudMachine } from "../../programs/boot/description";
import { interfaceOf, mainAddress, readIdentity } from "../../programs/boot/identity";
import { readSecrets } from "../../programs/boot/secrets";
import { parseProbe, waitForUnits } from "../../programs/boot/services";
import type { System } from "../../programs/boot/system";
import { instanceRef, secretRef } from "../../programs/machine";
import { awsCredentials } from "./support/awsCredentials";

const sum = (content: string | Buffer) => createHash("sha256").update(content).digest("hex");

/** The test's own web server. It serves `files`, and answers 404 for everything else. */
class Web {
    readonly files = new Map<string, string | Buffer>();
    readonly asked: string[] = [];
    private server: Server | undefined;
    base = "";

    async start(): Promise<void> {
        const server = createServer((request, response) => {
            this.asked.push(`${request.method} ${request.url}`);
            const body = this.files.get(request.url ?? "");
            response.writeHead(body === undefined ? 404 : 200).end(body ?? "");
        });
        this.server = server;
        await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
        this.base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    }

    async stop(): Promise<void> {
        this.server?.closeAllConnections();
        await new Promise((done) => this.server?.close(done));
    }
}

/** A machine in a folder. It records commands instead of running them. All its users have the test's own user id. */
function fakeSystem(root: string) {
    const commands: string[] = [];
    const said: string[] = [];
    const users = ["root", "consul"];
    const passwd = () => {
        const own = `${process.getuid?.()}:${process.getgid?.()}`;
        mkdirSync(join(root, "etc"), { recursive: true });
        writeFileSync(join(root, "etc/passwd"), users.map((user) => `${user}:x:${own}::/:/bin/sh\n`).join(""));
    };
    passwd();
    const system: System = {
        root,
        run: async (command, args) => {
            commands.push([command, ...args].join(" "));
            if (command === "useradd") {
                users.push(args.at(-1) ?? "");
                passwd();
            }
            if (command.endsWith("/haproxy")) return "HAProxy version 2.6.12-1 2023/04/01";
            return "";
        },
        say: (line) => said.push(line),
    };
    return { system, commands, said };
}

const directories = { etc: "/etc/gateway", lib: "/var/lib/gateway", run: "/run/gateway", bin: "/opt/gateway/bin" };

describe("the boot program", () => {
    const web = new Web();
    let root: string;
    before(() => web.start());
    after(() => web.stop());
    beforeEach(() => {
        root = mkdtempSync(join(tmpdir(), "gateway-boot-"));
        web.asked.length = 0;
        web.files.clear();
    });
    afterEach(() => rmSync(root, { recursive: true, force: true }));

    const read = (path: string) => readFileSync(join(root, path), "utf8");
    const mode = (path: string) => (statSync(join(root, path)).mode & 0o7777).toString(8);
    const put = (path: string, content: string, bits = 0o644) => {
        mkdirSync(dirname(join(root, path)), { recursive: true });
        writeFileSync(join(root, path), content);
        chmodSync(join(root, path), bits);
    };
    const program = (name: string, content: string, more: Partial<{ sha256: string; urls: string[] }> = {}) => {
        web.files.set(`/${name}`, content);
        return { kind: "file", name, sha256: sum(content), urls: [`${web.base}/${name}`], ...more } as const;
    };

    const machine = (): CloudMachine => ({
        name: `gw-${instanceRef("id")}`,
        role: "gateway",
        directories,
        identity: "ec2",
        secrets: { kind: "ssm", region: "r", prefix: "/p" },
        users: ["consul", "gateway"],
        binaries: [program("consul", "the consul binary")],
        files: [
            { path: "/etc/gateway/plain", content: `at ${instanceRef("address")}\n`, mode: 0o644, owner: "root" },
            { path: "/etc/gateway/deep/token", content: secretRef("token"), mode: 0o600, owner: "gateway" },
        ],
        units: [{ name: "gw-gateway.service", content: `ExecStart=/x --host=${instanceRef("address")}\n` }],
    });
    const sources: Sources = {
        identity: async () => ({ id: "i-0", address: "10.0.0.9", interface: "ens3" }),
        // A secret that looks like a reference stays as it is.
        secrets: async (_, names) => Object.fromEntries(names.map((name) => [name, `$& ${instanceRef("id")} ${name}`])),
    };

    it("creates users, programs, files and units, and starts the services", async () => {
        const { system, commands, said } = fakeSystem(root);
        await applyMachine(system, machine(), sources);
        assert.equal(read("/opt/gateway/bin/consul"), "the consul binary");
        assert.equal(mode("/opt/gateway/bin/consul"), "755");
        assert.equal(read("/etc/gateway/plain"), "at 10.0.0.9\n");
        assert.equal(mode("/etc/gateway/plain"), "644");
        assert.equal(read("/etc/gateway/deep/token"), "$& @@instance:id@@ token");
        assert.equal(mode("/etc/gateway/deep/token"), "600");
        assert.equal(read("/etc/systemd/system/gw-gateway.service"), "ExecStart=/x --host=10.0.0.9\n");
        assert.ok(commands.some((line) => /^useradd .*--system.* gateway$/.test(line)));
        assert.ok(!commands.some((line) => /^useradd .* consul$/.test(line)));
        assert.deepEqual(commands.slice(-3), [
            "systemctl daemon-reload",
            "systemctl enable --quiet gw-gateway.service",
            "systemctl start --no-block gw-gateway.service",
        ]);
        assert.ok(!said.join().includes("$&") && !commands.join().includes("$&"));
    });

    it("does nothing the second time", async () => {
        const { system, commands } = fakeSystem(root);
        await applyMachine(system, machine(), sources);
        const before = statSync(join(root, "/etc/gateway/plain")).ino;
        web.asked.length = 0;
        commands.length = 0;
        await applyMachine(system, machine(), sources);
        assert.deepEqual(web.asked, []);
        assert.equal(statSync(join(root, "/etc/gateway/plain")).ino, before);
        assert.ok(!commands.includes("systemctl daemon-reload"));
        assert.ok(!commands.some((line) => line.startsWith("useradd")));
    });

    it("continues where it was killed, after any of its commands", async () => {
        const whole = fakeSystem(mkdtempSync(join(tmpdir(), "gateway-boot-")));
        await applyMachine(whole.system, machine(), sources);
        rmSync(whole.system.root, { recursive: true });
        for (const last of whole.commands.keys()) {
            rmSync(root, { recursive: true });
            const { system, commands } = fakeSystem(root);
            const killed: System = {
                ...system,
                run: (command, args) => {
                    if (commands.length === last) throw new Error("killed");
                    return system.run(command, args);
                },
            };
            await assert.rejects(applyMachine(killed, machine(), sources), /killed/);
            put("/etc/gateway/deep/token.part", "half");
            await applyMachine(system, machine(), sources);
            assert.equal(read("/etc/gateway/deep/token"), "$& @@instance:id@@ token");
            assert.equal(commands.at(-1), "systemctl start --no-block gw-gateway.service");
        }
    });

    it("restores changed content and permissions", async () => {
        const { system } = fakeSystem(root);
        await applyMachine(system, machine(), sources);
        chmodSync(join(root, "/etc/gateway/deep/token"), 0o644);
        put("/opt/gateway/bin/consul", "another binary", 0o755);
        await applyMachine(system, machine(), sources);
        assert.equal(mode("/etc/gateway/deep/token"), "600");
        assert.equal(read("/opt/gateway/bin/consul"), "the consul binary");
    });

    describe("installs a binary", () => {
        const ensure = (binary: CloudMachine["binaries"][number], system = fakeSystem(root).system) =>
            ensureBinary(system, { directories }, binary);

        it("from the first address that has it", async () => {
            const binary = program("x", "content");
            await ensure({ ...binary, urls: [`${web.base}/absent`, ...binary.urls] });
            assert.equal(read("/opt/gateway/bin/x"), "content");
        });

        it("and never one with a wrong checksum", async () => {
            const binary = program("x", "forged", { sha256: sum("content") });
            await assert.rejects(ensure(binary), /x cannot be had: .* has the SHA-256 \w{64}, not \w{64}/);
            assert.deepEqual(readdirSync(join(root, "/opt/gateway/bin")), []);
        });

        it("from the image, if it is of this version", async () => {
            const urls: string[] = [];
            await assert.rejects(ensure({ kind: "file", name: "x", urls }), /the image lacks .*x.*docs\/images.md/);
            put("/opt/gateway/bin/x", "any", 0o755);
            await ensure({ kind: "file", name: "x", urls });
            await assert.rejects(ensure({ kind: "file", name: "x", urls, sha256: sum("x") }), /has another version/);
        });

        it("from an archive, unpacked completely or not at all", async () => {
            mkdirSync(join(root, "pack/bin"), { recursive: true });
            put("/pack/bin/server", "#!/bin/sh\n", 0o755);
            const packed = await tar.create({ gzip: true, cwd: join(root, "pack") }, ["bin"]).concat();
            web.files.set("/server.tar.gz", packed);
            const archive = {
                kind: "archive",
                name: "server",
                sha256: sum(packed),
                urls: [`${web.base}/server.tar.gz`],
            } as const;
            const { system } = fakeSystem(root);
            const killed: System = { ...system, run: () => Promise.reject(new Error("killed")) };
            await assert.rejects(ensure(archive, killed), /killed/);
            assert.ok(!existsSync(join(root, "opt/gateway/archives", archive.sha256)));
            await ensure(archive);
            assert.equal(read(`/opt/gateway/archives/${archive.sha256}/bin/server`), "#!/bin/sh\n");
            web.asked.length = 0;
            await ensure(archive);
            assert.deepEqual(web.asked, []);
        });

        it("from the distribution, without its service, if it is new enough", async () => {
            const haproxy = { kind: "package", name: "haproxy", package: "haproxy", lowest: "2.6" } as const;
            const { system, commands } = fakeSystem(root);
            put("/usr/bin/apt-get", "", 0o755);
            const installing: System = {
                ...system,
                run: (command, args) => {
                    if (command === "apt-get" && args.includes("install")) put("/usr/sbin/haproxy", "", 0o755);
                    return system.run(command, args);
                },
            };
            await ensure(haproxy, installing);
            assert.equal(commands[0], "systemctl mask haproxy.service");
            assert.ok(commands.some((line) => /^apt-get .* install -y --no-install-recommends haproxy$/.test(line)));
            commands.length = 0;
            await ensure(haproxy, system);
            assert.ok(!commands.some((line) => line.startsWith("apt-get")));
            await assert.rejects(ensure({ ...haproxy, lowest: "2.8" }, system), /is 2.6.12; it takes 2.8 or later/);
        });
    });

    it("bakes an image with every artifact, HAProxy and keepalived, and checks each", async () => {
        const folder = join(root, "artifacts");
        const sha256 = sum("the consul binary");
        put(`/artifacts/${sha256}/consul`, "the consul binary");
        const artifacts = [{ name: "consul", version: "1", sha256, size: 17 }];
        put("/artifacts/artifacts.json", JSON.stringify({ artifacts }));
        put("/usr/sbin/haproxy", "", 0o755);
        put("/usr/sbin/keepalived", "", 0o755);
        const { system } = fakeSystem(root);
        await bake(system, folder);
        assert.equal(read("/opt/gateway/bin/consul"), "the consul binary");
        assert.equal(readlinkSync(join(root, "opt/gateway/bin/keepalived")), "/usr/sbin/keepalived");
        assert.ok(!existsSync(join(root, "etc/gateway")));
    });

    it("waits until all units are active, and names those that are not", async () => {
        const { system } = fakeSystem(root);
        const answers = ["Id=a\nActiveState=active\n\nId=b\nActiveState=activating\n", "Id=a\nActiveState=active\n"];
        const units = { units: [{ name: "a", content: "" }] };
        await waitForUnits({ ...system, run: async () => answers.shift() ?? "" }, units, 5);
        assert.deepEqual(answers, []);
        const failed: System = { ...system, run: async () => "Id=b\nActiveState=failed\n" };
        await assert.rejects(waitForUnits(failed, units, 0), /start of the services .* b is failed/);
    });

    it("understands the units' probes", () => {
        assert.deepEqual(parseProbe(["http", "http://h/", "200"]), { kind: "http", url: "http://h/", status: 200 });
        assert.deepEqual(parseProbe(["tcp", "h", "1"]), { kind: "tcp", host: "h", port: 1 });
        assert.deepEqual(parseProbe(["file", "/x"]), { kind: "file", path: "/x" });
        assert.throws(() => parseProbe(["icmp", "h"]), /"icmp h" is not a probe/);
    });
});

describe("the machine's identity", () => {
    const { system } = fakeSystem(mkdtempSync(join(tmpdir(), "gateway-boot-")));
    after(() => rmSync(system.root, { recursive: true }));
    const metadata = (facts: Record<string, string>) => {
        const service = new MetadataService("http://127.0.0.1:1");
        service.read = async (path) => facts[path];
        return service;
    };

    it("comes from EC2's metadata service", async () => {
        const facts = { "instance-id": "i-0123456789abcdef0\n", "local-ipv4": "10.0.0.9" };
        const found = await readIdentity(system, "ec2", metadata(facts));
        // No interface of this computer has that address.
        assert.deepEqual(found, { id: "i-0123456789abcdef0", address: "10.0.0.9", interface: "" });
    });

    it("is refused if it would change the meaning of a file", async () => {
        const wrong = [{ "instance-id": 'i-0"\n}' }, { "instance-id": "i-0", "local-ipv4": "10.0.0.9; x" }, {}];
        for (const facts of wrong)
            await assert.rejects(readIdentity(system, "ec2", metadata(facts)), /is not an? |is not the id/);
    });

    it("comes from cloud-init, at the interface of the default route", () => {
        const at = (address: string, internal = false) =>
            [{ family: "IPv4", address, internal }] as NetworkInterfaceInfo[];
        const interfaces = { lo: at("127.0.0.1", true), docker0: at("172.17.0.1"), host0: at("198.18.0.5") };
        assert.equal(mainAddress(interfaces, "host0"), "198.18.0.5");
        assert.equal(mainAddress(interfaces, undefined), "172.17.0.1");
        assert.equal(mainAddress({ lo: interfaces.lo }, "lo"), undefined);
        assert.equal(interfaceOf("198.18.0.5", interfaces), "host0");
        assert.equal(interfaceOf("198.18.0.6", interfaces), undefined);
    });
});

describe("the machine's secrets", () => {
    /** Answers GetParameters as AWS does, from a map. */
    const parameters = new Map<string, string>();
    const calls: { Names: string[]; WithDecryption: boolean }[] = [];
    const server = createServer((request, response) => {
        let body = "";
        request.on("data", (part: Buffer) => {
            body += part;
        });
        request.on("end", () => {
            const call = JSON.parse(body) as { Names: string[]; WithDecryption: boolean };
            calls.push(call);
            const found = call.Names.filter((name) => parameters.has(name));
            response.setHeader("content-type", "application/x-amz-json-1.1");
            response.end(
                JSON.stringify({
                    Parameters: found.map((Name) => ({ Name, Value: parameters.get(Name) })),
                    InvalidParameters: call.Names.filter((name) => !parameters.has(name)),
                }),
            );
        });
    });
    let endpoint: string;
    const credentials = awsCredentials();
    before(async () => {
        await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
        endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
        credentials.set();
    });
    after(async () => {
        credentials.unset();
        server.closeAllConnections();
        await new Promise((done) => server.close(done));
    });
    const elsewhere: System = { root: "/nonexistent", run: async () => "", say: () => undefined };
    const source = () => ({ kind: "ssm", region: "us-east-1", prefix: "/gateway/dev", endpoint }) as const;

    it("are read decrypted, ten at a time", async () => {
        const names = Array.from({ length: 13 }, (_, index) => `secret${index}`);
        for (const name of names) parameters.set(`/gateway/dev/${name}`, `value of ${name}`);
        const secrets = await readSecrets(source(), names, elsewhere, "/etc/gateway");
        assert.deepEqual(secrets, Object.fromEntries(names.map((name) => [name, `value of ${name}`])));
        assert.deepEqual(
            calls.map(({ Names, WithDecryption }) => [Names.length, WithDecryption]),
            [
                [10, true],
                [3, true],
            ],
        );
    });

    it("are named if they are missing, without the value of any other", async () => {
        parameters.set("/gateway/dev/known", "hidden");
        const error = await readSecrets(source(), ["known", "absent"], elsewhere, "/etc/gateway").catch(
            (reason: Error) => reason,
        );
        assert.ok(error instanceof Error);
        assert.match(error.message, /\/gateway\/dev lacks absent$/);
        assert.ok(!error.message.includes("hidden"));
    });
});
