package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime/multipart"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

func (a *api) profileRoutes() []route {
	one, old := "~/configuration_profiles/{uuid}", "~/mdm/profiles/{uuid}"
	return []route{
		{method: http.MethodGet, path: "~/configuration_profiles", also: []string{"~/mdm/profiles"}, permission: profilesRead, id: "listProfiles", strict: true,
			summary: "List a team's configuration profiles and declarations", bind: handle(a.listProfiles)},
		{method: http.MethodPost, path: "~/configuration_profiles", also: []string{"~/mdm/profiles"}, permission: profilesWrite, id: "createProfile",
			summary: "Upload a configuration profile or declaration", bodyBytes: profileBytes, multipart: true, bind: handle(a.createProfile)},
		{method: http.MethodGet, path: one, also: []string{old}, permission: profilesRead, id: "getProfile",
			summary: "Show a profile, or with alt=media its file", file: mobileconfigType, orJSON: reflect.TypeFor[apiv1.Profile](), bind: handle(a.getProfile)},
		{method: http.MethodPatch, path: one, also: []string{old}, permission: profilesWrite, id: "modifyProfile",
			summary: "Replace a profile's content, labels or both", bodyBytes: profileBytes, multipart: true, bind: handle(a.modifyProfile)},
		{method: http.MethodDelete, path: one, also: []string{old}, permission: profilesWrite, id: "deleteProfile",
			summary: "Delete a profile: hosts lose it", bind: handle(a.deleteProfile)},
		{method: http.MethodPost, path: "~/configuration_profiles/batch", permission: profilesWrite, id: "setProfiles", bodyBytes: batchBytes,
			summary: "Replace all profiles and declarations of a team, all together or not at all; a dry run lists the changes", bind: handle(a.setProfiles)},
		{method: http.MethodPost, path: "~/mdm/profiles/batch", permission: profilesWrite, id: "setProfilesOld", bodyBytes: batchBytes, deprecated: true,
			summary: "Replace all profiles and declarations of a team", bind: handle(a.setProfilesOld)},
		{method: http.MethodPost, path: "~/configuration_profiles/resend/batch", also: []string{"~/mdm/profiles/resend/batch"}, permission: profilesResend, id: "resendFailedProfile",
			status: http.StatusAccepted, summary: "Send a profile again to all hosts on which it failed", bind: handle(a.resendFailed)},
		{method: http.MethodGet, path: "~/configuration_profiles/summary", also: []string{"~/mdm/profiles/summary", "~/mdm/apple/profiles/summary"}, permission: profilesRead,
			id: "getProfilesSummary", strict: true, summary: "Count a team's hosts by the worst status of their profiles", bind: handle(a.profilesSummary)},
		{method: http.MethodGet, path: one + "/status", also: []string{old + "/status"}, permission: profilesRead, id: "getProfileStatus", strict: true,
			summary: "Count the hosts of a profile by status", bind: handle(a.profileStatus)},
		{method: http.MethodGet, path: one + "/hosts", permission: profilesRead, id: "listProfileHosts", strict: true,
			summary: "List the hosts of a profile, with what went wrong", bind: handle(a.profileHosts)},
		{method: http.MethodPost, path: one + "/rollout", permission: profilesWrite, id: "steerRollout",
			summary: "Halt, resume, complete or roll back a staged rollout", bind: handle(a.steerRollout)},
		{method: http.MethodGet, path: "~/hosts/{id}/configuration_profiles", also: []string{"~/mdm/hosts/{id}/profiles"}, permission: hostsRead, id: "listHostProfiles", strict: true,
			summary: "List the profiles of a host", bind: handle(a.hostProfiles)},
		{method: http.MethodPost, path: "~/hosts/{id}/configuration_profiles/{uuid}/resend", also: []string{"~/hosts/{id}/configuration_profiles/resend/{uuid}"},
			permission: profilesResend, id: "resendProfile", status: http.StatusAccepted,
			summary: "Send a profile to a host again, whatever its status", bind: handle(a.resendProfile)},
		{method: http.MethodGet, path: "~/mdm/apple/profiles", permission: profilesRead, id: "listAppleProfiles", deprecated: true,
			summary: "List a team's configuration profiles", bind: handle(a.listAppleProfiles)},
		{method: http.MethodPost, path: "~/mdm/apple/profiles", permission: profilesWrite, id: "createAppleProfile", bodyBytes: profileBytes, multipart: true,
			deprecated: true, summary: "Upload a configuration profile", bind: handle(a.createAppleProfile)},
		{method: http.MethodGet, path: "~/mdm/apple/profiles/{id}", permission: profilesRead, id: "downloadAppleProfile", deprecated: true,
			summary: "Download a configuration profile", file: mobileconfigType, bind: handle(a.downloadAppleProfile)},
		{method: http.MethodDelete, path: "~/mdm/apple/profiles/{id}", permission: profilesWrite, id: "deleteAppleProfile", deprecated: true,
			summary: "Delete a configuration profile", bind: handle(a.deleteAppleProfile)},
	}
}

