/** What of a status needs a human's look, for the exit code of `status` and for monitoring. */
import { type Status, seemsToRun } from "./report";

/** Why not everything is healthy: empty when the loop runs and sees every server healthy. */
export function ailments(status: Status): string[] {
    const { snapshot, now } = status;
    if (!snapshot) return ["the replacement loop has not observed anything yet"];
    const age = Math.max(0, Math.round(now - snapshot.observation.time));
    const { consul, controlPlane } = snapshot.observation;
    return [
        ...(seemsToRun(status)
            ? []
            : [`the replacement loop does not run, or is replacing a server: it last looked ${age} s ago`]),
        ...(consul.seen || consul.none ? [] : [`the loop does not see Consul: ${consul.error}`]),
        ...(controlPlane.seen ? [] : [`the loop does not see the control plane: ${controlPlane.error}`]),
        ...(snapshot.alarms ?? []).map(({ name, text }) => `alarm ${name}: ${text}`),
        ...snapshot.decision.slots
            .filter(({ condition }) => condition !== "healthy")
            .map(({ slot, condition }) => `${slot} is ${condition}`),
    ];
}
