/** The orphan clean-up with the real engine and control plane. */

import { engineProcesses, killEngine } from "../../engine/processes";
import type { StateLocks } from "../../engine/stateLocks";
import type { OrphanCleanup } from "../core/recovery";
import type { Engine } from "./engine";
import type { Inventory } from "./inventory";

/** What the orphan clean-up works with. */
export interface OrphanCleanupParts {
    /** Scope of the engine's marks. */
    readonly scope: string;
    /** This daemon's part of the engine's mark. Runs of any other daemon on this machine are leftovers. */
    readonly daemon: string;
    readonly engine: Engine;
    /** Undefined where locks cannot be read. */
    readonly locks?: StateLocks | undefined;
    /** Undefined where the control plane cannot be searched. Then a creation that was cut off is repeated. */
    readonly inventory?: Inventory | undefined;
}

/** An {@link OrphanCleanup} of these parts. */
export function orphanCleanup({ scope, daemon, engine, locks, inventory }: OrphanCleanupParts): OrphanCleanup {
    const foreign = (found: { daemon: string }) => found.daemon !== daemon;
    return {
        async search(signal) {
            const engines = engineProcesses(scope).filter(foreign);
            const held = (await locks?.list()) ?? [];
            // Somebody is changing the state, so the rest of it is about to be outdated.
            if (engines.length > 0 || held.length > 0) {
                return { engines, locks: held, pending: [], wanted: [], parts: [] };
            }
            const [pending = [], wanted, servers, loose, known] = await Promise.all([
                engine.pendingCreates?.(),
                engine.pool(),
                inventory?.servers(signal),
                inventory?.looseParts(signal),
                inventory && engine.resourceIds?.(),
            ]);
            return {
                engines,
                locks: held,
                pending,
                wanted: wanted.slots,
                ...(servers ? { servers } : {}),
                // Ports of a server in replacement are in the state, so they are no orphans.
                parts: (loose ?? []).filter(({ id }) => known !== undefined && !known.has(id)),
            };
        },
        async carryOut(step, signal) {
            switch (step.kind) {
                case "killEngine":
                    return killEngine(scope, foreign);
                case "removeLock":
                    return locks?.remove(step.lock);
                case "adopt":
                    return engine.adopt?.(step.urn, step.serverId, signal);
                case "clearPending":
                    return engine.clearPending?.(step.urn);
                case "deleteServer":
                    return inventory?.deleteServer(step.server.id, signal);
                case "deletePart":
                    return inventory?.deletePart(step.part, signal);
            }
        },
    };
}
