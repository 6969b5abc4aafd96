/** Checks that the schema of a single key cannot make: keys that contradict each other, and advice. */

import { instanceTypeProblem } from "./aws";
import type { Path } from "./jsonSchema";
import { LOOP_SECRETS } from "./openstack";
import { keyName, looksSecret, NAMESPACE, type Problem } from "./problems";
import type { ParsedConfig } from "./schema";

/** Ports that every machine reserves, for Serf, Consul, the health endpoint and the balancer's status page. */
export const RESERVED_PORTS: Readonly<Record<number, string>> = {
    7373: "Serf's RPC",
    7946: "Serf's gossip",
    8300: "Consul's servers",
    8301: "Consul's gossip",
    8302: "Consul's gossip between datacenters",
    8500: "Consul's HTTP API",
    8501: "Consul's HTTPS API",
    9191: "the health endpoint",
    9192: "the balancer's status page",
};

/** A problem, with the paths of the values that cause it. */
export interface Finding {
    /** If one of these values is itself in error, the finding is dropped. */
    readonly paths: readonly Path[];
    readonly problem: Problem;
}

/** Every problem in a configuration that is valid by its schema. */
export function contradictions(config: ParsedConfig): Finding[] {
    const found: Finding[] = [];
    const note = (paths: readonly [Path, ...Path[]], message: string, remedy = "") =>
        found.push({ paths, problem: { key: keyName(paths[0]), message, remedy } });
    // For values that the user certainly wrote, whatever else is wrong at the same path.
    const noteAnyway = (path: Path, message: string) =>
        found.push({ paths: [], problem: { key: keyName(path), message, remedy: "" } });

    const { targets, pool, service, discovery, loadBalancer } = config;
    const onLocal = targets.includes("local");
    const onlyLocal = targets.every((target) => target === "local");

    for (const target of new Set(targets)) {
        const times = targets.filter((other) => other === target).length;
        if (times > 1) noteAnyway(["targets"], `got ${target} ${times} times; allowed: each target once`);
    }

    const { install, argv, healthCheck } = service;
    if (install.kind === "sample") {
        if (argv.length > 0) {
            note(
                [
                    ["service", "argv"],
                    ["service", "install"],
                ],
                "got a command line, but install.kind is sample, which has its own",
                `pulumi config rm --path '${NAMESPACE}:service.argv'`,
            );
        }
        if (healthCheck.kind === "http") {
            note(
                [
                    ["service", "healthCheck"],
                    ["service", "install"],
                ],
                "got kind http, but install.kind is sample, which speaks Thrift only; allowed: thrift or tcp",
            );
        }
        if (healthCheck.kind === "thrift" && healthCheck.method !== "ping") {
            note(
                [
                    ["service", "healthCheck", "method"],
                    ["service", "install"],
                ],
                `got ${JSON.stringify(healthCheck.method)}, but install.kind is sample; allowed: ping`,
            );
        }
    } else if ((argv[0] ?? "") === "") {
        note(
            [
                ["service", "argv"],
                ["service", "install"],
            ],
            `not set, but install.kind is ${install.kind}; allowed: the command line as a list of strings, the program first`,
            `pulumi config set --path '${NAMESPACE}:service.argv[0]' bin/server`,
        );
    }
    if (install.kind === "image" && onLocal) {
        note(
            [["service", "install", "kind"], ["targets"]],
            "got image, which target local cannot run, because it has no container runtime; allowed: sample, archive or prebaked",
        );
    }
    if (service.name === "consul") {
        note([["service", "name"]], "got consul, the name of Consul's own service; allowed: another name");
    }

    for (const [path, port] of [
        [["service", "port"], service.port],
        [["loadBalancer", "port"], loadBalancer.port],
    ] as const) {
        const owner = RESERVED_PORTS[port];
        if (owner !== undefined) {
            note(
                [path],
                `got ${port}, the port of ${owner}; allowed: any but ${Object.keys(RESERVED_PORTS).join(", ")}`,
            );
        }
    }

    if (loadBalancer.slots !== undefined && loadBalancer.slots < pool.size) {
        note(
            [
                ["loadBalancer", "slots"],
                ["pool", "size"],
            ],
            `got ${loadBalancer.slots}; allowed: ${pool.size} or more, because pool.size is ${pool.size}`,
            `pulumi config set --path '${NAMESPACE}:loadBalancer.slots' ${slotsFor(pool.size)}`,
        );
    }
    const { softObservers } = config.replacement;
    const withConsul = loadBalancer.stack !== "serf-haproxy";
    const observers = (withConsul ? 1 : 0) + loadBalancer.balancers;
    if (softObservers !== undefined && softObservers > observers) {
        note(
            [
                ["replacement", "softObservers"],
                ["loadBalancer", "balancers"],
                ["loadBalancer", "stack"],
            ],
            `got ${softObservers}; allowed: a whole number from 1 to ${observers}, for ${withConsul ? "Consul and each balancer" : "each balancer"}`,
            `pulumi config set --path '${NAMESPACE}:replacement.softObservers' ${Math.min(2, observers)}`,
        );
    }
    if (discovery.servers === 1 && withConsul && !onlyLocal) {
        note(
            [["discovery", "servers"], ["targets"], ["loadBalancer", "stack"]],
            "got 1; allowed: 3 or 5, because not every target is local",
        );
    }
    if (loadBalancer.balancers === 1 && !onlyLocal) {
        note(
            [["loadBalancer", "balancers"], ["targets"]],
            "got 1; allowed: a whole number from 2 to 5, because not every target is local",
        );
    }
    if (targets.includes("aws")) found.push(...awsContradictions(config));
    if (targets.includes("openstack")) found.push(...openstackContradictions(config));
    if (!onlyLocal && !config.image.prebaked && config.image.artifacts === undefined) {
        note(
            [["image", "artifacts"], ["image", "prebaked"], ["targets"]],
            "not set, but not every target is local; allowed: a URL: http:// or https://, or gateway:image.prebaked",
            `pulumi config set --path '${NAMESPACE}:image.artifacts' https://artifacts.example.org/gateway`,
        );
    }
    return found;
}

