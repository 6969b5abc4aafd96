import * as assert from "node:assert/strict";
import { serfTags } from "../../clients/serf";
import type { AclSettings } from "../../programs/consul-acl/settings";
import { connections } from "../../programs/drain/main";
import { resolveSecrets, type Service, secretRef, secretRefs } from "../../programs/machine";
import { fingerprint, type ProcessMachine } from "../../programs/supervisor/description";
import { localPolicy } from "../../replacement/core/policy";
import type { ConsulCluster } from "../../roles/consul";
import { bootTokens, consulAcl, tokenSecrets } from "../../roles/consulAcl";
import { consulAgent } from "../../roles/consulAgent";
import { consulServer } from "../../roles/consulServer";
import { gateway } from "../../roles/gateway";
import { gatewayHealth, healthUrl } from "../../roles/gatewayHealth";
import { consulTemplateHaproxy } from "../../roles/loadBalancer/consulTemplateHaproxy";
import { fabio, fabioTag } from "../../roles/loadBalancer/fabio";
import { serfHaproxy } from "../../roles/loadBalancer/serfHaproxy";
import { processLayout, renderProcess } from "../../roles/render/process";
import { replacer } from "../../roles/replacer";
import { mergeRoles, type Role } from "../../roles/role";
import { type SerfCluster, serfAgent } from "../../roles/serf";
import { assertGolden } from "../golden/compare";
import { goldenJson } from "./support/mocks";

const cluster: ConsulCluster = {
    datacenter: "dc1",
    join: ["127.90.0.11", "127.90.0.12", "127.90.0.13"],
    servers: 3,
    caCertificate: "CA certificate\n",
    version: "1.22.0",
};
const serf: SerfCluster = { join: ["127.90.0.21", "127.90.0.22"], version: "0.10.2" };
const bundled = (name: string) => ({ file: `${name}-0123.cjs`, sha256: "0123" });
const healthCheck = { kind: "thrift", method: "ping", framed: false } as const;

