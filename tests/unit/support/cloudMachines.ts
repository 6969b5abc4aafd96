/** Cloud machines as the components compose them, with certificates of the usual size. */
import { createHash } from "node:crypto";
import { serfTags } from "../../../clients/serf";
import { type ArtifactManifest, cloudLayout } from "../../../programs/boot/description";
import { instanceRef, type Layout } from "../../../programs/machine";
import { defaultPolicy } from "../../../replacement/core/policy";
import type { ConsulCluster } from "../../../roles/consul";
import { consulAgent } from "../../../roles/consulAgent";
import { consulServer } from "../../../roles/consulServer";
import { gateway } from "../../../roles/gateway";
import { gatewayHealth, healthUrl } from "../../../roles/gatewayHealth";
import { instanceWatcher } from "../../../roles/instanceWatcher";
import { consulTemplateHaproxy } from "../../../roles/loadBalancer/consulTemplateHaproxy";
import { fabio } from "../../../roles/loadBalancer/fabio";
import { serfHaproxy } from "../../../roles/loadBalancer/serfHaproxy";
import { type CloudInit, type CloudInitArgs, renderCloudInit } from "../../../roles/render/cloudInit";
import { replacer } from "../../../roles/replacer";
import { mergeRoles, type Role } from "../../../roles/role";
import { type SerfCluster, serfAgent } from "../../../roles/serf";
import { pinnedNode } from "../../../toolchain/node";

const sum = (text: string) => createHash("sha256").update(text).digest("hex");

/** Text that compresses as badly as a certificate does. */
function certificate(name: string): string {
    const lines = Array.from({ length: 11 }, (_, line) =>
        createHash("sha512").update(`${name} ${line}`).digest("base64").slice(0, 64),
    );
    return ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n");
}

/** A bundled program. */
export const bundled = (name: string) => ({ file: `${name}-0123.cjs`, sha256: sum(`${name}.cjs`) });

const files = ["node", "consul", "consul-template", "boot.cjs", "consul-acl.cjs", "drain.cjs", "reconciler.cjs"];
const loopFiles = [
    ...["replacer.cjs", "pulumi-resource-pulumi-nodejs", "pulumi", "pulumi-resource-openstack"],
    "pulumi-resource-consul",
];
/** Artifacts with made-up checksums, including those of `bundled`, except for Node. */
export const manifest: ArtifactManifest = {
    artifacts: [
        ...files,
        ...loopFiles,
        "gateway-sample.cjs",
        "instance-watcher.cjs",
        "fabio",
        "serf",
        "serf-members.cjs",
    ].map((name) => ({
        name,
        version: "1",
        // Only the pinned Node is taken.
        sha256: name === "node" ? pinnedNode.sha256.x64 : sum(name),
        size: 1,
    })),
};

const cluster: ConsulCluster = {
    datacenter: "dc1",
    join: ["10.0.0.11", "10.0.1.11", "10.0.2.11"],
    servers: 3,
    caCertificate: certificate("authority"),
    version: "1.22.0",
};
const serf: SerfCluster = { join: ["10.0.0.21", "10.0.1.21"], version: "0.10.2" };
const healthCheck = { kind: "thrift", method: "ping", framed: false } as const;
const haproxyVersion = "2.6";

/** A gateway that names itself by its instance, as in an AutoScaling group. */
export const groupLayout = cloudLayout(`gw-${instanceRef("id")}`, instanceRef("address"));

function gatewayRole(layout: Layout): Role {
    const token = "gatewayAgentToken";
    const service = { name: "gateway-sample", port: 9190, healthCheck };
    const registration = { ...service, healthUrl: healthUrl(layout), token };
    return mergeRoles(
        "gateway",
        consulAgent({ cluster, agentToken: token, registration }, layout),
        gatewayHealth({ service, haproxyVersion }, layout),
        gateway(
            {
                ...service,
                argv: ({ bin, address }) => [`${bin}/node`, `${bin}/gateway-sample.cjs`, `--host=${address}`],
                binaries: [{ name: "gateway-sample.cjs", source: { kind: "bundle", ...bundled("gateway-sample") } }],
                environment: { GREETING: 'a "quoted" $word, 100 %' },
                stopTimeoutSeconds: 30,
                drainBundle: bundled("drain"),
                registry: { kind: "consul", token },
            },
            layout,
        ),
        instanceWatcher(
            {
                drain: ["gateway"],
                health: ["gateway-health"],
                hook: { name: "drain", group: "gateways", region: "us-east-1" },
                bundle: bundled("instance-watcher"),
            },
            layout,
        ),
    );
}

function balancerRole(layout: Layout): Role {
    return mergeRoles(
        "balancer",
        consulAgent({ cluster, agentToken: "balancerAgentToken" }, layout),
        consulTemplateHaproxy(
            {
                service: "gateway-sample",
                datacenter: "dc1",
                port: 9190,
                networks: ["10.0.0.0/16"],
                slots: 16,
                maxConnections: 1000,
                drainSeconds: 30,
                reconcilerBundle: bundled("reconciler"),
                haproxyVersion,
                consulTemplateVersion: "0.41.1",
            },
            layout,
        ),
    );
}

