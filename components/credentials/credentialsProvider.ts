/**
 * Makes the certificates, tokens and keys of a deployment. Runs in the dynamic provider's process; see
 * `../dynamic/moduleProvider.ts`.
 */
import "reflect-metadata";
import { randomBytes, randomUUID, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { isReplacement } from "../../replacement/serverMetadata";
import { tokenSecrets } from "../../roles/consulAcl";
import type { RegistryKind } from "../machineRoles";
import { serviceChangeProblem, stackChangeProblem } from "../stackChange";

/** What the credentials are for. */
export interface CredentialsInputs {
    readonly datacenter: string;
    /** Addresses of the Consul servers, which their certificate names. */
    readonly servers: readonly string[];
    /** The registry. Default `consul`. It cannot be changed while anything runs. */
    readonly registry?: RegistryKind;
    /** The name under which gateways are registered. It cannot be changed while anything runs. Default: not known. */
    readonly gatewayService?: string;
    /** Keys of a new deployment, by the secret's name. Default: made with the other secrets. */
    readonly keys?: Readonly<Record<string, string>>;
}

/** The credentials. All of `secrets` is secret; the rest is public. */
export interface CredentialsOutputs extends Omit<CredentialsInputs, "keys" | "gatewayService"> {
    readonly caCertificate: string;
    readonly serverCertificate: string;
    /** ISO 8601. A deployment renews the certificate 120 days before. */
    readonly expiresAt: string;
    readonly secrets: Readonly<Record<string, string>>;
}

const DAY = 24 * 60 * 60 * 1000;
/** No deployment outlives its authority: to change that, machines would have to trust two at a time. */
const AUTHORITY_LIFETIME = 3650 * DAY;
const CERTIFICATE_LIFETIME = 825 * DAY;
/** Longer than between two deployments. The loop raises an alarm 90 days before the end, if nobody has deployed. */
const RENEW_BEFORE = 120 * DAY;
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

interface Authority {
    readonly certificate: x509.X509Certificate;
    readonly key: CryptoKey;
}

function generateKeys(): Promise<CryptoKeyPair> {
    return webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]) as Promise<CryptoKeyPair>;
}

async function exportKey(key: CryptoKey): Promise<string> {
    const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", key));
    return `${x509.PemConverter.encode(der, "PRIVATE KEY")}\n`;
}

async function loadAuthority(previous: CredentialsOutputs): Promise<Authority> {
    const der = x509.PemConverter.decodeFirst(previous.secrets.caKey ?? "");
    const key = await webcrypto.subtle.importKey("pkcs8", der, ALGORITHM, true, ["sign"]);
    return { certificate: new x509.X509Certificate(previous.caCertificate), key: key as CryptoKey };
}

async function createAuthority(): Promise<Authority> {
    const keys = await generateKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
        name: "CN=API gateway authority",
        keys,
        notBefore: new Date(Date.now() - DAY),
        notAfter: new Date(Date.now() + AUTHORITY_LIFETIME),
        signingAlgorithm: ALGORITHM,
        extensions: [
            new x509.BasicConstraintsExtension(true, 0, true),
            new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
            await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
        ],
    });
    return { certificate, key: keys.privateKey };
}

async function issueServerCertificate(authority: Authority, inputs: CredentialsInputs, notAfter: Date) {
    const keys = await generateKeys();
    const certificate = await x509.X509CertificateGenerator.create({
        // The name by which Consul's `verify_server_hostname` tells a server from a client.
        subject: `CN=server.${inputs.datacenter}.consul`,
        issuer: authority.certificate.subject,
        publicKey: keys.publicKey,
        signingKey: authority.key,
        notBefore: new Date(Date.now() - DAY),
        notAfter,
        signingAlgorithm: ALGORITHM,
        extensions: [
            new x509.BasicConstraintsExtension(false, undefined, true),
            new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
            new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
            new x509.SubjectAlternativeNameExtension([
                { type: "dns", value: `server.${inputs.datacenter}.consul` },
                { type: "dns", value: "localhost" },
                ...inputs.servers.map((value) => ({ type: "ip" as const, value })),
            ]),
        ],
    });
    return { certificate: `${certificate.toString("pem")}\n`, key: await exportKey(keys.privateKey) };
}

/**
 * Creates what is missing. What `previous` holds is kept, except the servers' certificate, which is always reissued.
 */
async function make(inputs: CredentialsInputs, previous?: CredentialsOutputs): Promise<CredentialsOutputs> {
    x509.cryptoProvider.set(webcrypto as Crypto);
    const authority = previous ? await loadAuthority(previous) : await createAuthority();
    const expiry = new Date(Date.now() + CERTIFICATE_LIFETIME);
    const server = await issueServerCertificate(authority, inputs, expiry);
    const tokens = tokenSecrets.flatMap((name) => [
        [name, randomUUID()] as const,
        [`${name}Accessor`, randomUUID()] as const,
    ]);
    return {
        datacenter: inputs.datacenter,
        servers: inputs.servers,
        ...(inputs.registry ? { registry: inputs.registry } : {}),
        caCertificate: previous?.caCertificate ?? `${authority.certificate.toString("pem")}\n`,
        serverCertificate: server.certificate,
        expiresAt: expiry.toISOString(),
        secrets: {
            ...Object.fromEntries(tokens),
            // Consul and Serf take 32 bytes in base64.
            gossipKey: randomBytes(32).toString("base64"),
            serfRpcKey: randomBytes(24).toString("base64url"),
            caKey: await exportKey(authority.key),
            ...inputs.keys,
            ...previous?.secrets,
            serverKey: server.key,
        },
    };
}

/** Creates an authority, one certificate for the servers, the gossip key and the tokens. */
export async function create(inputs: CredentialsInputs): Promise<{ id: string; outs: CredentialsOutputs }> {
    return { id: randomUUID(), outs: await make(inputs) };
}

/** A deployment starts with its credentials, so a change that cannot be made is refused here. */
export async function check(olds: Partial<CredentialsInputs>, news: CredentialsInputs) {
    const existed = olds.datacenter !== undefined;
    if (!existed) return { inputs: news, failures: [] };
    const problems = {
        registry: stackChangeProblem(olds.registry ?? "consul", news.registry ?? "consul"),
        gatewayService: serviceChangeProblem(olds.gatewayService, news.gatewayService),
    };
    const failures = Object.entries(problems).flatMap(([property, reason]) => (reason ? [{ property, reason }] : []));
    return { inputs: news, failures };
}

/**
 * Reasons for an update: other servers, a certificate about to expire, and a token that a newer version needs. Only a
 * deployment renews a certificate: a replacement of one server must not change others, on any day of a certificate's life.
 */
export async function diff(_id: string, olds: CredentialsOutputs, news: CredentialsInputs) {
    const changes =
        olds.datacenter !== news.datacenter ||
        JSON.stringify(olds.servers) !== JSON.stringify(news.servers) ||
        (!isReplacement() && Date.parse(olds.expiresAt) - Date.now() < RENEW_BEFORE) ||
        [...tokenSecrets, "serfRpcKey"].some((name) => olds.secrets[name] === undefined);
    return { changes, replaces: [] };
}

/** Credentials exist only in the state, so there is nothing to compare them with. */
export async function read(id: string, props: CredentialsOutputs) {
    return { id, props };
}

/** Keeps the authority and every token, so that running machines trust new ones. */
export async function update(_id: string, olds: CredentialsOutputs, news: CredentialsInputs) {
    return { outs: await make(news, olds) };
}

/** Nothing outside the state needs deleting. */
async function remove(): Promise<void> {}

export { remove as delete };