/** Every role as `components/local` composes it. */
const machines: Readonly<Record<string, () => ProcessMachine>> = {
    "consul-server": () => {
        const layout = processLayout("consul-0", "127.90.0.11");
        const args = {
            cluster,
            certificate: "server certificate\n",
            gatewayService: "gateway-sample",
            keepsNodeId: true,
            aclBundle: bundled("consul-acl"),
        };
        return renderProcess(consulServer(args, layout), layout);
    },
    gateway: () => {
        const layout = processLayout("gw-0", "127.90.0.50");
        const role = mergeRoles(
            "gateway",
            consulAgent(
                {
                    cluster,
                    agentToken: "gatewayAgentToken",
                    registration: {
                        name: "gateway-sample",
                        port: 9190,
                        healthUrl: healthUrl(layout),
                        token: "gatewayAgentToken",
                    },
                },
                layout,
            ),
            gatewayHealth({ service: { port: 9190, healthCheck }, haproxyVersion: "2.6" }, layout),
            gateway(
                {
                    name: "gateway-sample",
                    port: 9190,
                    argv: ({ bin, address }) => [`${bin}/node`, `${bin}/gateway-sample.cjs`, `--host=${address}`],
                    binaries: [
                        { name: "gateway-sample.cjs", source: { kind: "bundle", ...bundled("gateway-sample") } },
                    ],
                    environment: { GREETING: "hello" },
                    stopTimeoutSeconds: 30,
                    drainBundle: bundled("drain"),
                    registry: { kind: "consul", token: "gatewayAgentToken" },
                },
                layout,
            ),
        );
        return renderProcess(role, layout);
    },
    balancer: () => {
        const layout = processLayout("lb-0", "127.90.0.21");
        const role = mergeRoles(
            "balancer",
            consulAgent({ cluster, agentToken: "balancerAgentToken" }, layout),
            consulTemplateHaproxy(
                {
                    service: "gateway-sample",
                    datacenter: "dc1",
                    port: 9190,
                    slots: 16,
                    networks: ["10.0.0.0/16"],
                    maxConnections: 1000,
                    drainSeconds: 30,
                    reconcilerBundle: bundled("reconciler"),
                    haproxyVersion: "2.6",
                    consulTemplateVersion: "0.41.1",
                },
                layout,
            ),
        );
        return renderProcess(role, layout);
    },
    replacer: () => {
        const layout = processLayout("replacer", "127.90.0.31");
        const role = replacer(
            {
                settings: {
                    target: "local",
                    consul: { addresses: ["https://127.90.0.11:8501"], service: "gateway-sample" },
                    balancers: [{ name: "lb-0", url: "http://127.90.0.21:9192/;csv" }],
                    machinesDirectory: "..",
                    stack: "local",
                    slots: { typeSuffix: "gateway:Instance", namePrefix: "gw-" },
                    policy: localPolicy,
                },
                access: { caCertificate: "CA certificate\n", token: "replacerToken" },
                environment: { GATEWAY_MACHINE: "replacer" },
                program: { kind: "project", file: "replacement/main.ts", sha256: "0123" },
            },
            layout,
        );
        return renderProcess(role, layout);
    },
    "fabio-balancer": () => {
        const layout = processLayout("lb-0", "127.90.0.21");
        const role = mergeRoles(
            "balancer",
            consulAgent({ cluster, agentToken: "balancerAgentToken", defaultToken: "fabioToken" }, layout),
            fabio({ port: 9190, drainSeconds: 30, version: "1.6.3" }, layout),
        );
        return renderProcess(role, layout);
    },
    "serf-balancer": () => {
        const layout = processLayout("lb-0", "127.90.0.21");
        const role = mergeRoles(
            "balancer",
            serfAgent({ cluster: serf, tags: serfTags.balancer }, layout),
            serfHaproxy(
                {
                    port: 9190,
                    slots: 16,
                    networks: ["10.0.0.0/16"],
                    maxConnections: 1000,
                    drainSeconds: 30,
                    reconcilerBundle: bundled("reconciler"),
                    membersBundle: bundled("serf-members"),
                    haproxyVersion: "2.6",
                },
                layout,
            ),
        );
        return renderProcess(role, layout);
    },
    "serf-gateway": () => {
        const layout = processLayout("gw-0", "127.90.0.50");
        const role = mergeRoles(
            "gateway",
            serfAgent({ cluster: serf, tags: serfTags.gateway(9190) }, layout),
            gatewayHealth({ service: { port: 9190, healthCheck }, haproxyVersion: "2.6" }, layout),
            gateway(
                {
                    name: "gateway-sample",
                    port: 9190,
                    argv: ({ bin, address }) => [`${bin}/node`, `${bin}/gateway-sample.cjs`, `--host=${address}`],
                    binaries: [
                        { name: "gateway-sample.cjs", source: { kind: "bundle", ...bundled("gateway-sample") } },
                    ],
                    environment: {},
                    stopTimeoutSeconds: 30,
                    drainBundle: bundled("drain"),
                    registry: { kind: "serf" },
                },
                layout,
            ),
        );
        return renderProcess(role, layout);
    },
};

