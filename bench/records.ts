/** What a run writes down: one JSON object a line, which is its journal and its raw data at once. */
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
import { UserError } from "../scripts/engine";
import type { Latency } from "./load";
import type { Cell, Mix, Profile } from "./matrix";

/** The first line: what the run is, and where. */
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
    /** Why hosts are not cut off from the network; undefined when they are. */
    readonly noHostLoss?: string;
}

/** What the generator can do at most, on a connection mix, against a server that does nothing. */
export interface CeilingRecord {
    readonly kind: "ceiling";
    readonly at: string;
    readonly mix: Mix;
    /** By a closed loop, calls per second. */
    readonly perSecond: number;
    /** Cores that the generator's process kept busy meanwhile. */
    readonly cores: number;
    /** By an open loop at a rate that has to be kept, with the deadline of all other measurements. */
    readonly open: { readonly rate: number; readonly cores: number } & Outcome;
}

/** How the calls of a load went. Times are milliseconds. */
export interface Outcome {
    readonly started: number;
    readonly failed: number;
    readonly latency?: Latency;
    /** By how much the generator was late with 99 % of the calls, and at most. */
    readonly late?: { readonly p99: number; readonly max: number };
}

/** When the generator is later than this, at the 99th percentile, what is measured is the generator, milliseconds. */
const LATEST_MS = 20;

/** Whether something else kept the computer so busy during a trial that the generator did not keep its schedule. */
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

/** How the calls went during a fault; times count from the fault. */
export interface FaultOutcome extends Outcome {
    readonly rate: number;
    /** From the first failure to the last; 0 when there was one or none. */
    readonly outageMs: number;
    /** When the first and the last call failed. */
    readonly firstMs?: number;
    readonly lastMs?: number;
    /** When the last of the calls that failed was meant to start: from then on all went well. */
    readonly lastStartMs?: number;
    /** Failed before the fault was made: something else is wrong. */
    readonly failedBefore: number;
    /** What went wrong, and how often. */
    readonly errors?: Readonly<Record<string, number>>;
}

/** CPU, in cores, and memory, in MiB, of the parts of a deployment. */
export interface PartUsage {
    readonly cores: number;
    readonly mib: number;
}

/** The parts by what they do; of two balancers only the one that is called. */
export type Parts = Readonly<Record<Part, PartUsage>>;
/**
 * `proxy`: HAProxy or Fabio; `helpers`: what else runs on the balancer; `registry`: Consul's servers; `gateways`: their
 * processes; `sidecars`: what else runs on the gateways; `generator`.
 */
export type Part = (typeof parts)[number];
export const parts = ["proxy", "helpers", "registry", "gateways", "sidecars", "generator"] as const;

interface Measured<C extends Cell> {
    readonly kind: C["kind"];
    readonly cell: C;
    readonly repeat: number;
    /** ISO 8601. */
    readonly at: string;
}
type Of<K extends Cell["kind"]> = Extract<Cell, { kind: K }>;

/** The most calls a second. */
export interface SaturationRecord extends Measured<Of<"saturation">> {
    readonly perSecond: number;
    readonly failed: number;
    readonly latency?: Latency;
    readonly parts: Parts;
    /** Share of all cores that was busy, 0 to 1. */
    readonly busy: number;
}

/** Latency at a rate. */
export interface LatencyRecord extends Measured<Of<"latency">> {
    readonly rate: number;
    readonly outcome: Outcome;
    /** HDR histogram of microseconds, compressed, base64. */
    readonly histogram: string;
    readonly parts: Parts;
    readonly busy: number;
}

/** A fault. */
export interface FaultRecord extends Measured<Of<"fault">> {
    readonly target: string;
    /** Calls that are tried once, through one balancer. */
    readonly raw: Readonly<Record<Mix, FaultOutcome>>;
    /** Calls that the client library repeats, with the addresses of both balancers. */
    readonly retried: Readonly<Record<Mix, FaultOutcome>>;
    /** When the balancer was first seen not to give calls to the victim any more, milliseconds after the fault. */
    readonly unusedMs?: number;
    /** How long the fault itself took where it is a course of events, milliseconds. */
    readonly courseMs: number;
    /** How long after the calls ended everything was whole again; undefined when it was not. */
    readonly wholeMs?: number;
    /** Fewest gateways that the called balancer used, as far as was seen. */
    readonly fewestUsed?: number;
    /** With the balancer killed, HAProxy only: whether each gateway was in its slot again. */
    readonly sameSlots?: boolean;
    readonly problems: readonly string[];
}

/** What a pool costs. */
export interface PoolRecord extends Measured<Of<"pool">> {
    /** From the last gateways' boot until all gateways get calls. */
    readonly bootMs: number;
    readonly idle: Parts;
    readonly loaded: { readonly rate: number; readonly outcome: Outcome; readonly parts: Parts };
}

/** A line of the journal that belongs to a trial. */
export type TrialRecord = SaturationRecord | LatencyRecord | FaultRecord | PoolRecord;
/** Any line. */
export type BenchRecord = RunRecord | CeilingRecord | TrialRecord;

/** Whether a record belongs to a trial. */
export const isTrial = (record: BenchRecord): record is TrialRecord => "cell" in record;

/** Appends a record; it is on the disk when this returns. */
export function append(path: string, record: BenchRecord): void {
    mkdirSync(dirname(path), { recursive: true });
    appendFileSync(path, `${JSON.stringify(record)}\n`);
    const file = openSync(path, "r+");
    fsyncSync(file);
    closeSync(file);
}

/**
 * Reads a journal. A last line that was cut off, by a run that was killed while it wrote, is dropped from the file.
 *
 * @returns nothing when there is no such file.
 * @throws UserError naming the line that cannot be read.
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
                throw new UserError(`${path}:${index + 1} is not JSON: take the line out, or choose another file`);
            }
        });
}

/**
 * The first record of a journal that is gone on with.
 *
 * @returns undefined for a new one.
 * @throws UserError when it is of another profile or seed.
 */
export function runOf(
    path: string,
    records: readonly BenchRecord[],
    wanted: Pick<RunRecord, "profile" | "seed">,
): RunRecord | undefined {
    const [first] = records;
    if (first === undefined) return undefined;
    if (first.kind !== "run") throw new UserError(`${path} does not begin with a run: choose another file with --out`);
    if (first.profile !== wanted.profile || first.seed !== wanted.seed) {
        throw new UserError(
            `${path} is of a run with profile ${first.profile} and seed ${first.seed}, ` +
                `not ${wanted.profile} and ${wanted.seed}: choose another file with --out`,
        );
    }
    return first;
}
