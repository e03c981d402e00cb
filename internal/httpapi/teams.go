package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

func (a *api) teamRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "~/teams", also: []string{"~/fleets"}, permission: teamsRead, id: "listTeams", strict: true,
			summary: "List teams", bind: handle(a.listTeams)},
		{method: http.MethodPost, path: "~/teams", also: []string{"~/fleets"}, permission: teamsWrite, id: "createTeam",
			summary: "Create a team", bind: handle(a.createTeam)},
		{method: http.MethodGet, path: "~/teams/{id}", also: []string{"~/fleets/{id}"}, permission: teamsRead, id: "getTeam",
			summary: "Show a team", bind: handle(a.getTeam)},
		{method: http.MethodPatch, path: "~/teams/{id}", also: []string{"~/fleets/{id}"}, permission: teamsWrite, id: "modifyTeam",
			summary: "Change a team; keys that are not sent stay", bind: handle(a.modifyTeam)},
		{method: http.MethodDelete, path: "~/teams/{id}", also: []string{"~/fleets/{id}"}, permission: teamsWrite, id: "deleteTeam",
			summary: "Delete a team with its profiles; its hosts are without a team then", bind: handle(a.deleteTeam)},
		{method: http.MethodPost, path: "~/spec/teams", also: []string{"~/spec/fleets"}, permission: teamsWrite, id: "applyTeamSpecs",
			summary: "Make teams what the specs say; others stay", bind: handle(a.applyTeamSpecs)},
		{method: http.MethodGet, path: "~/teams/{id}/secrets", also: []string{"~/fleets/{id}/secrets"}, permission: secretsRead, id: "getTeamSecrets",
			summary: "Show a team's enroll secrets", bind: handle(a.getTeamSecrets)},
		{method: http.MethodPatch, path: "~/teams/{id}/secrets", also: []string{"~/fleets/{id}/secrets"}, permission: secretsWrite, id: "setTeamSecrets",
			summary: "Replace a team's enroll secrets", bind: handle(a.setTeamSecrets)},
		{method: http.MethodGet, path: "~/spec/enroll_secret", permission: secretsRead, id: "getEnrollSecrets",
			summary: "Show the enroll secrets of hosts without a team", bind: handle(a.getEnrollSecrets)},
		{method: http.MethodPost, path: "~/spec/enroll_secret", permission: secretsWrite, id: "setEnrollSecrets",
			summary: "Replace the enroll secrets of hosts without a team", bind: handle(a.setEnrollSecrets)},
		{method: http.MethodPost, path: "~/hosts/transfer", permission: hostsTransfer, id: "transferHosts", bodyBytes: hostsBytes,
			summary: "Move hosts into a team, or out of any", bind: handle(a.transferHosts)},
		{method: http.MethodPost, path: "~/hosts/transfer/filter", permission: hostsTransfer, id: "transferHostsByFilter",
			summary: "Move all hosts of a filter into a team, or out of any", bind: handle(a.transferByFilter)},
		{method: http.MethodPost, path: "~/hosts/delete", permission: hostsWrite, id: "deleteHosts", bodyBytes: hostsBytes,
			summary: "Delete hosts by id or filter", bind: handle(a.deleteHosts)},
	}
}

// toUpdates shows null where nothing is enforced, as clients expect.
func toUpdates(u fleet.OSUpdates) apiv1.OSUpdates {
	return apiv1.OSUpdates{MinimumVersion: textOrNull(u.MinimumVersion), Deadline: textOrNull(u.Deadline)}
}

func fromUpdates(u *apiv1.OSUpdates) *fleet.OSUpdates {
	if u == nil {
		return nil
	}
	var out fleet.OSUpdates
	if u.MinimumVersion != nil {
		out.MinimumVersion = *u.MinimumVersion
	}
	if u.Deadline != nil {
		out.Deadline = *u.Deadline
	}
	return &out
}

