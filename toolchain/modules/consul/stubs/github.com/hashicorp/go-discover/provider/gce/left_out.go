// In place of: *.go
//
// Auto-join here is by addresses, or by tags at AWS. Each other cloud brings its SDK along.

package gce

import (
	"errors"
	"log"
)

// Provider finds nothing.
type Provider struct{}

// Help says that it is not there.
func (*Provider) Help() string {
	return "Google Cloud:\n\n    provider:   \"gce\", which is not in this build of Consul\n"
}

// Addrs fails.
func (*Provider) Addrs(map[string]string, *log.Logger) ([]string, error) {
	return nil, errors.New("discover-gce: auto-join at Google Cloud is not in this build of Consul; the official release has it")
}