/** Contradictions in the settings of target aws. */
function awsContradictions({ aws, pool, service, loadBalancer, image }: ParsedConfig): Finding[] {
    const found: Finding[] = [];
    const note = (paths: readonly [Path, ...Path[]], message: string, remedy = "") =>
        found.push({ paths, problem: { key: keyName(paths[0]), message, remedy } });
    const { region, network } = aws;
    if (region === undefined) {
        note(
            [["aws", "region"], ["targets"]],
            "not set; allowed: a region of AWS",
            `pulumi config set --path '${NAMESPACE}:aws.region' eu-central-1`,
        );
    }
    if (network.kind === "own") {
        const { zones } = network;
        const path: Path = ["aws", "network", "zones"];
        if (zones === undefined) {
            note(
                [path, ["targets"]],
                "not set; allowed: a list of 2 to 6 availability zones of the region",
                `pulumi config set --path '${NAMESPACE}:aws.network.zones[0]' ${region ?? "eu-central-1"}a`,
            );
        } else {
            noteRepetitions(path, zones);
            for (const [index, zone] of zones.entries()) {
                if (region !== undefined && !zone.startsWith(region)) {
                    note(
                        [
                            [...path, index],
                            ["aws", "region"],
                        ],
                        `got ${zone}; allowed: a zone of ${region}`,
                    );
                }
            }
        }
    } else {
        noteRepetitions(["aws", "network", "subnetIds"], network.subnetIds);
    }
    for (const [index, type] of aws.instanceTypes.entries()) noteType(["aws", "instanceTypes", index], type);
    noteType(["aws", "fixedInstanceType"], aws.fixedInstanceType);
    noteRepetitions(["aws", "instanceTypes"], aws.instanceTypes);
    if (aws.spotMaxPrice !== undefined && !aws.spot) {
        note(
            [
                ["aws", "spotMaxPrice"],
                ["aws", "spot"],
            ],
            "set, but spot is false",
            `pulumi config rm --path '${NAMESPACE}:aws.spotMaxPrice'`,
        );
    }
    const largest = aws.targetTracking?.maxSize ?? pool.size;
    if (aws.targetTracking && largest < pool.size) {
        note(
            [
                ["aws", "targetTracking", "maxSize"],
                ["pool", "size"],
            ],
            `got ${largest}; allowed: ${pool.size} or more, because pool.size is ${pool.size}`,
        );
    }
    if (aws.targetTracking && loadBalancer.slots !== undefined && loadBalancer.slots < largest) {
        note(
            [
                ["loadBalancer", "slots"],
                ["aws", "targetTracking", "maxSize"],
            ],
            `got ${loadBalancer.slots}; allowed: ${largest} or more, because aws.targetTracking.maxSize is ${largest}`,
        );
    }
    if (image.prebaked && aws.imageId === undefined) {
        note(
            [
                ["aws", "imageId"],
                ["image", "prebaked"],
            ],
            "not set, but image.prebaked is true; allowed: the id of the image that you built (docs/images.md), ami-…",
        );
    }
    if (service.install.kind === "image") {
        note(
            [["service", "install", "kind"], ["targets"]],
            "got image, which target aws cannot run in this version; allowed: sample, archive or prebaked",
        );
    }
    if (service.install.kind === "prebaked" && aws.imageId === undefined) {
        note(
            [
                ["aws", "imageId"],
                ["service", "install", "kind"],
            ],
            "not set, but service.install.kind is prebaked; allowed: the id of the image that holds the server, ami-…",
        );
    }
    return found;

    function noteRepetitions(path: Path, list: readonly string[]): void {
        const again = new Set(list.filter((item, index) => list.indexOf(item) !== index));
        if (again.size > 0) note([path], `got ${[...again].join(" and ")} more than once; allowed: each once`);
    }

    function noteType(path: Path, type: string): void {
        const problem = instanceTypeProblem(type);
        if (problem !== undefined) {
            note([path], `got ${type}: ${problem}; allowed: an x86-64 instance type such as t3.small`);
        }
    }
}

