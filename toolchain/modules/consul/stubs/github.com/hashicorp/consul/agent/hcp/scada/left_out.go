// In place of: *.go
//
// HashiCorp Cloud Platform manages no servers here. Its SDK brings an OpenAPI runtime and a database driver along.

package scada

import (
	"net"

	"github.com/hashicorp/hcp-scada-provider/capability"
)

// CAPCoreAPI is the address at which the platform would reach the HTTP API.
var CAPCoreAPI = capability.NewAddr("core_api")

// IsCapability tells whether an address is one of the platform's.
func IsCapability(addr net.Addr) bool {
	_, is := addr.(*capability.Addr)
	return is
}

// Provider is never there.
type Provider interface {
	Listen(capability string) (net.Listener, error)
	SessionStatus() string
	Stop() error
}
