/** How everything is named and coloured, in every figure and table. */
import type { Mix } from "../matrix";
import type { Part } from "../records";

interface Look {
    readonly label: string;
    readonly color: string;
}

/** Variants in the order of legends. Colours are told apart by the colour-blind (Okabe and Ito), but for the grey. */
export const looks: Readonly<Record<string, Look>> = {
    direct: { label: "no balancer", color: "#7f7f7f" },
    "consul-template-haproxy": { label: "consul-template + HAProxy", color: "#0072b2" },
    "serf-haproxy": { label: "Serf + HAProxy", color: "#009e73" },
    fabio: { label: "Fabio", color: "#d55e00" },
    "haproxy-checks-off": { label: "HAProxy, checks off", color: "#56b4e9" },
    "haproxy-discovery-frozen": { label: "HAProxy, discovery frozen", color: "#cc79a7" },
    "fabio-discovery-frozen": { label: "Fabio, discovery frozen", color: "#e69f00" },
};

/** The name of a variant for readers. */
export const labelOf = (variant: string): string => looks[variant]?.label ?? variant;

/** Connection mixes for readers. */
export const mixLabels: Readonly<Record<Mix, string>> = { kept: "kept connections", perCall: "a connection per call" };

/** Faults for readers. */
export const faultLabels: Readonly<Record<string, string>> = {
    "gateway-term": "gateway drained (SIGTERM)",
    "rolling-restart": "rolling restart of all gateways",
    scale: "pool 2 → 6 → 2",
    "route-changes": "100 route changes in a minute",
    "gateway-kill": "gateway killed (kill -9)",
    "gateway-stop": "gateway frozen (SIGSTOP)",
    "instance-kill": "gateway's machine killed",
    "host-loss": "gateway's host lost (packets dropped)",
    "agent-restart": "registry's agents restarted",
    "consul-leader": "Consul's leader killed",
    "registry-stop": "whole registry gone",
    "registry-empty": "registry says: no gateways",
    balancer: "balancer killed (kill -9)",
};

/** Parts of a deployment for readers, in the order in which bars are stacked. */
export const partLabels: Readonly<Record<Exclude<Part, "generator">, Look>> = {
    proxy: { label: "HAProxy or Fabio", color: "#0072b2" },
    helpers: { label: "other processes on the balancer", color: "#56b4e9" },
    registry: { label: "Consul servers", color: "#cc79a7" },
    sidecars: { label: "agents and health checks on the gateways", color: "#e69f00" },
    gateways: { label: "gateways", color: "#b0b0b0" },
};

/** The scale that gives variants their colours; only those that are named are in the legend. */
export function variantColors(variants: readonly string[]) {
    const shown = Object.entries(looks).filter(([name]) => variants.includes(name));
    return { domain: shown.map(([, { label }]) => label), range: shown.map(([, { color }]) => color) };
}
