package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

// HostFilterInput are the filters of hosts. Every filter that is not here is
// refused: ignoring one would answer with hosts that were not meant.
type HostFilterInput struct {
	Query               string          `query:"query" maxLength:"255" doc:"Part of host name, computer name, serial number, UUID or MAC address"`
	Status              string          `query:"status" enum:"new,online,offline,mia,missing" doc:"By the last contact"`
	TeamID              optional[int64] `query:"team_id" doc:"0: hosts without a team"`
	FleetID             optional[int64] `query:"fleet_id" doc:"The newer name of team_id"`
	LabelID             int64           `query:"label_id" doc:"Members of a label"`
	Platform            string          `query:"platform" maxLength:"255" doc:"Comma list of darwin, ios, ipados, windows"`
	MDMEnrollmentStatus string          `query:"mdm_enrollment_status" enum:"manual,automatic,personal,enrolled,pending,unenrolled"`
	MDMName             string          `query:"mdm_name" maxLength:"255" doc:"Fleet stands for this server"`
	ConnectedToFleet    bool            `query:"connected_to_fleet" doc:"Only hosts enrolled in this server"`
	OSSettings          string          `query:"os_settings" enum:"verified,verifying,pending,failed" doc:"By the worst status of the host's profiles; without a team: of hosts that have none"`
	MacOSSettings       string          `query:"macos_settings" enum:"verified,verifying,pending,failed" doc:"The older name of os_settings"`
	BootstrapPackage    string          `query:"bootstrap_package" enum:"installed,pending,failed" doc:"By what became of the bootstrap package; without a team: of hosts that have none"`
	ProfileUUID         string          `query:"profile_uuid" maxLength:"64" doc:"Hosts that have this profile or declaration, or are to get it"`
	ProfileStatus       string          `query:"profile_status" enum:"verified,verifying,pending,failed" doc:"Only those on which profile_uuid has this status"`
}

// IgnoredHostInput are parameters that clients send and that select nothing.
type IgnoredHostInput struct {
	DeviceMapping          string `query:"device_mapping" doc:"Has no effect"`
	PopulateSoftware       string `query:"populate_software" doc:"Has no effect"`
	PopulatePolicies       string `query:"populate_policies" doc:"Has no effect"`
	PopulateUsers          string `query:"populate_users" doc:"Has no effect"`
	PopulateLabels         string `query:"populate_labels" doc:"Has no effect"`
	DisableFailingPolicies string `query:"disable_failing_policies" doc:"Has no effect"`
	DisableIssues          string `query:"disable_issues" doc:"Has no effect"`
	AdditionalInfoFilters  string `query:"additional_info_filters" doc:"Has no effect"`
}

type listHostsInput struct {
	PageInput
	HostFilterInput
	IgnoredHostInput
}

func (a *api) listHosts(ctx context.Context, in *listHostsInput) (*body[apiv1.HostsResponse], error) {
	out := apiv1.HostsResponse{Hosts: []apiv1.Host{}}
	filter, some, err := a.hostFilter(in.HostFilterInput)
	if err != nil {
		return nil, err
	}
	filter.Page, err = a.page(in.PageInput)
	if err != nil {
		return nil, err
	}
	if !some {
		return reply(out), nil
	}
	hosts, meta, err := a.hosts.List(ctx, filter)
	if err != nil {
		return nil, err
	}
	out.Meta = toMeta(meta)
	if out.Hosts, err = a.toHosts(ctx, hosts); err != nil {
		return nil, err
	}
	return reply(out), nil
}

