package httpapi

import (
	"context"
	"net/http"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Setups look after devices in Setup Assistant.
type Setups interface {
	// Setup is KindNotFound for a host that never waited.
	Setup(ctx context.Context, host fleet.HostID) (*fleet.SetupFacts, error)
	// Release is KindConflict for one that does not wait.
	Release(ctx context.Context, actor fleet.Actor, host fleet.HostID) error
}

func (a *api) setupRoutes() []route {
	return []route{
		{method: http.MethodPatch, path: "~/setup_experience", also: []string{"~/mdm/apple/setup"}, permission: teamsWrite, id: "modifySetupExperience",
			status: http.StatusNoContent, summary: "Change what happens while devices of a team wait in Setup Assistant; keys that are not sent stay", bind: handle(a.modifySetupExperience)},
		{method: http.MethodGet, path: "~/hosts/{id}/setup", permission: hostsRead, id: "getHostSetup",
			summary: "Show what a host waits for, or waited for, in Setup Assistant", bind: handle(a.getHostSetup)},
		{method: http.MethodPost, path: "~/hosts/{id}/setup/release", permission: commandsRun, id: "releaseHost", status: http.StatusAccepted,
			summary: "Let a host that waits in Setup Assistant go on", bind: handle(a.releaseHost)},
	}
}

// toSetupExperience shows settings with the name of the team's package.
func toSetupExperience(s fleet.SetupSettings, packageName string) apiv1.SetupExperience {
	return apiv1.SetupExperience{BootstrapPackage: textOrNull(packageName), EnableReleaseDeviceManually: s.ManualRelease, ManualAgentInstall: s.ManualAgentInstall,
		ReleaseTimeoutMinutes: int(s.Wait() / time.Minute), HoldOnTimeout: s.HoldOnTimeout}
}

func fromSetup(p *apiv1.SetupExperiencePatch) *fleet.SetupPatch {
	if p == nil {
		return nil
	}
	out := &fleet.SetupPatch{ManualRelease: p.EnableReleaseDeviceManually, HoldOnTimeout: p.HoldOnTimeout, ManualAgentInstall: p.ManualAgentInstall}
	if p.ReleaseTimeoutMinutes != nil {
		wait := time.Duration(*p.ReleaseTimeoutMinutes) * time.Minute
		out.Timeout = &wait
	}
	return out
}

type setupExperienceInput struct {
	RawBody []byte
	Body    apiv1.SetupExperienceRequest
}

func (a *api) modifySetupExperience(ctx context.Context, in *setupExperienceInput) (*struct{}, error) {
	if err := refuseUnknown[apiv1.SetupExperienceRequest](in.RawBody); err != nil {
		return nil, err
	}
	team, err := oneTeam(in.Body.TeamID, in.Body.FleetID)
	if err != nil {
		return nil, err
	}
	if team == fleet.NoTeam {
		_, err = a.settings.Update(ctx, actorOf(ctx), func(s *fleet.Settings) error {
			fromSetup(&in.Body.SetupExperiencePatch).Apply(&s.NoTeam.Setup)
			return nil
		}, false)
		return nil, err
	}
	_, err = a.teams.Update(ctx, actorOf(ctx), team, func(t *fleet.Team) error {
		fromSetup(&in.Body.SetupExperiencePatch).Apply(&t.Settings.Setup)
		return nil
	}, false)
	return nil, err
}

func (a *api) getHostSetup(ctx context.Context, in *IDInput) (*body[apiv1.HostSetup], error) {
	f, err := a.setups.Setup(ctx, fleet.HostID(in.ID))
	if err != nil {
		return nil, a.neverWaited(ctx, in.ID, err)
	}
	v := f.Setup
	out := apiv1.HostSetup{HostID: int64(v.HostID), Status: v.State.String(), StartedAt: v.StartedAt.UTC(), EndedAt: timeOrNull(v.EndedAt),
		Outcome: v.Outcome, Steps: make([]apiv1.HostSetupStep, 0, len(v.Steps))}
	for _, s := range v.Steps {
		out.Steps = append(out.Steps, apiv1.HostSetupStep{Name: s.Name, Status: string(s.State), Since: s.Since.UTC(), Detail: s.Detail})
	}
	if v.State == fleet.SetupWaiting {
		settings, err := a.scopeSettings(ctx, f.Host.TeamID)
		if err != nil {
			return nil, err
		}
		if !settings.Setup.ManualRelease {
			out.Deadline = timeOrNull(v.StartedAt.Add(settings.Setup.Wait()))
		}
	}
	return reply(out), nil
}

// neverWaited tells a host that is not there, and one that has not enrolled,
// from one that had no setup.
func (a *api) neverWaited(ctx context.Context, id int64, err error) error {
	if fleet.KindOf(err) != fleet.KindNotFound {
		return err
	}
	host, unknown := a.hosts.Host(ctx, fleet.HostID(id))
	switch {
	case unknown != nil:
		return unknown
	case host.MDM.Status == fleet.MDMPending:
		return fleet.Errorf(fleet.KindNotFound, "%s has not enrolled yet: it waits in Setup Assistant when it does", serialOf(host))
	}
	return fleet.Errorf(fleet.KindNotFound, "%s did not wait in Setup Assistant when it last enrolled", serialOf(host))
}

// serialOf names a host by its serial number; a few have none.
func serialOf(h *fleet.HostDetail) string {
	if h.HardwareSerial != "" {
		return h.HardwareSerial
	}
	return h.DisplayName()
}

// scopeSettings are the settings of a team, or of hosts without one.
func (a *api) scopeSettings(ctx context.Context, team fleet.TeamID) (fleet.TeamSettings, error) {
	if team == fleet.NoTeam {
		s, err := a.settings.Settings(ctx)
		return s.NoTeam, err
	}
	t, err := a.teams.Team(ctx, team)
	if err != nil {
		return fleet.TeamSettings{}, err
	}
	return t.Settings, nil
}

func (a *api) releaseHost(ctx context.Context, in *IDInput) (*body[apiv1.Empty], error) {
	if err := a.setups.Release(ctx, actorOf(ctx), fleet.HostID(in.ID)); err != nil {
		return nil, a.neverWaited(ctx, in.ID, err)
	}
	return reply(apiv1.Empty{}), nil
}
