/** Consul and Pulumi, where they are built from source: what their builds leave out, and what they must not. */

import "reflect-metadata";
import * as assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { webcrypto } from "node:crypto";
import { once } from "node:events";
import * as fs from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import * as x509 from "@peculiar/x509";
import { lookUp } from "../../toolchain/cache";
import { type ToolName, tools } from "../../toolchain/manifest";
import { run } from "../../toolchain/processes";

/** What EC2 answers when asked for the instances with a tag. */
const INSTANCES = `<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId>
<reservationSet><item><reservationId>r-1</reservationId><instancesSet><item><instanceId>i-1</instanceId>
<privateIpAddress>127.90.0.231</privateIpAddress></item></instancesSet></item></reservationSet></DescribeInstancesResponse>`;

/** No ports but those that an agent cannot do without, any of them. */
const PORTS = "ports { http = -1, dns = -1, grpc = -1, grpc_tls = -1 }";

describe("Consul and Pulumi built from source", () => {
    let directory: string;
    let agent: ChildProcess | undefined;
    let server: http.Server | undefined;

    beforeEach(() => {
        directory = fs.mkdtempSync(join(tmpdir(), "built-"));
    });

    afterEach(async () => {
        if (agent?.exitCode === null) {
            const ended = once(agent, "exit");
            agent.kill("SIGKILL");
            await ended;
        }
        server?.close();
        fs.rmSync(directory, { recursive: true, force: true });
    });

    /** The executable of a tool that was built from source; the test is skipped where it is the vendor's. */
    function built(context: Mocha.Context, name: ToolName): string {
        const found = lookUp(tools[name]);
        if (found?.entry.source !== "go") {
            console.log(`        skipped: ${tools[name].title} is not here, or not built from source`);
            return context.skip();
        }
        return found.executable;
    }

    /** Runs a command that must fail, and returns what it says. */
    async function refusal(executable: string, args: readonly string[]): Promise<string> {
        fs.writeFileSync(join(directory, "Pulumi.yaml"), "name: test\nruntime: nodejs\n");
        const { code, output } = await run([executable, ...args], {
            cwd: directory,
            timeoutMs: 30_000,
            env: {
                PATH: process.env.PATH,
                HOME: directory,
                PULUMI_HOME: join(directory, "home"),
                PULUMI_SKIP_UPDATE_CHECK: "true",
                PULUMI_CONFIG_PASSPHRASE: "test",
                ...(args[0] === "login" ? {} : { PULUMI_BACKEND_URL: `file://${directory}` }),
            },
        });
        assert.notEqual(code, 0, `${args.join(" ")} succeeded: ${output}`);
        return output;
    }

    it("Consul says what its build leaves out", async function () {
        this.timeout(60_000);
        const consul = built(this, "consul");
        const cases: [string[], RegExp][] = [
            [["connect", "envoy"], /`consul connect envoy` is not in this build of Consul/],
            [["troubleshoot", "proxy"], /`consul troubleshoot proxy` is not in this build of Consul/],
            [
                ["login", "-method=iam", "-token-sink-file=token", "-aws-auto-bearer-token"],
                /auth method aws-iam is not in this build of Consul/,
            ],
            [
                ["agent", "-dev", "-hcl", `connect { ca_provider = "vault" } ${PORTS}`],
                /authorities of AWS and Vault are not in this build of Consul/,
            ],
            [
                ["agent", "-dev", "-hcl", `cloud { resource_id = "x" } ${PORTS}`],
                /HashiCorp Cloud Platform is not in this build of Consul/,
            ],
        ];
        await Promise.all(
            cases.map(async ([args, expected]) => assert.match(await refusal(consul, args), expected, args.join(" "))),
        );
    });

    it("Pulumi says what its build leaves out", async function () {
        this.timeout(60_000);
        const pulumi = built(this, "pulumi");
        const cases: [string[], RegExp][] = [
            [["api", "list"], /`pulumi api` is not in this build of Pulumi/],
            [["login", "gs://bucket"], /Google Cloud Storage \(gs:\/\/\) is not in this build of Pulumi/],
            [["login", "azblob://bucket"], /Azure Blob Storage \(azblob:\/\/\) is not in this build of Pulumi/],
            [["login", "postgres://host/state"], /PostgreSQL \(postgres:\/\/\) is not in this build of Pulumi/],
            [
                ["stack", "init", "test", "--secrets-provider=awskms://key"],
                /awskms, azurekeyvault, gcpkms and hashivault are not in this build of Pulumi/,
            ],
        ];
        // One after the other: they write the same files.
        for (const [args, expected] of cases) assert.match(await refusal(pulumi, args), expected, args.join(" "));
    });

    /** A certificate for a name, which is its own authority, and its key, as PEM. */
    async function certificateFor(name: string): Promise<{ cert: string; key: string }> {
        const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
        x509.cryptoProvider.set(webcrypto as Crypto);
        const keys = (await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"])) as CryptoKeyPair;
        const certificate = await x509.X509CertificateGenerator.createSelfSigned({
            name: `CN=${name}`,
            keys,
            notBefore: new Date(Date.now() - 3_600_000),
            notAfter: new Date(Date.now() + 3_600_000),
            signingAlgorithm: algorithm,
            extensions: [
                new x509.BasicConstraintsExtension(true, 0, true),
                new x509.SubjectAlternativeNameExtension([{ type: "dns", value: name }]),
            ],
        });
        const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
        return {
            cert: certificate.toString("pem"),
            key: `-----BEGIN PRIVATE KEY-----\n${der.toString("base64")}\n-----END PRIVATE KEY-----\n`,
        };
    }

    it("Consul finds the servers by their tags at AWS", async function () {
        this.timeout(60_000);
        const consul = built(this, "consul");
        const requests: { body: string; authorization: string; host: string }[] = [];
        // Auto-join takes no other endpoint than EC2's own, so this proxy is EC2.
        const pair = await certificateFor("ec2.eu-central-1.api.aws");
        const ec2 = https.createServer(pair, (request, response) => {
            let body = "";
            request.on("data", (text) => {
                body += text;
            });
            request.on("end", () => {
                const { authorization = "", host = "" } = request.headers;
                requests.push({ body, authorization, host });
                response.end(INSTANCES);
            });
        });
        server = http.createServer();
        server.on("connect", (_, socket) => {
            socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
            ec2.emit("connection", socket);
        });
        await once(server.listen(0, "127.0.0.1"), "listening");
        const { port } = server.address() as AddressInfo;
        const bundle = join(directory, "ca.pem");
        fs.writeFileSync(bundle, pair.cert);

        // As on the machines of target aws, but for the credentials, which are the instance's there.
        const where = "provider=aws region=eu-central-1 tag_key=role tag_value=a/b addr_type=private_v4";
        const settings = `disable_update_check = true ${PORTS}`;
        const data = `-data-dir=${join(directory, "data")}`;
        agent = spawn(consul, ["agent", data, "-bind=127.90.0.230", "-hcl", settings, "-retry-join", where], {
            stdio: ["ignore", "pipe", "pipe"],
            env: {
                HTTPS_PROXY: `http://127.0.0.1:${port}`,
                AWS_CA_BUNDLE: bundle,
                AWS_ACCESS_KEY_ID: "key",
                AWS_SECRET_ACCESS_KEY: "secret",
            },
        });
        let log = "";
        for (const stream of [agent.stdout, agent.stderr])
            stream?.on("data", (text) => {
                log += text;
            });
        const joining = /joining: lan_addresses=\[?"?127\.90\.0\.231\b/;
        for (const end = Date.now() + 30_000; !joining.test(log); await delay(50))
            if (Date.now() > end || agent.exitCode !== null) assert.fail(`it joins no server:\n${log}`);

        const [asked] = requests;
        const query = new URLSearchParams(asked?.body);
        assert.equal(asked?.host, "ec2.eu-central-1.api.aws");
        assert.equal(query.get("Action"), "DescribeInstances");
        assert.deepEqual([query.get("Filter.1.Name"), query.get("Filter.1.Value.1")], ["tag:role", "a/b"]);
        assert.match(asked.authorization, /^AWS4-HMAC-SHA256 Credential=key\/\d+\/eu-central-1\/ec2\//);
    });
});