// toHosts shows hosts with the names of their teams, which are looked up
// together.
func (a *api) toHosts(ctx context.Context, hosts []fleet.Host) ([]apiv1.Host, error) {
	var ids []fleet.TeamID
	for i := range hosts {
		if id := hosts[i].TeamID; id != fleet.NoTeam && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	names, err := a.teams.Names(ctx, ids)
	if err != nil {
		return nil, err
	}
	keys := make([]fleet.HostID, 0, len(hosts))
	for i := range hosts {
		keys = append(keys, hosts[i].ID)
	}
	assigned, err := a.serverTokens.Assigned(ctx, keys)
	if err != nil {
		return nil, err
	}
	out, now := make([]apiv1.Host, 0, len(hosts)), a.now()
	for i := range hosts {
		h := toHost(&hosts[i], now)
		setAssigned(&h, hosts[i].ID, assigned)
		h.TeamName = textOrNull(names[hosts[i].TeamID])
		out = append(out, h)
	}
	return out, nil
}

// setAssigned tells whether Apple assigns a host to this server.
func setAssigned(h *apiv1.Host, id fleet.HostID, assigned map[fleet.HostID]bool) {
	failed, is := assigned[id]
	h.DEPAssigned, h.MDM.DEPProfileError = &is, failed
}

// hostDetail shows a host with its team, its profiles and its software.
func (a *api) hostDetail(ctx context.Context, h *fleet.HostDetail, withSoftware bool) (*body[apiv1.HostResponse], error) {
	out := toHostDetail(h, a.now())
	if h.TeamID != fleet.NoTeam {
		names, err := a.teams.Names(ctx, []fleet.TeamID{h.TeamID})
		if err != nil {
			return nil, err
		}
		out.TeamName = textOrNull(names[h.TeamID])
	}
	assigned, err := a.serverTokens.Assigned(ctx, []fleet.HostID{h.ID})
	if err != nil {
		return nil, err
	}
	setAssigned(&out.Host, h.ID, assigned)
	items, err := a.profiles.HostItems(ctx, h.ID)
	if err != nil {
		return nil, err
	}
	out.MDM.Profiles = toHostProfiles(items, h.Platform)
	if withSoftware {
		if out.Software, err = a.softwareOf(ctx, h.ID); err != nil {
			return nil, err
		}
	}
	return reply(apiv1.HostResponse{Host: out}), nil
}

func toMeta(m fleet.PageMeta) apiv1.Meta {
	return apiv1.Meta{HasNextResults: m.HasNext, HasPreviousResults: m.HasPrevious}
}

type countHostsInput struct {
	PageInput // clients send the same parameters as for the list
	HostFilterInput
	IgnoredHostInput
}

func (a *api) countHosts(ctx context.Context, in *countHostsInput) (*body[apiv1.CountResponse], error) {
	filter, some, err := a.hostFilter(in.HostFilterInput)
	if err != nil {
		return nil, err
	}
	if !some {
		return reply(apiv1.CountResponse{}), nil
	}
	n, err := a.hosts.Count(ctx, filter)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.CountResponse{Count: n}), nil
}

// hostFilter translates the filters; some is false when they can match
// nothing.
func (a *api) hostFilter(in HostFilterInput) (f fleet.HostFilter, some bool, err error) {
	f.Query, f.LabelID = in.Query, fleet.LabelID(in.LabelID)
	for _, team := range []optional[int64]{in.TeamID, in.FleetID} {
		if team.IsSet {
			id := fleet.TeamID(team.Value)
			f.TeamID = &id
		}
	}
	if err := settingsFilter(&f, in); err != nil {
		return f, false, err
	}
	known := []fleet.Platform{fleet.PlatformDarwin, fleet.PlatformIOS, fleet.PlatformIPadOS, fleet.PlatformWindows}
	for _, name := range splitComma(in.Platform) {
		if !slices.Contains(known, fleet.Platform(name)) {
			return f, false, fleet.FieldErrorf(fleet.KindBadRequest, "platform", "must list some of darwin, ios, ipados, windows")
		}
		f.Platforms = append(f.Platforms, fleet.Platform(name))
	}
	a.byStatus(&f, in.Status)
	f.MDM = mdmStatuses(in.MDMEnrollmentStatus)
	if in.ConnectedToFleet {
		on := mdmStatuses("enrolled")
		if len(f.MDM) == 0 {
			f.MDM = on
		}
		f.MDM = slices.DeleteFunc(f.MDM, func(s fleet.MDMStatus) bool { return !slices.Contains(on, s) })
		if len(f.MDM) == 0 {
			return f, false, nil
		}
	}
	// Hosts in somebody else's MDM are not known here.
	return f, in.MDMName == "" || strings.EqualFold(in.MDMName, mdmName), nil
}

// byStatus selects by the last contact; it reports false for a status that
// there is not.
func (a *api) byStatus(f *fleet.HostFilter, status string) bool {
	now := a.now()
	switch status {
	case "":
	case "online":
		f.SeenAfter = now.Add(-onlineWithin)
	case "offline":
		f.SeenBefore = now.Add(-onlineWithin)
	case "mia", "missing":
		f.SeenBefore = now.Add(-missingAfter)
	case "new":
		f.CreatedAfter = now.Add(-newWithin)
	default:
		return false
	}
	return true
}

