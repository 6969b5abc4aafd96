// In place of: provider_aws.go provider_vault*.go testing.go
//
// The authority of Consul's service mesh, which is not used here, is its own. Those of AWS and Vault bring SDKs of
// several clouds along.

package ca

import (
	"errors"

	"github.com/hashicorp/go-hclog"

	"github.com/hashicorp/consul/agent/structs"
)

var errLeftOut = errors.New("the authorities of AWS and Vault are not in this build of Consul; " +
	"use its own, or the official release")

// leftOut is an authority that cannot be configured; nothing else is called before.
type leftOut struct {
	Provider
}

func (leftOut) Configure(ProviderConfig) error {
	return errLeftOut
}

// NewAWSProvider returns an authority that cannot be configured.
func NewAWSProvider(hclog.Logger) Provider {
	return leftOut{}
}

// NewVaultProvider returns an authority that cannot be configured.
func NewVaultProvider(hclog.Logger) Provider {
	return leftOut{}
}

// ParseAWSCAConfig fails.
func ParseAWSCAConfig(map[string]interface{}) (*structs.AWSCAProviderConfig, error) {
	return nil, errLeftOut
}

// ParseVaultCAConfig fails.
func ParseVaultCAConfig(map[string]interface{}, bool) (*structs.VaultCAProviderConfig, error) {
	return nil, errLeftOut
}
