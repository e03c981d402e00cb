package client

import (
	"context"
	"net/http"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// InviteAccount makes a token with which the person of a managed Apple account
// enrolls a device of their own.
func (c *Client) InviteAccount(ctx context.Context, in apiv1.AccountEnrollmentRequest) (apiv1.AccountEnrollmentResponse, error) {
	var out apiv1.AccountEnrollmentResponse
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/account_driven_enrollments", body: in, into: &out})
	return out, err
}
