// In place of: envoy_versioning.go xdscommon.go
//
// Envoy is not used here: Consul's gRPC ports, by which it is configured, are off in every agent. What stays is the
// list of its versions, which /v1/agent/self tells.

package xdscommon
