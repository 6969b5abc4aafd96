/**
 * The configuration of a stack: everything that the program is told, read in one place.
 *
 * Nothing else reads `pulumi.Config`. Each mistake, wherever it is, is reported in one {@link ConfigError} with its key,
 * what was given, what is allowed, and how to put it right.
 */
import * as pulumi from "@pulumi/pulumi";
import type { PolicyOverrides } from "../replacement/policy";
import type { HealthCheck } from "../roles/healthCheck";
import { advice, contradictions, slotsFor } from "./config/checks";
import {
    inSchemaOrder,
    isUnreliable,
    NAMESPACE,
    namespaceProblem,
    type Problem,
    readAgainstSchema,
} from "./config/problems";
import type { ParsedConfig } from "./config/schema";

export type { Problem } from "./config/problems";

/** Where a deployment runs. */
export type Target = ParsedConfig["targets"][number];

/** How the pool's members are found and balanced. */
export type LoadBalancerStack = ParsedConfig["loadBalancer"]["stack"];

/** How the server that the pool runs gets onto a machine. */
export type Install = Readonly<ParsedConfig["service"]["install"]>;

/** What only target `aws` needs, as its user says it; `region`, and an own network's `zones`, are there when it is a target. */
export type AwsConfig = Readonly<ParsedConfig["aws"]>;

/** What only target `openstack` needs, as its user says it; what has to be set is there when it is a target. */
export type OpenstackConfig = Readonly<ParsedConfig["openstack"]>;

/** Where machines of a cloud have their programs from. */
export type ImageConfig = Readonly<ParsedConfig["image"]>;

/** The server that the pool runs. */
export interface GatewayService {
    /** Its name in Consul's catalog, a DNS label. */
    readonly name: string;
    /** The TCP port on which it speaks Thrift. */
    readonly port: number;
    readonly install: Install;
    /** Its command line; empty when the install is the sample, which has its own. */
    readonly argv: readonly string[];
    readonly environment: Readonly<Record<string, string>>;
    readonly healthCheck: HealthCheck;
    /** The most connections that one balancer opens to one gateway. */
    readonly maxConnections: number;
    /** Seconds between SIGTERM and SIGKILL. */
    readonly stopTimeoutSeconds: number;
}

/** A stack's configuration, valid, with every default filled in. */
export interface GatewayConfig {
    /** At least one, without repetition. */
    readonly targets: readonly Target[];
    /** How many gateways run. */
    readonly poolSize: number;
    readonly service: GatewayService;
    /** How many Consul servers run. */
    readonly discoveryServers: 1 | 3 | 5;
    /** Consul's datacenter. */
    readonly datacenter: string;
    readonly loadBalancerStack: LoadBalancerStack;
    /** How many balancers run. */
    readonly balancers: number;
    /** The TCP port to which clients connect. */
    readonly balancerPort: number;
    /** How many gateways a balancer has room for; never less than {@link poolSize}. */
    readonly balancerSlots: number;
    /** How long, in seconds, calls in flight may go on once their gateway is taken out of a balancer. */
    readonly drainSeconds: number;
    /** Whether the replacement loop runs. */
    readonly replacementEnabled: boolean;
    /** What of the replacement loop's policy is not the target's default. */
    readonly replacementPolicy: ReplacementPolicyConfig;
    readonly image: ImageConfig;
    readonly aws: AwsConfig;
    readonly openstack: OpenstackConfig;
    /** Values of `gateway:secrets` by their names. Not to be shown, nor to become an input that is not secret. */
    readonly secrets: Readonly<Record<string, string>>;
    /** The /24 of loopback addresses on target `local`, such as `127.90.0.0/24`. */
    readonly localNetwork: string;
    /** Whether `@pulumi/consul` resources are made. */
    readonly consulObjects: boolean;
}

/** What a stack says of the replacement loop's policy; the rest is its target's default. */
export type ReplacementPolicyConfig = PolicyOverrides;

/** A configuration that is wrong; its message lists every problem. Pulumi prints it without a stack trace. */
export class ConfigError extends pulumi.RunError {
    override readonly name = "ConfigError";

    /**
     * @param problems at least one.
     * @param stack the stack's name, for the heading.
     */
    constructor(
        readonly problems: readonly Problem[],
        stack?: string,
    ) {
        const where = stack === undefined ? "The configuration" : `The configuration of stack ${stack}`;
        const heading = `${where} has ${problems.length === 1 ? "1 problem" : `${problems.length} problems`}; nothing was deployed.`;
        const file = `Pulumi.${stack ?? "STACK"}.yaml`;
        const body = problems.map(
            ({ key, message, remedy }) => `  ${key}: ${message}${remedy === "" ? "" : `\n      ${remedy}`}`,
        );
        super([heading, ...body, `Correct ${file}, or use the commands above. All keys: docs/config.md`].join("\n"));
    }
}

/** What of a stack's settings is not a key of ours. */
export interface Surroundings {
    /** The stack's name, for messages. */
    readonly stack?: string;
    /** Whole keys of other namespaces, among which a misspelt `gateway:` is looked for. */
    readonly otherKeys?: readonly string[];
    /** Our top-level keys that hold a secret value. */
    readonly secretKeys?: readonly string[];
}

