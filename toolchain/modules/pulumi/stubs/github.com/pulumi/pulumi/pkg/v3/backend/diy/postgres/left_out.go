// In place of: *.go
//
// State is in a folder or in an S3 bucket here.

package postgres

import (
	"context"
	"errors"
	"net/url"

	"gocloud.dev/blob"
)

type opener struct{}

func init() {
	blob.DefaultURLMux().RegisterBucket("postgres", opener{})
}

// OpenBucketURL fails.
func (opener) OpenBucketURL(context.Context, *url.URL) (*blob.Bucket, error) {
	return nil, errors.New("state in PostgreSQL (postgres://) is not in this build of Pulumi; " +
		"use file:// or s3://, or the official release")
}
