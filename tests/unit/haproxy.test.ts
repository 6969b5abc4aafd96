import * as assert from "node:assert/strict";
import { endpoint } from "../../lib/endpoint";
import type { Layout } from "../../programs/machine";
import { gatewayHealth, healthUrl } from "../../roles/gatewayHealth";
import { haproxyFile } from "../../roles/haproxy";
import { processLayout, renderProcess } from "../../roles/render/process";
import { assertGolden } from "../golden/compare";

const local = processLayout("gw-0", "127.90.0.50");
const cloud: Layout = {
    machine: "gw-0",
    address: "2001:db8::7",
    localAddress: "127.0.0.1",
    etc: "/etc/gateway",
    lib: "/var/lib/gateway",
    run: "/run/gateway",
    bin: "/opt/gateway/bin",
};

describe("HAProxy's configuration", () => {
    it("is indented, except for the preprocessor's conditions", () => {
        assert.equal(
            haproxyFile({ global: ["a", ".if x", "b", ".endif"], defaults: ["c"] }),
            "global\n    a\n.if x\n    b\n.endif\n\ndefaults\n    c\n",
        );
    });

    it("has IPv6 addresses in brackets", () => {
        assert.equal(endpoint("10.0.0.1", 80), "10.0.0.1:80");
        assert.equal(endpoint("::1", 80), "[::1]:80");
    });
});

describe("the gateway's health endpoint", () => {
    const args = {
        service: { port: 9190, healthCheck: { kind: "thrift", method: "ping", framed: false } },
        haproxyVersion: "2.6",
    } as const;

    it("is rendered as in the golden files", () => {
        for (const file of gatewayHealth(args, local).files) {
            assertGolden(`gatewayHealth/local/${file.path}`, file.content);
        }
        const [config] = gatewayHealth(args, cloud).files;
        assertGolden("gatewayHealth/cloud/haproxy.cfg", config?.content ?? "");
    });

    it("needs no secrets", () => {
        const machine = renderProcess(gatewayHealth(args, local), local);
        assert.deepEqual(machine.services[0]?.argv, ["bin/haproxy", "-db", "-f", "etc/gateway-health/haproxy.cfg"]);
        assert.deepEqual(machine.secrets, []);
    });

    it("tells its URL", () => {
        assert.equal(healthUrl(local), "http://127.90.0.50:9191/health");
        assert.equal(healthUrl(cloud), "http://[2001:db8::7]:9191/health");
        assert.deepEqual(gatewayHealth(args, local).healthChecks, [
            { name: "gateway", probe: { kind: "http", url: "http://127.90.0.50:9191/health", status: 200 } },
        ]);
    });

    it("starts HAProxy with the gateway down", () => {
        const state =
            gatewayHealth(args, local).files.find((file) => file.path.endsWith("initial-state"))?.content ?? "";
        const [version, heading = "", line = ""] = state.split("\n");
        const columns = heading.slice(2).split(" ");
        const field = (name: string) => line.split(" ")[columns.indexOf(name)];
        assert.equal(version, "1");
        assert.equal(field("srv_op_state"), "0");
        // HAProxy applies the port of this file. With 0 it would check port 0.
        assert.equal(field("srv_port"), "9190");
    });
});
