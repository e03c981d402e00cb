package httpapi

import (
	"context"
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
	out.Hosts, out.Meta = make([]apiv1.Host, 0, len(hosts)), toMeta(meta)
	now := a.now()
	for i := range hosts {
		out.Hosts = append(out.Hosts, toHost(&hosts[i], now))
	}
	return reply(out), nil
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
	known := []fleet.Platform{fleet.PlatformDarwin, fleet.PlatformIOS, fleet.PlatformIPadOS, fleet.PlatformWindows}
	for _, name := range splitComma(in.Platform) {
		if !slices.Contains(known, fleet.Platform(name)) {
			return f, false, fleet.FieldErrorf(fleet.KindBadRequest, "platform", "must list some of darwin, ios, ipados, windows")
		}
		f.Platforms = append(f.Platforms, fleet.Platform(name))
	}
	now := a.now()
	switch in.Status {
	case "online":
		f.SeenAfter = now.Add(-onlineWithin)
	case "offline":
		f.SeenBefore = now.Add(-onlineWithin)
	case "mia", "missing":
		f.SeenBefore = now.Add(-missingAfter)
	case "new":
		f.CreatedAfter = now.Add(-newWithin)
	}
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
	ExcludeSoftware string `query:"exclude_software" doc:"Has no effect"`
}

func (a *api) getHost(ctx context.Context, in *getHostInput) (*body[apiv1.HostResponse], error) {
	host, err := a.hosts.Host(ctx, fleet.HostID(in.ID))
	if err != nil {
		return nil, err
	}
	return reply(apiv1.HostResponse{Host: toHostDetail(host, a.now())}), nil
}

type identifierInput struct {
	Identifier      string `path:"identifier" maxLength:"255" doc:"Host name, UUID or serial number"`
	ExcludeSoftware string `query:"exclude_software" doc:"Has no effect"`
}

func (a *api) getHostByIdentifier(ctx context.Context, in *identifierInput) (*body[apiv1.HostResponse], error) {
	host, err := a.hosts.HostByIdentifier(ctx, in.Identifier)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.HostResponse{Host: toHostDetail(host, a.now())}), nil
}

func (a *api) deleteHost(ctx context.Context, in *IDInput) (*body[apiv1.Empty], error) {
	if err := a.hosts.Delete(ctx, actorOf(ctx), fleet.HostID(in.ID)); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
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

func (a *api) unenrollHost(ctx context.Context, in *IDInput) (*struct{}, error) {
	return nil, a.enrollments.TurnOff(ctx, actorOf(ctx), fleet.HostID(in.ID))
}

// timeOrNull is null for a time that is not known.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
