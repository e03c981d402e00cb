package httpapi

import (
	"context"
	"net/url"
	"strings"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/httpx"
)

func (a *api) setup(ctx context.Context, in *body[apiv1.SetupRequest]) (*body[apiv1.SetupResponse], error) {
	req := in.Body
	if req.Admin.PasswordConfirmation != "" && req.Admin.PasswordConfirmation != req.Admin.Password {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "admin.password_confirmation", "must equal password")
	}
	// What the process configuration set at start stays unless given here.
	settings, err := a.settings.Settings(ctx)
	if err != nil {
		return nil, err
	}
	if req.ServerURL != "" {
		settings.ServerURL, err = webURL("server_url", req.ServerURL)
		if err != nil {
			return nil, err
		}
	}
	if settings.ServerURL == "" {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "server_url", "must be the public URL of this server, such as https://mdm.example.com")
	}
	if err := checkOrg(req.OrgInfo); err != nil {
		return nil, err
	}
	if req.OrgInfo.OrgName != "" {
		settings.OrgName = req.OrgInfo.OrgName
	}
	if req.OrgInfo.OrgLogoURL != "" {
		settings.OrgLogoURL = req.OrgInfo.OrgLogoURL
	}
	viewer, token, err := a.access.Setup(ctx, fleet.User{Name: req.Admin.Name, Email: req.Admin.Email}, req.Admin.Password, settings, httpx.Address(ctx))
	if err != nil {
		return nil, err
	}
	return reply(apiv1.SetupResponse{
		Admin:     toUser(viewer.User),
		OrgInfo:   apiv1.SetupOrg{OrgName: settings.OrgName, OrgLogoURL: settings.OrgLogoURL},
		ServerURL: settings.ServerURL,
		Token:     token,
	}), nil
}

// maxText bounds the organization's name and logo URL, in bytes.
const maxText = 1000

// checkOrg refuses at setup what the configuration would refuse later.
func checkOrg(o apiv1.SetupOrg) error {
	if len(o.OrgName) > maxText {
		return fleet.FieldErrorf(fleet.KindInvalid, "org_info.org_name", "is too long")
	}
	u, err := url.Parse(o.OrgLogoURL)
	if o.OrgLogoURL != "" && (err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || len(o.OrgLogoURL) > maxText) {
		return fleet.FieldErrorf(fleet.KindInvalid, "org_info.org_logo_url", "must be a full URL such as https://example.com/logo.png")
	}
	return nil
}

// webURL checks an absolute URL and drops its trailing slash.
func webURL(field, text string) (string, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "/")
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fleet.FieldErrorf(fleet.KindInvalid, field, "must be an absolute URL such as https://mdm.example.com, without a query")
	}
	return text, nil
}

func (a *api) login(ctx context.Context, in *body[apiv1.LoginRequest]) (*body[apiv1.LoginResponse], error) {
	viewer, token, err := a.access.Login(ctx, in.Body.Email, in.Body.Password, httpx.Address(ctx))
	if err != nil {
		return nil, err
	}
	return reply(apiv1.LoginResponse{User: toUser(viewer.User), AvailableTeams: []apiv1.UserTeam{}, Token: token}), nil
}

func (a *api) logout(ctx context.Context, _ *noInput) (*body[apiv1.Empty], error) {
	if err := a.access.Logout(ctx, viewerOf(ctx)); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

func (a *api) me(ctx context.Context, _ *noInput) (*body[apiv1.MeResponse], error) {
	return reply(apiv1.MeResponse{User: toUser(viewerOf(ctx).User), AvailableTeams: []apiv1.UserTeam{}}), nil
}

func (a *api) changePassword(ctx context.Context, in *body[apiv1.ChangePasswordRequest]) (*body[apiv1.Empty], error) {
	if err := a.users.ChangePassword(ctx, viewerOf(ctx), in.Body.OldPassword, in.Body.NewPassword); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

func (a *api) performRequiredReset(ctx context.Context, in *body[apiv1.ResetPasswordRequest]) (*body[apiv1.UserResponse], error) {
	user, err := a.users.ResetRequiredPassword(ctx, viewerOf(ctx), in.Body.NewPassword)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.UserResponse{User: toUser(user)}), nil
}
