package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strconv"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// UploadBootstrapPackage gives a team's Macs an installer package; team 0: hosts
// without a team. size is that of content, which is read once. replace puts it
// in the place of the one that the team has. It takes as long as ctx allows.
func (c *Client) UploadBootstrapPackage(ctx context.Context, team int64, name string, content io.Reader, size int64, replace bool) error {
	var head bytes.Buffer
	form := multipart.NewWriter(&head)
	if err := form.WriteField("team_id", strconv.FormatInt(team, 10)); err != nil {
		return err
	}
	if _, err := form.CreateFormFile("package", path.Base(name)); err != nil {
		return err
	}
	begin := head.Len()
	if err := form.Close(); err != nil {
		return err
	}
	text := head.Bytes()
	body := io.MultiReader(bytes.NewReader(text[:begin]), content, bytes.NewReader(text[begin:]))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+prefix+"/bootstrap?replace="+strconv.FormatBool(replace), body)
	if err != nil {
		return err
	}
	req.ContentLength = int64(len(text)) + size
	unhurried := *c.http
	unhurried.Timeout = 0
	status, kind, _, data, err := c.exchange(&unhurried, req, form.FormDataContentType())
	if err != nil {
		return reachError(c.base, err)
	}
	return request{method: http.MethodPost, path: prefix + "/bootstrap"}.take(status, kind, data)
}

// BootstrapPackage shows a team's package; 404 when it has none.
func (c *Client) BootstrapPackage(ctx context.Context, team int64) (apiv1.BootstrapPackage, error) {
	var out apiv1.BootstrapPackage
	err := c.get(ctx, fmt.Sprintf("%s/bootstrap/%d/metadata", prefix, team), nil, &out)
	return out, err
}

// DeleteBootstrapPackage deletes it.
func (c *Client) DeleteBootstrapPackage(ctx context.Context, team int64) error {
	return c.do(ctx, request{method: http.MethodDelete, path: fmt.Sprintf("%s/bootstrap/%d", prefix, team)})
}

// BootstrapPackageSummary counts a team's hosts by what became of it.
func (c *Client) BootstrapPackageSummary(ctx context.Context, team int64) (apiv1.BootstrapPackageSummary, error) {
	var out apiv1.BootstrapPackageSummary
	err := c.get(ctx, prefix+"/bootstrap/summary", url.Values{"team_id": {strconv.FormatInt(team, 10)}}, &out)
	return out, err
}

// InstallBootstrapPackage installs a team's package on Macs now.
func (c *Client) InstallBootstrapPackage(ctx context.Context, team int64, hosts []int64) (apiv1.RunCommandResponse, error) {
	var out apiv1.RunCommandResponse
	err := c.do(ctx, request{method: http.MethodPost, path: fmt.Sprintf("%s/bootstrap/%d/install", prefix, team), body: apiv1.InstallPackageRequest{Hosts: hosts}, into: &out})
	return out, err
}
