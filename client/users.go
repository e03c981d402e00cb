package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

func itoa(id int64) string { return strconv.FormatInt(id, 10) }

// Setup makes the first user; 409 when there is one.
func (c *Client) Setup(ctx context.Context, r apiv1.SetupRequest) (apiv1.SetupResponse, error) {
	var out apiv1.SetupResponse
	err := c.do(ctx, request{method: http.MethodPost, path: "/api/v1/setup", body: r, into: &out})
	return out, err
}

// Login opens a session; it does not set the client's token.
func (c *Client) Login(ctx context.Context, email, password string) (apiv1.LoginResponse, error) {
	var out apiv1.LoginResponse
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/login", body: apiv1.LoginRequest{Email: email, Password: password}, into: &out})
	return out, err
}

// Logout ends the token's session.
func (c *Client) Logout(ctx context.Context) error {
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/logout"})
}

// Me is the user behind the token.
func (c *Client) Me(ctx context.Context) (apiv1.User, error) {
	var out apiv1.MeResponse
	err := c.get(ctx, prefix+"/me", nil, &out)
	return out.User, err
}

// ChangePassword changes the own password.
func (c *Client) ChangePassword(ctx context.Context, oldPassword, newPassword string) error {
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/change_password",
		body: apiv1.ChangePasswordRequest{OldPassword: oldPassword, NewPassword: newPassword}})
}

// ResetRequiredPassword sets the new password that an admin required.
func (c *Client) ResetRequiredPassword(ctx context.Context, newPassword string) error {
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/perform_required_password_reset",
		body: apiv1.ResetPasswordRequest{NewPassword: newPassword}})
}

// Users lists users; query matches part of name or e-mail.
func (c *Client) Users(ctx context.Context, query string) ([]apiv1.User, error) {
	var out apiv1.UsersResponse
	values := url.Values{}
	if query != "" {
		values.Set("query", query)
	}
	err := c.get(ctx, prefix+"/users", values, &out)
	return out.Users, err
}

// CreateUser makes a user; the answer of an API-only one holds its token.
func (c *Client) CreateUser(ctx context.Context, r apiv1.CreateUserRequest) (apiv1.UserResponse, error) {
	var out apiv1.UserResponse
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/users/admin", body: r, into: &out})
	return out, err
}

// ModifyUser changes what is present in r.
func (c *Client) ModifyUser(ctx context.Context, id int64, r apiv1.ModifyUserRequest) (apiv1.User, error) {
	var out apiv1.UserResponse
	err := c.do(ctx, request{method: http.MethodPatch, path: prefix + "/users/" + itoa(id), body: r, into: &out})
	return out.User, err
}

// DeleteUser removes a user.
func (c *Client) DeleteUser(ctx context.Context, id int64) error {
	return c.do(ctx, request{method: http.MethodDelete, path: prefix + "/users/" + itoa(id)})
}