/**
 * Reads a configuration, without Pulumi.
 *
 * @param raw the values by their top-level key (`pool`, `service`, ...). Texts of digits are taken for numbers, and `true`
 *   and `false` for booleans, where those are wanted.
 * @returns the configuration, and what is worth a second thought in it.
 * @throws ConfigError with every problem.
 */
export function parseConfig(
    raw: Readonly<Record<string, unknown>>,
    { stack, otherKeys = [], secretKeys = [] }: Surroundings = {},
): { config: GatewayConfig; warnings: string[] } {
    if (typeof raw !== "object" || raw === null || Array.isArray(raw)) {
        throw new ConfigError([{ key: NAMESPACE, message: "got no map; allowed: a map of keys", remedy: "" }], stack);
    }
    // A single target may be written without a list.
    const values: Readonly<Record<string, unknown>> =
        typeof raw.targets === "string" && raw.targets !== "" ? { ...raw, targets: [raw.targets] } : raw;
    const { config, problems, unreliable } = readAgainstSchema(values, secretKeys);
    const found = (config === undefined ? [] : contradictions(config)).filter(
        ({ paths }) => !paths.some((path) => isUnreliable(unreliable, path)),
    );
    const all = inSchemaOrder([
        ...otherKeys.map(namespaceProblem).filter((problem) => problem !== undefined),
        ...secretKeys.filter((name) => name !== SECRETS).map(secretProblem),
        ...(isEmpty(values[SECRETS]) || secretKeys.includes(SECRETS) ? [] : [plainProblem()]),
        ...problems,
        ...found.map(({ problem }) => problem),
    ]);
    if (config === undefined || all.length > 0) throw new ConfigError(all, stack);
    return { config: flat(config), warnings: advice(config) };
}

/** The key whose values are secrets. */
const SECRETS = "secrets";

const isEmpty = (value: unknown) =>
    value === undefined || (typeof value === "object" && value !== null && Object.keys(value).length === 0);

function plainProblem(): Problem {
    return {
        key: `${NAMESPACE}:${SECRETS}`,
        message: "holds its values in plain; allowed: values that were set with --secret",
        remedy: `pulumi config rm ${NAMESPACE}:${SECRETS}, then for each: pulumi config set --secret --path '${NAMESPACE}:${SECRETS}.NAME'`,
    };
}

function secretProblem(name: string): Problem {
    return {
        key: `${NAMESPACE}:${name}`,
        message: "holds a secret value, which would be stored in plain on the machines; allowed: no secrets",
        remedy: `pulumi config rm ${NAMESPACE}:${name}`,
    };
}

function flat(config: ParsedConfig): GatewayConfig {
    const { enabled, ...overrides } = config.replacement;
    return {
        targets: config.targets,
        poolSize: config.pool.size,
        service: config.service,
        discoveryServers: config.discovery.servers,
        datacenter: config.discovery.datacenter,
        loadBalancerStack: config.loadBalancer.stack,
        balancers: config.loadBalancer.balancers,
        balancerPort: config.loadBalancer.port,
        balancerSlots:
            config.loadBalancer.slots ?? slotsFor(Math.max(config.pool.size, config.aws.targetTracking?.maxSize ?? 0)),
        drainSeconds: config.loadBalancer.drainSeconds,
        replacementEnabled: enabled,
        replacementPolicy: overrides,
        image: config.image,
        aws: config.aws,
        openstack: config.openstack,
        secrets: config.secrets,
        localNetwork: config.local.network,
        consulObjects: config.consulObjects,
    };
}

/**
 * Reads the configuration of the running stack and logs its warnings.
 *
 * @throws ConfigError with every problem.
 */
export function loadConfig(): GatewayConfig {
    const raw: Record<string, unknown> = {};
    const otherKeys: string[] = [];
    const secretKeys: string[] = [];
    for (const [key, text] of Object.entries<string>(pulumi.runtime.allConfig())) {
        if (!key.startsWith(`${NAMESPACE}:`)) {
            otherKeys.push(key);
            continue;
        }
        const name = key.slice(NAMESPACE.length + 1);
        Object.defineProperty(raw, name, { value: decoded(text), enumerable: true });
        if (isSecret(key)) secretKeys.push(name);
    }
    const { config, warnings } = parseConfig(raw, { stack: pulumi.getStack(), otherKeys, secretKeys });
    for (const warning of warnings) void pulumi.log.warn(warning);
    return config;
}

/** The SDK's own test for secret settings, which it keeps out of its declarations. */
function isSecret(key: string): boolean {
    return (pulumi.runtime as { isConfigSecret?: (key: string) => boolean }).isConfigSecret?.(key) === true;
}

/** Pulumi hands over maps and lists as JSON and everything else as plain text. */
function decoded(text: string): unknown {
    if (!/^\s*[[{]/.test(text)) return text;
    try {
        return JSON.parse(text);
    } catch {
        return text;
    }
}
