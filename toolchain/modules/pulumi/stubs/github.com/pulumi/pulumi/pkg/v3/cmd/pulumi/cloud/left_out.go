// In place of: api.go describe*.go encoding.go fields.go format.go list.go output.go paginate.go pathmatch.go schema.go spec*.go
//
// `pulumi api` calls Pulumi Cloud by its OpenAPI document, whose library alone takes a third of the time to compile
// Pulumi.

package cloud

import (
	"errors"

	"github.com/spf13/cobra"
)

// ParamSpec describes a parameter of a call. There are none.
type ParamSpec struct{}

// NewAPICmd returns a command that only says that it is not there.
func NewAPICmd() *cobra.Command {
	return &cobra.Command{
		Use:                "api",
		Short:              "Call any Pulumi Cloud API endpoint (not in this build)",
		DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("`pulumi api` is not in this build of Pulumi; the official release has it")
		},
	}
}
