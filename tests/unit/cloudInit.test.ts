import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { parse } from "yaml";
import { type CloudMachine, instanceFacts } from "../../programs/boot/description";
import { instanceRef, instanceRefs, resolveInstance, type Service, secretRef } from "../../programs/machine";
import { renderCloudInit, userDataLimit } from "../../roles/render/cloudInit";
import { renderUnit } from "../../roles/render/systemd";
import type { Role } from "../../roles/role";
import { pinnedNode } from "../../toolchain/node";
import { assertGolden } from "../golden/compare";
import { bundled, groupLayout, manifest, render, roles } from "./support/cloudMachines";

const unpacked = (userData: string) => gunzipSync(Buffer.from(userData, "base64")).toString();

/** The files that cloud-init writes, by path. */
function written(userData: string): Map<string, string> {
    const { write_files: files } = parse(unpacked(userData)) as { write_files: { path: string; content: string }[] };
    return new Map(files.map(({ path, content }) => [path, content]));
}

describe("the roles as user data", () => {
    for (const name of Object.keys(roles)) {
        it(`${name} is rendered as in the golden files`, () => {
            const { userData, machine, secretNames } = render(name);
            const { files, units, ...rest } = machine;
            const machineFile = written(userData).get("/etc/gateway/machine.json") ?? "";
            assert.deepEqual(JSON.parse(machineFile), machine);
            assertGolden(
                `cloudInit/${name}/machine.json`,
                `${JSON.stringify({ ...rest, secretNames }, undefined, 2)}\n`,
            );
            assertGolden(
                `cloudInit/${name}/user-data.yaml`,
                unpacked(userData).replace(indented(machineFile), "<machine>\n"),
            );
            for (const unit of units) assertGolden(`cloudInit/${name}/${unit.name}`, unit.content);
            const list = files.map(({ path, mode, owner }) => `${mode.toString(8)} ${owner.padEnd(8)} ${path}\n`);
            assertGolden(`cloudInit/${name}/files.txt`, list.join(""));
        });

        it(`${name} takes less than half the size that EC2 allows`, () => {
            const { userData, bytes } = render(name);
            assert.equal(Buffer.from(userData, "base64").length, bytes);
            assert.ok(bytes < userDataLimit / 2, String(bytes));
        });

        it(`${name} is the same every time, to the byte`, () => {
            assert.equal(render(name).userData, render(name).userData);
        });

        it(`${name} has references to secrets only in files that belong to its user`, () => {
            const { machine } = render(name);
            for (const { content, mode, owner, path } of machine.files) {
                if (!content.includes("@@secret:")) continue;
                assert.equal(mode, 0o600, path);
                assert.ok(machine.users.includes(owner), path);
            }
            assert.ok(!JSON.stringify({ ...machine, files: [] }).includes("@@secret:"));
        });

        it(`${name} fetches everything by checksum`, () => {
            const { machine } = render(name);
            for (const binary of machine.binaries) {
                if (binary.kind === "package") continue;
                assert.match(binary.sha256 ?? "", /^[0-9a-f]{64}$/);
                assert.deepEqual(binary.urls, [
                    `https://artifacts.example.org/gateway/${binary.sha256}/${binary.name}`,
                ]);
            }
        });

        it(`${name} needs no address for artifacts in an image`, () => {
            const { userData, machine } = render(name, { artifacts: { kind: "prebaked" } });
            assert.ok(!unpacked(userData).includes("artifacts.example.org"));
            for (const binary of machine.binaries) if (binary.kind !== "package") assert.deepEqual(binary.urls, []);
        });
    }

    it("a gateway of a group learns its name and address when it boots, and nothing depends on them before", () => {
        const { machine } = render("gateway");
        assert.deepEqual(instanceFacts(machine).sort(), ["address", "id"]);
        const text = JSON.stringify(machine);
        assert.ok(!text.includes(`[${instanceRef("address")}]`));
        const agent = machine.files.find(({ path }) => path.endsWith("agent.json"))?.content ?? "";
        assert.equal(JSON.parse(agent).node_id, undefined);
        const known = resolveInstance(text, { id: "i-0", address: "10.0.0.9" });
        assert.deepEqual(instanceRefs(known), []);
        assert.ok(known.includes("gw-i-0") && known.includes("http://10.0.0.9:9191/health"));
    });

    it("gives every service a home that no other can write, and none that speaks to AWS settings from a file", () => {
        for (const name of Object.keys(roles)) {
            for (const { name: unit, content } of render(name).machine.units) {
                const home = unit.replace(/\.service$/, "");
                if (!content.includes("ExecStart=") || ["gw-boot", "gw-ready"].includes(home)) continue;
                const has = (line: string) => assert.ok(content.includes(`\n${line}\n`), `${name}/${unit}: ${line}`);
                has(`StateDirectory=${home}`);
                has("StateDirectoryMode=0700");
                has(`WorkingDirectory=/var/lib/${home}`);
                has(`Environment="HOME=/var/lib/${home}"`);
                if (!content.includes("IPAddressDeny=169.254.169.254")) {
                    has('Environment="AWS_CONFIG_FILE=/dev/null"');
                    has('Environment="AWS_SHARED_CREDENTIALS_FILE=/dev/null"');
                }
            }
        }
    });

    it("only services that need the cloud's API may reach the metadata service", () => {
        const reaching = (name: string) =>
            render(name)
                .machine.units.filter(({ content }) => !content.includes("IPAddressDeny=169.254.169.254"))
                .map((unit) => unit.name);
        assert.deepEqual(reaching("gateway"), ["gw-instance-watcher.service"]);
        assert.deepEqual(reaching("balancer"), []);
        // It finds the others by their tags.
        assert.deepEqual(reaching("consul-server"), ["gw-consul.service"]);
    });
});

