// In place of: *.go
//
// HashiCorp Cloud Platform manages no servers here. Its SDK brings an OpenAPI runtime and a database driver along.

package client

import (
	"errors"
	"time"

	"github.com/hashicorp/consul/agent/hcp/config"
)

// ErrLeftOut says what is missing.
var ErrLeftOut = errors.New("HashiCorp Cloud Platform is not in this build of Consul; the official release has it")

// Client does nothing.
type Client interface{}

// NewClient fails.
func NewClient(config.CloudConfig) (Client, error) {
	return nil, ErrLeftOut
}

// ServerStatus is what a server would tell the platform.
type ServerStatus struct {
	ID                string
	Name              string
	Version           string
	LanAddress        string
	GossipPort        int
	RPCPort           int
	Datacenter        string
	Autopilot         ServerAutopilot
	Raft              ServerRaft
	ACL               ServerACLInfo
	ServerTLSMetadata ServerTLSMetadata
	TLS               ServerTLSInfo
	ScadaStatus       string
}

// ServerAutopilot is part of ServerStatus.
type ServerAutopilot struct {
	FailureTolerance int
	Healthy          bool
	MinQuorum        int
	NumServers       int
	NumVoters        int
}

// ServerRaft is part of ServerStatus.
type ServerRaft struct {
	IsLeader             bool
	KnownLeader          bool
	AppliedIndex         uint64
	TimeSinceLastContact time.Duration
}

// ServerACLInfo is part of ServerStatus.
type ServerACLInfo struct {
	Enabled bool
}

// ServerTLSInfo is part of ServerStatus.
type ServerTLSInfo struct {
	Enabled                bool
	CertExpiry             time.Time
	CertIssuer             string
	CertName               string
	CertSerial             string
	CertificateAuthorities []CertificateMetadata
	VerifyIncoming         bool
	VerifyOutgoing         bool
	VerifyServerHostname   bool
}

// ServerTLSMetadata is part of ServerStatus.
type ServerTLSMetadata struct {
	InternalRPC ServerTLSInfo
}

// CertificateMetadata is part of ServerStatus.
type CertificateMetadata struct {
	CertExpiry time.Time
	CertName   string
	CertSerial string
}
