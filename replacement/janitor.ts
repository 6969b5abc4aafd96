/** Searches for what earlier runs left behind, and settles it, with the real engine and control plane. */
import type { Engine } from "./engine";
import { engineProcesses, killEngine } from "./engineProcesses";
import type { Inventory } from "./inventory";
import type { Janitor } from "./recovery";
import type { StateLocks } from "./stateLocks";

/** What the janitor works with. */
export interface JanitorParts {
    readonly stack: string;
    /** This daemon's half of the engine's mark: runs of any other daemon on this machine are leftovers. */
    readonly daemon: string;
    readonly engine: Engine;
    /** Undefined where locks cannot be seen. */
    readonly locks?: StateLocks | undefined;
    /**
     * Undefined where the control plane cannot hold two servers for one slot, as on one computer, where a slot is a
     * folder: what was being created is made anew then.
     */
    readonly inventory?: Inventory | undefined;
}

/** A {@link Janitor} of these parts. */
export function janitor({ stack, daemon, engine, locks, inventory }: JanitorParts): Janitor {
    const foreign = (found: { daemon: string }) => found.daemon !== daemon;
    return {
        async search(signal) {
            const [pending = [], wanted, held, servers, loose, known] = await Promise.all([
                engine.pendingCreates?.(),
                engine.poolSlots(),
                locks?.list(),
                inventory?.servers(signal),
                inventory?.looseParts(signal),
                inventory && engine.resourceIds?.(),
            ]);
            return {
                engines: engineProcesses(stack).filter(foreign),
                locks: held ?? [],
                pending,
                wanted,
                ...(servers ? { servers } : {}),
                // A port of a server that is being replaced is the deployment's own.
                parts: (loose ?? []).filter(({ id }) => known !== undefined && !known.has(id)),
            };
        },
        async carryOut(step, signal) {
            switch (step.kind) {
                case "killEngine":
                    return killEngine(stack, foreign);
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
