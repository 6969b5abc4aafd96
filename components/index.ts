/** `gateway`: what other programs use of this package. */
export {
    type AwsConfig,
    ConfigError,
    type GatewayConfig,
    type GatewayService,
    type ImageConfig,
    type LoadBalancerStack,
    loadConfig,
    type OpenstackConfig,
    type ReplacementPolicyConfig,
} from "../config";
export * from "./consulObjects";
export * from "./gatewayPool";
export * from "./loadBalancer";
export * from "./machineRoles";
export * from "./programFiles";
export * from "./serviceDiscovery";
export type * from "./target";
export * from "./targets";