describe("the roles as processes", () => {
    for (const [name, render] of Object.entries(machines)) {
        it(`${name} is rendered as in the golden file`, () => {
            assertGolden(`processes/${name}.json`, goldenJson(render()));
        });

        it(`${name} has secrets only in files that only their owner can read`, () => {
            const machine = render();
            const holders = machine.files.filter((file) => secretRefs(file.content).length > 0);
            assert.ok(holders.length > 0);
            assert.deepEqual(
                holders.map(({ mode }) => mode),
                holders.map(() => 0o600),
            );
            const { files, ...rest } = machine;
            assert.deepEqual(secretRefs(JSON.stringify(rest)), []);
        });

        it(`${name} contains no absolute path`, () => {
            const machine = render();
            for (const { path } of machine.files) assert.ok(!path.startsWith("/"), path);
            for (const service of machine.services) {
                for (const word of [...service.argv, ...service.beforeStop.flat()]) {
                    assert.doesNotMatch(word, /(^|=)\//, `${service.name}: ${word}`);
                }
            }
        });
    }
});

const layout = processLayout("m", "127.0.9.9");
const service = (name: string, more: Partial<Service> = {}): Service => ({
    name,
    description: "",
    argv: ["/bin/true"],
    user: "nobody",
    ...more,
});
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

describe("renderProcess", () => {
    it("puts each service after those that it waits for, and keeps the order otherwise", () => {
        const services = [
            service("d", { after: ["b", "c"] }),
            service("c", { after: ["a"] }),
            service("a"),
            service("b"),
        ];
        const names = renderProcess(role({ services }), layout).services.map(({ name }) => name);
        assert.deepEqual(names, ["a", "c", "b", "d"]);
    });

    it("refuses services that wait for each other or for an unknown one, and names them", () => {
        const circle = [service("x"), service("y", { after: ["z"] }), service("z", { after: ["y"] })];
        assert.throws(() => renderProcess(role({ services: circle }), layout), /wait for each other.*: y, z$/);
        const nobody = [service("y", { after: ["absent"] })];
        assert.throws(() => renderProcess(role({ services: nobody }), layout), /does not exist: y$/);
    });

    it("refuses a program that the machine does not have", () => {
        const services = [service("s", { argv: ["bin/server"] })];
        assert.throws(() => renderProcess(role({ services }), layout), /service s of m runs bin\/server/);
        const node = [{ name: "serv", source: { kind: "node", version: "24" } }] as const;
        assert.throws(() => renderProcess(role({ services, binaries: node }), layout), /no binary of it/);
    });

    it("accepts a program inside an archive, and an absolute path", () => {
        const binaries = [
            { name: "server", source: { kind: "archive", url: "file:///a.tar.gz", sha256: "0" } },
        ] as const;
        const services = [service("s", { argv: ["bin/server/run"] }), service("t", { argv: ["/usr/bin/t"] })];
        assert.equal(renderProcess(role({ services, binaries }), layout).services.length, 2);
    });

    it("fills in every default", () => {
        const { services } = renderProcess(role({ services: [service("s")] }), layout);
        assert.deepEqual(services, [
            {
                name: "s",
                description: "",
                argv: ["/bin/true"],
                environment: {},
                type: "simple",
                after: [],
                beforeStop: [],
                stopTimeoutSeconds: 10,
            },
        ]);
    });

    it("names each secret once, sorted, and makes only files with secrets unreadable to others", () => {
        const files = [
            { path: "etc/a", content: `${secretRef("z")} ${secretRef("b")}` },
            { path: "etc/b", content: `${secretRef("b")}`, mode: 0o640 },
            { path: "etc/c", content: "plain" },
        ];
        const machine = renderProcess(role({ files }), layout);
        assert.deepEqual(machine.secrets, ["b", "z"]);
        assert.deepEqual(
            machine.files.map(({ mode }) => mode),
            [0o600, 0o640, 0o644],
        );
    });

    it("gives equal machines the same fingerprint, whatever the order of their keys", () => {
        const machine = renderProcess(role({ services: [service("s", { environment: { A: "1", B: "2" } })] }), layout);
        const turned = Object.fromEntries(Object.entries(machine).reverse()) as unknown as ProcessMachine;
        assert.equal(fingerprint(turned), fingerprint(machine));
        assert.notEqual(fingerprint({ ...machine, address: "127.0.9.8" }), fingerprint(machine));
    });
});

describe("references to secrets", () => {
    it("are found in order, each once", () => {
        assert.deepEqual(secretRefs(`${secretRef("b")}${secretRef("a-1.x")} ${secretRef("b")}`), ["b", "a-1.x"]);
        assert.deepEqual(secretRefs("@@secret:@@ secret:a"), []);
    });

    it("are all replaced by their values", () => {
        const text = `x=${secretRef("a")} y=${secretRef("b")} z=${secretRef("a")}`;
        // Values such as `$&`, which String.replace would interpret, stay as they are.
        assert.equal(resolveSecrets(text, { a: "$& $1", b: "2" }), "x=$& $1 y=2 z=$& $1");
    });

    it("are named if there is no such secret", () => {
        assert.throws(
            () => resolveSecrets(secretRef("absent"), { other: "value" }),
            /no value for the secret "absent"/,
        );
    });

    it("do not leak other secrets into the message", () => {
        assert.throws(
            () => resolveSecrets(`${secretRef("known")} ${secretRef("absent")}`, { known: "hidden" }),
            (error: Error) => !error.message.includes("hidden"),
        );
    });
});

describe("a Consul server", () => {
    const nodeIdOf = (keepsNodeId: boolean) => {
        const more = {
            certificate: "",
            gatewayService: "gateway-sample",
            aclBundle: bundled("consul-acl"),
            keepsNodeId,
        };
        const { files } = consulServer({ cluster, ...more }, processLayout("consul-0", "127.90.0.11"));
        const settings = files.find(({ path }) => path.endsWith("agent.json"))?.content ?? "{}";
        return JSON.parse(settings).node_id as string | undefined;
    };

    it("is a new node on a new disk, unless it must take over a name that Consul may still hold", () => {
        assert.equal(nodeIdOf(false), undefined);
        assert.match(nodeIdOf(true) ?? "", /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    });
});

describe("a Serf agent", () => {
    const at = (address: string) => {
        const [file] = serfAgent({ cluster: serf, tags: serfTags.balancer }, { ...layout, address }).files;
        return JSON.parse(file?.content ?? "") as { retry_join: string[]; leave_on_terminate: boolean };
    };

    it("joins all members that have fixed addresses, and is forgotten when it leaves", () => {
        const { retry_join, leave_on_terminate } = at("127.90.0.50");
        assert.deepEqual([retry_join, leave_on_terminate], [serf.join, true]);
    });

    it("of a member with a fixed address joins the others, which try to reconnect until it is back", () => {
        const { retry_join, leave_on_terminate } = at("127.90.0.21");
        assert.deepEqual([retry_join, leave_on_terminate], [["127.90.0.22"], false]);
    });
});

describe("mergeRoles", () => {
    it("merges the kernel settings of all parts, and has none if no part has any", () => {
        const sysctls = (a: Record<string, number>, b: Record<string, number>) =>
            mergeRoles("both", role({ sysctls: a }), role({}), role({ sysctls: b })).sysctls;
        assert.deepEqual(sysctls({ "a.x": 1, "a.y": 1 }, { "a.x": 2 }), { "a.x": 2, "a.y": 1 });
        assert.equal("sysctls" in mergeRoles("both", role({}), role({})), false);
    });

    it("keeps the parts' order, and lets later parts override earlier ones", () => {
        const node = { name: "node", source: { kind: "node", version: "24" } } as const;
        const tool = { name: "node", source: { kind: "tool", tool: "node", version: "2" } } as const;
        const port = (number: number) => ({ name: "p", port: number, protocol: "tcp", reach: "machine" }) as const;
        const merged = mergeRoles(
            "both",
            role({
                files: [{ path: "a", content: "1" }],
                services: [service("s"), service("t")],
                binaries: [node],
                users: ["u"],
                ports: [port(1)],
            }),
            role({
                files: [
                    { path: "b", content: "2" },
                    { path: "a", content: "3" },
                ],
                services: [service("v")],
                binaries: [tool],
                users: ["u", "w"],
                ports: [port(2)],
            }),
        );
        assert.equal(merged.name, "both");
        assert.deepEqual(merged.files, [
            { path: "a", content: "3" },
            { path: "b", content: "2" },
        ]);
        assert.deepEqual(
            merged.services.map(({ name }) => name),
            ["s", "t", "v"],
        );
        assert.deepEqual(merged.binaries, [tool]);
        assert.deepEqual(merged.users, ["u", "w"]);
        assert.deepEqual(merged.ports, [port(2)]);
    });
});

describe("the registration of a gateway", () => {
    const definition = (more: object) => {
        const registration = { name: "calls", port: 7, healthUrl: "http://h", token: "t", ...more };
        const { files } = consulAgent({ cluster, agentToken: "a", registration }, layout);
        return JSON.parse(files[0]?.content ?? "").services[0];
    };

    it("stays, however long its check fails: the agent would not register it again by itself", () => {
        assert.deepEqual(
            Object.keys(definition({}).check).filter((key) => key.startsWith("deregister")),
            [],
        );
    });

    it("has the configured tags and number of failures", () => {
        assert.deepEqual(definition({ tags: [fabioTag(9190)] }).tags, ["urlprefix-:9190 proto=tcp"]);
        assert.equal(definition({}).check.failures_before_critical, 1);
        assert.equal(definition({ failuresBeforeCritical: 0 }).check.failures_before_critical, 0);
    });
});

describe("Fabio's settings", () => {
    const { files } = fabio({ port: 9190, drainSeconds: 7, version: "1.6.3" }, layout);
    const settings = Object.fromEntries(
        (files[0]?.content ?? "").split("\n").flatMap((line) => (line ? [line.split(" = ")] : [])),
    );

    it("require every check to pass, and wait for a Consul that is not up yet", () => {
        assert.equal(settings["registry.consul.checksRequired"], "all");
        assert.equal(settings["registry.consul.service.status"], "passing");
        assert.equal(settings["registry.timeout"], "5m");
    });

    it("proxy TCP, round robin, with a short dial timeout and the configured drain", () => {
        assert.equal(settings["proxy.addr"], "127.0.9.9:9190;proto=tcp");
        assert.equal(settings["proxy.strategy"], "rr");
        assert.equal(settings["proxy.dialtimeout"], "500ms");
        assert.equal(settings["proxy.deregistergraceperiod"], "5s");
        assert.equal(settings["proxy.shutdownwait"], "7s");
    });

    it("contain no token, which Fabio would show to everybody, and allow no changes of routes over HTTP", () => {
        assert.deepEqual(
            files.flatMap(({ content }) => secretRefs(content)),
            [],
        );
        assert.ok(!("registry.consul.token" in settings));
        assert.equal(settings["ui.access"], "ro");
    });
});

describe("the tokens of the first boot", () => {
    /** A token's rights: `resource "name"`, or a resource without names, and what it allows. */
    const rules = (secret: string) => {
        const token = bootTokens("calls").find((each) => each.secret === secret);
        assert.ok(token, secret);
        return (token.rules ?? "").split("\n").flatMap((line) => {
            if (line === "") return [];
            const match = /^(\w+) "([^"]*)" \{ policy = "(\w+)" \}$/.exec(line) ?? /^(\w+) = "(\w+)"$/.exec(line);
            assert.ok(match, line);
            return match.slice(1).join(" ");
        });
    };

    it("allow each role only what it does", () => {
        assert.deepEqual(rules("serverAgentToken"), ["node_prefix consul- write"]);
        assert.deepEqual(rules("balancerAgentToken"), ["node_prefix lb- write"]);
        assert.deepEqual(rules("gatewayAgentToken"), ["node_prefix gw- write", "service calls write"]);
        assert.deepEqual(rules("fabioToken"), [
            "node_prefix  read",
            "service_prefix  read",
            "agent_prefix lb- read",
            "key_prefix fabio read",
            "service fabio write",
        ]);
        assert.deepEqual(rules("balancerToken"), ["node_prefix  read", "service_prefix  read"]);
        assert.deepEqual(rules("replacerToken"), [
            "node_prefix  read",
            "service_prefix  read",
            "key_prefix gateway/replacement/ write",
            "node gateway-replacement write",
            "session gateway-replacement write",
            "keyring read",
        ]);
        assert.deepEqual(rules("operatorToken"), []);
    });

    it("never allow changes of ACLs, operation of the cluster, or writes to all names of a resource", () => {
        for (const { secret, rules: text } of bootTokens("calls")) {
            assert.doesNotMatch(text ?? "", /\b(acl|operator)\b|keyring = "write"/, secret);
            // Who reads the keyring knows the gossip key, as the loop does anyhow.
            if (secret !== "replacerToken") assert.doesNotMatch(text ?? "", /\bkeyring\b/, secret);
            for (const line of rules(secret)) {
                assert.doesNotMatch(line, / {2}write/, secret);
            }
        }
    });

    it("are all created at the first boot, each with its own accessor and secret", () => {
        const [file] = consulAcl({ gatewayService: "calls", aclBundle: bundled("consul-acl") }, layout).files;
        const settings = JSON.parse(file?.content ?? "") as AclSettings;
        assert.deepEqual(
            settings.tokens.map(({ secretId, accessorId }) => [secretId, accessorId]),
            tokenSecrets.slice(1).map((name) => [secretRef(name), secretRef(`${name}Accessor`)]),
        );
        assert.equal(settings.managementToken, secretRef("managementToken"));
    });

    it("include every token that the roles' machines name", () => {
        const known = new Set<string>([...tokenSecrets, ...tokenSecrets.map((name) => `${name}Accessor`)]);
        for (const [name, render] of Object.entries(machines)) {
            const others = render().secrets.filter((secret) => !known.has(secret));
            assert.deepEqual(
                others.filter((secret) => !["gossipKey", "serfRpcKey", "serverKey"].includes(secret)),
                [],
                name,
            );
        }
    });
});