/** A text as a YAML block contains it. */
function indented(text: string): string {
    return text.replace(/^(?=.)/gm, "      ");
}

const role = (more: Partial<Role> = {}): Role => ({
    name: "r",
    files: [],
    services: [],
    binaries: [],
    users: [],
    ports: [],
    healthChecks: [],
    ...more,
});
const service = (more: Partial<Service> = {}): Service => ({
    name: "s",
    description: "d",
    argv: ["/bin/true"],
    user: "nobody",
    ...more,
});

describe("renderCloudInit", () => {
    const make = (of: Partial<Role>, more: Partial<Parameters<typeof renderCloudInit>[0]> = {}) =>
        renderCloudInit({
            role: role(of),
            layout: groupLayout,
            artifacts: { kind: "url", base: "https://a.example", manifest },
            secrets: { kind: "none" },
            boot: bundled("boot"),
            ...more,
        });

    it("says how large the user data is if it is too large, and what to do", () => {
        const random = Array.from({ length: 9000 }, (_, i) => ((i * 7919 * (i + 13)) % 65521).toString(36)).join("");
        const services = [service({ environment: { LONG: random } })];
        assert.throws(() => make({ services }), /has \d{5} bytes, and EC2 takes 16384: shorten gateway:service/);
    });

    it("says what to do if a binary is missing from the artifacts, or has another version", () => {
        const binaries = (sha256: string) =>
            [{ name: "drain.cjs", source: { kind: "bundle", file: "", sha256 } }] as const;
        assert.throws(() => make({ binaries: binaries("00") }), /has another drain.cjs .*npm run artifacts/);
        const absent = [{ name: "x.cjs", source: { kind: "bundle", file: "", sha256: "00" } }] as const;
        assert.throws(() => make({ binaries: absent }), /lacks x.cjs: run `npm run artifacts/);
    });

    it("refuses a secret outside files, in a file without an owner, or without a source", () => {
        const file = { path: "/etc/gateway/x", content: secretRef("a") };
        const secrets = { kind: "ssm", region: "r", prefix: "/p" } as const;
        assert.throws(() => make({ files: [file] }, { secrets }), /holds a secret, and has no owner/);
        const owned = { ...file, owner: "u" };
        assert.throws(() => make({ files: [owned] }, { secrets }), /belongs to u, who is no user/);
        assert.throws(() => make({ files: [owned], users: ["u"] }), /needs secrets, and has no source/);
        assert.equal(make({ files: [owned], users: ["u"] }, { secrets }).secretNames.join(), "a");
        assert.throws(() => make({ services: [service({ argv: ["/x", secretRef("a")] })] }), /refers to a secret/);
    });

    it("applies kernel settings at every boot, including the first, and refuses invalid ones", () => {
        const userData = (sysctls: Record<string, number>) => make({ sysctls }).userData;
        const path = "/etc/sysctl.d/60-gateway.conf";
        const set = userData({ "net.ipv4.tcp_retries2": 5, "vm.swappiness": 0 });
        assert.equal(written(set).get(path), "net.ipv4.tcp_retries2 = 5\nvm.swappiness = 0\n");
        const commands = (text: string) =>
            (parse(unpacked(text)) as { runcmd: string[][] }).runcmd.map((c) => c.join(" "));
        const apply = "systemctl restart systemd-sysctl.service";
        // Before the services that need it.
        assert.equal(commands(set).indexOf(apply) < commands(set).findIndex((each) => / start /.test(each)), true);
        const { userData: none } = make({});
        assert.deepEqual([written(none).has(path), commands(none).includes(apply)], [false, false]);
        for (const [name, value] of [
            ["tcp_retries2", 5],
            ["a.b = 1\nc.d", 5],
            ["a.b", 0.5],
        ] as const)
            assert.throws(() => userData({ [name]: value }), /is no setting of the kernel/, name);
    });

    it("refuses a program that the machine does not have, and accepts one of the image", () => {
        const running = (program: string) => () => make({ services: [service({ argv: [program] })] });
        assert.throws(running("/opt/gateway/bin/absent"), /runs \/opt\/gateway\/bin\/absent, which is no binary of it/);
        assert.throws(running("server"), /no binary of it/);
        assert.doesNotThrow(running("/usr/bin/server"));
        assert.doesNotThrow(running("/opt/gateway/bin/node"));
    });

    it("takes a workload's archive from its own address, or from the artifacts if that fails", () => {
        const sha256 = "AB".repeat(32);
        const archive = (url: string) =>
            make({ binaries: [{ name: "server", source: { kind: "archive", url, sha256 } }] }).machine.binaries[0];
        const mirror = `https://a.example/${sha256.toLowerCase()}/server.tar.gz`;
        const urls = (url: string) => {
            const made = archive(url);
            return made?.kind === "archive" ? made.urls : undefined;
        };
        assert.deepEqual(urls("https://b.example/s.tgz"), ["https://b.example/s.tgz", mirror]);
        assert.deepEqual(urls("file:///s.tgz"), [mirror]);
    });

    it("needs only the checksums of Node and of the project's programs for an image", () => {
        const { machine } = make(
            { binaries: [{ name: "consul", source: { kind: "tool", tool: "consul", version: "1" } }] },
            { artifacts: { kind: "prebaked" } },
        );
        assert.deepEqual(machine.binaries, [
            { kind: "file", name: "consul", urls: [] },
            { kind: "file", name: "node", sha256: pinnedNode.sha256.x64, urls: [] },
            { kind: "file", name: "boot.cjs", sha256: bundled("boot").sha256, urls: [] },
        ]);
    });
});

describe("renderUnit", () => {
    const lines = (more: Partial<Service>, ports: Role["ports"] = []) =>
        renderUnit(service(more), { ports }, groupLayout).content.split("\n");

    it("expands nothing in command lines and environments", () => {
        const unit = lines({ argv: ["/bin/x", "a b", "$HOME", "100%", 'q"\\'], environment: { E: '$x % "' } });
        assert.ok(unit.includes('ExecStart=/bin/x "a b" "$$HOME" 100%% "q\\"\\\\"'), unit.join("\n"));
        assert.ok(unit.includes('Environment="E=$x %% \\""'));
    });

    it("gives a service on a low port the capability to listen there, and no other", () => {
        const low = [{ name: "p", port: 443, protocol: "tcp", reach: "clients" }] as const;
        assert.ok(lines({}, low).includes("AmbientCapabilities=CAP_NET_BIND_SERVICE"));
        assert.ok(lines({}).includes("CapabilityBoundingSet="));
    });

    it("runs the commands after a stop however the service ended, and ignores their failure", () => {
        assert.ok(lines({ afterStop: [["/bin/x", "$a"]] }).includes('ExecStopPost=-/bin/x "$$a"'));
    });

    it("runs a oneshot until it succeeds, and then never again", () => {
        const unit = lines({ type: "oneshot" });
        for (const line of ["Type=oneshot", "RemainAfterExit=yes", "Restart=on-failure"])
            assert.ok(unit.includes(line));
    });

    const analyzer = "/usr/bin/systemd-analyze";
    (existsSync(analyzer) ? it : it.skip)("renders units that systemd accepts without a warning", function () {
        this.timeout(30_000);
        const root = mkdtempSync(join(tmpdir(), "gateway-units-"));
        try {
            putSystem(root);
            for (const name of Object.keys(roles)) assert.equal(verify(analyzer, root, render(name).machine), "", name);
            const [unit] = render("gateway").machine.units;
            assert.ok(unit);
            const broken = { ...unit, content: unit.content.replace("RestartSec=", "RestartSecs=") };
            assert.match(verify(analyzer, root, { ...render("gateway").machine, units: [broken] }), /RestartSecs/);
        } finally {
            rmSync(root, { recursive: true, force: true });
        }
    });
});

function put(root: string, path: string, content: string): void {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
}

/** Puts what a machine's units refer to below `root`: systemd's own units, and programs by the names of the real ones. */
function putSystem(root: string): void {
    for (const program of [
        "/bin/sh",
        ...["node", "consul", "consul-template", "haproxy", "fabio", "serf"].map((b) => `/opt/gateway/bin/${b}`),
    ]) {
        put(root, program, "#!/bin/sh\n");
        chmodSync(join(root, program), 0o755);
    }
    const system = "usr/lib/systemd/system";
    cpSync(`/${system}`, join(root, system), { recursive: true, verbatimSymlinks: true });
    symlinkSync("usr/lib", join(root, "lib"));
}

/** What `systemd-analyze verify` has to say about a machine's units, in a file system that {@link putSystem} filled. */
function verify(analyzer: string, root: string, machine: CloudMachine): string {
    rmSync(join(root, "etc"), { recursive: true, force: true });
    put(root, "etc/systemd/system/gw-boot.service", "[Service]\nType=oneshot\nExecStart=/bin/sh\n");
    const facts = { id: "i-0", address: "10.0.0.5" };
    for (const { name, content } of machine.units)
        put(root, `etc/systemd/system/${name}`, resolveInstance(content, facts));
    const names = machine.units.map(({ name }) => name);
    // systemd-analyze names what it does not know, but does not fail.
    return execFileSync("sh", ["-c", '"$0" verify --man=no --root="$@" 2>&1 || true', analyzer, root, ...names], {
        encoding: "utf8",
    });
}
