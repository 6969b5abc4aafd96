// In place of: *.go
//
// State is in a folder or in an S3 bucket here. That in Google Cloud Storage brings gRPC with Envoy's protocols along.

package gcsblob

import (
	"context"
	"errors"
	"net/url"

	"gocloud.dev/blob"
)

// Scheme is the URL scheme of Google Cloud Storage.
const Scheme = "gs"

type opener struct{}

func init() {
	blob.DefaultURLMux().RegisterBucket(Scheme, opener{})
}

// OpenBucketURL fails.
func (opener) OpenBucketURL(context.Context, *url.URL) (*blob.Bucket, error) {
	return nil, errors.New("state in Google Cloud Storage (gs://) is not in this build of Pulumi; " +
		"use file:// or s3://, or the official release")
}