describe("the gateway's role", () => {
    const waits = (drainsItself?: boolean) => {
        const { files } = gateway(
            {
                ...{ name: "api", port: 9190, argv: () => [], binaries: [], environment: {}, stopTimeoutSeconds: 30 },
                drainBundle: bundled("drain"),
                registry: { kind: "serf" },
                ...(drainsItself === undefined ? {} : { drainsItself }),
            },
            processLayout("gw-0", "127.90.0.50"),
        );
        return (JSON.parse(files[0]?.content ?? "") as { timeout: number }).timeout;
    };

    it("waits for clients to leave before it stops a gateway, unless the gateway drains by itself", () => {
        assert.equal(waits(), 30_000);
        assert.equal(waits(false), 30_000);
        assert.equal(waits(true), 0);
    });
});

describe("the drain's count of connections", () => {
    const HEADER = "  sl  local_address rem_address   st tx_queue rx_queue";
    const row = (local: string, state: string) => `   0: ${local} 1500007F:A1B2 ${state} 00000000:00000000`;
    // 127.90.0.50:9190
    const OURS = "32005A7F:23E6";

    it("counts established connections to the gateway's port and address", () => {
        const table = [
            HEADER,
            row(OURS, "01"),
            row(OURS, "01"),
            row(OURS, "0A"), // the listener
            row(OURS, "06"), // TIME_WAIT
            row(OURS, "08"), // CLOSE_WAIT
            row("33005A7F:23E6", "01"), // its neighbour
            row("32005A7F:23E7", "01"), // the port above
            "",
        ].join("\n");
        assert.equal(connections(table, 9190, "127.90.0.50"), 2);
        assert.equal(connections(table, 9191, "127.90.0.50"), 1);
        assert.equal(connections(table, 9190, "127.90.0.52"), 0);
    });

    it("counts connections to a server that listens on IPv6 as well", () => {
        const mapped = `0000000000000000FFFF0000${OURS}`;
        assert.equal(connections([HEADER, row(mapped, "01")].join("\n"), 9190, "127.90.0.50"), 1);
    });

    it("finds ports below 4096", () => {
        assert.equal(connections(row("0100007F:0050", "01"), 80, "127.0.0.1"), 1);
    });

    it("is 0 for an empty table", () => {
        assert.equal(connections(`${HEADER}\n`, 9190, "127.90.0.50"), 0);
    });
});