// patchUpdates replaces the settings that are given.
func patchUpdates(s *fleet.TeamSettings, macos, ios, ipados *apiv1.OSUpdates) {
	spec := fleet.TeamSpec{MacOSUpdates: fromUpdates(macos), IOSUpdates: fromUpdates(ios), IPadOSUpdates: fromUpdates(ipados)}
	team := fleet.Team{Settings: *s}
	spec.Apply(&team)
	*s = team.Settings
}

func patchTeamMDM(s *fleet.TeamSettings, p *apiv1.TeamMDMPatch) {
	if p != nil {
		patchUpdates(s, p.MacOSUpdates, p.IOSUpdates, p.IPadOSUpdates)
		fromSetup(p.MacOSSetup).Apply(&s.Setup)
	}
}

func toTeam(t *fleet.Team, packageName string) apiv1.Team {
	return apiv1.Team{ID: int64(t.ID), Name: t.Name, Description: t.Description, CreatedAt: t.CreatedAt.UTC(), HostCount: t.HostCount, MDM: apiv1.TeamMDM{
		MacOSUpdates: toUpdates(t.Settings.MacOSUpdates), IOSUpdates: toUpdates(t.Settings.IOSUpdates), IPadOSUpdates: toUpdates(t.Settings.IPadOSUpdates),
		MacOSSetup: toSetupExperience(t.Settings.Setup, packageName)}}
}

func toSecrets(list []fleet.EnrollSecret, team fleet.TeamID) []apiv1.EnrollSecret {
	out := make([]apiv1.EnrollSecret, 0, len(list))
	for _, s := range list {
		row := apiv1.EnrollSecret{Secret: s.Secret, CreatedAt: timeOrNull(s.CreatedAt)}
		if team != fleet.NoTeam {
			id := int64(team)
			row.TeamID = &id
		}
		out = append(out, row)
	}
	return out
}

func fromSecrets(list []apiv1.EnrollSecret) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, s.Secret)
	}
	return out
}

type listTeamsInput struct {
	PageInput
	Query string `query:"query" maxLength:"255" doc:"Part of the name"`
}

func (a *api) listTeams(ctx context.Context, in *listTeamsInput) (*body[apiv1.TeamsResponse], error) {
	page, err := a.page(in.PageInput)
	if err != nil {
		return nil, err
	}
	teams, meta, err := a.teams.List(ctx, page, in.Query)
	if err != nil {
		return nil, err
	}
	out := apiv1.TeamsResponse{Teams: make([]apiv1.Team, 0, len(teams)), Meta: toMeta(meta)}
	packages, err := a.packages.Names(ctx)
	if err != nil {
		return nil, err
	}
	for i := range teams {
		out.Teams = append(out.Teams, toTeam(&teams[i], packages[teams[i].ID]))
	}
	return reply(out), nil
}

type createTeamInput struct {
	RawBody []byte
	Body    apiv1.CreateTeamRequest
}

func (a *api) createTeam(ctx context.Context, in *createTeamInput) (*body[apiv1.TeamResponse], error) {
	if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.CreateTeamRequest]()); err != nil {
		return nil, err
	}
	secrets := fromSecrets(in.Body.Secrets)
	if err := a.secrets.Check(ctx, noTeamYet, secrets); err != nil {
		return nil, err
	}
	team := fleet.Team{Name: in.Body.Name, Description: in.Body.Description}
	patchTeamMDM(&team.Settings, in.Body.MDM)
	made, err := a.teams.Create(ctx, actorOf(ctx), team)
	if err != nil {
		return nil, err
	}
	out := apiv1.TeamResponse{Team: toTeam(made, "")}
	if len(secrets) > 0 {
		kept, err := a.secrets.Set(ctx, actorOf(ctx), made.ID, secrets)
		if err != nil {
			return nil, err
		}
		out.Team.Secrets = toSecrets(kept, made.ID)
	}
	return reply(out), nil
}

// noTeamYet is the team of secrets that are checked before it is made.
const noTeamYet fleet.TeamID = -1

func (a *api) getTeam(ctx context.Context, in *IDInput) (*body[apiv1.TeamResponse], error) {
	team, err := a.teams.Team(ctx, fleet.TeamID(in.ID))
	if err != nil {
		return nil, err
	}
	return a.teamReply(ctx, team)
}

