import type { ConsulEntry } from "../../clients/consul";
import type { ConsulState } from "../core/observation";

/**
 * The state of one slot among the registered instances. An instance that names another server of the slot does not
 * count. Of several, the best counts.
 */
export function consulState(entries: readonly ConsulEntry[], slot: { name: string; serverId: string }): ConsulState {
    const states = entries
        .filter(({ node, incarnation }) => node === slot.name && (incarnation ?? slot.serverId) === slot.serverId)
        .map(({ state }) => state);
    const order = ["passing", "maintenance", "warning", "critical"] as const;
    return order.find((state) => states.includes(state)) ?? "absent";
}