// ScopeInput names a team.
type ScopeInput struct {
	TeamID  optional[int64] `query:"team_id" doc:"0, or left out: hosts without a team"`
	FleetID optional[int64] `query:"fleet_id" doc:"The newer name of team_id"`
}

// scope is the team that is meant; it exists.
func (a *api) scope(ctx context.Context, in ScopeInput) (fleet.TeamID, error) {
	ids := make([]*int64, 0, 2)
	for _, id := range []optional[int64]{in.TeamID, in.FleetID} {
		if id.IsSet {
			ids = append(ids, &id.Value)
		} else {
			ids = append(ids, nil)
		}
	}
	team, err := oneTeam(ids[0], ids[1])
	if err != nil {
		return 0, err
	}
	return team, a.checkTeam(ctx, team)
}

func (a *api) checkTeam(ctx context.Context, team fleet.TeamID) error {
	if team == fleet.NoTeam {
		return nil
	}
	_, err := a.teams.Team(ctx, team)
	return err
}

// itemStatus is the status of that name; 0 for none.
func itemStatus(name string) fleet.ItemStatus {
	for s := fleet.ItemPending; s <= fleet.ItemFailed; s++ {
		if s.String() == name {
			return s
		}
	}
	return 0
}

func toCounts(c fleet.ItemStatusCounts) apiv1.ProfileStatusCounts {
	return apiv1.ProfileStatusCounts{Verified: c.Verified, Verifying: c.Verifying, Pending: c.Pending, Failed: c.Failed}
}

// checksumBytes is what clients expect of a checksum.
const checksumBytes = 16

func toProfile(i *fleet.Item) apiv1.Profile {
	out := apiv1.Profile{ProfileUUID: i.UUID, ProfileID: int64(i.ID), TeamID: int64(max(i.TeamID, fleet.NoTeam)), Name: i.Name, Platform: string(fleet.PlatformDarwin),
		Identifier: i.Identifier, Scope: "System", Checksum: base64.StdEncoding.EncodeToString(i.SHA256[:checksumBytes]),
		CreatedAt: i.CreatedAt.UTC(), UpdatedAt: i.UploadedAt.UTC(), UploadedAt: i.UploadedAt.UTC(),
		Version: i.Version, Warnings: i.Spec.Warnings, Rollout: toRollout(i.Rollout), FromServer: i.Owner == fleet.OwnedByMuster}
	if i.Scope == fleet.ScopeUser {
		out.Scope = "User"
	}
	for _, l := range i.Labels {
		label := apiv1.ProfileLabel{ID: int64(l.LabelID), Name: l.Name, Broken: l.LabelID == 0}
		switch l.Mode {
		case fleet.IncludeAll:
			out.LabelsIncludeAll = append(out.LabelsIncludeAll, label)
		case fleet.IncludeAny:
			out.LabelsIncludeAny = append(out.LabelsIncludeAny, label)
		case fleet.ExcludeAny:
			out.LabelsExcludeAny = append(out.LabelsExcludeAny, label)
		}
	}
	return out
}

const percent = 100

