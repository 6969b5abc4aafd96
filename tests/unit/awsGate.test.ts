import * as assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { create, diff, type ReadinessInputs, read, update } from "../../components/aws/readinessProvider";

/** What the stand-in for AWS's API answers to each action, one after the other; the last answer stays. */
type Answers = Record<string, string[]>;

const health = (states: Record<string, string>) =>
    `<DescribeTargetHealthResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"><DescribeTargetHealthResult><TargetHealthDescriptions>${Object.entries(
        states,
    )
        .map(
            ([id, state]) =>
                `<member><Target><Id>${id}</Id></Target><TargetHealth><State>${state}</State></TargetHealth></member>`,
        )
        .join("")}</TargetHealthDescriptions></DescribeTargetHealthResult></DescribeTargetHealthResponse>`;

const group = (instances: readonly { id: string; version: string; state?: string }[]) =>
    `<DescribeAutoScalingGroupsResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><DescribeAutoScalingGroupsResult><AutoScalingGroups><member><AutoScalingGroupName>pool</AutoScalingGroupName><Instances>${instances
        .map(
            ({ id, version, state = "InService" }) =>
                `<member><InstanceId>${id}</InstanceId><LifecycleState>${state}</LifecycleState><HealthStatus>Healthy</HealthStatus><LaunchTemplate><LaunchTemplateId>lt-1</LaunchTemplateId><Version>${version}</Version></LaunchTemplate></member>`,
        )
        .join(
            "",
        )}</Instances></member></AutoScalingGroups></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>`;

const refresh = (status?: string) =>
    `<DescribeInstanceRefreshesResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><DescribeInstanceRefreshesResult><InstanceRefreshes>${
        status === undefined
            ? ""
            : `<member><InstanceRefreshId>1</InstanceRefreshId><Status>${status}</Status><StatusReason>told so</StatusReason></member>`
    }</InstanceRefreshes></DescribeInstanceRefreshesResult></DescribeInstanceRefreshesResponse>`;

describe("waiting until AWS finds machines well", function () {
    this.timeout(20_000);
    let server: Server;
    let answers: Answers = {};
    let asked: string[] = [];
    let endpoint = "";

    before(async () => {
        server = createServer((request, response) => {
            let body = "";
            request.on("data", (chunk: Buffer) => {
                body += chunk.toString();
            });
            request.on("end", () => {
                const action = new URLSearchParams(body).get("Action") ?? "";
                asked.push(action);
                const list = answers[action] ?? [];
                const answer = list.length > 1 ? list.shift() : list[0];
                response.writeHead(answer === undefined ? 400 : 200, { "content-type": "text/xml" });
                response.end(answer ?? "");
            });
        });
        await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
        endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    });
    after(() => {
        server.close();
        server.closeAllConnections();
    });
    beforeEach(() => {
        asked = [];
    });

    const inputs = (wanted: ReadinessInputs["wanted"], timeoutSeconds = 10): ReadinessInputs => ({
        region: "eu-central-1",
        endpoint,
        targetGroupArn: "arn:targets",
        wanted,
        timeoutSeconds,
        lookSeconds: 0.02,
    });
    const instance = (orNobody = false) => ({ kind: "instance", instanceId: "i-1", orNobody }) as const;
    const pool = { kind: "group", group: "pool", version: "2", least: 2 } as const;

    it("passes when the instance is well", async () => {
        answers = { DescribeTargetHealth: [health({ "i-1": "healthy" })] };
        const { outs } = await create(inputs(instance()));
        assert.deepEqual(outs, inputs(instance()));
    });

    it("waits as long as it is not", async () => {
        answers = {
            DescribeTargetHealth: [health({}), health({ "i-1": "initial" }), health({ "i-1": "healthy" })],
        };
        await update("id", inputs(instance()), inputs(instance()));
        assert.equal(asked.length, 3);
    });

    it("says what is missing when that takes too long", async () => {
        answers = { DescribeTargetHealth: [health({ "i-1": "unhealthy", "i-2": "healthy" })] };
        await assert.rejects(create(inputs(instance(), 0.1)), /i-1 is unhealthy/);
    });

    it("lets others be made first as long as none is well, and no longer", async () => {
        answers = { DescribeTargetHealth: [health({ "i-1": "unhealthy", "i-2": "initial" })] };
        await create(inputs(instance(true)));
        answers = { DescribeTargetHealth: [health({ "i-1": "unhealthy", "i-2": "healthy" })] };
        await assert.rejects(create(inputs(instance(true), 0.1)), /i-1 is unhealthy/);
    });

    it("passes when enough instances of the version are in service and well", async () => {
        answers = {
            DescribeTargetHealth: [health({ "i-1": "healthy", "i-2": "healthy" })],
            DescribeAutoScalingGroups: [
                group([{ id: "i-1", version: "2" }]),
                group([
                    { id: "i-1", version: "2" },
                    { id: "i-2", version: "2" },
                ]),
            ],
            DescribeInstanceRefreshes: [refresh()],
        };
        await create(inputs(pool));
        assert.equal(asked.filter((action) => action === "DescribeAutoScalingGroups").length, 2);
    });

    for (const [what, states, instances] of [
        ["an old instance", { "i-1": "healthy", "i-2": "healthy" }, [{ id: "i-2", version: "1" }]],
        [
            "one that is not in service",
            { "i-1": "healthy", "i-2": "healthy" },
            [{ id: "i-2", version: "2", state: "Pending" }],
        ],
        ["one that is ill", { "i-1": "healthy", "i-2": "unhealthy" }, [{ id: "i-2", version: "2" }]],
        ["one that is missing", { "i-1": "healthy" }, []],
    ] as const) {
        it(`does not pass with ${what}`, async () => {
            answers = {
                DescribeTargetHealth: [health(states)],
                DescribeAutoScalingGroups: [group([{ id: "i-1", version: "2" }, ...instances])],
                DescribeInstanceRefreshes: [refresh("InProgress")],
            };
            await assert.rejects(create(inputs(pool, 0.1)), /the health of pool/);
        });
    }

    it("gives up at once when AWS has given up the roll-out", async () => {
        answers = {
            DescribeTargetHealth: [health({ "i-1": "healthy", "i-2": "healthy" })],
            DescribeAutoScalingGroups: [
                group([
                    { id: "i-1", version: "1" },
                    { id: "i-2", version: "1" },
                ]),
            ],
            DescribeInstanceRefreshes: [refresh("RollbackSuccessful")],
        };
        await assert.rejects(
            create(inputs(pool, 60)),
            /the instance refresh of pool ended: RollbackSuccessful; told so/,
        );
    });

    it("waits again only for something else", async () => {
        assert.deepEqual(await diff("id", inputs(instance()), inputs(instance(), 99)), {
            changes: false,
            replaces: [],
        });
        const other = { ...instance(), instanceId: "i-2" };
        assert.deepEqual(await diff("id", inputs(instance()), inputs(other)), { changes: true, replaces: [] });
        assert.deepEqual(await read("id", inputs(instance())), { id: "id", props: inputs(instance()) });
    });
});
