// In place of: *.go
//
// Envoy is not used here: Consul's gRPC ports, by which it is configured, are off in every agent. agent/xds/config
// fills this in for agent/xds alone.

package clusterv3

import (
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// OutlierDetection has the fields that agent/xds/config fills in.
type OutlierDetection struct {
	Interval                 *durationpb.Duration
	BaseEjectionTime         *durationpb.Duration
	Consecutive_5Xx          *wrapperspb.UInt32Value
	EnforcingConsecutive_5Xx *wrapperspb.UInt32Value
	MaxEjectionPercent       *wrapperspb.UInt32Value
}
