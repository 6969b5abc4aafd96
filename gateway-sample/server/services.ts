/** The sample's services. */

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import * as Admin from "../gen/Admin";
import * as GatewayApi from "../gen/GatewayApi";
import { Experiment, ExperimentNotFound, ServerStatus } from "../gen/gateway_types";
import type { Processor } from "./connection";

/** The server, as its services see it. */
export interface ServiceContext {
    /** The server's name. */
    readonly name: string;
    readonly log: Logger;
    /** The current state of the server. */
    status(): { readonly state: string; readonly connections: number; readonly callsAnswered: number };
}

/** Experiments that a server keeps. Above this number a new one replaces the oldest. */
const MAX_EXPERIMENTS = 10_000;

/** The longest `sleep`, milliseconds. */
const MAX_SLEEP_MS = 60_000;

/** The processors of the sample's services, by name. */
export function sampleServices(context: ServiceContext): Record<"GatewayApi" | "Admin", Processor> {
    const experiments = new Map<string, Experiment>();
    // Generated processors detect callbacks by the number of parameters, so declare each parameter.
    return {
        GatewayApi: new GatewayApi.Processor({
            ping: async () => context.name,
            echo: async (text: string) => text,
            sleep: async (milliseconds: number) => {
                if (!(milliseconds >= 0 && milliseconds <= MAX_SLEEP_MS)) {
                    throw new Error(`milliseconds must be from 0 to ${MAX_SLEEP_MS}`);
                }
                await sleep(milliseconds);
                return context.name;
            },
            getExperiment: async (id: string) => {
                const experiment = experiments.get(id);
                if (experiment === undefined) throw new ExperimentNotFound({ id });
                return experiment;
            },
            createExperiment: async (name: string) => {
                const experiment = new Experiment({ id: randomUUID(), name, createdAt: new Date().toISOString() });
                experiments.set(experiment.id, experiment);
                const [oldest] = experiments.keys();
                if (experiments.size > MAX_EXPERIMENTS && oldest !== undefined) experiments.delete(oldest);
                return experiment;
            },
        }),
        Admin: new Admin.Processor({
            status: async () => new ServerStatus({ name: context.name, processId: process.pid, ...context.status() }),
            note: (text: string) => context.log.info({ text }, "note"),
        }),
    };
}
