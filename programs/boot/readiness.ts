/** When the machine counts as ready, and whom it tells. */
import { readFileSync } from "node:fs";
import { get } from "node:https";
import { waitForRotation, waitForServing } from "../../clients/readiness";
import { waitFor } from "../../lib/wait";
import type { MachineCondition } from "./delivery";
import type { CloudMachine } from "./description";
import { type Mailbox, mailboxOf } from "./mailbox";
import { unitsThatAreNot, waitForUnits } from "./services";
import { onDisk, type System } from "./system";
import { unitName } from "./units";

/** Pause between two looks, milliseconds. */
const LOOK_EVERY = 500;
const SECOND = 1000;
/** How long another Consul server may take to answer, milliseconds. */
const ANSWER_TIMEOUT = 2_000;

/** The part of a machine's description that is needed here. */
type Described = Pick<CloudMachine, "units" | "secrets" | "directories">;

/**
 * Waits until the machine is ready: until all its services are, or the conditions of its delivery hold. Reports it if
 * the machine has a mailbox.
 *
 * @throws Error with the reason if that takes longer than `seconds`.
 */
export async function becomeReady(
    system: System,
    machine: Described,
    seconds: number,
    mailbox: Pick<Mailbox, "delivery" | "answer"> | undefined = mailboxIn(system, machine),
): Promise<void> {
    const gates = mailbox ? (await mailbox.delivery()).gates : [{ kind: "services" } as const];
    for (const gate of gates) await pass(system, machine, gate, seconds);
    await mailbox?.answer();
}

function mailboxIn(system: System, { secrets, directories }: Described): Mailbox | undefined {
    return secrets.kind === "delivered" ? mailboxOf(system, directories.etc, secrets.endpoint) : undefined;
}

async function pass(system: System, machine: Described, gate: MachineCondition, seconds: number): Promise<void> {
    switch (gate.kind) {
        case "services":
            return waitForUnits(system, machine, seconds);
        case "rotation":
            return waitForRotation(gate.balancers, gate.address);
        case "serving":
            return waitForServing(gate.balancer, gate.others);
        case "server":
            await waitFor(
                "the start of the services",
                () => serverIsReady(system, machine, gate),
                seconds * SECOND,
                LOOK_EVERY,
            );
    }
}

async function serverIsReady(
    system: System,
    machine: Described,
    gate: Extract<MachineCondition, { kind: "server" }>,
): Promise<boolean> {
    const missing = await unitsThatAreNot(system, machine);
    if (missing.length === 0) return true;
    const excepted = gate.except.map(unitName);
    const others = missing.filter(({ name }) => !excepted.includes(name));
    if (others.length === 0) {
        const ca = readFileSync(onDisk(system, gate.caFile), "utf8");
        const leaders = await Promise.all(gate.others.map((url) => knowsLeader(url, ca)));
        if (!leaders.includes(true)) return true;
    }
    throw new Error(missing.map(({ name, state }) => `${name} is ${state}`).join(", "));
}

/**
 * Whether a Consul server answers a request that only a server with a known leader can (checked with Consul 1.22.0).
 * Never throws.
 */
function knowsLeader(url: string, ca: string): Promise<boolean> {
    return new Promise((done) => {
        const request = get(`${url}/v1/catalog/services`, { ca, timeout: ANSWER_TIMEOUT, agent: false }, (response) => {
            response.resume();
            done(response.statusCode === 200);
        });
        request.on("timeout", () => request.destroy());
        request.on("error", () => done(false));
    });
}
