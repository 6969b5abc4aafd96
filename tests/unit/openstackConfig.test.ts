import * as assert from "node:assert/strict";
import { ConfigError, parseConfig } from "../../config";
import { loopSecrets } from "./support/openstackStack";

const loop = {
    authUrl: "https://cloud.example.org:5000/v3",
    credentialId: "0123456789abcdef0123456789abcdef",
    stateBackend: "s3://gateway-state?region=us-east-1",
};

/** The smallest valid configuration of a deployment to OpenStack. */
const least = {
    targets: ["openstack"],
    image: { artifacts: "https://artifacts.example.org/gateway" },
    openstack: {
        cloud: "lab",
        imageId: "00000000-0000-4000-8000-000000000000",
        flavor: "m1.small",
        externalNetwork: "public",
        loop,
    },
    secrets: loopSecrets,
};

const openstack = (changes: Record<string, unknown>) => ({ ...least, openstack: { ...least.openstack, ...changes } });
const secretKeys = ["secrets"];

/** The error that some settings give. */
function errorOf(raw: Record<string, unknown>, surroundings: Parameters<typeof parseConfig>[1] = { secretKeys }) {
    try {
        parseConfig(raw, surroundings);
    } catch (error) {
        assert.ok(error instanceof ConfigError);
        return error;
    }
    return undefined;
}

/** The problems of some settings, each as `key: message`. */
const problems = (raw: Record<string, unknown>) =>
    errorOf(raw)?.problems.map(({ key, message }) => `${key}: ${message}`) ?? [];

const given = {
    kind: "given",
    networkId: "00000000-0000-4000-8000-000000000001",
    subnetId: "00000000-0000-4000-8000-000000000002",
};

