import * as assert from "node:assert/strict";
import type { Layout } from "../../programs/machine";
import { balancerStatusUrl } from "../../roles/loadBalancer/balancer";
import { backendListTemplate, consulTemplateHaproxy } from "../../roles/loadBalancer/consulTemplateHaproxy";
import { processLayout, renderProcess } from "../../roles/render/process";
import { mergeRoles, type Role } from "../../roles/role";
import { assertGolden } from "../golden/compare";

const local = processLayout("lb-0", "127.90.0.21");
const cloud: Layout = {
    machine: "lb-0",
    address: "10.0.0.9",
    localAddress: "127.0.0.1",
    etc: "/etc/gateway",
    lib: "/var/lib/gateway",
    run: "/run/gateway",
    bin: "/opt/gateway/bin",
};
const args = {
    service: "gateway-sample",
    port: 9190,
    slots: 2,
    networks: ["127.90.0.0/24"],
    maxConnections: 1000,
    drainSeconds: 30,
    datacenter: "dc1",
    reconcilerBundle: { file: "reconciler-0123.cjs", sha256: "0123" },
    haproxyVersion: "2.6",
    consulTemplateVersion: "0.41.1",
} as const;
/** The machine's Consul agent, which is a separate part. */
const agent: Role = {
    name: "agent",
    files: [],
    services: [{ name: "consul", description: "", argv: ["/consul"], user: "consul" }],
    binaries: [],
    users: ["consul"],
    ports: [],
    healthChecks: [],
};

const content = (role: Role, path: string) => role.files.find((file) => file.path.endsWith(path))?.content ?? "";

describe("the balancer with consul-template and HAProxy", () => {
    it("is rendered as in the golden files", () => {
        for (const file of consulTemplateHaproxy(args, local).files)
            assertGolden(`balancer/local/${file.path}`, file.content);
        for (const file of consulTemplateHaproxy(args, cloud).files)
            assertGolden(`balancer/cloud${file.path}`, file.content);
    });

    it("runs as processes, each after those that it needs", () => {
        const machine = renderProcess(mergeRoles("balancer", agent, consulTemplateHaproxy(args, local)), local);
        assertGolden("balancer/services.json", `${JSON.stringify(machine.services, undefined, 4)}\n`);
        const names = machine.services.map(({ name }) => name);
        assert.deepEqual([...names].sort(), ["consul", "consul-template", "haproxy", "reconciler"]);
        for (const [first, second] of [
            ["haproxy", "reconciler"],
            ["reconciler", "consul-template"],
            ["consul", "consul-template"],
        ] as const) {
            assert.ok(names.indexOf(first) < names.indexOf(second), `${first} before ${second}`);
        }
    });

    it("has its token only in one file that only its user can read", () => {
        const machine = renderProcess(mergeRoles("balancer", agent, consulTemplateHaproxy(args, local)), local);
        assert.deepEqual(machine.secrets, ["balancerToken"]);
        const secret = machine.files.filter((file) => file.content.includes("@@secret:"));
        assert.deepEqual(
            secret.map(({ path, mode }) => [path, mode]),
            [["etc/consul-template/token", 0o600]],
        );
        assert.doesNotMatch(JSON.stringify(machine.services), /secret/);
    });

    it("has at least 16 slots", () => {
        const template = (slots: number) =>
            /gw 1-\d+/.exec(content(consulTemplateHaproxy({ ...args, slots }, local), ".cfg"))?.[0];
        assert.equal(template(2), "gw 1-16");
        assert.equal(template(40), "gw 1-40");
    });

    it("gives the reconciler the same settings as HAProxy", () => {
        const role = consulTemplateHaproxy({ ...args, drainSeconds: 7, maxConnections: 90 }, local);
        const settings = JSON.parse(content(role, "reconciler.json"));
        const config = content(role, "haproxy.cfg");
        assert.ok(config.includes(`stats socket unix@${settings.socket} mode 600 level admin`));
        assert.ok(config.includes(`backend ${settings.backend}\n`));
        assert.match(config, /fall 2 rise 2 /);
        assert.equal(settings.fullHealth, 3);
        assert.match(config, /slowstart 10s maxconn 90$/m);
        assert.equal(settings.maxConnections, 90);
        assert.equal(settings.drainTimeout, 7_000);
        assert.ok(content(role, "config.hcl").includes(`destination          = "${settings.list}"`));
    });

    it("opens its port to clients, and its status page only to the deployment", () => {
        const role = consulTemplateHaproxy(args, local);
        assert.deepEqual(
            role.ports.map(({ port, reach }) => [port, reach]),
            [
                [9190, "clients"],
                [9192, "deployment"],
            ],
        );
        assert.equal(balancerStatusUrl(local), "http://127.90.0.21:9192");
    });

    it("asks Consul only for passing instances", () => {
        assert.match(backendListTemplate("svc", "dc7"), /service "svc@dc7\|passing"/);
    });
});
