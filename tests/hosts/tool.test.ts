import * as assert from "node:assert/strict";
import { type StdioOptions, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { waitFor } from "../../lib/wait";
import { sweepCgroups } from "./cgroups";
import { command } from "./command";
import { type Cloud, Fleet, type Instance } from "./fleet";
import { Host } from "./host";
import { LAB_FOLDER, Lab } from "./lab";
import { connectTo, heard, needsLab } from "./support/expect";

/** User data with a service that sends one word to every connection. */
function speaks(word: string, port = 7): string {
    const unit = `[Service]\nExecStart=/usr/bin/python3 -c "import socket; s = socket.create_server(('', ${port}))\\nwhile True: c, a = s.accept(); c.sendall(b'${word}'); c.close()"\n`;
    return `#cloud-config\n${JSON.stringify({
        write_files: [
            { path: "/etc/systemd/system/speaker.service", content: unit },
            { path: "/root/encoded", encoding: "b64", content: Buffer.from("plain").toString("base64") },
        ],
        runcmd: [["systemctl", "start", "speaker"]],
    })}\n`;
}

describe("machines booted from user data", function () {
    this.timeout(180_000);
    let lab: Lab;
    let [first, second]: [Host, Host] = [undefined as never, undefined as never];
    let processesBefore: string[] = [];

    before(async function () {
        needsLab(this);
        processesBefore = processes();
        lab = await Lab.open();
        const identity = { "instance-id": "i-0123", "local-hostname": "ip-198-18-1-1" };
        [first, second] = await Promise.all([
            Host.boot({ lab, name: "first", address: "198.18.1.1", userData: speaks("first"), metaData: identity }),
            // As an API returns it.
            Host.boot({
                lab,
                name: "second",
                address: "198.18.1.2",
                userData: Buffer.from(gzipSync(speaks("second")).toString("base64"), "base64"),
                extraAddresses: ["198.18.9.9"],
                diskMegabytes: 256,
                metadataServer: { argv: ["python3", "-m", "http.server", "--bind", "169.254.169.254", "80"] },
            }),
        ]);
        await Promise.all([first.booted(), second.booted()]);
    });

    after(async () => lab?.close());

    const speaksAt = (address: string, from = first, seconds = 3) =>
        from.exec(["curl", "-sS", "--max-time", String(seconds), `telnet://${address}:7`]);
    const serves = (address: string) =>
        waitFor(`${address} to serve`, async () => (await connectTo(address, 7, 1000)) === "connected", 10_000);

    it("run their user data, compressed or not, under systemd", async () => {
        await Promise.all([serves(first.address), serves(second.address)]);
        assert.equal(await second.exec(["cat", "/root/encoded"]), "plain");
        assert.equal(await first.exec(["cat", "/proc/1/comm"]), "systemd");
        assert.equal(await first.exec(["hostname"]), "ip-198-18-1-1");
        assert.equal(await first.exec(["cloud-init", "query", "instance_id"]), "i-0123");
        assert.equal(await first.exec(["systemctl", "--failed", "--quiet"]), "");
    });

    it("reach each other and the lab, and nothing else", async () => {
        await Promise.all([serves(first.address), serves(second.address)]);
        assert.equal(await speaksAt("198.18.1.2"), "second");
        assert.equal(await speaksAt("198.18.9.9"), "second");
        await first.exec(["ping", "-c", "1", "-W", "3", lab.address]);
        assert.equal(await first.exec(["ip", "route", "show", "default"]), "");
        assert.equal(await command(["ip", "route", "show", "default"]), "");
    });

    it("take over an address, as balancers do with keepalived", async () => {
        await Promise.all([serves(first.address), serves(second.address)]);
        for (const [host, peer, priority] of [
            [first, second, 200],
            [second, first, 100],
        ] as const) {
            writeFileSync(
                join(host.root, "etc/keepalived/keepalived.conf"),
                keepalived(host, peer, priority, "198.18.9.1"),
            );
            await host.exec(["systemctl", "start", "keepalived"]);
        }
        const answers = (word: string) =>
            waitFor(`"${word}" at the shared address`, async () => (await heard("198.18.9.1", 7)) === word, 20_000);
        await answers("first");
        await first.cutOff();
        await answers("second");
        await first.reconnect();
        await answers("first");
        for (const host of [first, second]) await host.exec(["systemctl", "stop", "keepalived"]);
    });

    it("have a metadata service, which they cannot stop", async () => {
        await second.exec(["curl", "-sSf", "--max-time", "3", "http://169.254.169.254/"]);
        await assert.rejects(first.exec(["curl", "-sSf", "--max-time", "1", "http://169.254.169.254/"]), /curl/);
        assert.doesNotMatch(await second.exec(["ps", "-ef"]), /http.server/);
    });

    it("are silent while they are cut off, and answer again afterwards", async () => {
        await serves(second.address);
        await second.cutOff();
        // Longer than the kernel takes to notice that nobody has an address, or that its owner is gone.
        await Promise.all([
            connectTo("198.18.1.2", 7, 10_000).then((outcome) => assert.equal(outcome, "silence")),
            assert.rejects(speaksAt("198.18.1.2", first, 10), /timed out/),
        ]);
        assert.equal(await second.exec(["systemctl", "is-active", "speaker"]), "active");
        await second.reconnect();
        assert.equal(await speaksAt("198.18.1.2"), "second");
    });

    it("can have a slow or lossy network, without losing their connections", async () => {
        await serves(second.address);
        // Large, so that the kernel leaves segments and checksums to the hardware if it ever does.
        await second.exec([
            "sh",
            "-c",
            "dd if=/dev/urandom of=/srv/blob bs=1M count=1; sha256sum </srv/blob >/srv/sum",
        ]);
        await second.exec(["systemd-run", "--unit=web", "python3", "-m", "http.server", "--directory=/srv", "8000"]);
        await waitFor(
            "the web server",
            async () => (await connectTo(second.address, 8000, 1000)) === "connected",
            10_000,
        );
        const blob = "curl -sS --max-time 60 http://198.18.1.2:8000/blob | sha256sum";
        const sum = await second.exec(["cat", "/srv/sum"]);

        await second.slow({ delayMs: 100 });
        const pinged = await first.exec(["ping", "-c", "2", "-W", "10", "198.18.1.2"]);
        // The shortest of them. A busy computer makes round trips longer, never shorter.
        assert.ok(Number(/rtt min[^=]*= ([\d.]+)/.exec(pinged)?.[1]) >= 200, pinged);
        assert.equal(await first.exec(["sh", "-c", blob], { timeoutMs: 90_000 }), sum);

        await second.slow({ lossPercent: 5 });
        const lossy = await first.exec(["sh", "-c", "ping -c 200 -i 0.01 -W 2 198.18.1.2 || true"]);
        const received = Number(/(\d+) received/.exec(lossy)?.[1]);
        assert.ok(received > 0 && received < 200, lossy);
        assert.equal(await first.exec(["sh", "-c", blob], { timeoutMs: 90_000 }), sum);

        await second.slow({ delayMs: 10 });
        await second.cutOff();
        assert.equal(await connectTo("198.18.1.2", 8000, 1500), "silence");
        await second.reconnect();
        await second.slow();
        assert.equal(await first.exec(["sh", "-c", blob]), sum);
    });

    it("accept connections when their service is stopped by a signal, and answer nothing", async () => {
        await second.signal("speaker", "SIGSTOP");
        assert.equal(await connectTo("198.18.1.2", 7, 1000), "connected");
        await assert.rejects(speaksAt("198.18.1.2"), /Time-out/);
        await second.signal("speaker", "SIGCONT");
        assert.equal(await speaksAt("198.18.1.2"), "second");
    });

    it("can have a full disk", async () => {
        const write = () => second.exec(["dd", "if=/dev/zero", "of=/root/file", "bs=4k", "count=1"]);
        await write();
        await second.exec(["rm", "/root/file"]);
        await second.fillDisk();
        await assert.rejects(write(), /No space left|0 bytes copied/);
        second.freeDisk();
        await write();
    });

    it("can lose their power, and keep their disk and journal", async () => {
        await second.exec(["touch", "/root/kept"]);
        await second.powerOff();
        assert.equal(second.state, "off");
        assert.equal(await connectTo("198.18.1.2", 7, 4000), "silence");
        await assert.rejects(second.exec(["true"]), /second is off/);
        assert.match(await second.journal("cloud-final"), /Cloud-init .* finished/);
        await second.start();
        await second.booted();
        await second.exec(["test", "-e", "/root/kept"]);
    });

    it("shut down cleanly, also by themselves, and reboot on request", async () => {
        const boots = async () => (await second.journal()).match(/systemd-journald.*Journal started/g)?.length ?? 0;
        const before = await boots();
        await second.exec(["systemctl", "reboot"]).catch(() => undefined);
        await waitFor("another boot", async () => (await boots()) > before, 30_000);
        await second.booted();
        await second.shutdown();
        assert.equal(second.state, "off");
        assert.match(await second.journal(), /Reached target.*[Pp]ower/);
    });

    it("cannot have another's name or address, nor one outside the lab", async () => {
        const boot = (name: string, address: string) => Host.boot({ lab, name, address, userData: "" });
        await assert.rejects(boot("first", "198.18.1.9"), /already has a machine first/);
        await assert.rejects(boot("third", "198.18.1.1"), /first has the address 198.18.1.1/);
        await assert.rejects(boot("third", "10.0.0.1"), /10.0.0.1 is not an address of a lab/);
        await assert.rejects(boot("a/b", "198.18.1.9"), /not a valid name/);
    });

    it("report user data that fails", async () => {
        const userData = '#cloud-config\nruncmd: [["false"]]\n';
        const host = await Host.boot({ lab, name: "third", address: "198.18.1.3", userData });
        await assert.rejects(host.booted(), /third did not boot.*scripts.user/);
        await host.destroy();
        assert.equal(host.state, "destroyed");
    });

    it("can be destroyed while others are created", async () => {
        const passing = await Host.boot({ lab, name: "passing", address: "198.18.1.8", userData: "" });
        const going = passing.destroy();
        await passing.knows("198.18.1.9");
        await going;
        // A machine that was created meanwhile may have asked for its neighbours before this one was gone.
        await passing.knows("198.18.1.9");
    });

    it("run exactly for the instances that an API lists", async () => {
        const instance = (id: string, address: string): Instance => ({ id, name: id, address, userData: speaks(id) });
        let instances: Instance[] = [instance("i-1", "198.18.2.1"), instance("i-2", "198.18.2.2")];
        const events: string[] = [];
        const cloud: Cloud = {
            instances: async () => instances,
            onBooted: ({ id }) => void events.push(`${id} booted`),
            onGone: ({ id }) => void events.push(`${id} gone`),
        };
        const fleet = new Fleet(lab, cloud, { every: 50, atOnce: 2 });
        fleet.start();
        try {
            await waitFor("two machines", () => fleet.booted.size === 2, 60_000);
            await serves("198.18.2.1");
            // Another instance with the address of one that ends, as for a replaced server.
            instances = [instance("i-2", "198.18.2.2"), instance("i-3", "198.18.2.1")];
            await waitFor("its successor", () => fleet.booted.has("i-3"), 60_000);
            await serves("198.18.2.1");
            assert.equal(await speaksAt("198.18.2.1"), "i-3");
            assert.equal(fleet.hostOf("i-1"), undefined);
            assert.deepEqual(events.slice(-2), ["i-1 gone", "i-3 booted"]);
        } finally {
            await fleet.stop();
        }
        assert.equal(await connectTo("198.18.2.2", 7, 1000), "silence");
    });

    it("end with their lab, even if it is killed", async () => {
        const before = processes();
        const added = () => processes().filter((each) => !before.includes(each));
        const argv = ["--import=tsx", join(__dirname, "enter.ts"), process.execPath, "--import=tsx"];
        const stdio: StdioOptions = ["ignore", "pipe", "inherit"];
        const other = spawn(process.execPath, [...argv, join(__dirname, "support/oneMachine.ts")], { stdio });
        let said = "";
        other.stdout?.on("data", (text: Buffer) => {
            said += text;
        });
        await waitFor("a machine in another lab", () => said.includes("running"), 30_000);
        assert.notDeepEqual(added(), []);
        other.kill("SIGKILL");
        const noneLeft = () => {
            if (added().length === 0) return true;
            throw new Error(added().join(" | ").replaceAll("\0", " "));
        };
        await waitFor("their end", noneLeft, 10_000);
        // What remains has no owner and no process. The next lab removes it.
        const left = () => {
            sweepCgroups();
            return cgroupsOf(other.pid as number);
        };
        await waitFor("the end of its cgroups", () => left().length === 0, 10_000);
    });

    it("leave nothing behind", async () => {
        const place = join(LAB_FOLDER, "first");
        assert.ok(existsSync(place));
        await lab.close();
        assert.deepEqual(readdirSync(LAB_FOLDER), []);
        assert.deepEqual(readdirSync("/run/netns"), []);
        assert.doesNotMatch(readFileSync("/proc/self/mounts", "utf8"), /gateway-lab\//);
        assert.doesNotMatch(await command(["ip", "-br", "link"]), /lab0|v18/);
        assert.deepEqual(processes(), processesBefore);
        lab = undefined as never;
    });
});

/**
 * keepalived's configuration for an address that two machines share. They know each other, so they need no multicast.
 */
function keepalived(host: Host, peer: Host, priority: number, address: string): string {
    return `
global_defs {
    vrrp_version 3
}
vrrp_instance shared {
    state BACKUP
    interface host0
    virtual_router_id 1
    priority ${priority}
    advert_int 0.2
    unicast_src_ip ${host.address}
    unicast_peer {
        ${peer.address}
    }
    virtual_ipaddress {
        ${address}/32
    }
}
`;
}

/** The cgroups of the lab that a process started. */
function cgroupsOf(pid: number): string[] {
    return readdirSync("/sys/fs/cgroup", { recursive: true, encoding: "utf8" }).filter((path) =>
        new RegExp(`gateway-lab-\\d+-${pid}-`).test(path),
    );
}

/** The programs that run in the lab, except those that list them. */
function processes(): string[] {
    return readdirSync("/proc")
        .filter((entry) => /^\d+$/.test(entry))
        .flatMap((pid) => {
            try {
                return [readFileSync(`/proc/${pid}/cmdline`, "utf8")];
            } catch {
                return [];
            }
        })
        .filter(Boolean)
        .sort();
}
