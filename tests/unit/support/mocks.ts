/** Runs this project's Pulumi programs without an engine. It records what they register, and creates nothing. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { awsAnswer, awsOutputs } from "./awsMocks";
import { openstackAnswer, openstackOutputs } from "./openstackMocks";

/** A resource as the program registers it. */
export interface Registration {
    readonly type: string;
    readonly name: string;
    /** Name of its parent; undefined at the top. */
    readonly parent: string | undefined;
    /** The types of its ancestors and its own, as in its URN: `gateway:index:GatewayPool$aws:…:Group`. */
    readonly typeChain: string;
    /** Where else the engine looks for it in the state. */
    readonly aliases: readonly AliasSpec[];
    /** Its inputs, with secrets unwrapped. Values that are unknown in a preview are {@link UNKNOWN}. */
    readonly inputs: Readonly<Record<string, unknown>>;
    /** Names of the inputs that are marked secret. */
    readonly secretInputs: readonly string[];
    /** Names of the resources that it depends on, each once, sorted. */
    readonly dependencies: readonly string[];
    readonly additionalSecretOutputs: readonly string[];
    readonly deleteBeforeReplace: boolean;
    readonly ignoreChanges: readonly string[];
    /** The value whose change replaces the resource; undefined if there is none. */
    readonly replacementTrigger: unknown;
    /** Name of its provider resource, if it has an explicit one. */
    readonly provider: string | undefined;
    readonly protect: boolean;
}

/** Where a resource was in an earlier release. A property that is absent is as it is now. */
export interface AliasSpec {
    readonly name?: string;
    readonly type?: string;
    /** The type chain and the name of the parent; null: none. */
    readonly parent?: { readonly typeChain: string; readonly name: string } | null;
}

/** The result of running a program. */
export interface Run<T> {
    /** In order of registration. */
    readonly resources: readonly Registration[];
    /** The program's outputs, resolved. */
    readonly result: T;
}

/** How a run differs from a deployment with the defaults. */
export interface RunOptions {
    /** Configuration by whole key; maps and lists as values. */
    readonly config?: Readonly<Record<string, unknown>>;
    /** Whole keys of the configuration whose values are secret. Default none. */
    readonly secretKeys?: readonly string[];
    /**
     * Whether it is a preview, and of which deployment. `new` does not exist yet, so no resource has an id or outputs.
     * `unchanged` exists, so every resource has both. Default: no preview.
     */
    readonly preview?: "new" | "unchanged";
    /** Gets the list of registrations, for programs that throw. */
    readonly seen?: (resources: readonly Registration[]) => void;
}

/** Pulumi's placeholder for a value that is not known yet. */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";
const SIGNATURE = "4dabf18193072939515e22adb298388d";
const SECRET = "1b47061264138c4ac30d75fd1eb44270";

/** Type token of the credentials of a local deployment. */
export const credentialsType = "pulumi-nodejs:dynamic/gateway:Credentials";

/** A secret of the mocked credentials, for any name. */
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
    getProtect(): boolean;
    getAliasesList(): { getUrn(): string; getSpec(): AliasMessage | undefined }[];
}

/** `pulumirpc.Alias.Spec`. */
interface AliasMessage {
    getName(): string;
    getType(): string;
    getNoparent(): boolean;
    getParenturn(): string;
}

/**
 * The SDK keeps the stack trace of every promise, to name the ones that never end. Reading a trace maps each of its lines
 * to the sources, which took half of the time of these tests, so here the traces are empty.
 */
const debuggable = require("@pulumi/pulumi/runtime/debuggable") as {
    debuggablePromise: (promise: Promise<unknown>, context: unknown) => Promise<unknown>;
};
const { debuggablePromise } = debuggable;
debuggable.debuggablePromise = (promise, context) => {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    try {
        return debuggablePromise(promise, context);
    } finally {
        Error.stackTraceLimit = limit;
    }
};

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

function aliasOf(spec: AliasMessage | undefined): AliasSpec {
    if (!spec) throw new Error("an alias that is a whole URN names project and stack, which are the user's");
    const parent = spec.getParenturn();
    const [, , chain = "", parentName = ""] = parent.split("::");
    return {
        ...(spec.getName() ? { name: spec.getName() } : {}),
        ...(spec.getType() ? { type: spec.getType() } : {}),
        ...(spec.getNoparent() ? { parent: null } : parent ? { parent: { typeChain: chain, name: parentName } } : {}),
    };
}

function record(request: RegisterRequest): Registration {
    // The SDK serialises the provider the same way for all resources. Another test checks that there is one.
    const inputs = Object.entries(request.getObject().toJavaScript()).map(
        ([key, value]) => [key, unwrap(value)] as const,
    );
    return {
        type: request.getType(),
        name: request.getName(),
        parent: nameOfUrn(request.getParent()),
        typeChain: typeChain(request.getParent(), request.getType()),
        aliases: request.getAliasesList().map((alias) => aliasOf(alias.getSpec())),
        inputs: Object.fromEntries(inputs.map(([key, input]) => [key, input.value])),
        secretInputs: inputs.filter(([, input]) => input.secret).map(([key]) => key),
        dependencies: [...new Set(request.getDependenciesList().map((urn) => nameOfUrn(urn) ?? ""))].sort(),
        additionalSecretOutputs: request.getAdditionalsecretoutputsList(),
        deleteBeforeReplace: request.getDeletebeforereplace(),
        ignoreChanges: request.getIgnorechangesList(),
        replacementTrigger: unwrap(request.getReplacementTrigger()?.toJavaScript()).value,
        provider: request.getProvider() === "" ? undefined : request.getProvider().split("::").slice(-2)[0],
        protect: request.getProtect(),
    };
}

function outputsOf({ type, name, inputs }: pulumi.runtime.MockResourceArgs): Record<string, unknown> {
    const { __provider, ...given } = inputs as Record<string, unknown>;
    if (type === "consul:index/aclToken:AclToken") return { ...given, accessorId: "accessor of the operators' token" };
    if (type.startsWith("aws:")) return awsOutputs(type, name, given);
    if (type.startsWith("openstack:")) return openstackOutputs(type, given);
    if (type === "random:index/randomBytes:RandomBytes")
        return { ...given, base64: pulumi.secret(`${name} in base64`) };
    if (type === "random:index/randomPassword:RandomPassword")
        return { ...given, result: pulumi.secret(`${name} as text`) };
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
 * Runs a program as the engine would, with mocks in the engine's place.
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

/** An output's value. Unlike the callback of `apply`, this also works in a preview, where the value may be unknown. */
function resolved<T>(output: pulumi.Output<T>): Promise<T> {
    return (output as unknown as { promise(): Promise<T> }).promise();
}

/**
 * Sets GATEWAY_HOME to a temporary folder, so that tests write nothing into the project's. Returns a function that
 * undoes it.
 */
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
 * A value as golden files contain it. Texts of several lines become lists of lines. The checksums of this project's
 * programs are replaced, because they change with every change of the sources.
 */
export function goldenJson(value: unknown): string {
    const text = JSON.stringify(
        value,
        (_, inner) => (typeof inner === "string" && inner.includes("\n") ? inner.split("\n") : inner),
        4,
    );
    return `${text.replace(BUNDLE, "$1-CHECKSUM.cjs").replace(CHECKSUM, "CHECKSUM")}\n`;
}
