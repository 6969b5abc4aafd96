import { isIPv6 } from "node:net";

/** Address and port as HAProxy, URLs and people write them. */
export function endpoint(address: string, port: number): string {
    return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}