func (a *api) teamReply(ctx context.Context, team *fleet.Team) (*body[apiv1.TeamResponse], error) {
	packages, err := a.packages.Names(ctx)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.TeamResponse{Team: toTeam(team, packages[team.ID])}), nil
}

type modifyTeamInput struct {
	IDInput
	DryRun  bool `query:"dry_run" doc:"Check and show, change nothing"`
	Force   bool `query:"force" doc:"Skip keys that this server does not have instead of refusing them"`
	RawBody []byte
	Body    apiv1.ModifyTeamRequest
}

// modifyTeam changes what is present: read-only keys may be
// sent back.
func (a *api) modifyTeam(ctx context.Context, in *modifyTeamInput) (*body[apiv1.TeamResponse], error) {
	if !in.Force {
		if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.Team]()); err != nil {
			return nil, err
		}
	}
	team, err := a.teams.Update(ctx, actorOf(ctx), fleet.TeamID(in.ID), func(t *fleet.Team) error {
		if in.Body.Name != nil {
			t.Name = *in.Body.Name
		}
		if in.Body.Description != nil {
			t.Description = *in.Body.Description
		}
		patchTeamMDM(&t.Settings, in.Body.MDM)
		return nil
	}, in.DryRun)
	if err != nil {
		return nil, err
	}
	return a.teamReply(ctx, team)
}

func (a *api) deleteTeam(ctx context.Context, in *IDInput) (*body[apiv1.Empty], error) {
	if err := a.teams.Delete(ctx, actorOf(ctx), fleet.TeamID(in.ID)); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

type teamSpecsInput struct {
	DryRun  bool `query:"dry_run" doc:"Check, change nothing"`
	Force   bool `query:"force" doc:"Skip keys that this server does not have instead of refusing them"`
	RawBody []byte
	Body    apiv1.TeamSpecsRequest
}

func (a *api) applyTeamSpecs(ctx context.Context, in *teamSpecsInput) (*body[apiv1.TeamSpecsResponse], error) {
	if !in.Force {
		if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.TeamSpecsRequest]()); err != nil {
			return nil, err
		}
	}
	specs := make([]fleet.TeamSpec, 0, len(in.Body.Specs))
	for _, s := range in.Body.Specs {
		spec := fleet.TeamSpec{Name: s.Name, Description: s.Description}
		if m := s.MDM; m != nil {
			spec.MacOSUpdates, spec.IOSUpdates, spec.IPadOSUpdates = fromUpdates(m.MacOSUpdates), fromUpdates(m.IOSUpdates), fromUpdates(m.IPadOSUpdates)
			spec.Setup = fromSetup(m.MacOSSetup)
		}
		specs = append(specs, spec)
	}
	// Everything is checked before anything is changed.
	ids, err := a.teams.Apply(ctx, actorOf(ctx), specs, true)
	if err != nil {
		return nil, err
	}
	for i, s := range in.Body.Specs {
		if s.Secrets == nil {
			continue
		}
		team := ids[specs[i].Name]
		if team == 0 {
			team = noTeamYet
		}
		if err := a.secrets.Check(ctx, team, fromSecrets(*s.Secrets)); err != nil {
			return nil, err
		}
	}
	if !in.DryRun {
		if ids, err = a.teams.Apply(ctx, actorOf(ctx), specs, false); err != nil {
			return nil, err
		}
		for i, s := range in.Body.Specs {
			if s.Secrets == nil {
				continue
			}
			if _, err := a.secrets.Set(ctx, actorOf(ctx), ids[specs[i].Name], fromSecrets(*s.Secrets)); err != nil {
				return nil, err
			}
		}
	}
	out := apiv1.TeamSpecsResponse{TeamIDsByName: make(map[string]int64, len(ids))}
	for name, id := range ids {
		out.TeamIDsByName[name] = int64(id)
	}
	return reply(out), nil
}