func toRollout(r *fleet.Rollout) *apiv1.Rollout {
	if r == nil {
		return nil
	}
	out := &apiv1.Rollout{State: string(r.State), Ring: r.Ring + 1, PercentOpen: r.Open() * percent, OpenedAt: r.OpenedAt.UTC(), Why: r.Why,
		RolloutPlan: apiv1.RolloutPlan{MinVerified: r.MinVerified, MaxFailed: r.MaxFailed, Rings: make([]apiv1.Ring, 0, len(r.Rings))}}
	for _, ring := range r.Rings {
		v := apiv1.Ring{Percent: ring.Percent}
		if ring.Soak > 0 {
			v.Soak = ring.Soak.String()
		}
		out.Rings = append(out.Rings, v)
	}
	return out
}

// fromRollout reads a plan; nil: to all hosts at once.
func fromRollout(p *apiv1.RolloutPlan) (*fleet.Rollout, error) {
	if p == nil {
		return nil, nil
	}
	out := &fleet.Rollout{MinVerified: p.MinVerified, MaxFailed: p.MaxFailed}
	for n, ring := range p.Rings {
		soak, err := soakTime(ring.Soak)
		if err != nil {
			return nil, fleet.FieldErrorf(fleet.KindBadRequest, "rollout", "ring %d: the soak time must be as 30m, 24h or 3d", n+1)
		}
		out.Rings = append(out.Rings, fleet.Ring{Percent: ring.Percent, Soak: soak})
	}
	return out, nil
}

// soakTime reads a duration, which may be in days.
func soakTime(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		const day, most = 24 * time.Hour, 365
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || math.IsNaN(n) || n < 0 || n > most {
			return 0, errors.New("not a number of days")
		}
		return time.Duration(n * float64(day)), nil
	}
	return time.ParseDuration(text)
}

// profileForm is an upload. Labels are one field each.
type profileForm struct {
	Profile          huma.FormFile `form:"profile" required:"false" doc:"The file: .mobileconfig, or a declaration as .json"`
	TeamID           string        `form:"team_id" required:"false" doc:"0, or left out: for hosts without a team"`
	FleetID          string        `form:"fleet_id" required:"false" doc:"The newer name of team_id"`
	LabelsIncludeAll []string      `form:"labels_include_all" required:"false" doc:"Only hosts that are members of all of them; one field for each label"`
	LabelsIncludeAny []string      `form:"labels_include_any" required:"false" doc:"Only hosts that are members of one of them"`
	LabelsExcludeAny []string      `form:"labels_exclude_any" required:"false" doc:"Only hosts that are members of none of them"`
	Labels           []string      `form:"labels" required:"false" doc:"The older name of labels_include_all"`
	Rollout          string        `form:"rollout" required:"false" doc:"Bring it to hosts in rings: JSON, as {\"rings\":[{\"percent\":5,\"soak\":\"24h\"},{\"percent\":100}]}"`
}

type uploadProfileInput struct {
	RawBody huma.MultipartFormFiles[profileForm]
}

// readUpload reads the form. Unknown fields are refused: a label that was
// dropped would bring a profile to every host.
func (in *uploadProfileInput) readUpload() (fleet.TeamID, fleet.ProfileUpload, error) {
	var u fleet.ProfileUpload
	values, form := in.RawBody.Form.Value, in.RawBody.Data()
	if err := refuseUnknownFields(in.RawBody.Form); err != nil {
		return 0, u, err
	}
	if form.Profile.IsSet {
		content, err := io.ReadAll(form.Profile) // bounded with the request
		if err != nil {
			return 0, u, fmt.Errorf("read upload: %w", err)
		}
		if content == nil {
			content = []byte{}
		}
		u.FileName, u.Content = form.Profile.Filename, content
	}
	var ids [2]*int64
	for n, name := range []string{"team_id", "fleet_id"} {
		text := strings.TrimSpace(strings.Join(values[name], ""))
		if text == "" {
			continue
		}
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, u, fleet.FieldErrorf(fleet.KindBadRequest, name, "must be the id of a team, or 0")
		}
		ids[n] = &id
	}
	team, err := oneTeam(ids[0], ids[1])
	if err != nil {
		return 0, u, err
	}
	u.Labels = labelsOf(values["labels_include_all"], values["labels_include_any"], values["labels_exclude_any"], values["labels"])
	if text := strings.Join(values["rollout"], ""); text != "" {
		var plan apiv1.RolloutPlan
		if err := json.Unmarshal([]byte(text), &plan); err != nil {
			return 0, u, fleet.FieldErrorf(fleet.KindBadRequest, "rollout", `must be JSON, as {"rings":[{"percent":5,"soak":"24h"},{"percent":100}]}`)
		}
		if err := refuseUnknownKeys([]byte(text), reflect.TypeFor[apiv1.RolloutPlan]()); err != nil {
			return 0, u, err
		}
		if u.Rollout, err = fromRollout(&plan); err != nil {
			return 0, u, err
		}
	}
	return team, u, nil
}

