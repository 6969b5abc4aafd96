/** Waiting: for one probe, and for all services of the machine. */

import { waitFor } from "../../lib/wait";
import type { Probe } from "../machine";
import { probe } from "../probe";
import type { CloudMachine } from "./description";
import type { System } from "./system";

/** Pause between two looks, milliseconds. */
const LOOK_EVERY = 100;
const SECOND = 1000;

/**
 * The probe that the words of a command line describe: `http URL STATUS`, `tcp HOST PORT` or `file PATH`.
 *
 * @throws Error if they describe none.
 */
export function parseProbe(words: readonly string[]): Probe {
    const [kind, target = "", number = ""] = words;
    switch (kind) {
        case "http":
            return { kind, url: target, status: Number(number) };
        case "tcp":
            return { kind, host: target, port: Number(number) };
        case "file":
            return { kind, path: target };
        default:
            throw new Error(`"${words.join(" ")}" is not a probe`);
    }
}

/** Waits until a probe succeeds. @throws Error when that takes longer than `seconds`. */
export async function waitForProbe(seconds: number, target: Probe): Promise<void> {
    await waitFor(JSON.stringify(target), () => probe(target, "/"), seconds * SECOND, LOOK_EVERY);
}

/** A unit that is not active, and its state. */
export interface UnreadyUnit {
    readonly name: string;
    readonly state: string;
}

/** The units of the machine that are not active. A service is active once its probe has succeeded. */
export async function unitsThatAreNot(system: System, machine: Pick<CloudMachine, "units">): Promise<UnreadyUnit[]> {
    const names = machine.units.map(({ name }) => name);
    const shown = await system.run("systemctl", ["show", "--property=Id,ActiveState", ...names]);
    const states = shown
        .trim()
        .split("\n\n")
        .map(
            (block) =>
                Object.fromEntries(block.split("\n").map((line) => line.split("=", 2))) as Record<string, string>,
        );
    return states
        .filter(({ ActiveState }) => ActiveState !== "active")
        .map(({ Id = "", ActiveState = "" }) => ({ name: Id, state: ActiveState }));
}

/**
 * Waits until every unit of the machine is active.
 *
 * @throws Error that names the others if that takes longer than `seconds`.
 */
export async function waitForUnits(
    system: System,
    machine: Pick<CloudMachine, "units">,
    seconds: number,
): Promise<void> {
    await waitFor(
        "the start of the services",
        async () => {
            const missing = await unitsThatAreNot(system, machine);
            if (missing.length === 0) return true;
            throw new Error(missing.map(({ name, state }) => `${name} is ${state}`).join(", "));
        },
        seconds * SECOND,
        LOOK_EVERY * 5,
    );
}
