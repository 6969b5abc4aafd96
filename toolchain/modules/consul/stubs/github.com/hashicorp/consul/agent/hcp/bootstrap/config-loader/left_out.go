// In place of: *.go
//
// HashiCorp Cloud Platform manages no servers here. Its SDK brings an OpenAPI runtime and a database driver along.

package loader

import (
	"context"

	"github.com/hashicorp/consul/agent/config"
	"github.com/hashicorp/consul/agent/hcp/client"
)

// ConfigLoader loads an agent's configuration.
type ConfigLoader func(source config.Source) (config.LoadResult, error)

// LoadConfig fails.
func LoadConfig(context.Context, client.Client, string, ConfigLoader, any) (ConfigLoader, error) {
	return nil, client.ErrLeftOut
}

// AddAclPolicyAccessControlHeader changes nothing.
func AddAclPolicyAccessControlHeader(loader ConfigLoader) ConfigLoader {
	return loader
}
