/**
 * How a machine gets its secrets where the cloud gives machines no identity, and how it says that it is ready: through
 * messages at the cloud's own API, for the machines and the engine that makes them need not reach each other. The
 * decision and its risk are in `docs/adr/0015-secrets-on-openstack.md`.
 *
 * 1. The machine makes a key pair and leaves the public key in its mailbox.
 * 2. The engine reads it there, encrypts a {@link Delivery} to it, and leaves that in the server's metadata.
 * 3. The machine decrypts it, starts its services, waits for its gates, and leaves the delivery's `answer` in its mailbox.
 * 4. The engine takes the answer, and the delivery away.
 *
 * The mailbox is what Nova has for the encrypted passwords of Windows machines: written once from inside by the metadata
 * service, read and cleared from outside by the API.
 */

/** What has to hold before a machine says that it is ready. */
export type MachineGate =
    /** All services of the machine are ready. */
    | { readonly kind: "services" }
    /**
     * All services of a Consul server are ready, which takes a leader; or all but `except`, as long as none of the other
     * servers knows a leader: the first of several can be ready only once there are others.
     */
    | {
          readonly kind: "server";
          readonly except: readonly string[];
          /** URLs of the others' HTTPS API. */
          readonly others: readonly string[];
          /** File of the authority's certificate on the machine. */
          readonly caFile: string;
      }
    /** Each balancer that answers sends calls to the address; at least one has to answer. */
    | { readonly kind: "rotation"; readonly balancers: readonly string[]; readonly address: string }
    /** The balancer sends calls to at least one gateway, unless no other balancer does either. Named by status pages. */
    | { readonly kind: "serving"; readonly balancer: string; readonly others: readonly string[] };

/** What the engine gives to a machine. */
export interface Delivery {
    readonly secrets: Readonly<Record<string, string>>;
    readonly gates: readonly MachineGate[];
    /** What the machine says when it is ready: nobody else can know it. */
    readonly answer: string;
}

/** What a machine leaves in its mailbox. */
export type MachineMessage =
    | { readonly kind: "key" /** Its public key, in base64url. */; readonly key: string }
    | { readonly kind: "ready"; readonly answer: string };

/** The most that the mailbox takes, bytes: four values of Nova's (`nova/api/metadata/password.py`). */
export const MAILBOX_BYTES = 4 * 255;
/** The longest value of a server's metadata, characters. */
const VALUE_LENGTH = 255;
/** The most values of a delivery; Nova's default quota is 128 for each server. */
const MOST_VALUES = 100;
/** What the metadata's keys of a delivery begin with. */
const KEY = "gateway-delivery";

/** A message as the mailbox holds it. */
export function messageText(message: MachineMessage): string {
    return JSON.stringify(message);
}

/** A message from the mailbox; undefined when it is none of ours. */
export function readMessage(text: string): MachineMessage | undefined {
    try {
        const value = JSON.parse(text) as { kind?: unknown; key?: unknown; answer?: unknown };
        if (value.kind === "key" && typeof value.key === "string") return { kind: "key", key: value.key };
        if (value.kind === "ready" && typeof value.answer === "string") return { kind: "ready", answer: value.answer };
    } catch {
        // Somebody else's, or cut off.
    }
    return undefined;
}

/**
 * A sealed delivery as metadata.
 *
 * @param sealed in base64url.
 * @throws Error when it is too large.
 */
export function deliveryMetadata(sealed: string): Record<string, string> {
    const count = Math.ceil(sealed.length / VALUE_LENGTH);
    if (count > MOST_VALUES) throw new Error(`a delivery of ${sealed.length} characters is too large for metadata`);
    const values = [...Array(count).keys()].map((index) => [
        `${KEY}-${index}`,
        sealed.slice(index * VALUE_LENGTH, (index + 1) * VALUE_LENGTH),
    ]);
    return { ...Object.fromEntries(values), [KEY]: String(count) };
}

/** The sealed delivery in a server's metadata; undefined when there is none, or not all of it. */
export function deliveryIn(metadata: Readonly<Record<string, string>>): string | undefined {
    const count = Number(metadata[KEY] ?? 0);
    const values = [...Array(count).keys()].map((index) => metadata[`${KEY}-${index}`]);
    return count > 0 && values.every((value) => value !== undefined) ? values.join("") : undefined;
}

/** The keys of a delivery among those of a server's metadata. */
export function deliveryKeys(metadata: Readonly<Record<string, string>>): string[] {
    return Object.keys(metadata).filter((key) => key === KEY || key.startsWith(`${KEY}-`));
}
