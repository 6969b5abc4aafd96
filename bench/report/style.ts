/** Labels and colours of all figures and tables. */

import type { Part } from "../benchRecords";
import type { Mix } from "../trialMatrix";

interface Look {
    readonly label: string;
    readonly color: string;
}

/** Variants in the order of legends. The colours, except the grey, suit the colour-blind (Okabe and Ito). */
export const looks: Readonly<Record<string, Look>> = {
    direct: { label: "no balancer", color: "#7f7f7f" },
    "consul-template-haproxy": { label: "consul-template + HAProxy", color: "#0072b2" },
    "serf-haproxy": { label: "Serf + HAProxy", color: "#009e73" },
    fabio: { label: "Fabio", color: "#d55e00" },
    "haproxy-checks-off": { label: "HAProxy, checks off", color: "#56b4e9" },
    "haproxy-discovery-frozen": { label: "HAProxy, discovery frozen", color: "#cc79a7" },
    "fabio-discovery-frozen": { label: "Fabio, discovery frozen", color: "#e69f00" },
};

/** The label of a variant. */
export const labelOf = (variant: string): string => looks[variant]?.label ?? variant;

/** Labels of connection mixes. */
export const mixLabels: Readonly<Record<Mix, string>> = { kept: "kept connections", perCall: "a connection per call" };

/** Labels of faults. */
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
    "registry-stop": "whole registry lost",
    "registry-empty": "registry lists no gateways",
    balancer: "balancer killed (kill -9)",
};

/** Labels and colours of the parts of a deployment, in stacking order. */
export const partLabels: Readonly<Record<Exclude<Part, "generator">, Look>> = {
    proxy: { label: "HAProxy or Fabio", color: "#0072b2" },
    helpers: { label: "other processes on the balancer", color: "#56b4e9" },
    registry: { label: "Consul servers", color: "#cc79a7" },
    sidecars: { label: "agents and health checks on the gateways", color: "#e69f00" },
    gateways: { label: "gateways", color: "#b0b0b0" },
};

/** The colour scale of the given variants. */
export function variantColors(variants: readonly string[]) {
    const shown = Object.entries(looks).filter(([name]) => variants.includes(name));
    return { domain: shown.map(([, { label }]) => label), range: shown.map(([, { color }]) => color) };
}
