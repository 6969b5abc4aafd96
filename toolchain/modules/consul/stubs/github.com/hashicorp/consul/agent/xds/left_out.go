// In place of: *.go
//
// Envoy is not used here: Consul's gRPC ports, by which it is configured, are off in every agent. Its protocols are a
// fifth of the time to compile Consul.

package xds

import (
	"context"

	"github.com/armon/go-metrics/prometheus"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hashicorp/consul/acl"
	"github.com/hashicorp/consul/agent/grpc-external/limiter"
	"github.com/hashicorp/consul/agent/proxycfg"
	"github.com/hashicorp/consul/agent/structs"
	"github.com/hashicorp/consul/agent/xds/configfetcher"
)

// StatsGauges, StatsCounters and StatsSummaries have no metrics.
var (
	StatsGauges    []prometheus.GaugeDefinition
	StatsCounters  []prometheus.CounterDefinition
	StatsSummaries []prometheus.SummaryDefinition
)

// ACLResolverFunc finds out what a token may do.
type ACLResolverFunc func(id string) (acl.Authorizer, error)

// ProxyWatcher tells of changes of a proxy's configuration.
type ProxyWatcher interface {
	Watch(proxyID structs.ServiceID, nodeName string, token string) (<-chan *proxycfg.ConfigSnapshot,
		limiter.SessionTerminatedChan, proxycfg.SrcTerminatedChan, context.CancelFunc, error)
}

// Server turns every Envoy away.
type Server struct{}

// NewServer returns a server that turns every Envoy away.
func NewServer(string, hclog.Logger, ProxyWatcher, ACLResolverFunc, configfetcher.ConfigFetcher) *Server {
	return &Server{}
}

// Register makes the gRPC server answer Envoy's requests for configuration with an error.
func (s *Server) Register(server *grpc.Server) {
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "envoy.service.discovery.v3.AggregatedDiscoveryService",
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{
			{StreamName: "StreamAggregatedResources", Handler: refuse, ServerStreams: true, ClientStreams: true},
			{StreamName: "DeltaAggregatedResources", Handler: refuse, ServerStreams: true, ClientStreams: true},
		},
	}, s)
}

func refuse(any, grpc.ServerStream) error {
	return status.Error(codes.Unimplemented,
		"the configuration of Envoy is not in this build of Consul; the official release has it")
}
