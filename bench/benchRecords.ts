/** The journal of a run, which is also its raw data: one JSON object per line. */
import {
    appendFileSync,
    closeSync,
    existsSync,
    fsyncSync,
    mkdirSync,
    openSync,
    readFileSync,
    truncateSync,
} from "node:fs";
import { dirname } from "node:path";
import { UserError } from "../engine/stack";
import type { Latency } from "../gateway-sample/load";
import type { Cell, Mix, Profile } from "./trialMatrix";

/** The first line: the run and its environment. */
export interface RunRecord {
    readonly kind: "run";
    readonly profile: Profile["name"];
    readonly seed: number;
    /** ISO 8601. */
    readonly at: string;
    readonly host: {
        readonly cpu: string;
        readonly cores: number;
        readonly memoryGib: number;
        readonly kernel: string;
    };
    readonly versions: Readonly<Record<string, string>>;
    /** Why the run does not cut off hosts. Undefined when it does. */
    readonly noHostLoss?: string;
}

/** The most that the load generator can do with a connection mix, against a server that does nothing. */
export interface CeilingRecord {
    readonly kind: "ceiling";
    readonly at: string;
    readonly mix: Mix;
    /** From a closed loop, calls per second. */
    readonly perSecond: number;
    /** Cores that the generator's process used. */
    readonly cores: number;
    /** From an open loop at a fixed rate, with the deadline of all other measurements. */
    readonly open: { readonly rate: number; readonly cores: number } & CallOutcome;
}

/** Results of the calls of a load. Times are milliseconds. */
export interface CallOutcome {
    readonly started: number;
    readonly failed: number;
    readonly latency?: Latency;
    /** How late the generator started calls. */
    readonly late?: { readonly p99: number; readonly max: number };
}

/** Above this lateness at the 99th percentile, a trial measures the generator and not the stack. Milliseconds. */
const LATEST_MS = 20;

/** Whether the computer was too busy during a trial for the generator to keep its schedule. */
export function isDisturbed(record: TrialRecord): boolean {
    const outcomes =
        record.kind === "fault"
            ? [record.raw.kept, record.raw.perCall]
            : record.kind === "latency"
              ? [record.outcome]
              : record.kind === "pool"
                ? [record.loaded.outcome]
                : [];
    return outcomes.some(({ late }) => late !== undefined && late.p99 > LATEST_MS);
}

/** Results of the calls during a fault. Times count from the fault. */
export interface FaultOutcome extends CallOutcome {
    readonly rate: number;
    /** From the first failure to the last; 0 with one failure or none. */
    readonly outageMs: number;
    /** When the first and the last call failed. */
    readonly firstMs?: number;
    readonly lastMs?: number;
    /** When the last failed call was due to start. All later calls succeeded. */
    readonly lastStartMs?: number;
    /** Calls that failed before the fault, which means that something else is wrong. */
    readonly failedBefore: number;
    /** Errors, and how often each occurred. */
    readonly errors?: Readonly<Record<string, number>>;
}

/** CPU, in cores, and memory, in MiB, of a part of a deployment. */
export interface PartUsage {
    readonly cores: number;
    readonly mib: number;
}

/** Usage of all parts. Of two balancers, only the one that is called. */
export type Parts = Readonly<Record<Part, PartUsage>>;
/**
 * `proxy`: HAProxy or Fabio; `helpers`: other processes on the balancer; `registry`: the Consul servers; `gateways`: the
 * gateway processes; `sidecars`: other processes on the gateways' machines; `generator`: the load generator.
 */
export type Part = (typeof partNames)[number];
export const partNames = ["proxy", "helpers", "registry", "gateways", "sidecars", "generator"] as const;

interface Measured<C extends Cell> {
    readonly kind: C["kind"];
    readonly cell: C;
    readonly repeat: number;
    /** ISO 8601. */
    readonly at: string;
}
type Of<K extends Cell["kind"]> = Extract<Cell, { kind: K }>;