function fabioRole(layout: Layout): Role {
    return mergeRoles(
        "balancer",
        consulAgent({ cluster, agentToken: "balancerAgentToken", defaultToken: "fabioToken" }, layout),
        fabio({ port: 9190, drainSeconds: 30, version: "1.6.3" }, layout),
    );
}

function serfBalancerRole(layout: Layout): Role {
    return mergeRoles(
        "balancer",
        serfAgent({ cluster: serf, tags: serfTags.balancer }, layout),
        serfHaproxy(
            {
                port: 9190,
                networks: ["10.0.0.0/16"],
                slots: 16,
                maxConnections: 1000,
                drainSeconds: 30,
                reconcilerBundle: bundled("reconciler"),
                membersBundle: bundled("serf-members"),
                haproxyVersion,
            },
            layout,
        ),
    );
}

function serfGatewayRole(layout: Layout): Role {
    const service = { name: "gateway-sample", port: 9190, healthCheck };
    return mergeRoles(
        "gateway",
        serfAgent({ cluster: serf, tags: serfTags.gateway(9190) }, layout),
        gatewayHealth({ service, haproxyVersion }, layout),
        gateway(
            {
                ...service,
                argv: ({ bin, address }) => [`${bin}/node`, `${bin}/gateway-sample.cjs`, `--host=${address}`],
                binaries: [{ name: "gateway-sample.cjs", source: { kind: "bundle", ...bundled("gateway-sample") } }],
                environment: {},
                stopTimeoutSeconds: 30,
                drainBundle: bundled("drain"),
                registry: { kind: "serf" },
            },
            layout,
        ),
    );
}

function serverRole(layout: Layout): Role {
    const args = {
        cluster: { ...cluster, join: ["provider=aws tag_key=gateway tag_value=dev region=us-east-1"] },
        certificate: certificate("server"),
        gatewayService: "gateway-sample",
        aclBundle: bundled("consul-acl"),
    };
    return consulServer(args, layout);
}

/** A Consul server on OpenStack, which also runs the replacement loop. */
function loopRole(layout: Layout): Role {
    const loop = replacer(
        {
            settings: {
                target: "openstack",
                consul: {
                    addresses: cluster.join.map((address) => `https://${address}:8501`),
                    service: "gateway-sample",
                },
                balancers: [{ name: "lb-0", url: "http://10.0.0.21:9192/;csv" }],
                stack: "jetstream",
                slots: { typeSuffix: "openstack:compute/instance:Instance", namePrefix: "gw-" },
                policy: defaultPolicy,
            },
            access: { caCertificate: cluster.caCertificate, token: "replacerToken" },
            program: {
                kind: "bundle",
                replacer: bundled("replacer"),
                dynamicProvider: {
                    file: "dynamic-provider-0123.cjs",
                    sha256: sum("pulumi-resource-pulumi-nodejs"),
                },
                pulumi: "3.259.0",
                plugins: { openstack: "3.15.2", consul: "3.15.1" },
                backend: "s3://gateway-state?endpoint=objects.example.org&region=us-east-1",
                cloud: {
                    name: "jetstream2",
                    authUrl: "https://cloud.example.org:5000/v3",
                    credentialId: "0123456789abcdef0123456789abcdef",
                    volumes: false,
                },
            },
        },
        layout,
    );
    return mergeRoles("consul-server", serverRole(layout), loop);
}

/** Every machine: its role and its layout. */
export const roles: Readonly<Record<string, { readonly role: Role; readonly layout: Layout }>> = {
    gateway: { role: gatewayRole(groupLayout), layout: groupLayout },
    balancer: inLayout(balancerRole, cloudLayout("lb-0", "10.0.0.21")),
    "fabio-balancer": inLayout(fabioRole, cloudLayout("lb-0", "10.0.0.21")),
    "serf-balancer": inLayout(serfBalancerRole, cloudLayout("lb-0", "10.0.0.21")),
    "serf-gateway": { role: serfGatewayRole(groupLayout), layout: groupLayout },
    "consul-server": inLayout(serverRole, cloudLayout("consul-0", "10.0.0.11")),
    "consul-server-with-loop": inLayout(loopRole, cloudLayout("consul-0", "10.0.0.11")),
};

function inLayout(make: (layout: Layout) => Role, layout: Layout) {
    return { role: make(layout), layout };
}

/** A machine's user data, with the usual sources unless others are given. */
export function render(name: string, more: Partial<CloudInitArgs> = {}): CloudInit {
    const machine = roles[name];
    if (!machine) throw new Error(`there is no machine ${name}`);
    return renderCloudInit({
        ...machine,
        artifacts: { kind: "url", base: "https://artifacts.example.org/gateway/", manifest },
        secrets: { kind: "ssm", region: "us-east-1", prefix: "/gateway/dev" },
        identity: "ec2",
        boot: bundled("boot"),
        ...more,
    });
}
