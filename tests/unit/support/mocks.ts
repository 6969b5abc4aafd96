/** Runs this project's Pulumi programs without an engine: what they register is recorded, and nothing is made. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { awsAnswer, awsOutputs } from "./awsMocks";
import { openstackAnswer, openstackOutputs } from "./openstackMocks";

/** A resource as the engine would be told of it. */
export interface Registration {
    readonly type: string;
    readonly name: string;
    /** Name of its parent; undefined at the top. */
    readonly parent: string | undefined;
    /** The types of its ancestors and its own, as they stand in its URN: `gateway:index:GatewayPool$aws:…:Group`. */
    readonly typeChain: string;
    /** Its inputs with secrets taken out of their wraps; what is unknown in a preview is {@link UNKNOWN}. */
    readonly inputs: Readonly<Record<string, unknown>>;
    /** Names of the inputs that are marked secret. */
    readonly secretInputs: readonly string[];
    /** Names of the resources that it waits for, without repetition, sorted. */
    readonly dependencies: readonly string[];
    readonly additionalSecretOutputs: readonly string[];
    readonly deleteBeforeReplace: boolean;
    readonly ignoreChanges: readonly string[];
    /** What, when it changes, replaces the resource; undefined: nothing. */
    readonly replacementTrigger: unknown;
    /** Name of the provider resource that it was given, if it was. */
    readonly provider: string | undefined;
}

/** What a run of a program did. */
export interface Run<T> {
    /** In order of registration. */
    readonly resources: readonly Registration[];
    /** What the program returned, resolved. */
    readonly result: T;
}

/** How a run differs from a deployment of the defaults. */
export interface RunOptions {
    /** Configuration by whole key; maps and lists are given as values. */
    readonly config?: Readonly<Record<string, unknown>>;
    /** Whole keys of the configuration whose values are secret. Default none. */
    readonly secretKeys?: readonly string[];
    /**
     * Whether it is a preview, and of what: `new` of a deployment that does not exist, so that no resource has an id or
     * outputs yet; `unchanged` of one that exists, so that all have. Default: no preview.
     */
    readonly preview?: "new" | "unchanged";
    /** Gets the list that registrations go to, for programs that throw. */
    readonly seen?: (resources: readonly Registration[]) => void;
}

/** What Pulumi puts in the place of a value that is not known yet. */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";
const SIGNATURE = "4dabf18193072939515e22adb298388d";
const SECRET = "1b47061264138c4ac30d75fd1eb44270";

/** Type token of the credentials of a local deployment. */
export const credentialsType = "pulumi-nodejs:dynamic/gateway:Credentials";

/** Secrets as the mocked credentials give them out: by name, for every name that is asked for. */
export const mockSecrets = Object.fromEntries(
    [
        "managementToken",
        "serverAgentToken",
        "balancerAgentToken",
        "gatewayAgentToken",
        "balancerToken",
        "fabioToken",
        "replacerToken",
        "operatorToken",
    ].flatMap((name) => [
        [name, `value of ${name}`],
        [`${name}Accessor`, `value of ${name}Accessor`],
    ]),
) as Readonly<Record<string, string>>;

/** All secrets of the mocked credentials. */
export const allMockSecrets: Readonly<Record<string, string>> = {
    ...mockSecrets,
    gossipKey: "value of gossipKey",
    serfRpcKey: "value of serfRpcKey",
    caKey: "value of caKey",
    serverKey: "value of serverKey",
};

interface RegisterRequest {
    getType(): string;
    getName(): string;
    getParent(): string;
    getObject(): { toJavaScript(): Record<string, unknown> };
    getDependenciesList(): string[];
    getAdditionalsecretoutputsList(): string[];
    getDeletebeforereplace(): boolean;
    getIgnorechangesList(): string[];
    getReplacementTrigger(): { toJavaScript(): unknown } | undefined;
    getProvider(): string;
}

type Register = (request: RegisterRequest, callback: unknown) => Promise<void>;

function unwrap(value: unknown): { value: unknown; secret: boolean } {
    if (value === null || typeof value !== "object") return { value, secret: false };
    const wrapped = value as Record<string, unknown>;
    if (wrapped[SIGNATURE] === SECRET) return { value: unwrap(wrapped.value).value, secret: true };
    const parts = Object.entries(wrapped).map(([key, inner]) => [key, unwrap(inner)] as const);
    const secret = parts.some(([, part]) => part.secret);
    if (Array.isArray(value)) return { value: parts.map(([, part]) => part.value), secret };
    return { value: Object.fromEntries(parts.map(([key, part]) => [key, part.value])), secret };
}

const nameOfUrn = (urn: string) => (urn === "" ? undefined : urn.split("::").at(-1));

function typeChain(parent: string, type: string): string {
    const [, , ancestors = ""] = parent.split("::");
    return ancestors === "" || ancestors === "pulumi:pulumi:Stack" ? type : `${ancestors}$${type}`;
}