func refuseUnknownFields(form *multipart.Form) error {
	var known []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[profileForm]()) {
		known = append(known, f.Tag.Get("form"))
	}
	is := map[string]bool{}
	for _, name := range known {
		is[name] = true
	}
	var unknown []unknownKey
	look := func(name string) {
		if !is[name] {
			unknown = append(unknown, unknownKey{name: name, nearest: nearestPath("", name, known)})
		}
	}
	for name := range form.Value {
		look(name)
	}
	for name := range form.File {
		look(name)
	}
	return refuseKeys(unknown)
}

// labelsOf joins labels by their modes; nil when no list was given at all. An
// empty name takes the labels away.
func labelsOf(includeAll, includeAny, excludeAny, old []string) []fleet.ItemLabel {
	var out []fleet.ItemLabel
	for _, list := range []struct {
		mode  fleet.LabelMode
		names []string
	}{{fleet.IncludeAll, includeAll}, {fleet.IncludeAll, old}, {fleet.IncludeAny, includeAny}, {fleet.ExcludeAny, excludeAny}} {
		if list.names != nil && out == nil {
			out = []fleet.ItemLabel{}
		}
		for _, name := range list.names {
			if name != "" {
				out = append(out, fleet.ItemLabel{Name: name, Mode: list.mode})
			}
		}
	}
	return out
}

func (a *api) create(ctx context.Context, in *uploadProfileInput) (*fleet.Item, error) {
	team, upload, err := in.readUpload()
	if err != nil {
		return nil, err
	}
	if upload.Content == nil {
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "profile", "is missing: send the file as the form's field profile")
	}
	return a.profiles.Create(ctx, actorOf(ctx), team, upload)
}

func (a *api) createProfile(ctx context.Context, in *uploadProfileInput) (*body[apiv1.CreateProfileResponse], error) {
	item, err := a.create(ctx, in)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.CreateProfileResponse{ProfileUUID: item.UUID, Warnings: item.Spec.Warnings}), nil
}

// UUIDInput names a profile or declaration.
type UUIDInput struct {
	UUID string `path:"uuid" maxLength:"64" doc:"Its profile_uuid"`
}

type patchProfileInput struct {
	UUIDInput
	RawBody huma.MultipartFormFiles[profileForm]
}

func (a *api) modifyProfile(ctx context.Context, in *patchProfileInput) (*body[apiv1.CreateProfileResponse], error) {
	upload := uploadProfileInput{RawBody: in.RawBody}
	team, u, err := upload.readUpload()
	if err != nil {
		return nil, err
	}
	if team != fleet.NoTeam {
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "team_id", "a profile stays with its team: upload it to the other one")
	}
	if u.Content == nil && u.Labels == nil {
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "profile", "nothing is to change: send a file, labels or both")
	}
	item, err := a.profiles.Replace(ctx, actorOf(ctx), in.UUID, u)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.CreateProfileResponse{ProfileUUID: item.UUID, Warnings: item.Spec.Warnings}), nil
}

type listProfilesInput struct {
	PageInput
	ScopeInput
}

