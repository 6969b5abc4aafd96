/**
 * The mark of a connection's last reply, with which a draining server announces the end.
 *
 * The end of the stream may reach a client a moment after the reply, and a call sent in that moment is lost. Therefore
 * the last reply carries a field that no IDL defines. Clients in every language skip unknown fields. The client library
 * here takes the field as the end of the connection.
 */

/** A boolean field, true, with number -32768. The compiler assigns no such number. */
const LAST = Buffer.from([2, 0x80, 0x00, 1]);

/** The end of every struct of the binary protocol. */
const STOP = Buffer.from([0]);

/**
 * Marks a reply as the connection's last.
 *
 * @param wire the reply as sent, with its length in front when `framed`
 */
export function markLast(wire: Buffer, framed: boolean): Buffer {
    const marked = Buffer.concat([wire.subarray(0, -STOP.length), LAST, STOP]);
    if (framed) marked.writeInt32BE(marked.length - 4);
    return marked;
}

/** Whether a reply, without its length, is marked as the last. A false positive only costs a new connection. */
export function isLast(message: Buffer): boolean {
    return message.subarray(-LAST.length - STOP.length, -STOP.length).equals(LAST);
}
