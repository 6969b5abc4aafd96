/**
 * The measurements, printed at the end. The times are those of this computer and of the emulator's stand-ins, not
 * AWS's.
 */
import { type Calls, failuresOf } from "./calls";

/** A fault and what followed, in seconds after it. */
export interface Figures {
    readonly what: string;
    /** Until no balancer sent calls to the victim any more. */
    readonly routed?: number | undefined;
    /** Until AutoScaling (its stand-in) started to create another instance. */
    readonly detected?: number | undefined;
    /** Until the new instance served, and the pool was complete. */
    readonly whole?: number | undefined;
    readonly calls?: Calls;
}

const figures: Figures[] = [];

/** Adds figures. */
export function record(row: Figures): void {
    figures.push(row);
    if (process.env.E2E_VERBOSE && row.calls) console.log(row.what, failuresOf(row.calls.raw));
}

/** Prints all of them. */
export function tell(say: (line: string) => void): void {
    if (figures.length === 0) return;
    const seconds = (value: number | undefined) => (value === undefined ? "-" : value.toFixed(1));
    const failed = (row: Figures, kind: keyof Calls) =>
        row.calls ? `${row.calls[kind].failed} of ${row.calls[kind].started}` : "-";
    const rows = figures.map((row) => [
        row.what,
        seconds(row.routed),
        seconds(row.detected),
        seconds(row.whole),
        failed(row, "raw"),
        failed(row, "repeated"),
    ]);
    const titles = [
        "",
        "not routed to, s",
        "replacement begun, s",
        "whole, s",
        "failed, tried once",
        "failed, repeated",
    ];
    const width = titles.map((_, column) => Math.max(...[titles, ...rows].map((row) => row[column]?.length ?? 0)));
    for (const row of [titles, ...rows]) {
        say(`      ${row.map((cell, column) => cell.padEnd(width[column] as number)).join("  ")}`);
    }
}
