import assert from "node:assert/strict";
import { decide } from "../../replacement/core/decide";
import { type IllSince, neglected, patience, stillIll } from "../../replacement/core/neglect";
import type { Observation } from "../../replacement/core/observation";
import { gone, lost, memory, NOW, observation, policy, remembered, slot } from "./replacementFixtures";

/** What the loop says, with its memory, when it sees the same for a while and acts on nothing. */
function said(seconds: number, seen: Partial<Observation>, before = memory()) {
    let since: IllSince = {};
    let known = before;
    let text: string | undefined;
    for (let time = 0; time <= seconds; time += policy.intervalSeconds) {
        const decision = decide(observation({ ...seen, time: NOW + time }), known, policy);
        since = stillIll(since, decision);
        text = neglected(since, decision, policy);
        known = decision.memory;
    }
    return text;
}

describe("a server that is ill while the loop does nothing", () => {
    const limit = patience(policy);
    const past = limit + policy.intervalSeconds;
    const others = [slot({ slot: "gw-1" }), slot({ slot: "gw-2" })];
    const pause = { who: "ann", why: "a look", when: NOW };

    it("is no alarm while the pool is healthy, or the loop may yet act", () => {
        assert.equal(said(past, {}), undefined);
        assert.equal(said(limit, { slots: [slot(gone), ...others], pause }), undefined);
    });

    it("is an alarm after twice the usual time, with the rule that holds the loop back", () => {
        assert.match(
            said(past, { slots: [slot(gone), ...others], pause }) ?? "",
            /^gw-0 is gone and not replaced \(pause\)$/,
        );
        const slots = [slot(lost), slot({ slot: "gw-1", consul: "warning" }), slot({ slot: "gw-2" })];
        assert.match(
            said(past, { slots }) ?? "",
            /gw-0 is lost and not replaced \(breaker\); gw-1 is suspect and not replaced \(the observers disagree\)/,
        );
    });

    it("says the same words for as long as nothing else changes", () => {
        const seen = { slots: [slot(gone), ...others], pause };
        assert.equal(said(past, seen), said(3 * past, seen));
    });

    it("is an alarm for the whole pool while the loop is blind", () => {
        const controlPlane = { seen: false, error: "503" };
        assert.equal(said(limit, { controlPlane }), undefined);
        assert.equal(said(past, { controlPlane }), "frozen because blind: 503");
        assert.equal(
            said(past, { deployment: { seen: false, error: "locked out" } }),
            "frozen because blind: locked out",
        );
    });

    it("is none while it boots, or while its replacement is in flight", () => {
        const inFlight = { slot: "gw-0", evidence: "hard", serverId: "gw-0-a", startedAt: NOW - 1 } as const;
        const booting = remembered("gw-0", { passed: false, activeSince: NOW });
        const slots = [slot({ ...lost, controlPlane: { state: "active", activeSince: NOW } }), ...others];
        const seconds = Math.min(past, policy.bootGraceSeconds - policy.intervalSeconds);
        assert.equal(said(seconds, { slots }, memory({ slots: { "gw-0": booting } })), undefined);
        assert.equal(said(limit, { slots: [slot(gone), ...others] }, memory({ inFlight })), undefined);
    });

    it("counts anew after it was healthy", () => {
        const decision = (seen: Partial<Observation>, time: number) =>
            decide(observation({ ...seen, time }), memory(), policy);
        const ill = { slots: [slot(gone), ...others], pause };
        const first = stillIll({}, decision(ill, NOW));
        assert.deepEqual(first, { "gw-0": NOW });
        const well = stillIll(first, decision({ slots: [slot(), ...others] }, NOW + 1));
        assert.deepEqual(well, {});
        assert.deepEqual(stillIll(well, decision(ill, NOW + 2)), { "gw-0": NOW + 2 });
    });
});
