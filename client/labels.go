package client

import (
	"context"
	"net/http"
	"net/url"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// Labels lists all labels with the number of their members.
func (c *Client) Labels(ctx context.Context) ([]apiv1.Label, error) {
	labels := []apiv1.Label{}
	err := walk(func(page int) (bool, error) {
		var out apiv1.LabelsResponse
		err := c.get(ctx, prefix+"/labels", pageOf(page, pageSize), &out)
		labels = append(labels, out.Labels...)
		return out.Meta.HasNextResults, err
	})
	return labels, err
}

// LabelNames names all labels, without counting.
func (c *Client) LabelNames(ctx context.Context) ([]apiv1.LabelSummary, error) {
	var out apiv1.LabelSummariesResponse
	err := c.get(ctx, prefix+"/labels/summary", nil, &out)
	return out.Labels, err
}

// Label is a label by id.
func (c *Client) Label(ctx context.Context, id int64) (apiv1.Label, error) {
	var out apiv1.LabelResponse
	err := c.get(ctx, prefix+"/labels/"+itoa(id), nil, &out)
	return out.Label, err
}

// CreateLabel makes a label; 409 when the name is taken.
func (c *Client) CreateLabel(ctx context.Context, r apiv1.CreateLabelRequest) (apiv1.Label, error) {
	var out apiv1.LabelResponse
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/labels", body: r, into: &out})
	return out.Label, err
}

// ModifyLabel changes what is present in r.
func (c *Client) ModifyLabel(ctx context.Context, id int64, r apiv1.ModifyLabelRequest) (apiv1.Label, error) {
	var out apiv1.LabelResponse
	err := c.do(ctx, request{method: http.MethodPatch, path: prefix + "/labels/" + itoa(id), body: r, into: &out})
	return out.Label, err
}

// DeleteLabel removes a label by name.
func (c *Client) DeleteLabel(ctx context.Context, name string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: prefix + "/labels/" + url.PathEscape(name)})
}

// DeleteLabelByID removes a label by id.
func (c *Client) DeleteLabelByID(ctx context.Context, id int64) error {
	return c.do(ctx, request{method: http.MethodDelete, path: prefix + "/labels/id/" + itoa(id)})
}

// LabelHosts walks the members of a label.
func (c *Client) LabelHosts(ctx context.Context, id int64, each func(apiv1.Host) error) error {
	return walk(func(page int) (bool, error) {
		var out apiv1.HostsResponse
		if err := c.get(ctx, prefix+"/labels/"+itoa(id)+"/hosts", pageOf(page, pageSize), &out); err != nil {
			return false, err
		}
		for _, h := range out.Hosts {
			if err := each(h); err != nil {
				return false, err
			}
		}
		return out.Meta.HasNextResults, nil
	})
}

// LabelSpecs are all labels as documents, without their hosts.
func (c *Client) LabelSpecs(ctx context.Context) ([]apiv1.LabelSpec, error) {
	var out apiv1.LabelSpecsResponse
	err := c.get(ctx, prefix+"/spec/labels", nil, &out)
	return out.Specs, err
}

// LabelSpec is a label as a document, with its hosts where people name them.
func (c *Client) LabelSpec(ctx context.Context, name string) (apiv1.LabelSpec, error) {
	var out apiv1.LabelSpecResponse
	err := c.get(ctx, prefix+"/spec/labels/"+url.PathEscape(name), nil, &out)
	return out.Specs, err
}

// ApplyLabelSpecs makes labels what the specs say.
func (c *Client) ApplyLabelSpecs(ctx context.Context, specs []apiv1.LabelSpec) error {
	return c.labelSpecs(ctx, specs, false)
}

// CheckLabelSpecs tells whether ApplyLabelSpecs would take the specs.
func (c *Client) CheckLabelSpecs(ctx context.Context, specs []apiv1.LabelSpec) error {
	return c.labelSpecs(ctx, specs, true)
}

func (c *Client) labelSpecs(ctx context.Context, specs []apiv1.LabelSpec, dryRun bool) error {
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/spec/labels", query: flags(dryRun, false), body: apiv1.LabelSpecsRequest{Specs: specs}})
}

// AddHostLabels makes a host a member of labels whose hosts people name.
func (c *Client) AddHostLabels(ctx context.Context, host int64, labels []string) error {
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/hosts/" + itoa(host) + "/labels", body: apiv1.HostLabelsRequest{Labels: labels}})
}

// RemoveHostLabels ends that.
func (c *Client) RemoveHostLabels(ctx context.Context, host int64, labels []string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: prefix + "/hosts/" + itoa(host) + "/labels", body: apiv1.HostLabelsRequest{Labels: labels}})
}