describe("the configuration of target openstack", () => {
    it("refuses to send the loop's secrets in plain text, unless it is said twice", () => {
        const of = (changes: object) => problems(openstack({ loop: { ...loop, ...changes } }));
        const why =
            "but everybody on the way could read the loop's secrets; allowed: https://, http:// to a loopback address, or openstack.loop.allowPlainHttp: true";
        const login = `gateway:openstack.loop.authUrl: goes over http://, ${why}`;
        const state = `gateway:openstack.loop.stateBackend: is reached over http://, ${why}`;
        assert.deepEqual(of({ authUrl: "http://cloud.example.org:5000/v3" }), [login]);
        for (const stateBackend of [
            "s3://b?endpoint=http://o.example.org",
            "s3://b?endpoint=o.example.org:9000&disableSSL=true",
            "s3://b?endpoint=o.example.org&disable_https=true",
            "s3://b?region=us-east-1&disableSSL=true",
            // A name that only begins like a loopback address.
            "s3://b?endpoint=http://127.0.0.1.example.org",
        ]) {
            assert.deepEqual(of({ stateBackend }), [state], stateBackend);
            assert.deepEqual(of({ stateBackend, allowPlainHttp: true }), []);
        }
        assert.deepEqual(of({ authUrl: "http://c/v3", stateBackend: "s3://b?endpoint=http://o" }), [login, state]);
        for (const host of ["localhost", "127.0.0.1:5000", "127.90.0.1", "[::1]:5000"]) {
            assert.deepEqual(of({ authUrl: `http://${host}/v3`, stateBackend: `s3://b?endpoint=http://${host}` }), []);
        }
        assert.deepEqual(of({ stateBackend: "s3://b?endpoint=o.example.org&s3ForcePathStyle=true" }), []);
    });

    it("needs a cloud, an image, a flavor, an external network, the artifacts' URL, and the loop's settings", () => {
        assert.deepEqual(problems(least), []);
        const noSecret = "not set, but the replacement loop runs on the machines; allowed: a string, set with --secret";
        assert.deepEqual(problems({ targets: ["openstack"] }), [
            "gateway:image.artifacts: not set, but not every target is local; allowed: a URL: http:// or https://, or gateway:image.prebaked",
            "gateway:openstack.cloud: not set; allowed: the name of a cloud in clouds.yaml",
            "gateway:openstack.externalNetwork: not set, but the network is the deployment's own; allowed: the name of an external network",
            "gateway:openstack.flavor: not set; allowed: the name of a flavor",
            "gateway:openstack.imageId: not set; allowed: the id of an image, a UUID",
            "gateway:openstack.loop: not set, but the replacement loop runs on the machines; allowed: a map with the keys authUrl, credentialId and stateBackend, or replacement.enabled: false",
            `gateway:secrets.replacerCredentialSecret: ${noSecret}`,
            `gateway:secrets.replacerPassphrase: ${noSecret}`,
            `gateway:secrets.replacerStateAccess: ${noSecret}`,
            `gateway:secrets.replacerStateSecret: ${noSecret}`,
        ]);
    });

    it("gives the command that corrects each of these", () => {
        assert.deepEqual(
            errorOf({ targets: ["openstack"] })?.problems.map(({ remedy }) => remedy),
            [
                "pulumi config set --path 'gateway:image.artifacts' https://artifacts.example.org/gateway",
                "pulumi config set --path 'gateway:openstack.cloud' openstack",
                "pulumi config set --path 'gateway:openstack.externalNetwork' public",
                "pulumi config set --path 'gateway:openstack.flavor' m1.small",
                "pulumi config set --path 'gateway:openstack.imageId' \"$(openstack image show NAME -f value -c id)\"",
                "",
                ...["CredentialSecret", "Passphrase", "StateAccess", "StateSecret"].map(
                    (name) => `pulumi config set --secret --path 'gateway:secrets.replacer${name}'`,
                ),
            ],
        );
    });

    it("needs none of these on other targets, and no settings of a loop that does not run", () => {
        assert.deepEqual(problems({ targets: ["local"] }), []);
        const { loop: _, ...without } = least.openstack;
        assert.deepEqual(problems({ ...least, openstack: without, secrets: {}, replacement: { enabled: false } }), []);
    });

    it("needs no external network in a given network without a floating IP", () => {
        const { externalNetwork: _, ...without } = least.openstack;
        assert.deepEqual(problems({ ...least, openstack: { ...without, network: given, floatingIp: false } }), []);
        assert.deepEqual(problems({ ...least, openstack: { ...without, network: given } }), [
            "gateway:openstack.externalNetwork: not set, but openstack.floatingIp is true; allowed: the name of an external network",
        ]);
    });

    it("lists everything that is wrong in one error", () => {
        const wrong = {
            ...openstack({
                imageId: "Featured-Ubuntu24",
                network: { kind: "own", cidr: "10.0.0.0/25" },
                serverGroupPolicy: "affinity",
                frontend: { kind: "keepalived", virtualRouterId: 0 },
                loop: { ...loop, stateBackend: "file:///state" },
            }),
            pool: { size: 0 },
        };
        assert.deepEqual(problems(wrong), [
            "gateway:pool.size: got 0; allowed: a whole number from 1 to 200",
            "gateway:openstack.frontend.virtualRouterId: got 0; allowed: a whole number from 1 to 255",
            'gateway:openstack.imageId: got "Featured-Ubuntu24"; allowed: the id of an image, a UUID',
            'gateway:openstack.loop.stateBackend: got "file:///state"; allowed: the URL of a bucket, s3://BUCKET?endpoint=HOST:PORT&…',
            'gateway:openstack.network.cidr: got "10.0.0.0/25"; allowed: an IPv4 network from /16 to /24',
            'gateway:openstack.serverGroupPolicy: got "affinity"; allowed: soft-anti-affinity or anti-affinity',
        ]);
    });

    const refused: readonly [string, Record<string, unknown>, string][] = [
        [
            "a given network without its subnet",
            openstack({ network: { kind: "given", networkId: given.networkId } }),
            "openstack.network.subnetId: not set; allowed: the id of a subnet, a UUID",
        ],
        [
            "a name server that is not an address",
            openstack({ network: { kind: "own", dnsServers: ["dns.example.org"] } }),
            'openstack.network.dnsServers[0]: got "dns.example.org"; allowed: an IPv4 address',
        ],
        [
            "a client network without a prefix length",
            openstack({ clientCidrs: ["10.0.0.0"] }),
            'openstack.clientCidrs[0]: got "10.0.0.0"; allowed: an IPv4 network such as 203.0.113.0/24',
        ],
        [
            "something that is not an application credential",
            openstack({ loop: { ...loop, credentialId: "me" } }),
            'openstack.loop.credentialId: got "me"; allowed: the id of an application credential, 32 hexadecimal digits',
        ],
        [
            "a single balancer",
            { ...least, loadBalancer: { balancers: 1 } },
            "loadBalancer.balancers: got 1; allowed: a whole number from 2 to 5, because not every target is local",
        ],
        [
            "a container image",
            {
                ...least,
                service: { install: { kind: "image", reference: "registry.example.org/server:1" }, argv: ["server"] },
            },
            "service.install.kind: got image, which target openstack cannot run in this version; allowed: sample, archive or prebaked",
        ],
        [
            "a secret that does not exist",
            { ...least, secrets: { ...loopSecrets, replacerToken: "x" } },
            "secrets.replacerToken: no such key; allowed: the keys replacerPassphrase, replacerCredentialSecret, replacerStateAccess and replacerStateSecret",
        ],
    ];
    for (const [what, raw, message] of refused) {
        it(`refuses ${what}`, () => assert.deepEqual(problems(raw), [`gateway:${message}`]));
    }

    it("accepts every load balancing stack", () => {
        for (const stack of ["consul-template-haproxy", "fabio", "serf-haproxy"])
            assert.deepEqual(problems({ ...least, loadBalancer: { stack } }), [], stack);
    });

    it("accepts its secrets only as secrets, shows none of them, and accepts no other key as a secret", () => {
        const plain = errorOf(least, {});
        assert.deepEqual(
            plain?.problems.map(({ key, remedy }) => [key, remedy]),
            [
                [
                    "gateway:secrets",
                    "pulumi config rm gateway:secrets, then for each: pulumi config set --secret --path 'gateway:secrets.NAME'",
                ],
            ],
        );
        const wrong = errorOf({ ...least, secrets: { ...loopSecrets, replacerPassphrase: ["hidden value"] } });
        const text = `${plain?.message}${wrong?.message}`;
        for (const value of [...Object.values(loopSecrets), "hidden value"]) assert.ok(!text.includes(value), value);
        assert.match(
            errorOf(least, { secretKeys: ["secrets", "openstack"] })?.message ?? "",
            /gateway:openstack: holds a secret value/,
        );
    });

    it("warns about settings that are allowed but unwise", () => {
        const warnings = (raw: Record<string, unknown>) => parseConfig(raw, { secretKeys }).warnings;
        assert.deepEqual(warnings(least), [
            "gateway:openstack.clientCidrs: empty: nobody outside the deployment may call the gateway",
        ]);
        assert.deepEqual(warnings({ ...openstack({ clientCidrs: ["0.0.0.0/0"] }), loadBalancer: { balancers: 3 } }), [
            "gateway:openstack.clientCidrs: 0.0.0.0/0 lets the whole internet call the gateway",
            "gateway:loadBalancer.balancers: 3 balancers share one address, which one of them holds at a time; the others stand by",
        ]);
    });
});