/** Whether a URL sends what it carries in plain text to another host. */
function isPlain(url: string | undefined): boolean {
    if (url === undefined || !URL.canParse(url)) return false;
    const { protocol, hostname } = new URL(url);
    return protocol === "http:" && !/^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
}

/** The URL of the storage behind a state's backend; undefined for Amazon's, which has TLS. As the engine understands it. */
function storageUrl(backend: string): string | undefined {
    if (!URL.canParse(backend)) return undefined;
    const { searchParams } = new URL(backend);
    const endpoint = searchParams.get("endpoint");
    const isOff = ["disableSSL", "disable_https"].some((name) => searchParams.get(name) === "true");
    if (endpoint === null) return isOff ? "http://s3.amazonaws.com" : undefined;
    return endpoint.includes("://") ? endpoint : `${isOff ? "http" : "https"}://${endpoint}`;
}

/** Contradictions in the settings of target openstack. */
function openstackContradictions({ openstack, service, replacement, secrets }: ParsedConfig): Finding[] {
    const found: Finding[] = [];
    const note = (paths: readonly [Path, ...Path[]], message: string, remedy = "") =>
        found.push({ paths, problem: { key: keyName(paths[0]), message, remedy } });
    const missing = (key: string, why: string, allowed: string, example: string, ...because: Path[]) =>
        note(
            [["openstack", key], ["targets"], ...because],
            `not set${why}; allowed: ${allowed}`,
            `pulumi config set --path '${NAMESPACE}:openstack.${key}' ${example}`,
        );
    const { cloud, network, externalNetwork, floatingIp, flavor, imageId, loop } = openstack;
    if (cloud === undefined) missing("cloud", "", "the name of a cloud in clouds.yaml", "openstack");
    if (flavor === undefined) missing("flavor", "", "the name of a flavor", "m1.small");
    if (imageId === undefined) {
        missing("imageId", "", "the id of an image, a UUID", '"$(openstack image show NAME -f value -c id)"');
    }
    if (externalNetwork === undefined && (network.kind === "own" || floatingIp)) {
        const why = network.kind === "own" ? "the network is the deployment's own" : "openstack.floatingIp is true";
        missing(
            "externalNetwork",
            `, but ${why}`,
            "the name of an external network",
            "public",
            ["openstack", "network"],
            ["openstack", "floatingIp"],
        );
    }
    if (service.install.kind === "image") {
        note(
            [["service", "install", "kind"], ["targets"]],
            "got image, which target openstack cannot run in this version; allowed: sample, archive or prebaked",
        );
    }
    if (replacement.enabled) {
        const because: Path[] = [["replacement", "enabled"], ["targets"]];
        if (loop === undefined) {
            note(
                [["openstack", "loop"], ...because],
                "not set, but the replacement loop runs on the machines; allowed: a map with the keys authUrl, credentialId and stateBackend, or replacement.enabled: false",
            );
        }
        if (loop && !loop.allowPlainHttp) {
            const why = "but everybody on the way could read the loop's secrets";
            const remedy = `pulumi config set --path '${NAMESPACE}:openstack.loop.allowPlainHttp' true, if it is meant so`;
            const allowed = "allowed: https://, http:// to a loopback address, or openstack.loop.allowPlainHttp: true";
            if (isPlain(loop.authUrl)) {
                note([["openstack", "loop", "authUrl"]], `goes over http://, ${why}; ${allowed}`, remedy);
            }
            if (isPlain(storageUrl(loop.stateBackend))) {
                note([["openstack", "loop", "stateBackend"]], `is reached over http://, ${why}; ${allowed}`, remedy);
            }
        }
        for (const name of LOOP_SECRETS) {
            if (secrets[name] !== undefined) continue;
            note(
                [["secrets", name], ...because],
                "not set, but the replacement loop runs on the machines; allowed: a string, set with --secret",
                `pulumi config set --secret --path '${NAMESPACE}:secrets.${name}'`,
            );
        }
    }
    return found;
}

