// In place of: *.go
//
// HashiCorp Cloud Platform manages no servers here. Its SDK brings an OpenAPI runtime and a database driver along.

package hcp

import (
	"context"

	"github.com/armon/go-metrics"
	"github.com/hashicorp/go-hclog"

	"github.com/hashicorp/consul/agent/hcp/client"
	"github.com/hashicorp/consul/agent/hcp/config"
	"github.com/hashicorp/consul/agent/hcp/scada"
)

// Deps is empty.
type Deps struct {
	Config            config.CloudConfig
	Provider          scada.Provider
	Sink              metrics.ShutdownSink
	TelemetryProvider any
	DataDir           string
}

// NewDeps fails.
func NewDeps(config.CloudConfig, hclog.Logger, string) (Deps, error) {
	return Deps{}, client.ErrLeftOut
}

// StatusCallback returns a server's status.
type StatusCallback func(context.Context) (client.ServerStatus, error)

// ManagerConfig is not used.
type ManagerConfig struct {
	CloudConfig               config.CloudConfig
	SCADAProvider             scada.Provider
	TelemetryProvider         any
	StatusFn                  StatusCallback
	ManagementTokenUpserterFn func(name, secretId string) error
	ManagementTokenDeleterFn  func(secretId string) error
	Logger                    hclog.Logger
}

// HCPManager does nothing.
type HCPManager struct{}

// NewManager says that there is none: a server with credentials of the platform, but no resource of it, gets here.
func NewManager(cfg ManagerConfig) *HCPManager {
	cfg.Logger.Error(client.ErrLeftOut.Error())
	return &HCPManager{}
}

// SendUpdate does nothing.
func (*HCPManager) SendUpdate() {}

// Start does nothing.
func (*HCPManager) Start(context.Context) error { return nil }
