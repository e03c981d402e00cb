package enroll

import (
	"context"
	"fmt"
	"net/url"

	"github.com/muster-mdm/muster/internal/fleet"
)

// PathAutomatic is where a device that Apple assigned to this server asks for
// its enrollment profile; the query token names the enrollment
// (contracts/fleet-api.md 1.11).
const PathAutomatic = "/api/mdm/apple/enroll"

// Assigned knows the devices that Apple assigned to this server.
type Assigned interface {
	Devices(ctx context.Context, f fleet.DEPFilter) ([]fleet.DEPRecord, fleet.PageMeta, error)
	// AskUpdate counts how often a device was told to update itself; ask false
	// begins anew. The events are appended with it.
	AskUpdate(ctx context.Context, token fleet.ServerTokenID, serial string, ask bool, events ...fleet.Event) (count int, err error)
}

// maxUpdateAsks is how often a device is told to update itself before it comes
// in as it is. Whether Apple offers the version to it is not known here, and a
// device for which there is none would ask for ever (contracts/apple.md 4.6).
const maxUpdateAsks = 5

// TeamSettings tells what a scope asks of its hosts.
type TeamSettings interface {
	TeamSettings(ctx context.Context, team fleet.TeamID) (fleet.TeamSettings, error)
}

// Admission decides about devices that ask for an enrollment profile by
// themselves, and say who they are.
type Admission struct {
	issuer   *Issuer
	assigned Assigned
	teams    TeamSettings
}

// NewAdmission returns what lets devices in.
func NewAdmission(issuer *Issuer, assigned Assigned, teams TeamSettings) *Admission {
	return &Admission{issuer: issuer, assigned: assigned, teams: teams}
}

// Automatic returns the signed enrollment profile for a device whose Setup
// Assistant asks for it. Errors: KindNotFound when token names no enrollment,
// KindForbidden when Apple did not assign the device to it, and
// *fleet.UpdateRequired.
func (a *Admission) Automatic(ctx context.Context, token string, info fleet.MachineInfo, address string) ([]byte, error) {
	p, err := a.issuer.profiles.ByToken(ctx, token)
	if err != nil {
		return nil, err
	}
	if p == nil || p.Kind != fleet.EnrollmentADE || p.ServerTokenID == 0 {
		return nil, fleet.Errorf(fleet.KindNotFound, "there is no such automatic enrollment: its server token may have been deleted. Have the device's profile assigned again")
	}
	list, _, err := a.assigned.Devices(ctx, fleet.DEPFilter{Token: p.ServerTokenID, Serials: []string{info.Serial}})
	if err != nil {
		return nil, err
	}
	if info.Serial == "" || len(list) != 1 {
		return nil, fleet.Errorf(fleet.KindForbidden, "device %.40q is not assigned to this server at Apple, or Muster has not heard of it yet:"+
			" look at the server token with `muster get mdm-apple-bm`", info.Serial)
	}
	if err := a.checkVersion(ctx, &list[0], info); err != nil {
		return nil, err
	}
	actor := fleet.Actor{Kind: fleet.ActorDevice, Name: info.Serial, Address: address}
	return a.issuer.buildFor(ctx, actor, *p, fleet.Admission{Kind: fleet.EnrollmentADE, TeamID: list[0].TeamID, Serial: info.Serial}, true)
}

// checkVersion sends a device away that is older than its team wants and can
// update itself first. One that cannot comes in as it is: the team's update
// declaration reaches it then.
func (a *Admission) checkVersion(ctx context.Context, r *fleet.DEPRecord, info fleet.MachineInfo) error {
	if !info.CanRequestUpdate || info.OSVersion == "" {
		return nil
	}
	settings, err := a.teams.TeamSettings(ctx, r.TeamID)
	if err != nil {
		return fmt.Errorf("settings of team %d: %w", r.TeamID, err)
	}
	want := settings.Updates(fleet.PlatformOfModel(info.Product)).MinimumVersion
	if want == "" || fleet.CompareVersions(info.OSVersion, want) >= 0 {
		return nil
	}
	asked, err := a.assigned.AskUpdate(ctx, r.TokenID, info.Serial, true)
	if err != nil {
		return err
	}
	if asked <= maxUpdateAsks {
		return &fleet.UpdateRequired{OSVersion: want}
	}
	_, err = a.assigned.AskUpdate(ctx, r.TokenID, info.Serial, false, fleet.Event{Kind: fleet.EventUpdateGivenUp, HostID: r.HostID,
		Details: details(map[string]string{"serial": info.Serial, "os_version": info.OSVersion, "minimum_version": want})})
	return err
}

// DEPEnrollURL is where devices of a server token ask for their enrollment
// profile. KindPrecondition: the server's URL is not set.
func (i *Issuer) DEPEnrollURL(ctx context.Context, token fleet.ServerTokenID) (string, error) {
	p, err := i.profiles.ByServerToken(ctx, token)
	if err != nil {
		return "", err
	}
	if p == nil {
		return "", fleet.Errorf(fleet.KindNotFound, "server token %d has no enrollment", token)
	}
	s, err := i.settings.Settings(ctx)
	if err != nil {
		return "", err
	}
	if s.AppleBase() == "" {
		return "", noURL()
	}
	return automaticURL(s, p.Token), nil
}

func automaticURL(s fleet.Settings, token string) string {
	return s.AppleBase() + PathAutomatic + "?token=" + url.QueryEscape(token)
}