func (a *api) listProfiles(ctx context.Context, in *listProfilesInput) (*body[apiv1.ProfilesResponse], error) {
	return a.profileList(ctx, in.PageInput, in.ScopeInput)
}

func (a *api) profileList(ctx context.Context, pages PageInput, scope ScopeInput, kinds ...fleet.ItemKind) (*body[apiv1.ProfilesResponse], error) {
	page, err := a.page(pages)
	if err != nil {
		return nil, err
	}
	team, err := a.scope(ctx, scope)
	if err != nil {
		return nil, err
	}
	items, meta, err := a.profiles.List(ctx, fleet.ItemFilter{Page: page, TeamID: team, Kinds: kinds})
	if err != nil {
		return nil, err
	}
	out := apiv1.ProfilesResponse{Profiles: make([]apiv1.Profile, 0, len(items)), Meta: toMeta(meta)}
	for _, i := range items {
		out.Profiles = append(out.Profiles, toProfile(i))
	}
	return reply(out), nil
}

type getProfileInput struct {
	UUIDInput
	Alt string `query:"alt" enum:"media" doc:"media: the file itself"`
}

// mediaOutput is a file, or JSON.
type mediaOutput struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        any
}

func (a *api) getProfile(ctx context.Context, in *getProfileInput) (*mediaOutput, error) {
	if in.Alt != "media" {
		item, err := a.profiles.Item(ctx, in.UUID)
		if err != nil {
			return nil, err
		}
		return &mediaOutput{ContentType: "application/json", Body: toProfile(item)}, nil
	}
	item, content, err := a.profiles.Content(ctx, in.UUID)
	if err != nil {
		return nil, err
	}
	kind, extension := mobileconfigType, ".mobileconfig"
	if item.Kind == fleet.ItemDeclaration {
		kind, extension = "application/json", ".json"
	}
	return &mediaOutput{ContentType: kind, Disposition: `attachment; filename="` + fileName(item.Name) + extension + `"`, Body: content}, nil
}

// fileName leaves of a name what may stand in a header and in a path.
func fileName(name string) string {
	out := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, name)
	return strings.TrimLeft(out, ".")
}

func (a *api) deleteProfile(ctx context.Context, in *UUIDInput) (*body[apiv1.Empty], error) {
	if err := a.profiles.Delete(ctx, actorOf(ctx), in.UUID); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

type scopeOnlyInput struct{ ScopeInput }

func (a *api) profilesSummary(ctx context.Context, in *scopeOnlyInput) (*body[apiv1.ProfileStatusCounts], error) {
	team, err := a.scope(ctx, in.ScopeInput)
	if err != nil {
		return nil, err
	}
	counts, err := a.profiles.Summary(ctx, team)
	if err != nil {
		return nil, err
	}
	return reply(toCounts(counts)), nil
}

func (a *api) profileStatus(ctx context.Context, in *UUIDInput) (*body[apiv1.ProfileStatusCounts], error) {
	counts, err := a.profiles.ItemStatus(ctx, in.UUID)
	if err != nil {
		return nil, err
	}
	return reply(toCounts(counts)), nil
}

type profileHostsInput struct {
	PageInput
	UUIDInput
	Status string `query:"status" enum:"verified,verifying,pending,failed"`
	Error  string `query:"error" maxLength:"255" doc:"Only where the detail contains this"`
}

func (a *api) profileHosts(ctx context.Context, in *profileHostsInput) (*body[apiv1.ProfileHostsResponse], error) {
	page, err := a.page(in.PageInput)
	if err != nil {
		return nil, err
	}
	hosts, meta, err := a.profiles.HostsOf(ctx, in.UUID, fleet.ItemHostFilter{Page: page, Status: itemStatus(in.Status), Query: in.Error})
	if err != nil {
		return nil, err
	}
	out := apiv1.ProfileHostsResponse{Hosts: make([]apiv1.ProfileHost, 0, len(hosts)), Meta: toMeta(meta)}
	for i := range hosts {
		h := &hosts[i]
		out.Hosts = append(out.Hosts, apiv1.ProfileHost{HostID: int64(h.Host.ID), Hostname: h.Host.Hostname, UUID: h.Host.UUID, HardwareSerial: h.Host.Serial,
			Status: h.Status.String(), OperationType: h.Op.String(), Detail: h.Detail, Version: h.Version,
			NextAttemptAt: timeOrNull(h.NextAt), UpdatedAt: h.ChangedAt.UTC()})
	}
	return reply(out), nil
}

func toHostProfiles(items []fleet.HostItemDetail, platform fleet.Platform) []apiv1.HostProfile {
	out := make([]apiv1.HostProfile, 0, len(items))
	for i := range items {
		v := &items[i]
		out = append(out, apiv1.HostProfile{ProfileUUID: v.UUID, Name: v.Name, Status: v.Status.String(), OperationType: v.Op.String(), Detail: v.Detail,
			Platform: string(platform), Scope: v.Scope.String(), Identifier: v.Identifier, NextAttemptAt: timeOrNull(v.NextAt), UpdatedAt: v.ChangedAt.UTC()})
	}
	return out
}

func (a *api) hostProfiles(ctx context.Context, in *IDInput) (*body[apiv1.HostProfilesResponse], error) {
	host, err := a.hosts.Host(ctx, fleet.HostID(in.ID))
	if err != nil {
		return nil, err
	}
	items, err := a.profiles.HostItems(ctx, host.ID)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.HostProfilesResponse{HostID: in.ID, Profiles: toHostProfiles(items, host.Platform)}), nil
}