func (a *api) getTeamSecrets(ctx context.Context, in *IDInput) (*body[apiv1.EnrollSecrets], error) {
	list, err := a.secrets.Secrets(ctx, fleet.TeamID(in.ID))
	if err != nil {
		return nil, err
	}
	return reply(apiv1.EnrollSecrets{Secrets: toSecrets(list, fleet.TeamID(in.ID))}), nil
}

type teamSecretsInput struct {
	IDInput
	Body apiv1.EnrollSecrets
}

func (a *api) setTeamSecrets(ctx context.Context, in *teamSecretsInput) (*body[apiv1.EnrollSecrets], error) {
	list, err := a.secrets.Set(ctx, actorOf(ctx), fleet.TeamID(in.ID), fromSecrets(in.Body.Secrets))
	if err != nil {
		return nil, err
	}
	return reply(apiv1.EnrollSecrets{Secrets: toSecrets(list, fleet.TeamID(in.ID))}), nil
}

func (a *api) getEnrollSecrets(ctx context.Context, _ *noInput) (*body[apiv1.EnrollSecretSpec], error) {
	list, err := a.secrets.Secrets(ctx, fleet.NoTeam)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.EnrollSecretSpec{Spec: apiv1.EnrollSecrets{Secrets: toSecrets(list, fleet.NoTeam)}}), nil
}

type enrollSecretsInput struct {
	DryRun bool `query:"dry_run" doc:"Check, change nothing"`
	Body   apiv1.EnrollSecretSpec
}

func (a *api) setEnrollSecrets(ctx context.Context, in *enrollSecretsInput) (*body[apiv1.Empty], error) {
	secrets := fromSecrets(in.Body.Spec.Secrets)
	if in.DryRun {
		return reply(apiv1.Empty{}), a.secrets.Check(ctx, fleet.NoTeam, secrets)
	}
	if _, err := a.secrets.Set(ctx, actorOf(ctx), fleet.NoTeam, secrets); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

// targetTeam is the team of a transfer. It must be said, with null for none: a
// forgotten key would take hosts out of their teams.
func targetTeam(raw []byte, teamID, fleetID *int64) (fleet.TeamID, error) {
	var sent map[string]json.RawMessage
	if err := json.Unmarshal(raw, &sent); err != nil {
		return 0, fleet.Errorf(fleet.KindBadRequest, "The body is not a JSON object.")
	}
	_, old := sent["team_id"]
	_, renamed := sent["fleet_id"]
	if !old && !renamed {
		return 0, fleet.FieldErrorf(fleet.KindInvalid, "team_id", "is missing: give the id of a team, or null for no team")
	}
	return oneTeam(teamID, fleetID)
}

// oneTeam takes either name of a team's id.
func oneTeam(teamID, fleetID *int64) (fleet.TeamID, error) {
	if teamID != nil && fleetID != nil && *teamID != *fleetID {
		return 0, fleet.FieldErrorf(fleet.KindInvalid, "fleet_id", "is another name of team_id: give one of them")
	}
	for _, id := range []*int64{teamID, fleetID} {
		if id != nil && *id < 0 {
			return 0, fleet.FieldErrorf(fleet.KindInvalid, "team_id", "must be the id of a team, or 0")
		}
		if id != nil {
			return fleet.TeamID(*id), nil
		}
	}
	return fleet.NoTeam, nil
}

func hostIDs(ids []int64) []fleet.HostID {
	out := make([]fleet.HostID, 0, len(ids))
	for _, id := range ids {
		out = append(out, fleet.HostID(id))
	}
	return out
}

// expectedOr is the number that the caller expects; -1: any.
func expectedOr(n *int) int {
	if n == nil {
		return -1
	}
	return *n
}

type transferInput struct {
	RawBody []byte
	Body    apiv1.TransferRequest
}

func (a *api) transferHosts(ctx context.Context, in *transferInput) (*body[apiv1.HostsChanged], error) {
	if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.TransferRequest]()); err != nil {
		return nil, err
	}
	team, err := targetTeam(in.RawBody, in.Body.TeamID, in.Body.FleetID)
	if err != nil {
		return nil, err
	}
	if err := a.teams.Transfer(ctx, actorOf(ctx), team, hostIDs(in.Body.Hosts), expectedOr(in.Body.ExpectedCount)); err != nil {
		return nil, err
	}
	return reply(apiv1.HostsChanged{HostCount: len(in.Body.Hosts)}), nil
}

