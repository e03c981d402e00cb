package client

import (
	"context"
	"net/http"
	"net/url"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// Config is the organization's configuration.
func (c *Client) Config(ctx context.Context) (apiv1.Config, error) {
	var out apiv1.Config
	err := c.get(ctx, prefix+"/config", nil, &out)
	return out, err
}

// ModifyConfig changes what is present in the patch; with dryRun it only shows
// what would come out.
func (c *Client) ModifyConfig(ctx context.Context, patch apiv1.ConfigPatch, dryRun bool) (apiv1.Config, error) {
	v := url.Values{}
	if dryRun {
		v.Set("dry_run", "true")
	}
	var out apiv1.Config
	err := c.do(ctx, request{method: http.MethodPatch, path: prefix + "/config", query: v, body: patch, into: &out})
	return out, err
}
