/** Waiting: for one probe, and for all services of the machine. */
import type { CloudMachine } from "../roles/render/cloudInit";
import type { Probe } from "../roles/role";
import { probe } from "../supervisor/probe";
import { waitFor } from "../supervisor/wait";
import type { System } from "./system";

/** Pause between two looks, milliseconds. */
const LOOK_EVERY = 100;
const SECOND = 1000;

/**
 * The probe that words of a command line describe: `http URL STATUS`, `tcp HOST PORT`, `file PATH`.
 *
 * @throws Error when they are none.
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
            throw new Error(`"${words.join(" ")}" is no probe`);
    }
}

/** Waits until a probe succeeds. @throws Error when that takes longer than `seconds`. */
export async function waitForProbe(seconds: number, target: Probe): Promise<void> {
    await waitFor(JSON.stringify(target), () => probe(target, "/"), seconds * SECOND, LOOK_EVERY);
}

/**
 * Waits until every unit of the machine is active, which a service is once its probe succeeded.
 *
 * @throws Error naming those that are not, when that takes longer than `seconds`.
 */
export async function waitForUnits(
    system: System,
    machine: Pick<CloudMachine, "units">,
    seconds: number,
): Promise<void> {
    const names = machine.units.map(({ name }) => name);
    await waitFor(
        "the start of the services",
        async () => {
            const shown = await system.run("systemctl", ["show", "--property=Id,ActiveState", ...names]);
            const states = shown
                .trim()
                .split("\n\n")
                .map(
                    (block) =>
                        Object.fromEntries(block.split("\n").map((line) => line.split("=", 2))) as {
                            Id?: string;
                            ActiveState?: string;
                        },
                );
            const missing = states.filter(({ ActiveState }) => ActiveState !== "active");
            if (missing.length === 0) return true;
            throw new Error(missing.map(({ Id, ActiveState }) => `${Id} is ${ActiveState}`).join(", "));
        },
        seconds * SECOND,
        LOOK_EVERY * 5,
    );
}
