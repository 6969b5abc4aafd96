/** Texts for operators. Times are in UTC. */
import type { Decision, SlotDecision, Verdict } from "./core/decision";
import type { Pause } from "./core/observation";
import type { JournalEntry } from "./journal";
import type { LeaseEvent } from "./lease";
import type { Snapshot } from "./snapshot";

/** What `status` reports. */
export interface Status {
    /** Seconds since 1970. */
    readonly now: number;
    readonly snapshot?: Snapshot;
    /** The pause switch as it is now; "unknown" when it cannot be read. */
    readonly pause?: Pause | "unknown";
    /** The last action of each slot. */
    readonly actions: readonly Extract<JournalEntry, { kind: "action" }>[];
}

/** Whether the loop's last observation is recent enough to assume that it runs. */
export function seemsToRun({ now, snapshot }: Status): boolean {
    if (!snapshot) return false;
    return now - snapshot.observation.time < 10 * snapshot.policy.intervalSeconds + 5;
}

/** `status`, as text. */
export function renderStatus(status: Status): string {
    const { now, snapshot, pause, actions } = status;
    if (!snapshot) return "The replacement loop has not observed anything yet.\n";
    const { observation, decision, policy } = snapshot;
    const age = Math.max(0, Math.round(now - observation.time));
    const running = seemsToRun(status)
        ? `process ${snapshot.pid}, looked ${age} s ago`
        : `does NOT seem to run, or is replacing a server: it last looked ${age} s ago (process ${snapshot.pid})`;
    const budgets = decision.pool.filter(({ gate }) => gate.startsWith("budget")).map(({ reason }) => reason);
    const { memory } = decision;
    return lines(
        `loop      ${running}`,
        `paused    ${pauseText(pause, policy.paused, observation.consul.none === true)}${policy.dryRun ? "; dry run" : ""}`,
        observation.consul.none
            ? undefined
            : `Consul    ${observation.consul.seen ? "has a leader" : `not seen: ${observation.consul.error}`}`,
        `control   ${observation.controlPlane.seen ? "answers" : `not seen: ${observation.controlPlane.error}`}`,
        `budget    ${budgets.join(", ")}`,
        memory.inFlight
            ? `in flight ${memory.inFlight.slot}, since ${clockTime(memory.inFlight.startedAt)}`
            : undefined,
        memory.hold ? `hold      until ${clockTime(memory.hold.until)}: ${memory.hold.reason}` : undefined,
        "",
        table([
            ["SLOT", "SERVER", "IS", "CONTROL PLANE", "CONSUL", "BALANCERS", "LAST ACTION"],
            ...observation.slots.map((slot) => {
                const last = actions.filter(({ action }) => action.slot === slot.slot).at(-1);
                const balancers = Object.entries(slot.balancers).map(([name, state]) => `${name}:${state}`);
                return [
                    slot.slot,
                    slot.serverId,
                    decision.slots.find((decided) => decided.slot === slot.slot)?.condition ?? "?",
                    slot.controlPlane.state,
                    slot.consul,
                    balancers.join(" ") || "-",
                    last ? `${clockTime(last.time)} ${last.report.outcome.kind}` : "-",
                ];
            }),
        ]),
        "",
        `decision  ${decision.reasons.join("\n          ")}`,
    );
}

function pauseText(pause: Status["pause"], configured: boolean, inFile: boolean): string {
    if (configured) return "yes, by configuration";
    if (pause === "unknown") return inFile ? "unknown: its file cannot be read" : "unknown: Consul does not answer";
    return pause ? `yes, by ${pause.who} at ${clockTime(pause.when)}: ${pause.why}` : "no";
}

/** One decision with every rule's verdict; with `slot`, of that slot only. */
export function renderDecision(decision: Omit<Decision, "memory">, slot?: string): string {
    const slots = decision.slots.filter((decided) => slot === undefined || decided.slot === slot);
    return lines(
        `${timestamp(decision.time)}  decision: ${decision.reasons.join("; ")}`,
        ...decision.pool.map((verdict) => renderVerdict("pool", verdict)),
        ...slots.flatMap((decided) => renderSlot(decided)),
    );
}

function renderSlot({ slot, serverId, condition, verdicts }: SlotDecision): string[] {
    return [`    ${slot}: ${condition} (${serverId})`, ...verdicts.map((verdict) => renderVerdict(slot, verdict))];
}

function renderVerdict(scope: string, { gate, passed, reason, inputs }: Verdict): string {
    const because = passed ? "" : `  ${JSON.stringify(inputs)}`;
    return `    ${passed ? "pass" : "STOP"}  ${scope}.${gate}: ${reason}${because}`;
}

/** One entry of the journal; undefined when it does not concern `slot`. */
export function renderEntry(entry: JournalEntry, slot?: string): string | undefined {
    const at = timestamp(entry.time);
    switch (entry.kind) {
        case "start":
            return `${at}  the loop starts, process ${entry.pid}\n`;
        case "stop":
            return `${at}  the loop ends: ${entry.reason}\n`;
        case "error":
            return `${at}  error in ${entry.where}: ${entry.message}\n`;
        case "leadership":
            return `${at}  ${leadership(entry.event)}\n`;
        case "recovery": {
            const failed = entry.error === undefined ? "" : `: failed: ${entry.error}`;
            return `${at}  ${entry.step.kind}: ${entry.step.reason}${failed}\n`;
        }
        case "request": {
            if (slot !== undefined && entry.request.slot !== slot) return undefined;
            const { who, why, slot: name } = entry.request;
            return `${at}  ${who} asks to replace ${name} (${why}): ${entry.done ? "" : "refused: "}${entry.text}\n`;
        }
        case "action": {
            if (slot !== undefined && entry.action.slot !== slot) return undefined;
            const { outcome, seconds } = entry.report;
            const times = Object.entries(seconds).map(([phase, taken]) => `${phase} ${taken.toFixed(1)} s`);
            const why = "reason" in outcome ? `: ${outcome.reason}` : "";
            return `${at}  replace ${entry.action.slot} (${entry.action.serverId}): ${outcome.kind}${why} (${times.join(", ")})\n`;
        }
        case "decision":
            if (slot !== undefined && !entry.decision.slots.some((decided) => decided.slot === slot)) return undefined;
            return renderDecision(entry.decision, slot);
    }
}

function leadership(event: LeaseEvent): string {
    switch (event.kind) {
        case "standby":
            return event.holder
                ? `stands by: process ${event.holder.pid} on ${event.holder.host} leads (epoch ${event.holder.epoch})`
                : "stands by: nobody leads";
        case "elected":
            return `leads from now on (epoch ${event.epoch})`;
        case "lost":
            return `lost the lease (epoch ${event.epoch}): ${event.reason}`;
        case "released":
            return `released the lease (epoch ${event.epoch})`;
        case "error":
            return `cannot reach the leader's lock: ${event.message}`;
    }
}

function lines(...parts: readonly (string | undefined)[]): string {
    return `${parts.filter((part) => part !== undefined).join("\n")}\n`;
}

function table(rows: readonly (readonly string[])[]): string {
    const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
    return rows
        .map((row) =>
            row
                .map((cell, column) => cell.padEnd(widths[column] ?? 0))
                .join("  ")
                .trimEnd(),
        )
        .join("\n");
}

function timestamp(time: number): string {
    return new Date(time * 1000).toISOString();
}

function clockTime(time: number): string {
    return `${timestamp(time).slice(11, 19)}Z`;
}
