/**
 * How a machine gets its secrets on a cloud that gives machines no identity, and how it reports that it is ready. Both
 * go through messages at the cloud's own API, because the machines and the engine need not reach each other. The
 * decision and its risk are in `docs/adr/0014-secrets-on-openstack.md`.
 *
 * 1. The machine makes a key pair and leaves the public key in its mailbox.
 * 2. The engine reads it there, encrypts a {@link Delivery} to it, and leaves that in the server's metadata.
 * 3. The machine decrypts it, starts its services, waits until it is ready, and leaves the delivery's `answer` in its
 * mailbox.
 * 4. The engine takes the answer and removes the delivery.
 *
 * The mailbox is Nova's place for the encrypted passwords of Windows machines: the metadata service lets the machine
 * write it once, and the API reads and clears it.
 */

/** A condition that must hold before a machine reports that it is ready. */
export type MachineCondition =
    /** All services of the machine are ready. */
    | { readonly kind: "services" }
    /**
     * All services of a Consul server are ready, which takes a leader. As long as none of the other servers knows a
     * leader, all but `except`: the first of several servers can be ready only once there are others.
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
    readonly gates: readonly MachineCondition[];
    /** What the machine answers when it is ready. Nobody else can know it. */
    readonly answer: string;
}

/** What a machine leaves in its mailbox. */
export type MachineMessage =
    | { readonly kind: "key" /** Its public key, in base64url. */; readonly key: string }
    | { readonly kind: "ready"; readonly answer: string };

/** Capacity of the mailbox, bytes: four of Nova's values (`nova/api/metadata/password.py`). */
export const MAILBOX_BYTES = 4 * 255;
/** The longest value of a server's metadata, characters. */
const VALUE_LENGTH = 255;
/** The most values of a delivery. Nova's default quota is 128 for each server. */
const MOST_VALUES = 100;
/** Prefix of a delivery's keys in the metadata. */
const KEY = "gateway-delivery";

/** A message as the mailbox holds it. */
export function messageText(message: MachineMessage): string {
    return JSON.stringify(message);
}

/** A message from the mailbox; undefined if it is not one of ours. */
export function readMessage(text: string): MachineMessage | undefined {
    try {
        const value = JSON.parse(text) as { kind?: unknown; key?: unknown; answer?: unknown };
        if (value.kind === "key" && typeof value.key === "string") return { kind: "key", key: value.key };
        if (value.kind === "ready" && typeof value.answer === "string") return { kind: "ready", answer: value.answer };
    } catch {
        // Somebody else's, or truncated.
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
