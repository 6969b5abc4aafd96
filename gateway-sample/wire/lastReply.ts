/**
 * How a server that leaves says so within a reply.
 *
 * The end of the stream right after a reply may reach a client a moment later than the reply, and a call sent in
 * that moment is lost. Therefore the last reply on a connection also carries a field that no IDL defines: clients in
 * every language skip fields that they do not know, and ours takes it as the end of the connection.
 */

/** A boolean field, true, with number -32768: the compiler gives such a low number to no field. */
const LAST = Buffer.from([2, 0x80, 0x00, 1]);

/** The end of every struct of the binary protocol. */
const STOP = Buffer.from([0]);

/**
 * Marks a reply as the connection's last.
 *
 * @param wire the reply as it goes onto the wire, with its length in front when `framed`
 */
export function markLast(wire: Buffer, framed: boolean): Buffer {
    const marked = Buffer.concat([wire.subarray(0, -STOP.length), LAST, STOP]);
    if (framed) marked.writeInt32BE(marked.length - 4);
    return marked;
}

/** Whether a reply, without its length, is marked as the last. Data that looks like the mark costs a new connection. */
export function isLast(message: Buffer): boolean {
    return message.subarray(-LAST.length - STOP.length, -STOP.length).equals(LAST);
}
