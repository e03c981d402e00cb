package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// Explain tells why a host has an item, named by UUID, identifier or name.
func (c *Client) Explain(ctx context.Context, host int64, item string) (apiv1.ExplainResponse, error) {
	var out apiv1.ExplainResponse
	err := c.get(ctx, prefix+"/hosts/"+itoa(host)+"/explain", url.Values{"item": {item}}, &out)
	return out, err
}

// WhatIf is the question what a host would have elsewhere.
type WhatIf struct {
	TeamID      *int64
	Join, Leave []int64 // labels
}

// WhatIf tells what a host would have in another team or with other labels.
func (c *Client) WhatIf(ctx context.Context, host int64, q WhatIf) (apiv1.WhatIfResponse, error) {
	v := url.Values{}
	if q.TeamID != nil {
		v.Set("team_id", itoa(*q.TeamID))
	}
	for _, id := range q.Join {
		v.Add("join_label_id", itoa(id))
	}
	for _, id := range q.Leave {
		v.Add("leave_label_id", itoa(id))
	}
	var out apiv1.WhatIfResponse
	err := c.get(ctx, prefix+"/hosts/"+itoa(host)+"/what_if", v, &out)
	return out, err
}

// History shows a host as it was at a moment; the zero time is now.
func (c *Client) History(ctx context.Context, host int64, at time.Time) (apiv1.HistoryResponse, error) {
	v := url.Values{}
	if !at.IsZero() {
		v.Set("at", at.UTC().Format(time.RFC3339Nano))
	}
	var out apiv1.HistoryResponse
	err := c.get(ctx, prefix+"/hosts/"+itoa(host)+"/history", v, &out)
	return out, err
}

// Plan tells what a team's new set of profiles would do.
func (c *Client) Plan(ctx context.Context, req apiv1.PlanRequest) (apiv1.PlanResponse, error) {
	var out apiv1.PlanResponse
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/plan", body: req, into: &out})
	return out, err
}

// VerifyHost asks a host now which profiles it has.
func (c *Client) VerifyHost(ctx context.Context, host int64) error {
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/hosts/" + itoa(host) + "/configuration_profiles/verify"})
}
