/** The generator's own process: makes the loads that it is told to, and reports. Started by `generator.ts`. */
import { type Load, startClosedLoop, startLoad } from ".";
import type { Answer, Order } from "./generator";
import { metronome } from "./metronome";

const loads = new Map<number, Load>();
/** One for all loads, there before the first. */
const ticking = metronome();

function tell(answer: Answer): void {
    process.send?.(answer);
}

process.on("message", (order: Order) => {
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
// Nobody is left who could stop the loads.
process.on("disconnect", () => process.exit());
// Ctrl-C reaches the whole foreground group; whoever started this process ends it in order.
process.on("SIGINT", () => {});
