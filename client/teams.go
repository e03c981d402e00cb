package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// Teams lists all teams; query matches part of the name.
func (c *Client) Teams(ctx context.Context, query string) ([]apiv1.Team, error) {
	teams := []apiv1.Team{}
	err := walk(func(page int) (bool, error) {
		v := pageOf(page, pageSize)
		if query != "" {
			v.Set("query", query)
		}
		var out apiv1.TeamsResponse
		err := c.get(ctx, prefix+"/teams", v, &out)
		teams = append(teams, out.Teams...)
		return out.Meta.HasNextResults, err
	})
	return teams, err
}

// pageOf are the parameters of one page; size 0 is the server's.
func pageOf(page, size int) url.Values {
	v := url.Values{"page": {strconv.Itoa(page)}}
	if size > 0 {
		v.Set("per_page", strconv.Itoa(size))
	}
	return v
}

// Team is a team by id.
func (c *Client) Team(ctx context.Context, id int64) (apiv1.Team, error) {
	var out apiv1.TeamResponse
	err := c.get(ctx, prefix+"/teams/"+itoa(id), nil, &out)
	return out.Team, err
}

// CreateTeam makes a team; 409 when the name is taken.
func (c *Client) CreateTeam(ctx context.Context, r apiv1.CreateTeamRequest) (apiv1.Team, error) {
	var out apiv1.TeamResponse
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/teams", body: r, into: &out})
	return out.Team, err
}

// ModifyTeam changes what is present in r; with dryRun it only shows what
// would come out.
func (c *Client) ModifyTeam(ctx context.Context, id int64, r apiv1.ModifyTeamRequest, dryRun bool) (apiv1.Team, error) {
	var out apiv1.TeamResponse
	err := c.do(ctx, request{method: http.MethodPatch, path: prefix + "/teams/" + itoa(id), query: flags(dryRun, false), body: r, into: &out})
	return out.Team, err
}

// flags are the parameters of calls that can only check, and that skip keys
// which the server does not know.
func flags(dryRun, force bool) url.Values {
	v := url.Values{}
	if dryRun {
		v.Set("dry_run", "true")
	}
	if force {
		v.Set("force", "true")
	}
	return v
}

// DeleteTeam removes a team with its profiles.
func (c *Client) DeleteTeam(ctx context.Context, id int64) error {
	return c.do(ctx, request{method: http.MethodDelete, path: prefix + "/teams/" + itoa(id)})
}

// ApplyTeamSpecs makes teams what the specs say and returns their ids by name;
// 0 for one that a dry run would make.
func (c *Client) ApplyTeamSpecs(ctx context.Context, specs []apiv1.TeamSpec, dryRun, force bool) (map[string]int64, error) {
	var out apiv1.TeamSpecsResponse
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/spec/teams", query: flags(dryRun, force), body: apiv1.TeamSpecsRequest{Specs: specs}, into: &out})
	return out.TeamIDsByName, err
}

// EnrollSecrets are those of a team; 0: of hosts without a team.
func (c *Client) EnrollSecrets(ctx context.Context, team int64) ([]apiv1.EnrollSecret, error) {
	if team == 0 {
		var out apiv1.EnrollSecretSpec
		err := c.get(ctx, prefix+"/spec/enroll_secret", nil, &out)
		return out.Spec.Secrets, err
	}
	var out apiv1.EnrollSecrets
	err := c.get(ctx, prefix+"/teams/"+itoa(team)+"/secrets", nil, &out)
	return out.Secrets, err
}

// SetEnrollSecrets replaces the secrets of a team; 0: of hosts without a team.
func (c *Client) SetEnrollSecrets(ctx context.Context, team int64, secrets []string) error {
	list := apiv1.EnrollSecrets{Secrets: make([]apiv1.EnrollSecret, 0, len(secrets))}
	for _, s := range secrets {
		list.Secrets = append(list.Secrets, apiv1.EnrollSecret{Secret: s})
	}
	if team == 0 {
		return c.do(ctx, request{method: http.MethodPost, path: prefix + "/spec/enroll_secret", body: apiv1.EnrollSecretSpec{Spec: list}})
	}
	return c.do(ctx, request{method: http.MethodPatch, path: prefix + "/teams/" + itoa(team) + "/secrets", body: list})
}

// TransferHosts moves hosts into a team; 0: out of any. expected, if not
// negative, must be their number.
func (c *Client) TransferHosts(ctx context.Context, team int64, hosts []int64, expected int) error {
	r := apiv1.TransferRequest{TeamID: idOrNull(team), Hosts: hosts, ExpectedCount: countOrNull(expected)}
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/hosts/transfer", body: r})
}

// TransferByFilter moves all hosts of a filter and returns their number.
func (c *Client) TransferByFilter(ctx context.Context, team int64, filters apiv1.HostSelection, expected int) (int, error) {
	r := apiv1.TransferByFilterRequest{TeamID: idOrNull(team), Filters: filters, ExpectedCount: countOrNull(expected)}
	var out apiv1.HostsChanged
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/hosts/transfer/filter", body: r, into: &out})
	return out.HostCount, err
}

// CheckEnrollSecrets tells whether SetEnrollSecrets would take the secrets of
// hosts without a team.
func (c *Client) CheckEnrollSecrets(ctx context.Context, secrets []apiv1.EnrollSecret) error {
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/spec/enroll_secret", query: flags(true, false),
		body: apiv1.EnrollSecretSpec{Spec: apiv1.EnrollSecrets{Secrets: secrets}}})
}

func idOrNull(id int64) *int64 {
	if id == 0 {
		return nil
	}
	return &id
}

func countOrNull(n int) *int {
	if n < 0 {
		return nil
	}
	return &n
}
