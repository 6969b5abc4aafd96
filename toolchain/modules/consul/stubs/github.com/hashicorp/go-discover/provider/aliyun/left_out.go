// In place of: *.go
//
// Auto-join here is by addresses, or by tags at AWS. Each other cloud brings its SDK along.

package aliyun

import (
	"errors"
	"log"
)

// Provider finds nothing.
type Provider struct{}

// Help says that it is not there.
func (*Provider) Help() string {
	return "Alibaba Cloud:\n\n    provider:   \"aliyun\", which is not in this build of Consul\n"
}

// Addrs fails.
func (*Provider) Addrs(map[string]string, *log.Logger) ([]string, error) {
	return nil, errors.New("discover-aliyun: auto-join at Alibaba Cloud is not in this build of Consul; the official release has it")
}
