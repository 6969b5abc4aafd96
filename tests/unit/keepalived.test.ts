import * as assert from "node:assert/strict";
import { cloudLayout } from "../../programs/boot/description";
import { keepalived } from "../../roles/keepalived";
import { renderCloudInit } from "../../roles/render/cloudInit";
import { assertGolden } from "../golden/compare";

const args = {
    address: "10.30.0.10",
    peers: ["10.30.0.21", "10.30.0.23"],
    index: 1,
    virtualRouterId: 51,
    statusPath: "/",
};
const layout = cloudLayout("lb-1", "10.30.0.22");

describe("the balancers' shared address", () => {
    const role = keepalived(args, layout);

    it("is moved by keepalived as in the golden files", () => {
        for (const file of role.files) assertGolden(`keepalived${file.path}`, file.content);
    });

    it("goes to a balancer that works, in the order of the balancers", () => {
        const priority = (index: number) =>
            Number(/priority (\d+)/.exec(keepalived({ ...args, index }, layout).files[0]?.content ?? "")?.[1]);
        const priorities = [0, 1, 2, 3, 4].map(priority);
        assert.deepEqual(priorities, [150, 140, 130, 120, 110]);
    });

    it("is moved by a unit with only the rights that it needs", () => {
        const { machine } = renderCloudInit({
            role,
            layout,
            artifacts: { kind: "prebaked" },
            secrets: { kind: "none" },
            boot: { file: "boot-0.cjs", sha256: "0" },
        });
        assert.deepEqual(machine.binaries[0], { kind: "package", name: "keepalived", package: "keepalived" });
        const unit = machine.units[0]?.content ?? "";
        assertGolden("keepalived/gw-keepalived.service", unit);
        const lines = unit.split("\n");
        assert.ok(lines.includes("CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_SETGID"));
        assert.ok(lines.includes("RestrictAddressFamilies=AF_PACKET"));
        // Both belong to root and only root may change them. Otherwise a service could make root run anything.
        for (const { owner, mode } of machine.files) assert.deepEqual([owner, mode], ["root", 0o644]);
    });
});
