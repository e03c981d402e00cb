package httpapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

// BatchInput says whose profiles are replaced.
type BatchInput struct {
	ScopeInput
	TeamName  string `query:"team_name" maxLength:"255" doc:"The team by name, instead of team_id"`
	FleetName string `query:"fleet_name" maxLength:"255" doc:"The newer name of team_name"`
	DryRun    bool   `query:"dry_run" doc:"Check and list the changes, change nothing"`
	Revision  int64  `query:"revision" minimum:"0" doc:"From a plan: refuse (409) when the team's profiles changed since; 0: do not look"`
}

// team is the team of a batch.
func (a *api) team(ctx context.Context, in BatchInput) (fleet.TeamID, error) {
	name := in.TeamName
	if name == "" {
		name = in.FleetName
	}
	if name == "" {
		return a.scope(ctx, in.ScopeInput)
	}
	if in.TeamID.IsSet || in.FleetID.IsSet || (in.FleetName != "" && in.FleetName != name) {
		return 0, fleet.FieldErrorf(fleet.KindBadRequest, "team_name", "give the team by id or by name, once")
	}
	if strings.EqualFold(name, fleet.NoTeamName) {
		return fleet.NoTeam, nil
	}
	team, err := a.teams.TeamByName(ctx, name)
	if err != nil {
		return 0, err
	}
	return team.ID, nil
}

// batchOutput has a body in a dry run only.
type batchOutput struct {
	Status int
	Body   *apiv1.ProfileBatchResponse
}

type batchInput struct {
	BatchInput
	RawBody []byte
	Body    apiv1.ProfileBatchRequest
}

func (a *api) setProfiles(ctx context.Context, in *batchInput) (*batchOutput, error) {
	if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.ProfileBatchRequest]()); err != nil {
		return nil, err
	}
	items := make([]apiv1.OldProfileBatchItem, 0, len(in.Body.ConfigurationProfiles))
	for _, p := range in.Body.ConfigurationProfiles {
		items = append(items, apiv1.OldProfileBatchItem{Name: p.DisplayName, Contents: p.Profile, Labels: p.Labels, LabelsIncludeAll: p.LabelsIncludeAll,
			LabelsIncludeAny: p.LabelsIncludeAny, LabelsExcludeAny: p.LabelsExcludeAny, Rollout: p.Rollout})
	}
	return a.setBatch(ctx, in.BatchInput, "configuration_profiles", items, in.Body.AssumeSecrets, in.Body.AssumeLabels)
}

type oldBatchInput struct {
	BatchInput
	NoCache       string `query:"no_cache" doc:"Has no effect"`
	AssumeEnabled string `query:"assume_enabled" doc:"Has no effect"`
	RawBody       []byte
	Body          apiv1.OldProfileBatchRequest
}

func (a *api) setProfilesOld(ctx context.Context, in *oldBatchInput) (*batchOutput, error) {
	if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.OldProfileBatchRequest]()); err != nil {
		return nil, err
	}
	items, err := oldBatch(in.Body.Profiles)
	if err != nil {
		return nil, err
	}
	return a.setBatch(ctx, in.BatchInput, "profiles", items, in.Body.AssumeSecrets, nil)
}

// oldBatch reads a list of profiles, or the oldest form: an object of names
// and contents.
func oldBatch(raw json.RawMessage) ([]apiv1.OldProfileBatchItem, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) > 0 && raw[0] == '{' {
		var byName map[string]string
		if err := json.Unmarshal(raw, &byName); err != nil {
			return nil, fleet.FieldErrorf(fleet.KindBadRequest, "profiles", "must be a list of {name, contents}, or an object of names and contents")
		}
		items := make([]apiv1.OldProfileBatchItem, 0, len(byName))
		for name, contents := range byName {
			items = append(items, apiv1.OldProfileBatchItem{Name: name, Contents: contents})
		}
		slices.SortFunc(items, func(a, b apiv1.OldProfileBatchItem) int { return strings.Compare(a.Name, b.Name) })
		return items, nil
	}
	var items []apiv1.OldProfileBatchItem
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "profiles", "must be a list of {name, contents}, or an object of names and contents")
	}
	var sent struct{ Profiles []apiv1.OldProfileBatchItem }
	return items, refuseUnknownKeys([]byte(`{"Profiles":`+string(raw)+`}`), reflect.TypeOf(sent))
}

// bareNames are names of custom variables without their prefix.
func bareNames(names []string) []string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		out = append(out, strings.TrimPrefix(name, secretPrefix))
	}
	return out
}

func (a *api) setBatch(ctx context.Context, in BatchInput, field string, items []apiv1.OldProfileBatchItem, assumed, labels []string) (*batchOutput, error) {
	team, err := a.team(ctx, in)
	if err != nil {
		return nil, err
	}
	if len(assumed) > 0 && !in.DryRun {
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "assume_secrets", "is for a dry run only")
	}
	if len(labels) > 0 && !in.DryRun {
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "assume_labels", "is for a dry run only")
	}
	uploads := make([]fleet.ProfileUpload, 0, len(items))
	for n, item := range items {
		content, err := base64.StdEncoding.DecodeString(item.Contents)
		if err != nil {
			return nil, fleet.FieldErrorf(fleet.KindBadRequest, field, "profile %d is not base64", n+1)
		}
		rollout, err := fromRollout(item.Rollout)
		if err != nil {
			return nil, err
		}
		uploads = append(uploads, fleet.ProfileUpload{FileName: item.Name, Name: item.Name, Content: content, Rollout: rollout,
			Labels: labelsOf(item.LabelsIncludeAll, item.LabelsIncludeAny, item.LabelsExcludeAny, item.Labels)})
	}
	changes, err := a.profiles.Set(ctx, actorOf(ctx), team, uploads,
		fleet.ItemSetOptions{Dry: in.DryRun, AssumeSecrets: bareNames(assumed), AssumeLabels: labels, Revision: in.Revision})
	if err != nil {
		return nil, err
	}
	if !in.DryRun {
		return &batchOutput{Status: http.StatusNoContent}, nil
	}
	out := &apiv1.ProfileBatchResponse{Changes: make([]apiv1.ProfileChange, 0, len(changes))}
	for i := range changes {
		c := &changes[i]
		if c.Item.Owner != fleet.OwnedByAdmin {
			continue
		}
		row := apiv1.ProfileChange{ProfileUUID: c.Item.UUID, Name: c.Item.Name, Identifier: c.Item.Identifier, Change: string(c.What)}
		if c.What == fleet.ItemAdded {
			row.ProfileUUID = "" // it gets one when it is really added
		}
		out.Changes = append(out.Changes, row)
	}
	return &batchOutput{Status: http.StatusOK, Body: out}, nil
}