type resendInput struct {
	IDInput
	UUIDInput
}

func (a *api) resendProfile(ctx context.Context, in *resendInput) (*struct{}, error) {
	return nil, a.profiles.Resend(ctx, actorOf(ctx), fleet.HostID(in.ID), in.UUID)
}

type resendBatchInput struct {
	RawBody []byte
	Body    apiv1.ResendBatchRequest
}

func (a *api) resendFailed(ctx context.Context, in *resendBatchInput) (*struct{}, error) {
	if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.ResendBatchRequest]()); err != nil {
		return nil, err
	}
	return nil, a.profiles.ResendFailed(ctx, actorOf(ctx), in.Body.ProfileUUID, in.Body.Filters.Detail)
}

type steerInput struct {
	UUIDInput
	RawBody []byte
	Body    apiv1.SteerRolloutRequest
}

func (a *api) steerRollout(ctx context.Context, in *steerInput) (*body[apiv1.Profile], error) {
	if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.SteerRolloutRequest]()); err != nil {
		return nil, err
	}
	item, err := a.profiles.Steer(ctx, actorOf(ctx), in.UUID, in.Body.Action, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	return reply(toProfile(item)), nil
}

// The oldest paths know configuration profiles by number.

func (a *api) listAppleProfiles(ctx context.Context, in *scopeOnlyInput) (*body[apiv1.AppleProfilesResponse], error) {
	list, err := a.profileList(ctx, PageInput{}, in.ScopeInput, fleet.ItemProfile)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.AppleProfilesResponse{Profiles: list.Body.Profiles}), nil
}

func (a *api) createAppleProfile(ctx context.Context, in *uploadProfileInput) (*body[apiv1.AppleProfileResponse], error) {
	item, err := a.create(ctx, in)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.AppleProfileResponse{ProfileID: int64(item.ID)}), nil
}

func (a *api) downloadAppleProfile(ctx context.Context, in *IDInput) (*mediaOutput, error) {
	item, err := a.profiles.ItemByID(ctx, fleet.ItemID(in.ID))
	if err != nil {
		return nil, err
	}
	return a.getProfile(ctx, &getProfileInput{UUIDInput: UUIDInput{UUID: item.UUID}, Alt: "media"})
}

func (a *api) deleteAppleProfile(ctx context.Context, in *IDInput) (*body[apiv1.Empty], error) {
	item, err := a.profiles.ItemByID(ctx, fleet.ItemID(in.ID))
	if err != nil {
		return nil, err
	}
	return a.deleteProfile(ctx, &UUIDInput{UUID: item.UUID})
}
