// In place of: *.go
//
// HashiCorp Cloud Platform manages no servers here. Its SDK brings an OpenAPI runtime and a database driver along.

package config

import (
	"crypto/tls"

	"github.com/hashicorp/consul/types"
)

// CloudConfig is what an agent's configuration says of HashiCorp Cloud Platform.
type CloudConfig struct {
	ResourceID      string
	ClientID        string
	ClientSecret    string
	Hostname        string
	AuthURL         string
	ScadaAddress    string
	ManagementToken string
	TLSConfig       *tls.Config
	NodeID          types.NodeID
	NodeName        string
}

// IsConfigured tells whether the platform is to be used.
func (c *CloudConfig) IsConfigured() bool {
	return c.ResourceID != "" && c.ClientID != "" && c.ClientSecret != ""
}
