package client

import (
	"context"
	"net/http"
	"net/url"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// Enrollments lists enrollments.
func (c *Client) Enrollments(ctx context.Context) ([]apiv1.Enrollment, error) {
	var out apiv1.EnrollmentsResponse
	err := c.get(ctx, prefix+"/enrollments", nil, &out)
	return out.Enrollments, err
}

// CreateEnrollment makes an enrollment; kind is manual or automatic.
func (c *Client) CreateEnrollment(ctx context.Context, name, kind string) (apiv1.Enrollment, error) {
	var out apiv1.EnrollmentResponse
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/enrollments", body: apiv1.CreateEnrollmentRequest{Name: name, Type: kind}, into: &out})
	return out.Enrollment, err
}

// DeleteEnrollment removes an enrollment.
func (c *Client) DeleteEnrollment(ctx context.Context, id int64) error {
	return c.do(ctx, request{method: http.MethodDelete, path: prefix + "/enrollments/" + itoa(id)})
}

// EnrollmentProfile downloads a profile of the enrollment, for one device; id
// 0 is the default manual enrollment.
func (c *Client) EnrollmentProfile(ctx context.Context, id int64, signed bool) ([]byte, error) {
	path := prefix + "/enrollment_profiles/manual"
	if id != 0 {
		path = prefix + "/enrollments/" + itoa(id) + "/profile"
	}
	v := url.Values{}
	if !signed {
		v.Set("signed", "false")
	}
	var out []byte
	err := c.do(ctx, request{method: http.MethodGet, path: path, query: v, accept: func(_ string, data []byte) error {
		out = data
		return nil
	}})
	return out, err
}
