// In place of: aws.go
//
// Nothing logs in to Consul by AWS IAM here: tokens come with the machines. It brings an SDK along.

package login

import (
	"errors"
	"flag"
)

// AWSLogin makes no token.
type AWSLogin struct {
	autoBearerToken bool
}

func (a *AWSLogin) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.BoolVar(&a.autoBearerToken, "aws-auto-bearer-token", false, "Not in this build.")
	return flags
}

func (a *AWSLogin) checkFlags() error {
	if a.autoBearerToken {
		return errors.New("the auth method aws-iam is not in this build of Consul; the official release has it")
	}
	return nil
}

func (a *AWSLogin) createAWSBearerToken() (string, error) {
	return "", a.checkFlags()
}
