import * as assert from "node:assert/strict";
import fc from "fast-check";
import { host, ownSubnets, place, RESERVED, subnet } from "../../components/aws/addressing";
import { parseNetwork } from "../../lib/ipv4";

describe("addresses at AWS", () => {
    it("reads networks, and clears what is behind the prefix", () => {
        assert.deepEqual(parseNetwork("10.20.0.0/16"), { base: 10 * 2 ** 24 + 20 * 2 ** 16, prefix: 16 });
        assert.deepEqual(parseNetwork("10.20.3.4/16"), parseNetwork("10.20.0.0/16"));
        assert.deepEqual(parseNetwork("255.255.255.255/32"), { base: 2 ** 32 - 1, prefix: 32 });
        for (const wrong of ["10.20.0.0", "10.20.0/16", "10.20.0.256/16", "10.20.0.0/33", "a.b.c.d/16", ""]) {
            assert.throws(() => parseNetwork(wrong), /is no IPv4 network/, wrong);
        }
    });

    it("cuts subnets", () => {
        assert.equal(subnet("10.20.0.0/16", 4, 0), "10.20.0.0/20");
        assert.equal(subnet("10.20.0.0/16", 4, 15), "10.20.240.0/20");
        assert.equal(subnet("192.168.255.0/24", 4, 8), "192.168.255.128/28");
        assert.throws(() => subnet("10.20.0.0/16", 4, 16), RangeError);
        assert.throws(() => subnet("10.20.0.0/30", 4, 0), RangeError);
    });

    it("finds addresses, but none of those that AWS keeps", () => {
        assert.equal(host("10.20.128.0/20", 4), "10.20.128.4");
        assert.equal(host("10.20.128.0/20", 300), "10.20.129.44");
        assert.equal(host("10.20.128.0/28", 14), "10.20.128.14");
        for (const index of [0, 3, 15, 16]) assert.throws(() => host("10.20.128.0/28", index), RangeError);
    });

    it("gives each zone two subnets that stay when zones are added", () => {
        const two = ownSubnets("10.20.0.0/16", ["a", "b"]);
        assert.deepEqual(two, [
            { zone: "a", pool: "10.20.0.0/20", fixed: "10.20.128.0/20" },
            { zone: "b", pool: "10.20.16.0/20", fixed: "10.20.144.0/20" },
        ]);
        assert.deepEqual(ownSubnets("10.20.0.0/16", ["a", "b", "c"]).slice(0, 2), two);
    });

    it("never overlaps, whatever the VPC and the number of zones", () => {
        fc.assert(
            fc.property(fc.integer({ min: 16, max: 24 }), fc.integer({ min: 2, max: 6 }), (prefix, zones) => {
                const names = [...Array(zones).keys()].map((index) => `zone${index}`);
                const all = ownSubnets(`10.20.0.0/${prefix}`, names).flatMap(({ pool, fixed }) => [pool, fixed]);
                const ranges = all
                    .map(parseNetwork)
                    .map(({ base, prefix: own }) => [base, base + 2 ** (32 - own)] as const);
                const sorted = [...ranges].sort(([a], [b]) => a - b);
                for (const [index, [start]] of sorted.entries()) assert.ok(start >= (sorted[index - 1]?.[1] ?? 0));
                const vpc = parseNetwork(`10.20.0.0/${prefix}`);
                assert.ok((sorted.at(-1)?.[1] ?? 0) <= vpc.base + 2 ** (32 - prefix));
            }),
        );
    });

    it("places machines over the zones, each at an address of its own, in the smallest subnets too", () => {
        assert.deepEqual(
            [0, 1, 2].map((index) => place("discovery", index, 3, RESERVED)),
            [0, 1, 2].map((zone) => ({ zone, host: 4 })),
        );
        assert.deepEqual(place("discovery", 2, 2, RESERVED), { zone: 0, host: 5 });
        assert.deepEqual(place("balancer", 0, 3, RESERVED), { zone: 0, host: 7 });
        for (const zones of [2, 3, 4, 5, 6]) {
            const places = (["discovery", "balancer"] as const).flatMap((kind) =>
                [...Array(5).keys()].map((index) => place(kind, index, zones, RESERVED)),
            );
            assert.equal(new Set(places.map((each) => JSON.stringify(each))).size, 10);
            for (const each of places) host("10.20.0.128/28", each.host);
        }
    });
});
