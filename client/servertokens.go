package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// ServerTokenKey returns the certificate to upload at Apple, in PEM form.
func (c *Client) ServerTokenKey(ctx context.Context) ([]byte, error) {
	var out apiv1.PublicKeyResponse
	err := c.get(ctx, prefix+"/mdm/apple/abm_public_key", nil, &out)
	return out.PublicKey, err
}

// ServerTokens lists the server tokens of Apple's device enrollment service.
func (c *Client) ServerTokens(ctx context.Context) ([]apiv1.ServerToken, error) {
	var out apiv1.ServerTokensResponse
	err := c.get(ctx, prefix+"/abm_tokens", nil, &out)
	return out.ABMTokens, err
}

// ServerTokenUpload is a server token to upload.
type ServerTokenUpload struct {
	Token []byte // the .p7m file from Apple
	// Certificate and PrivateKey open it; both empty: the server's own do.
	Certificate, PrivateKey []byte
	EnrollmentID            int64 // 0: a new one
}

func (u ServerTokenUpload) encode() ([]byte, string, error) {
	var buf bytes.Buffer
	form := multipart.NewWriter(&buf)
	for _, file := range []struct {
		field, name string
		data        []byte
	}{{"token", "token.p7m", u.Token}, {"certificate", "token.pem", u.Certificate}, {"private_key", "token.key", u.PrivateKey}} {
		if len(file.data) == 0 {
			continue
		}
		part, err := form.CreateFormFile(file.field, file.name)
		if err != nil {
			return nil, "", err
		}
		if _, err := part.Write(file.data); err != nil {
			return nil, "", err
		}
	}
	if u.EnrollmentID != 0 {
		if err := form.WriteField("enrollment_id", strconv.FormatInt(u.EnrollmentID, 10)); err != nil {
			return nil, "", err
		}
	}
	err := form.Close()
	return buf.Bytes(), form.FormDataContentType(), err
}

func (c *Client) uploadToken(ctx context.Context, method, path string, query url.Values, u ServerTokenUpload) (apiv1.ServerToken, error) {
	raw, kind, err := u.encode()
	if err != nil {
		return apiv1.ServerToken{}, fmt.Errorf("encode upload: %w", err)
	}
	var out apiv1.ServerTokenResponse
	err = c.do(ctx, request{method: method, path: path, query: query, raw: raw, contentType: kind, into: &out})
	return out.ABMToken, err
}

// AddServerToken adds a server token.
func (c *Client) AddServerToken(ctx context.Context, u ServerTokenUpload) (apiv1.ServerToken, error) {
	return c.uploadToken(ctx, http.MethodPost, prefix+"/abm_tokens", nil, u)
}

// RenewServerToken replaces one; force takes the token of another server.
func (c *Client) RenewServerToken(ctx context.Context, id int64, u ServerTokenUpload, force bool) (apiv1.ServerToken, error) {
	query := url.Values{}
	if force {
		query.Set("force", "true")
	}
	return c.uploadToken(ctx, http.MethodPatch, fmt.Sprintf("%s/abm_tokens/%d/renew", prefix, id), query, u)
}

// SetServerTokenTeams says which teams new devices join.
func (c *Client) SetServerTokenTeams(ctx context.Context, id int64, teams apiv1.ServerTokenTeams) (apiv1.ServerToken, error) {
	var out apiv1.ServerTokenResponse
	err := c.do(ctx, request{method: http.MethodPatch, path: fmt.Sprintf("%s/abm_tokens/%d/teams", prefix, id), body: teams, into: &out})
	return out.ABMToken, err
}

// DeleteServerToken deletes one.
func (c *Client) DeleteServerToken(ctx context.Context, id int64) error {
	return c.do(ctx, request{method: http.MethodDelete, path: fmt.Sprintf("%s/abm_tokens/%d", prefix, id)})
}

// ResyncServerToken has all its devices read anew.
func (c *Client) ResyncServerToken(ctx context.Context, id int64) error {
	return c.do(ctx, request{method: http.MethodPost, path: fmt.Sprintf("%s/abm_tokens/%d/resync", prefix, id)})
}

// DEPFilter selects devices that Apple assigned to the server.
type DEPFilter struct {
	ServerTokenID, EnrollmentID int64
	Serials                     []string
	Deleted                     bool
	Page, PerPage               int
}

// DEPDevices lists a page of them.
func (c *Client) DEPDevices(ctx context.Context, f DEPFilter) (apiv1.DEPDevicesResponse, error) {
	query := url.Values{}
	for key, n := range map[string]int64{"abm_token_id": f.ServerTokenID, "enrollment_id": f.EnrollmentID, "page": int64(f.Page), "per_page": int64(f.PerPage)} {
		if n != 0 {
			query.Set(key, strconv.FormatInt(n, 10))
		}
	}
	if len(f.Serials) > 0 {
		query.Set("serial_number", strings.Join(f.Serials, ","))
	}
	if f.Deleted {
		query.Set("include_deleted", "true")
	}
	var out apiv1.DEPDevicesResponse
	err := c.get(ctx, prefix+"/mdm/apple/dep/devices", query, &out)
	return out, err
}

// SetupAssistant shows the enrollment profile of a team for Setup Assistant; 404
// when it has the default.
func (c *Client) SetupAssistant(ctx context.Context, team int64) (apiv1.SetupAssistant, error) {
	var out apiv1.SetupAssistant
	err := c.get(ctx, prefix+"/enrollment_profiles/automatic", url.Values{"team_id": {strconv.FormatInt(team, 10)}}, &out)
	return out, err
}

// DefaultSetupAssistant shows the one of teams that have none of their own.
func (c *Client) DefaultSetupAssistant(ctx context.Context) (apiv1.SetupAssistant, error) {
	var out apiv1.SetupAssistant
	err := c.get(ctx, prefix+"/enrollment_profiles/automatic/default", nil, &out)
	return out, err
}

// SetSetupAssistant sets it.
func (c *Client) SetSetupAssistant(ctx context.Context, team int64, name string, profile json.RawMessage) (apiv1.SetupAssistant, error) {
	var out apiv1.SetupAssistant
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/enrollment_profiles/automatic",
		body: apiv1.SetupAssistantRequest{TeamID: &team, Name: name, EnrollmentProfile: profile}, into: &out})
	return out, err
}

// DeleteSetupAssistant gives a team the default again.
func (c *Client) DeleteSetupAssistant(ctx context.Context, team int64) error {
	return c.do(ctx, request{method: http.MethodDelete, path: prefix + "/enrollment_profiles/automatic", query: url.Values{"team_id": {strconv.FormatInt(team, 10)}}})
}