function record(request: RegisterRequest): Registration {
    // The serialised provider is the SDK's affair, and the same for all; that there is one is tested apart.
    const inputs = Object.entries(request.getObject().toJavaScript()).map(
        ([key, value]) => [key, unwrap(value)] as const,
    );
    return {
        type: request.getType(),
        name: request.getName(),
        parent: nameOfUrn(request.getParent()),
        typeChain: typeChain(request.getParent(), request.getType()),
        inputs: Object.fromEntries(inputs.map(([key, input]) => [key, input.value])),
        secretInputs: inputs.filter(([, input]) => input.secret).map(([key]) => key),
        dependencies: [...new Set(request.getDependenciesList().map((urn) => nameOfUrn(urn) ?? ""))].sort(),
        additionalSecretOutputs: request.getAdditionalsecretoutputsList(),
        deleteBeforeReplace: request.getDeletebeforereplace(),
        ignoreChanges: request.getIgnorechangesList(),
        replacementTrigger: unwrap(request.getReplacementTrigger()?.toJavaScript()).value,
        provider: request.getProvider() === "" ? undefined : request.getProvider().split("::").slice(-2)[0],
    };
}

function outputsOf({ type, name, inputs }: pulumi.runtime.MockResourceArgs): Record<string, unknown> {
    const { __provider, ...given } = inputs as Record<string, unknown>;
    if (type === "consul:index/aclToken:AclToken") return { ...given, accessorId: "accessor of the operators' token" };
    if (type.startsWith("aws:")) return awsOutputs(type, name, given);
    if (type.startsWith("openstack:")) return openstackOutputs(type, given);
    if (type !== credentialsType) return given;
    return {
        ...given,
        caCertificate: "CA certificate\n",
        serverCertificate: "server certificate\n",
        expiresAt: "2030-01-01T00:00:00.000Z",
        secrets: pulumi.secret(allMockSecrets),
    };
}

/**
 * Runs a program as the engine would, with mocks in its place.
 *
 * @param program returns the program's outputs.
 * @throws what the program throws.
 */
export async function run<T>(
    program: () => T | Promise<T>,
    { config = {}, secretKeys = [], preview, seen }: RunOptions = {},
): Promise<Run<pulumi.Unwrap<T>>> {
    const resources: Registration[] = [];
    seen?.(resources);
    await pulumi.runtime.setMocks(
        {
            newResource: (args) =>
                preview === "new" ? { id: undefined, state: {} } : { id: `${args.name}-id`, state: outputsOf(args) },
            call: ({ token, inputs }) => ({
                ...inputs,
                ...awsAnswer(token, inputs),
                ...openstackAnswer(token, inputs),
            }),
        },
        "gateway",
        "test",
        preview !== undefined,
    );
    pulumi.runtime.setAllConfig(
        Object.fromEntries(
            Object.entries(config).map(([key, value]) => [
                key,
                typeof value === "string" ? value : JSON.stringify(value),
            ]),
        ),
        [...secretKeys],
    );
    const monitor = pulumi.runtime.getMonitor() as unknown as { registerResource: Register };
    const register = monitor.registerResource.bind(monitor);
    monitor.registerResource = (request, callback) => {
        resources.push(record(request));
        return register(request, callback);
    };
    try {
        const returned = await program();
        const result = await resolved(pulumi.output(returned) as pulumi.Output<pulumi.Unwrap<T>>);
        return { resources, result };
    } finally {
        await pulumi.runtime.disconnect();
    }
}

/** An output's value; unlike an apply's callback, also in a preview, where it may be unknown. */
function resolved<T>(output: pulumi.Output<T>): Promise<T> {
    return (output as unknown as { promise(): Promise<T> }).promise();
}

/** Makes GATEWAY_HOME a folder of its own, so that nothing is written into the project's; returns what undoes it. */
export function useTemporaryHome(): () => void {
    const earlier = process.env.GATEWAY_HOME;
    const home = mkdtempSync(join(tmpdir(), "gateway-home-"));
    process.env.GATEWAY_HOME = home;
    return () => {
        rmSync(home, { recursive: true, force: true });
        if (earlier === undefined) delete process.env.GATEWAY_HOME;
        else process.env.GATEWAY_HOME = earlier;
    };
}

const CHECKSUM = /\b[0-9a-f]{64}\b/g;
const BUNDLE = /\b([a-z-]+)-[0-9a-f]{16}\.cjs\b/g;

/**
 * A value as it stands in a golden file: texts of several lines as lists of lines, and the checksums of this project's
 * programs, which change with every change of their sources, replaced.
 */
export function goldenJson(value: unknown): string {
    const text = JSON.stringify(
        value,
        (_, inner) => (typeof inner === "string" && inner.includes("\n") ? inner.split("\n") : inner),
        4,
    );
    return `${text.replace(BUNDLE, "$1-CHECKSUM.cjs").replace(CHECKSUM, "CHECKSUM")}\n`;
}
