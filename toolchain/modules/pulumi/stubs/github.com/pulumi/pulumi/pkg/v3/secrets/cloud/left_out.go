// In place of: manager.go
//
// Secrets here are encrypted with a passphrase. The key services of AWS, Azure, Google Cloud and Vault bring their
// SDKs along.

package cloud

import (
	"encoding/json"
	"errors"

	"github.com/pulumi/pulumi/pkg/v3/secrets"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
)

// Type is the type of secrets managed by this secrets provider.
const Type = "cloud"

var errLeftOut = errors.New("the secrets providers awskms, azurekeyvault, gcpkms and hashivault are not in this build " +
	"of Pulumi; use a passphrase, or the official release")

// EditProjectStack fails.
func EditProjectStack(*workspace.ProjectStack, json.RawMessage) error {
	return errLeftOut
}

// NewCloudSecretsManagerFromState fails.
func NewCloudSecretsManagerFromState(json.RawMessage) (secrets.Manager, error) {
	return nil, errLeftOut
}

// NewCloudSecretsManager fails.
func NewCloudSecretsManager(*workspace.ProjectStack, string, bool) (secrets.Manager, error) {
	return nil, errLeftOut
}
