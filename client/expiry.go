package client

import (
	"context"
	"net/url"
	"strconv"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// Expiring lists what expires within so many days, or has expired.
func (c *Client) Expiring(ctx context.Context, days int) (apiv1.ExpiringResponse, error) {
	var out apiv1.ExpiringResponse
	err := c.get(ctx, prefix+"/expiring", url.Values{"days": {strconv.Itoa(days)}}, &out)
	return out, err
}
