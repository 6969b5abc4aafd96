import { join } from "node:path";
import type { Inventory } from "../../replacement/act/inventory";
import { removeMachine } from "../supervisor/machine";
import { machineNames, readLiveRecord, readRecord } from "../supervisor/record";

/**
 * The machines of this computer. A slot is a folder, so it never has more than one machine, but the deployment's state
 * may not know that machine.
 *
 * @param isSlot tells gateways from other machines, by name.
 */
export function localInventory(machines: string, isSlot: (name: string) => boolean): Inventory {
    return {
        async servers() {
            return machineNames(machines)
                .filter(isSlot)
                .flatMap((slot) => {
                    const record = readLiveRecord(join(machines, slot));
                    if (!record) return [];
                    const { incarnation: id, createdAt } = record;
                    return [
                        { id, slot, epoch: 0, createdAt: Date.parse(createdAt) / 1000, resourceId: `${slot}/${id}` },
                    ];
                });
        },
        looseParts: async () => [],
        async deleteServer(id) {
            const name = machineNames(machines).find((slot) => readRecord(join(machines, slot))?.incarnation === id);
            if (name !== undefined) await removeMachine({ machines }, name);
        },
        deletePart: async () => undefined,
    };
}
