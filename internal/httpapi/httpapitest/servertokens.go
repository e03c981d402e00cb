package httpapitest

import (
	"context"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// ServerToken is the only server token.
func ServerToken() fleet.ServerToken {
	return fleet.ServerToken{CreatedAt: Now(), Account: fleet.DEPAccount{ServerUUID: "SERVER-1", ServerName: "Muster", OrgName: "Acme", AdminID: "it@acme.example"},
		Sync: fleet.DEPSync{TokenID: 1, Phase: fleet.DEPFollow, OKAt: Now(), FullAt: Now(), Expiry: Now().AddDate(1, 0, 0),
			Teams: map[fleet.Platform]fleet.TeamID{fleet.PlatformIPadOS: Team().ID}}}
}

// ServerTokens has one token, or as many as Tokens says.
type ServerTokens struct {
	Tokens     []fleet.ServerToken
	Uploaded   fleet.ServerTokenUpload
	Enrollment fleet.EnrollmentProfileID
	Forced     bool
	Teams      map[fleet.Platform]fleet.TeamID
	Filter     fleet.DEPFilter
	Resynced   fleet.ServerTokenID
	Deleted    fleet.ServerTokenID
	Records    []fleet.DEPRecord
}

// PublicKey is some PEM.
func (f *ServerTokens) PublicKey(context.Context) ([]byte, error) {
	return []byte("-----BEGIN CERTIFICATE-----\n"), nil
}

// List returns Tokens.
func (f *ServerTokens) List(context.Context) ([]fleet.ServerToken, error) { return f.Tokens, nil }

// Add remembers the upload.
func (f *ServerTokens) Add(_ context.Context, _ fleet.Actor, u fleet.ServerTokenUpload, enrollment fleet.EnrollmentProfileID) (fleet.ServerToken, error) {
	f.Uploaded, f.Enrollment = u, enrollment
	return ServerToken(), nil
}

// Renew remembers the upload.
func (f *ServerTokens) Renew(_ context.Context, _ fleet.Actor, id fleet.ServerTokenID, u fleet.ServerTokenUpload, force bool) (fleet.ServerToken, error) {
	if id != 1 {
		return fleet.ServerToken{}, fleet.Errorf(fleet.KindNotFound, "there is no server token %d", id)
	}
	f.Uploaded, f.Forced = u, force
	return ServerToken(), nil
}

// SetTeams remembers the teams.
func (f *ServerTokens) SetTeams(_ context.Context, _ fleet.Actor, _ fleet.ServerTokenID, teams map[fleet.Platform]fleet.TeamID) (fleet.ServerToken, error) {
	f.Teams = teams
	v := ServerToken()
	v.Sync.Teams = teams
	return v, nil
}

// Delete remembers the key.
func (f *ServerTokens) Delete(_ context.Context, _ fleet.Actor, id fleet.ServerTokenID) error {
	f.Deleted = id
	return nil
}

// Resync remembers the key.
func (f *ServerTokens) Resync(_ context.Context, _ fleet.Actor, id fleet.ServerTokenID) error {
	f.Resynced = id
	return nil
}

// Devices remembers the filter and returns Records.
func (f *ServerTokens) Devices(_ context.Context, filter fleet.DEPFilter) ([]fleet.DEPRecord, fleet.PageMeta, error) {
	f.Filter = filter
	return f.Records, fleet.PageMeta{}, nil
}

// Assigned says that every host is, and that assigning the profile failed.
func (f *ServerTokens) Assigned(_ context.Context, hosts []fleet.HostID) (map[fleet.HostID]bool, error) {
	out := map[fleet.HostID]bool{}
	for _, id := range hosts {
		out[id] = true
	}
	return out, nil
}

// Assistants has none but the default profile until one is set.
type Assistants struct{ Current *fleet.SetupAssistant }

// Assistant returns Current.
func (f *Assistants) Assistant(context.Context, fleet.TeamID) (*fleet.SetupAssistant, error) {
	if f.Current == nil {
		return nil, fleet.Errorf(fleet.KindNotFound, "none")
	}
	return f.Current, nil
}

// Default returns a profile.
func (f *Assistants) Default() (*fleet.SetupAssistant, error) {
	return &fleet.SetupAssistant{Name: "Default", Body: []byte(`{"profile_name":"Default"}`)}, nil
}

// Set takes anything.
func (f *Assistants) Set(_ context.Context, _ fleet.Actor, team fleet.TeamID, name string, body []byte) (*fleet.SetupAssistant, []string, error) {
	f.Current = &fleet.SetupAssistant{TeamID: team, Name: name, Body: body, UploadedAt: Now().Add(time.Minute)}
	return f.Current, []string{"skip_setup_items: \"Zoo\" is not known"}, nil
}

// Delete forgets Current.
func (f *Assistants) Delete(context.Context, fleet.Actor, fleet.TeamID) error {
	f.Current = nil
	return nil
}

// Setups has a setup for the host with the key 7.
type Setups struct {
	Released fleet.HostID
	None     bool // it has no setup after all
}

// Setup is one that waits for two profiles.
func (f *Setups) Setup(_ context.Context, host fleet.HostID) (*fleet.SetupFacts, error) {
	if host != 7 || f.None {
		return nil, fleet.Errorf(fleet.KindNotFound, "host %d did not wait", host)
	}
	return &fleet.SetupFacts{Setup: fleet.Setup{HostID: host, State: fleet.SetupWaiting, StartedAt: Now(),
		Steps: []fleet.SetupStep{{Name: fleet.SetupStepItems, State: fleet.SetupStepWaiting, Since: Now(), Detail: "2 on their way"}}}}, nil
}

// Release remembers the host.
func (f *Setups) Release(_ context.Context, _ fleet.Actor, host fleet.HostID) error {
	f.Released = host
	return nil
}

// Renewer remembers whose identity is to be renewed.
type Renewer struct{ Asked fleet.HostID }

// Now remembers the host.
func (f *Renewer) Now(_ context.Context, _ fleet.Actor, host fleet.HostID) error {
	f.Asked = host
	return nil
}
