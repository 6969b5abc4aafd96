// In place of: *.go
//
// State is in a folder or in an S3 bucket here.

package azureblob

import (
	"context"
	"errors"
	"net/url"

	"gocloud.dev/blob"
)

// Scheme is the URL scheme of Azure Blob Storage.
const Scheme = "azblob"

// ServiceURLOptions has none.
type ServiceURLOptions struct{}

// NewDefaultServiceURLOptions returns no options.
func NewDefaultServiceURLOptions() *ServiceURLOptions {
	return &ServiceURLOptions{}
}

// NewDefaultClient is never called.
func NewDefaultClient() {}

// URLOpener opens nothing.
type URLOpener struct {
	MakeClient        func()
	ServiceURLOptions ServiceURLOptions
}

func init() {
	blob.DefaultURLMux().RegisterBucket(Scheme, &URLOpener{})
}

// OpenBucketURL fails.
func (*URLOpener) OpenBucketURL(context.Context, *url.URL) (*blob.Bucket, error) {
	return nil, errors.New("state in Azure Blob Storage (azblob://) is not in this build of Pulumi; " +
		"use file:// or s3://, or the official release")
}