// settingsFilter selects by what became of profiles. A summary is of one
// team, and so are the hosts behind its numbers: without a team, of those that
// have none.
func settingsFilter(f *fleet.HostFilter, in HostFilterInput) error {
	if in.OSSettings != "" && in.MacOSSettings != "" && in.OSSettings != in.MacOSSettings {
		return fleet.FieldErrorf(fleet.KindBadRequest, "macos_settings", "is another name of os_settings: give one of them")
	}
	f.Package = packageStatus(in.BootstrapPackage)
	f.Items = itemStatus(in.OSSettings + in.MacOSSettings)
	if in.OSSettings != "" {
		f.Items = itemStatus(in.OSSettings)
	}
	if (f.Items != 0 || f.Package != 0) && f.TeamID == nil {
		none := fleet.NoTeam
		f.TeamID = &none
	}
	if in.ProfileStatus != "" && in.ProfileUUID == "" {
		return fleet.FieldErrorf(fleet.KindBadRequest, "profile_status", "is about one profile: give profile_uuid as well")
	}
	f.ItemUUID, f.ItemStatus = in.ProfileUUID, itemStatus(in.ProfileStatus)
	return nil
}

func mdmStatuses(name string) []fleet.MDMStatus {
	switch name {
	case "manual":
		return []fleet.MDMStatus{fleet.MDMManual}
	case "automatic":
		return []fleet.MDMStatus{fleet.MDMAutomatic}
	case "personal":
		return []fleet.MDMStatus{fleet.MDMPersonal}
	case "enrolled":
		return []fleet.MDMStatus{fleet.MDMManual, fleet.MDMAutomatic, fleet.MDMPersonal}
	case "pending":
		return []fleet.MDMStatus{fleet.MDMPending}
	case "unenrolled":
		return []fleet.MDMStatus{fleet.MDMOff}
	}
	return nil
}

type getHostInput struct {
	IDInput
	ExcludeSoftware bool `query:"exclude_software" doc:"Leave the list of software out"`
}

func (a *api) getHost(ctx context.Context, in *getHostInput) (*body[apiv1.HostResponse], error) {
	host, err := a.hosts.Host(ctx, fleet.HostID(in.ID))
	if err != nil {
		return nil, err
	}
	return a.hostDetail(ctx, host, !in.ExcludeSoftware)
}

type identifierInput struct {
	Identifier      string `path:"identifier" maxLength:"255" doc:"Host name, UUID or serial number"`
	ExcludeSoftware bool   `query:"exclude_software" doc:"Leave the list of software out"`
}

func (a *api) getHostByIdentifier(ctx context.Context, in *identifierInput) (*body[apiv1.HostResponse], error) {
	host, err := a.hosts.HostByIdentifier(ctx, in.Identifier)
	if err != nil {
		return nil, err
	}
	return a.hostDetail(ctx, host, !in.ExcludeSoftware)
}

type deleteHostInput struct {
	IDInput
	Force bool `query:"force" doc:"A locked host too: what opens it is then among the archived secrets"`
}

func (a *api) deleteHost(ctx context.Context, in *deleteHostInput) (*answer[*apiv1.Held], error) {
	held, err := a.actions.AdmitDelete(ctx, actorOf(ctx), []fleet.HostID{fleet.HostID(in.ID)}, in.Force)
	if err != nil || held != nil {
		return heldAnswer(held), err
	}
	if err := a.hosts.Delete(ctx, actorOf(ctx), fleet.HostID(in.ID)); err != nil {
		return nil, err
	}
	return &answer[*apiv1.Held]{Status: http.StatusOK, Body: &apiv1.Held{}}, nil
}

func (a *api) getHostMDM(ctx context.Context, in *IDInput) (*body[*apiv1.HostMDMResponse], error) {
	host, err := a.hosts.Host(ctx, fleet.HostID(in.ID))
	if err != nil {
		return nil, err
	}
	if host.MDM.Status == fleet.MDMUnknown {
		return reply[*apiv1.HostMDMResponse](nil), nil
	}
	return reply(&apiv1.HostMDMResponse{EnrollmentStatus: host.MDM.Status.String(), ServerURL: host.MDM.ServerURL, Name: nameOfMDM(&host.Host)}), nil
}

func (a *api) unenrollHost(ctx context.Context, in *IDInput) (*answer[*apiv1.Held], error) {
	held, err := a.actions.Admit(ctx, actorOf(ctx), fleet.ActionUnenroll, []fleet.HostID{fleet.HostID(in.ID)}, false)
	if err != nil || held != nil {
		return heldAnswer(held), err
	}
	return &answer[*apiv1.Held]{Status: http.StatusNoContent}, a.enrollments.TurnOff(ctx, actorOf(ctx), fleet.HostID(in.ID))
}

// timeOrNull is null for a time that is not known.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
