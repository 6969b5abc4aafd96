/**
 * The configuration of a stack, read in one place.
 *
 * Nothing else reads `pulumi.Config`. One {@link ConfigError} reports every mistake, each with its key, the value, what
 * is allowed, and the command that corrects it.
 */
import * as pulumi from "@pulumi/pulumi";
import type { PolicyOverrides } from "../replacement/core/policy";
import type { CheckSettings, HealthCheck } from "../roles/healthCheck";
import { advice, contradictions, slotsFor } from "./checks";
import { inSchemaOrder, isUnreliable, NAMESPACE, namespaceProblem, type Problem, readAgainstSchema } from "./problems";
import type { ParsedConfig } from "./schema";

export type { Problem } from "./problems";

/** Where a deployment runs. */
export type Target = ParsedConfig["targets"][number];

/** How the pool's members are found and balanced. */
export type LoadBalancerStack = ParsedConfig["loadBalancer"]["stack"];

/** How the server that the pool runs gets onto a machine. */
export type Install = Readonly<ParsedConfig["service"]["install"]>;

/** The settings of target `aws`. If `aws` is a target, `region` and the `zones` of an own network are set. */
export type AwsConfig = Readonly<ParsedConfig["aws"]>;

/** The settings of target `openstack`. If `openstack` is a target, the required ones are set. */
export type OpenstackConfig = Readonly<ParsedConfig["openstack"]>;

/** Where cloud machines get their programs. */
export type ImageConfig = Readonly<ParsedConfig["image"]>;

/** The server that the pool runs. */
export interface GatewayService {
    /** Its name in Consul's catalog, a DNS label. */
    readonly name: string;
    /** The TCP port on which it speaks Thrift. */
    readonly port: number;
    readonly install: Install;
    /** Its command line; empty if the install is the sample, which has its own. */
    readonly argv: readonly string[];
    readonly environment: Readonly<Record<string, string>>;
    readonly healthCheck: HealthCheck;
    /** How soon a gateway that fails its health check is down. Default: the preset `fast`. */
    readonly checks?: CheckSettings;
    /** The maximum number of connections from one balancer to one gateway. */
    readonly maxConnections: number;
    /** How long a connection may wait in a balancer's queue, seconds. Default 1. */
    readonly queueSeconds?: number;
    /** The maximum number of connections that wait in a balancer's queue. Default: no limit. */
    readonly maxQueue?: number;
    /** How long a client's connection may be idle, seconds. Default 3600. */
    readonly idleSeconds?: number;
    /** Seconds between SIGTERM and SIGKILL. */
    readonly stopTimeoutSeconds: number;
}

/** A stack's configuration, valid, with every default filled in. */
export interface GatewayConfig {
    /** At least one, without repetition. */
    readonly targets: readonly Target[];
    /** The number of gateways. */
    readonly poolSize: number;
    readonly service: GatewayService;
    /** The number of Consul servers. */
    readonly discoveryServers: 1 | 3 | 5;
    /** Consul's datacenter. */
    readonly datacenter: string;
    readonly loadBalancerStack: LoadBalancerStack;
    /** The number of balancers. */
    readonly balancers: number;
    /** The TCP port to which clients connect. */
    readonly balancerPort: number;
    /** The maximum number of gateways that a balancer can hold; never less than {@link poolSize}. */
    readonly balancerSlots: number;
    /** Seconds that calls in flight may continue on a gateway that is taken out of service. */
    readonly drainSeconds: number;
    /** Whether the replacement loop runs. */
    readonly replacementEnabled: boolean;
    /** The settings of the replacement loop's policy that differ from the target's defaults. */
    readonly replacementPolicy: ReplacementPolicyConfig;
    readonly image: ImageConfig;
    readonly aws: AwsConfig;
    readonly openstack: OpenstackConfig;
    /** Values of `gateway:secrets` by name. Never show them, and never pass them to an input that is not secret. */
    readonly secrets: Readonly<Record<string, string>>;
    /** The /24 of loopback addresses on target `local`, such as `127.90.0.0/24`. */
    readonly localNetwork: string;
    /** Whether the program creates `@pulumi/consul` resources. */
    readonly consulObjects: boolean;
}

/** A stack's settings of the replacement loop's policy. The target's defaults apply to the rest. */
export type ReplacementPolicyConfig = PolicyOverrides;

/** An invalid configuration. The message lists every problem. Pulumi prints it without a stack trace. */
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

/** The part of a stack's settings that is outside the namespace `gateway`. */
export interface Surroundings {
    /** The stack's name, for messages. */
    readonly stack?: string;
    /** Whole keys of other namespaces, which may include a misspelt `gateway:`. */
    readonly otherKeys?: readonly string[];
    /** Top-level keys of this project that hold a secret value. */
    readonly secretKeys?: readonly string[];
}

/**
 * Reads a configuration, without Pulumi.
 *
 * @param raw the values by their top-level key (`pool`, `service`, ...). Strings of digits count as numbers, and `true`
 *         and `false` as booleans, if the key wants those.
 * @returns the configuration, and warnings about settings that are allowed but unwise.
 * @throws ConfigError with every problem.
 */
export function parseConfig(
    raw: Readonly<Record<string, unknown>>,
    { stack, otherKeys = [], secretKeys = [] }: Surroundings = {},
): { config: GatewayConfig; warnings: string[] } {
    if (typeof raw !== "object" || raw === null || Array.isArray(raw)) {
        throw new ConfigError([{ key: NAMESPACE, message: "not a map; allowed: a map of keys", remedy: "" }], stack);
    }
    // A single target needs no list.
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
        message: "holds its values in plain text; allowed: values set with --secret",
        remedy: `pulumi config rm ${NAMESPACE}:${SECRETS}, then for each: pulumi config set --secret --path '${NAMESPACE}:${SECRETS}.NAME'`,
    };
}

function secretProblem(name: string): Problem {
    return {
        key: `${NAMESPACE}:${name}`,
        message: "holds a secret value, which would be stored in plain text on the machines; allowed: no secrets",
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

/** Pulumi passes maps and lists as JSON and everything else as plain text. */
function decoded(text: string): unknown {
    if (!/^\s*[[{]/.test(text)) return text;
    try {
        return JSON.parse(text);
    } catch {
        return text;
    }
}
