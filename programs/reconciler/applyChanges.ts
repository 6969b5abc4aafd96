/** Carries out planned changes through HAProxy's runtime API. */

import type { HaproxyRuntime } from "../../clients/haproxyRuntime";
import type { Action } from "./planChanges";

/** HAProxy's answer to a new address, and to the address that the slot already has. */
const ADDRESS_SET = /^(no need to change|IP changed|port changed)/;

/**
 * Carries out one change.
 *
 * @param backend HAProxy's backend.
 * @throws RuntimeError if HAProxy refuses. The next plan completes what is missing.
 */
export async function apply(action: Action, runtime: HaproxyRuntime, backend: string): Promise<void> {
    const server = `${backend}/${action.slot}`;
    const set = (what: string) => runtime.order(`set server ${server} ${what}`);
    const limit = (connections: number) => runtime.order(`set maxconn server ${server} ${connections}`);
    const cut = () => runtime.order(`shutdown sessions server ${server}`);
    switch (action.kind) {
        case "admit": {
            const { address, port } = action.backend;
            await runtime.order(`set server ${server} addr ${address} port ${port}`, ADDRESS_SET);
            await runtime.order(`enable health ${server}`);
            await limit(0);
            // HAProxy takes a server that leaves maintenance for healthy, and would send it calls before its first
            // check. It therefore leaves into draining, where it gets none, is declared down, and comes up by its
            // checks.
            if (!action.trusted) {
                await set("state drain");
                await set("health down");
            }
            await set("state ready");
            return;
        }
        case "resume":
            return set("state ready");
        case "drain":
            return set("state drain");
        case "close":
            await set("state maint");
            return cut();
        case "cut":
            return cut();
        case "limit":
            return limit(action.connections);
    }
}
