/** Metrics of the daemon in Prometheus' text format, and its health endpoint. */
import * as http from "node:http";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { Condition, Decision } from "./core/decision";
import type { Observation } from "./core/observation";
import type { JournalEntry } from "./journal";

const conditions: readonly Condition[] = ["healthy", "starting", "suspect", "lost", "gone"];

/** The daemon's health. */
export interface Health {
    readonly healthy: boolean;
    readonly role: "leader" | "standby";
    /** When it last observed, or renewed its session; seconds since 1970. */
    readonly lastSign: number;
}

/** The daemon's metrics. */
export class Metrics {
    readonly registry = new Registry();
    private readonly name = (name: string) => `gateway_replacement_${name}`;
    private readonly of = { registers: [this.registry] };
    private readonly leader = new Gauge({ name: this.name("leader"), help: "1 while this daemon leads", ...this.of });
    private readonly epoch = new Gauge({ name: this.name("epoch"), help: "epoch of this leader", ...this.of });
    private readonly slots = new Gauge({
        name: this.name("slots"),
        help: "slots of the pool, by their server's condition",
        labelNames: ["condition"],
        ...this.of,
    });
    private readonly poolRules = new Gauge({
        name: this.name("pool_gate_passed"),
        help: "1 where a rule about the whole pool lets a replacement through",
        labelNames: ["gate"],
        ...this.of,
    });
    private readonly observers = new Gauge({
        name: this.name("observer_seen"),
        help: "1 where an observer could see",
        labelNames: ["observer"],
        ...this.of,
    });
    private readonly lastLook = new Gauge({
        name: this.name("last_observation_timestamp_seconds"),
        help: "when the leader last observed, seconds since 1970",
        ...this.of,
    });
    private readonly actions = new Counter({
        name: this.name("actions_total"),
        help: "replacements, by how they ended",
        labelNames: ["outcome"],
        ...this.of,
    });
    private readonly recoveries = new Counter({
        name: this.name("recovery_steps_total"),
        help: "steps of the orphan clean-up, by kind and result",
        labelNames: ["step", "result"],
        ...this.of,
    });
    private readonly errors = new Counter({
        name: this.name("errors_total"),
        help: "journaled errors, by where they occurred",
        labelNames: ["where"],
        ...this.of,
    });
    private readonly replaceSeconds = new Histogram({
        name: this.name("replace_seconds"),
        help: "how long the engine took to replace a server",
        buckets: [2, 5, 10, 30, 60, 120, 300, 600, 1800],
        ...this.of,
    });
    private readonly observeSeconds = new Histogram({
        name: this.name("observe_seconds"),
        help: "how long one observation by all observers took",
        buckets: [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
        ...this.of,
    });

    constructor() {
        collectDefaultMetrics({ register: this.registry });
        this.leader.set(0);
    }

    observed(seconds: number): void {
        this.observeSeconds.observe(seconds);
    }

    decided(decision: Decision, observation: Observation): void {
        this.lastLook.set(observation.time);
        for (const condition of conditions) {
            this.slots.set({ condition }, decision.slots.filter((slot) => slot.condition === condition).length);
        }
        for (const { gate, passed } of decision.pool) this.poolRules.set({ gate }, Number(passed));
        for (const observer of ["deployment", "consul", "controlPlane"] as const) {
            this.observers.set({ observer }, Number(observation[observer].seen));
        }
    }

    journaled(entry: JournalEntry): void {
        if (entry.kind === "action") {
            this.actions.inc({ outcome: entry.report.outcome.kind });
            const { replace } = entry.report.seconds;
            if (replace !== undefined) this.replaceSeconds.observe(replace);
        } else if (entry.kind === "recovery") {
            this.recoveries.inc({ step: entry.step.kind, result: entry.error === undefined ? "done" : "failed" });
        } else if (entry.kind === "error") this.errors.inc({ where: entry.where });
        else if (entry.kind === "leadership" && entry.event.kind === "elected") {
            this.leader.set(1);
            this.epoch.set(entry.event.epoch);
        } else if (entry.kind === "leadership" && (entry.event.kind === "lost" || entry.event.kind === "released")) {
            this.leader.set(0);
            // The next leader reports these.
            this.slots.reset();
            this.poolRules.reset();
        }
    }
}

/**
 * Serves `/metrics` and `/health` (200, or 503 when the daemon is unhealthy) on one address of the machine.
 *
 * @param listen `ADDRESS:PORT`.
 * @throws Error when the address is not available.
 */
export async function serveMetrics(listen: string, metrics: Metrics, health: () => Health): Promise<http.Server> {
    const { hostname, port } = new URL(`http://${listen}`);
    const server = http.createServer((request, response) => {
        const answer = (status: number, type: string, body: string) =>
            response.writeHead(status, { "Content-Type": type }).end(body);
        if (request.method !== "GET") return answer(405, "text/plain", "GET only\n");
        switch (request.url?.split("?")[0]) {
            case "/health": {
                const { healthy, ...rest } = health();
                return answer(healthy ? 200 : 503, "application/json", `${JSON.stringify({ healthy, ...rest })}\n`);
            }
            case "/metrics":
                return void metrics.registry.metrics().then(
                    (text) => answer(200, metrics.registry.contentType, text),
                    (error: Error) => answer(500, "text/plain", `${error.message}\n`),
                );
            default:
                return answer(404, "text/plain", "there are /metrics and /health\n");
        }
    });
    // An idle connection must not delay the daemon's end.
    server.keepAliveTimeout = 1000;
    await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(Number(port), hostname, resolve);
    });
    return server;
}
