// In place of: *.go
//
// HashiCorp Cloud Platform manages no servers here. Its SDK brings an OpenAPI runtime and a database driver along.

package discover

import (
	"log"

	"github.com/hashicorp/consul/agent/hcp/client"
)

// Provider finds nothing.
type Provider struct{}

// Help is empty, as in the official release.
func (*Provider) Help() string {
	return ""
}

// Addrs fails.
func (*Provider) Addrs(map[string]string, *log.Logger) ([]string, error) {
	return nil, client.ErrLeftOut
}