/** The default number of a balancer's slots: room for old and new gateways at once, and for some growth. */
export const slotsFor = (poolSize: number): number => Math.max(16, 2 * poolSize);

/** Warnings about settings that are allowed but unwise. */
export function advice(config: ParsedConfig): string[] {
    const { targets, pool, service, discovery, loadBalancer } = config;
    const withConsul = loadBalancer.stack !== "serf-haproxy";
    const warnings: string[] = [];
    const warn = (path: Path, message: string) => warnings.push(`${keyName(path)}: ${message}`);

    if (pool.size === 1) warn(["pool", "size"], "1 leaves no spare: every call fails while the gateway is replaced");
    for (const name of Object.keys(service.environment).filter(looksSecret)) {
        warn(
            ["service", "environment", name],
            "looks like a secret; it is stored in plain text in the stack's state and on each machine",
        );
    }
    if (service.healthCheck.kind === "tcp") {
        warn(
            ["service", "healthCheck"],
            "tcp passes a process that hangs, because the kernel accepts connections for it; thrift notices that",
        );
    }
    if (discovery.servers === 1 && withConsul) {
        warn(["discovery", "servers"], "1 is a single point of failure: while it is down, balancers see no change");
    }
    if (loadBalancer.balancers === 1) {
        warn(["loadBalancer", "balancers"], "1 is a single point of failure: while it is down, every call fails");
    }
    const { maxGone } = config.replacement;
    if (maxGone !== undefined && maxGone >= pool.size && pool.size > 1) {
        warn(
            ["replacement", "maxGone"],
            `${maxGone} lets the loop take all ${pool.size} gateways out of service at once`,
        );
    }
    if (config.replacement.enabled && targets.length > 1 && targets.includes("openstack")) {
        warn(
            ["targets"],
            "the replacement loop does not run on OpenStack if the stack has several targets, because it would need the rights for all of them; use a separate stack for openstack",
        );
    }
    if (targets.includes("local")) {
        for (const [path, port] of [
            [["service", "port"], service.port],
            [["loadBalancer", "port"], loadBalancer.port],
        ] as const) {
            if (port < 1024) warn(path, `on target local, only a privileged user can listen on port ${port}`);
        }
    }
    if (targets.includes("aws")) {
        const { clientCidrs, clientPrefixLists, internetFacing, network, emulator } = config.aws;
        if (clientCidrs.length + clientPrefixLists.length === 0) {
            warn(["aws", "clientCidrs"], "empty: nobody outside the deployment may call the gateway");
        }
        if (clientCidrs.includes("0.0.0.0/0")) {
            warn(
                ["aws", "clientCidrs"],
                `0.0.0.0/0 lets ${internetFacing ? "the whole internet" : "every neighbouring network"} call the gateway`,
            );
        }
        const zones = network.kind === "own" ? network.zones?.length : network.subnetIds.length;
        const majority = Math.floor(discovery.servers / 2) + 1;
        if (withConsul && zones !== undefined && discovery.servers - Math.ceil(discovery.servers / zones) < majority) {
            warn(
                ["aws", "network"],
                `${zones} zones for ${discovery.servers} Consul servers: if the zone with the most servers fails, Consul loses its majority`,
            );
        }
        if (emulator) warn(["aws", "emulator"], "set: nothing is created at AWS");
    }
    if (targets.includes("openstack")) {
        const { clientCidrs, floatingIp, frontend } = config.openstack;
        if (clientCidrs.length === 0) {
            warn(["openstack", "clientCidrs"], "empty: nobody outside the deployment may call the gateway");
        }
        if (clientCidrs.includes("0.0.0.0/0")) {
            warn(
                ["openstack", "clientCidrs"],
                `0.0.0.0/0 lets ${floatingIp ? "the whole internet" : "every neighbouring network"} call the gateway`,
            );
        }
        if (frontend.kind === "keepalived" && loadBalancer.balancers > 2) {
            warn(
                ["loadBalancer", "balancers"],
                `${loadBalancer.balancers} balancers share one address, which one of them holds at a time; the others stand by`,
            );
        }
    }
    return warnings;
}