/** Throughput of a closed loop. */
export interface SaturationRecord extends Measured<Of<"saturation">> {
    readonly perSecond: number;
    readonly failed: number;
    readonly measureLatency?: Latency;
    readonly parts: Parts;
    /** Share of all cores that was busy, 0 to 1. */
    readonly busy: number;
}

/** Latency at a fixed rate. */
export interface LatencyRecord extends Measured<Of<"latency">> {
    readonly rate: number;
    readonly outcome: CallOutcome;
    /** HDR histogram of microseconds, compressed, base64. */
    readonly histogram: string;
    readonly parts: Parts;
    readonly busy: number;
}

/** Effect of a fault under load. */
export interface FaultRecord extends Measured<Of<"fault">> {
    readonly target: string;
    /** Calls that are tried once, through one balancer. */
    readonly raw: Readonly<Record<Mix, FaultOutcome>>;
    /** Calls that the client library retries, with the addresses of both balancers. */
    readonly retried: Readonly<Record<Mix, FaultOutcome>>;
    /** When the balancer had stopped using the victim, milliseconds after the fault. */
    readonly unusedMs?: number;
    /** Duration of the fault itself, milliseconds. */
    readonly courseMs: number;
    /** From the end of the watched calls to recovery, milliseconds. Undefined without a recovery. */
    readonly wholeMs?: number;
    /** The fewest gateways that the called balancer was seen to use. */
    readonly fewestUsed?: number;
    /** After the kill of an HAProxy balancer: whether each gateway has its former slot. */
    readonly sameSlots?: boolean;
    readonly problems: readonly string[];
}

/** CPU and memory of a pool. */
export interface PoolRecord extends Measured<Of<"pool">> {
    /** From the boot of the last gateways until all gateways get calls, milliseconds. */
    readonly bootMs: number;
    readonly idle: Parts;
    readonly loaded: { readonly rate: number; readonly outcome: CallOutcome; readonly parts: Parts };
}

/** A line of the journal with the result of a trial. */
export type TrialRecord = SaturationRecord | LatencyRecord | FaultRecord | PoolRecord;
/** Any line of the journal. */
export type BenchRecord = RunRecord | CeilingRecord | TrialRecord;

/** Whether a record is the result of a trial. */
export const isTrialRecord = (record: BenchRecord): record is TrialRecord => "cell" in record;

/** Appends a record and flushes it to disk. */
export function appendRecord(path: string, record: BenchRecord): void {
    mkdirSync(dirname(path), { recursive: true });
    appendFileSync(path, `${JSON.stringify(record)}\n`);
    const file = openSync(path, "r+");
    fsyncSync(file);
    closeSync(file);
}

/**
 * Reads a journal. Removes an incomplete last line, which a killed run leaves behind.
 *
 * @returns an empty list when there is no such file.
 * @throws UserError with the number of an invalid line.
 */
export function readRecords(path: string): BenchRecord[] {
    if (!existsSync(path)) return [];
    const text = readFileSync(path, "utf8");
    const end = text.lastIndexOf("\n") + 1;
    if (end < text.length) truncateSync(path, Buffer.byteLength(text.slice(0, end)));
    return text
        .slice(0, end)
        .split("\n")
        .filter((line) => line !== "")
        .map((line, index) => {
            try {
                return JSON.parse(line) as BenchRecord;
            } catch {
                throw new UserError(`${path}:${index + 1} is not JSON. Remove the line, or choose another file.`);
            }
        });
}

/**
 * The first record of a journal that a run continues.
 *
 * @returns undefined for a new journal.
 * @throws UserError when the journal has another profile or seed.
 */
export function resumedRun(
    path: string,
    records: readonly BenchRecord[],
    wanted: Pick<RunRecord, "profile" | "seed">,
): RunRecord | undefined {
    const [first] = records;
    if (first === undefined) return undefined;
    if (first.kind !== "run") throw new UserError(`${path} does not begin with a run. Choose another file with --out.`);
    if (first.profile !== wanted.profile || first.seed !== wanted.seed) {
        throw new UserError(
            `${path} has profile ${first.profile} and seed ${first.seed}, ` +
                `not ${wanted.profile} and ${wanted.seed}. Choose another file with --out.`,
        );
    }
    return first;
}
