package client

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// RunCommand sends a command (a property list) to hosts by UUID.
func (c *Client) RunCommand(ctx context.Context, raw []byte, hostUUIDs []string) (apiv1.RunCommandResponse, error) {
	return c.run(ctx, apiv1.RunCommandRequest{Command: base64.StdEncoding.EncodeToString(raw), HostUUIDs: hostUUIDs})
}

// RunCommandByID sends a command to hosts by id.
func (c *Client) RunCommandByID(ctx context.Context, raw []byte, hostIDs []int64) (apiv1.RunCommandResponse, error) {
	return c.run(ctx, apiv1.RunCommandRequest{Command: base64.StdEncoding.EncodeToString(raw), HostIDs: hostIDs})
}

func (c *Client) run(ctx context.Context, r apiv1.RunCommandRequest) (apiv1.RunCommandResponse, error) {
	var out apiv1.RunCommandResponse
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/commands/run", body: r, into: &out})
	return out, err
}

// CommandResults shows what became of a command; host may be empty.
func (c *Client) CommandResults(ctx context.Context, commandUUID, host string) ([]apiv1.CommandResult, error) {
	v := url.Values{"command_uuid": {commandUUID}}
	if host != "" {
		v.Set("host_identifier", host)
	}
	var out apiv1.CommandResultsResponse
	err := c.get(ctx, prefix+"/commands/results", v, &out)
	return out.Results, err
}

// CommandFilter selects commands; zero fields select all.
type CommandFilter struct {
	Host        string // host name, UUID or serial number
	RequestType string
	Status      string // comma list
}

// Commands is one page of commands, newest first; perPage 0 is the server's.
func (c *Client) Commands(ctx context.Context, f CommandFilter, page, perPage int) (apiv1.CommandsResponse, error) {
	v := url.Values{"page": {strconv.Itoa(page)}}
	if perPage > 0 {
		v.Set("per_page", strconv.Itoa(perPage))
	}
	for name, value := range map[string]string{"host_identifier": f.Host, "request_type": f.RequestType, "command_status": f.Status} {
		if value != "" {
			v.Set(name, value)
		}
	}
	var out apiv1.CommandsResponse
	err := c.get(ctx, prefix+"/commands", v, &out)
	return out, err
}
