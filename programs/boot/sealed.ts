/**
 * Encrypts a text to a key that only its machine has: a key exchange on the curve P-256 with an ephemeral key, HKDF
 * with SHA-256, and AES-256-GCM. This is the scheme of ECIES, built from Node's own primitives.
 */
import { createCipheriv, createDecipheriv, createECDH, type ECDH, hkdfSync, randomBytes } from "node:crypto";
import { deflateRawSync, inflateRawSync } from "node:zlib";

const CURVE = "prime256v1";
const CIPHER = "aes-256-gcm";
/** Bytes of a compressed point, of the cipher's nonce, and of its tag. */
const LENGTH = { point: 33, nonce: 12, tag: 16 } as const;

/** A machine's key pair, in base64url. */
export interface SealingKeys {
    readonly publicKey: string;
    readonly privateKey: string;
}

/** Makes a key pair. */
export function makeKeys(): SealingKeys {
    const pair = createECDH(CURVE);
    const publicKey = pair.generateKeys("base64url", "compressed");
    return { publicKey, privateKey: pair.getPrivateKey("base64url") };
}

function sharedKey(own: ECDH, other: Buffer, message: Buffer): Buffer {
    // Both public keys go in, so that a message cannot be passed off as one to somebody else.
    return Buffer.from(hkdfSync("sha256", own.computeSecret(other), message, "gateway delivery", 32));
}

/**
 * Encrypts a text.
 *
 * @param publicKey the receiver's, in base64url.
 * @returns base64url.
 * @throws Error if the key is invalid.
 */
export function seal(publicKey: string, text: string): string {
    const own = createECDH(CURVE);
    const point = Buffer.from(own.generateKeys("hex", "compressed"), "hex");
    const receiver = Buffer.from(publicKey, "base64url");
    const nonce = randomBytes(LENGTH.nonce);
    const cipher = createCipheriv(CIPHER, sharedKey(own, receiver, Buffer.concat([point, receiver])), nonce);
    const body = Buffer.concat([cipher.update(deflateRawSync(Buffer.from(text))), cipher.final()]);
    return Buffer.concat([point, nonce, cipher.getAuthTag(), body]).toString("base64url");
}

/**
 * Decrypts what {@link seal} made.
 *
 * @throws Error if it is for somebody else or was modified.
 */
export function unseal({ privateKey, publicKey }: SealingKeys, sealed: string): string {
    const bytes = Buffer.from(sealed, "base64url");
    const point = bytes.subarray(0, LENGTH.point);
    const nonce = bytes.subarray(LENGTH.point, LENGTH.point + LENGTH.nonce);
    const body = LENGTH.point + LENGTH.nonce + LENGTH.tag;
    const own = createECDH(CURVE);
    own.setPrivateKey(privateKey, "base64url");
    const receiver = Buffer.from(publicKey, "base64url");
    const decipher = createDecipheriv(CIPHER, sharedKey(own, point, Buffer.concat([point, receiver])), nonce);
    decipher.setAuthTag(bytes.subarray(body - LENGTH.tag, body));
    return inflateRawSync(Buffer.concat([decipher.update(bytes.subarray(body)), decipher.final()])).toString();
}
