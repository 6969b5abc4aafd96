// In place of: *.go
//
// Envoy is not used here: Consul's gRPC ports, by which it is configured, are off in every agent.

package proxy

import "github.com/hashicorp/consul/command/cli"

// New returns a command that only says that it is not there.
func New(ui cli.Ui) *cmd {
	return &cmd{ui}
}

type cmd struct {
	ui cli.Ui
}

func (c *cmd) Run([]string) int {
	c.ui.Error("`consul troubleshoot proxy` is not in this build of Consul; the official release has it")
	return 1
}

func (c *cmd) Synopsis() string {
	return "Not in this build"
}

func (c *cmd) Help() string {
	return "`consul troubleshoot proxy` is not in this build of Consul; the official release has it"
}
