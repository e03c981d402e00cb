package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// HostFilter selects hosts; zero fields select all.
type HostFilter struct {
	Query               string
	Status              string // new, online, offline, mia, missing
	Platform            string // comma list
	TeamID              *int64
	MDMEnrollmentStatus string
	MDMName             string
	ConnectedToFleet    bool
	LabelID             int64
	OSSettings          string // verified, verifying, pending, failed; without TeamID: of hosts without a team
	BootstrapPackage    string // installed, pending, failed; without TeamID: of hosts without a team
	ProfileUUID         string
	ProfileStatus       string
	OrderKey            string
	OrderDirection      string
}

func (f HostFilter) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{
		"query": f.Query, "status": f.Status, "platform": f.Platform, "mdm_enrollment_status": f.MDMEnrollmentStatus,
		"mdm_name": f.MDMName, "order_key": f.OrderKey, "order_direction": f.OrderDirection,
		"os_settings": f.OSSettings, "bootstrap_package": f.BootstrapPackage, "profile_uuid": f.ProfileUUID, "profile_status": f.ProfileStatus,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if f.TeamID != nil {
		v.Set("team_id", itoa(*f.TeamID))
	}
	if f.LabelID != 0 {
		v.Set("label_id", itoa(f.LabelID))
	}
	if f.ConnectedToFleet {
		v.Set("connected_to_fleet", "true")
	}
	return v
}

// HostsPage is one page of hosts, from 0; perPage 0 is the server's.
func (c *Client) HostsPage(ctx context.Context, f HostFilter, page, perPage int) (apiv1.HostsResponse, error) {
	var out apiv1.HostsResponse
	v := f.values()
	v.Set("page", strconv.Itoa(page))
	if perPage > 0 {
		v.Set("per_page", strconv.Itoa(perPage))
	}
	err := c.get(ctx, prefix+"/hosts", v, &out)
	return out, err
}

// AllHosts walks the pages and calls each with every host.
func (c *Client) AllHosts(ctx context.Context, f HostFilter, each func(apiv1.Host) error) error {
	return walk(func(page int) (bool, error) {
		out, err := c.HostsPage(ctx, f, page, pageSize)
		if err != nil {
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

// walk reads pages until there are no more.
func walk(page func(number int) (more bool, err error)) error {
	for number := range maxPages {
		more, err := page(number)
		if err != nil || !more {
			return err
		}
	}
	return errors.New("the list does not end: narrow it with filters")
}

// CountHosts counts hosts.
func (c *Client) CountHosts(ctx context.Context, f HostFilter) (int, error) {
	var out apiv1.CountResponse
	err := c.get(ctx, prefix+"/hosts/count", f.values(), &out)
	return out.Count, err
}

// Host is a host by id.
func (c *Client) Host(ctx context.Context, id int64) (apiv1.HostDetail, error) {
	var out apiv1.HostResponse
	err := c.get(ctx, prefix+"/hosts/"+itoa(id), nil, &out)
	return out.Host, err
}

// HostByIdentifier is a host by host name, UUID or serial number; 409 when
// several are called so.
func (c *Client) HostByIdentifier(ctx context.Context, identifier string) (apiv1.HostDetail, error) {
	var out apiv1.HostResponse
	err := c.get(ctx, prefix+"/hosts/identifier/"+url.PathEscape(identifier), nil, &out)
	return out.Host, err
}

// DeleteHost removes a host; a *HeldError says that it was not done yet.
func (c *Client) DeleteHost(ctx context.Context, id int64) error {
	return c.doOrHeld(ctx, request{method: http.MethodDelete, path: prefix + "/hosts/" + itoa(id)})
}

// ForceDeleteHost removes a host that may be locked; what opens it is archived.
func (c *Client) ForceDeleteHost(ctx context.Context, id int64) error {
	return c.doOrHeld(ctx, request{method: http.MethodDelete, path: prefix + "/hosts/" + itoa(id), query: url.Values{"force": {"true"}}})
}

// DeleteHosts removes hosts by id, or by filter when there are no ids. It
// returns how many were removed; a *HeldError says that it was not done yet.
func (c *Client) DeleteHosts(ctx context.Context, r apiv1.DeleteHostsRequest) (int, error) {
	var out apiv1.HostsChanged
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/hosts/delete", body: r, into: &out})
	if err == nil && out.Approval != nil {
		err = &HeldError{*out.Approval}
	}
	return out.HostCount, err
}

// UnenrollHost turns MDM off on a host; a *HeldError says that it was not done
// yet.
func (c *Client) UnenrollHost(ctx context.Context, id int64) error {
	return c.doOrHeld(ctx, request{method: http.MethodDelete, path: prefix + "/hosts/" + itoa(id) + "/mdm"})
}

// HostSetup shows what a host waits for, or waited for, in Setup Assistant; 404
// when it never did.
func (c *Client) HostSetup(ctx context.Context, id int64) (apiv1.HostSetup, error) {
	var out apiv1.HostSetup
	err := c.get(ctx, prefix+"/hosts/"+itoa(id)+"/setup", nil, &out)
	return out, err
}

// ReleaseHost lets a host that waits in Setup Assistant go on.
func (c *Client) ReleaseHost(ctx context.Context, id int64) error {
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/hosts/" + itoa(id) + "/setup/release"})
}

// RenewIdentity has the certificate of a host's MDM enrollment renewed now.
func (c *Client) RenewIdentity(ctx context.Context, id int64) error {
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/hosts/" + itoa(id) + "/renew_identity"})
}
