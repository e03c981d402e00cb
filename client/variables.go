package client

import (
	"context"
	"net/http"
	"net/url"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// CustomVariables lists custom variables; nobody is shown a value.
func (c *Client) CustomVariables(ctx context.Context) ([]apiv1.CustomVariable, error) {
	var out apiv1.CustomVariablesResponse
	err := c.get(ctx, prefix+"/custom_variables", nil, &out)
	return out.CustomVariables, err
}

// SetCustomVariables creates or changes custom variables; others stay.
func (c *Client) SetCustomVariables(ctx context.Context, variables []apiv1.SetVariable, dryRun bool) error {
	_, err := c.setVariables(ctx, variables, dryRun)
	return err
}

// PlanCustomVariables names the variables that SetCustomVariables would change.
func (c *Client) PlanCustomVariables(ctx context.Context, variables []apiv1.SetVariable) ([]string, error) {
	return c.setVariables(ctx, variables, true)
}

func (c *Client) setVariables(ctx context.Context, variables []apiv1.SetVariable, dryRun bool) ([]string, error) {
	var out apiv1.SetVariablesResponse
	err := c.do(ctx, request{method: http.MethodPut, path: prefix + "/spec/secret_variables", query: flags(dryRun, false),
		body: apiv1.SetVariablesRequest{Secrets: variables}, into: &out})
	return out.Changed, err
}

// DeleteCustomVariable removes a custom variable; 409 while a profile uses it.
func (c *Client) DeleteCustomVariable(ctx context.Context, name string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: prefix + "/custom_variables/" + url.PathEscape(name)})
}