type transferByFilterInput struct {
	RawBody []byte
	Body    apiv1.TransferByFilterRequest
}

func (a *api) transferByFilter(ctx context.Context, in *transferByFilterInput) (*body[apiv1.HostsChanged], error) {
	if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.TransferByFilterRequest]()); err != nil {
		return nil, err
	}
	team, err := targetTeam(in.RawBody, in.Body.TeamID, in.Body.FleetID)
	if err != nil {
		return nil, err
	}
	filter, err := a.selection(in.Body.Filters)
	if err != nil {
		return nil, err
	}
	n, err := a.teams.TransferByFilter(ctx, actorOf(ctx), team, filter, expectedOr(in.Body.ExpectedCount))
	if err != nil {
		return nil, err
	}
	return reply(apiv1.HostsChanged{HostCount: n}), nil
}

// selection translates a selection of hosts for a change.
func (a *api) selection(s apiv1.HostSelection) (fleet.HostFilter, error) {
	f := fleet.HostFilter{Query: s.Query}
	if !a.byStatus(&f, s.Status) {
		return f, fleet.FieldErrorf(fleet.KindInvalid, "filters.status", "is none of new, online, offline, mia, missing")
	}
	if s.LabelID != nil {
		f.LabelID = fleet.LabelID(*s.LabelID)
	}
	if s.TeamID != nil || s.FleetID != nil {
		team, err := oneTeam(s.TeamID, s.FleetID)
		if err != nil {
			return f, err
		}
		f.TeamID = &team
	}
	return f, nil
}

// maxDeletes bounds the hosts that one request deletes, one by one.
const maxDeletes = 1000

type deleteHostsInput struct {
	Force   bool `query:"force" doc:"Locked hosts too: what opens them is then among the archived secrets"`
	RawBody []byte
	Body    apiv1.DeleteHostsRequest
}

func (a *api) deleteHosts(ctx context.Context, in *deleteHostsInput) (*answer[apiv1.HostsChanged], error) {
	if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.DeleteHostsRequest]()); err != nil {
		return nil, err
	}
	if (len(in.Body.IDs) > 0) == (in.Body.Filters != nil) {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "ids", "give ids or filters, and not both")
	}
	ids := hostIDs(in.Body.IDs)
	if in.Body.Filters != nil {
		filter, err := a.selection(*in.Body.Filters)
		if err != nil {
			return nil, err
		}
		if ids, err = a.teams.Select(ctx, filter); err != nil {
			return nil, err
		}
	}
	if len(ids) > maxDeletes {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "ids", "%d hosts, at most %d are deleted at once: nothing was deleted", len(ids), maxDeletes)
	}
	if want := expectedOr(in.Body.ExpectedCount); want >= 0 && want != len(ids) {
		return nil, fleet.FieldErrorf(fleet.KindConflict, "expected_count", "%d hosts were expected and %d match: nothing was deleted", want, len(ids))
	}
	out := apiv1.HostsChanged{}
	if len(ids) == 0 {
		return &answer[apiv1.HostsChanged]{Status: http.StatusOK, Body: out}, nil
	}
	held, err := a.actions.AdmitDelete(ctx, actorOf(ctx), ids, in.Force)
	if err != nil {
		return nil, err
	}
	if held != nil {
		out.Approval = approvalOf(held)
		return &answer[apiv1.HostsChanged]{Status: http.StatusAccepted, Body: out}, nil
	}
	for _, id := range ids {
		err := a.hosts.Delete(ctx, actorOf(ctx), id)
		if fleet.KindOf(err) == fleet.KindNotFound && err != nil {
			continue // it is gone, as was asked for
		}
		if err != nil {
			return nil, err
		}
		out.HostCount++
	}
	return &answer[apiv1.HostsChanged]{Status: http.StatusOK, Body: out}, nil
}
