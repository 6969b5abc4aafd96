/** Searches for what earlier runs left behind, and settles it, with the real engine and control plane. */
import type { Engine } from "./engine";
import { engineProcesses, killEngine } from "./engineProcesses";
import type { Inventory } from "./inventory";
import type { Janitor } from "./recovery";
import type { StateLocks } from "./stateLocks";

/** What the janitor works with. */
export interface JanitorParts {
    /** Of the engine's marks. */
    readonly scope: string;
    /** This daemon's half of the engine's mark: runs of any other daemon on this machine are leftovers. */
    readonly daemon: string;
    readonly engine: Engine;
    /** Undefined where locks cannot be seen. */
    readonly locks?: StateLocks | undefined;
    /** Undefined where the control plane cannot be searched: then what was being created is made anew. */
    readonly inventory?: Inventory | undefined;
}

/** A {@link Janitor} of these parts. */
export function janitor({ scope, daemon, engine, locks, inventory }: JanitorParts): Janitor {
    const foreign = (found: { daemon: string }) => found.daemon !== daemon;
    return {
        async search(signal) {
            const engines = engineProcesses(scope).filter(foreign);
            const held = (await locks?.list()) ?? [];
            // Somebody is at work, so what the state says of the rest is out of date before it is read.
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
                // A port of a server that is being replaced is the deployment's own.
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
