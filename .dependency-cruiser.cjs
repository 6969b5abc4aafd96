/**
 * The direction of imports: each room uses only rooms below it, and no file needs itself by way of others.
 * CONTRIBUTING.md draws the rooms; `npm run lint` checks them here.
 */
const ROOMS = [
    ["tests"],
    ["bench", "examples"],
    ["scripts"],
    ["loop.ts"],
    ["index.ts"],
    ["components"],
    ["config"],
    ["roles"],
    ["programs"],
    ["replacement"],
    ["engine"],
    ["clients"],
    ["toolchain"],
    ["lib", "gateway-sample"],
];

const pathOf = (rooms) =>
    `^(${rooms.map((room) => (room.endsWith(".ts") ? room.replace(".", "\\.") : `${room}/`)).join("|")})`;

/** Clouds: each is one Target, and none knows another. */
const CLOUDS = ["aws", "openstack", "local"];

module.exports = {
    forbidden: [
        ...ROOMS.slice(1).map((rooms, index) => ({
            name: `${rooms.join("-")}-uses-only-rooms-below`,
            severity: "error",
            from: { path: pathOf(rooms) },
            to: { path: pathOf(ROOMS.slice(0, index + 1).flat()) },
        })),
        { name: "no-circle", severity: "error", from: {}, to: { circular: true } },
        {
            name: "components-know-no-cloud",
            comment: "Only the list of targets names the clouds.",
            severity: "error",
            from: { path: "^components/[^/]+\\.ts$", pathNot: "^components/targets\\.ts$" },
            to: { path: `^components/(${CLOUDS.join("|")})/` },
        },
        ...CLOUDS.map((cloud) => ({
            name: `${cloud}-knows-no-other-cloud`,
            severity: "error",
            from: { path: `^components/${cloud}/` },
            to: { path: `^components/(${CLOUDS.filter((other) => other !== cloud).join("|")})/` },
        })),
        {
            name: "core-is-pure",
            comment: "Nothing in the core of the loop reads, writes or waits.",
            severity: "error",
            from: { path: "^replacement/core/" },
            to: { path: "^(node:|replacement/(act|observe)/)|^(fs|net|http|https|child_process|timers/promises)$" },
        },
        {
            name: "roles-know-no-pulumi",
            severity: "error",
            from: { path: "^(roles|programs/(?!replacer)|clients|lib)/" },
            to: { path: "node_modules/@pulumi/" },
        },
    ],
    options: {
        tsPreCompilationDeps: true,
        tsConfig: { fileName: "tsconfig.json" },
        doNotFollow: { path: "node_modules" },
        exclude: { path: "^(gateway-sample/gen|node_modules/(?!@pulumi))" },
        enhancedResolveOptions: {
            exportsFields: ["exports"],
            conditionNames: ["import", "require", "node", "default"],
        },
    },
};
