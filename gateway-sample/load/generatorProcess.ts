/** The generator's own process: runs the requested loads, and reports. `generator.ts` starts it. */
import { type Load, startClosedLoop, startLoad } from ".";
import type { GeneratorAnswer, GeneratorOrder } from "./generator";
import { metronome } from "./metronome";

const loads = new Map<number, Load>();
/** One ticker for all loads, ready before the first. */
const ticking = metronome();

function tell(answer: GeneratorAnswer): void {
    process.send?.(answer);
}

process.on("message", (order: GeneratorOrder) => {
    if (order.kind === "stop") {
        const before = loads.get(order.id);
        loads.delete(order.id);
        void before?.stop().then((report) => tell({ kind: "report", id: order.id, report, cpu: process.cpuUsage() }));
        return;
    }
    const { id } = order;
    void ticking.then((ticker) => {
        try {
            const { kind, options } = order;
            loads.set(id, kind === "open" ? startLoad({ ...options, ticker }) : startClosedLoop(options));
            tell({ kind: "started", id });
        } catch (error) {
            tell({ kind: "refused", id, message: (error as Error).message });
        }
    });
});
// Without its parent, nothing could stop the loads.
process.on("disconnect", () => process.exit());
// Ctrl-C reaches the whole foreground group, but the parent must stop this process in order.
process.on("SIGINT", () => {});
