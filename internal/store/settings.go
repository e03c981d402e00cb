package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Settings keeps the organization's settings.
type Settings struct{ db *DB }

// NewSettings returns the settings of db.
func NewSettings(db *DB) *Settings { return &Settings{db} }

// settingsRow is the stored form. Fields are only ever added.
type settingsRow struct {
	OrgName         string `json:"org_name,omitempty"`
	OrgLogoURL      string `json:"org_logo_url,omitempty"`
	OrgLogoURLLight string `json:"org_logo_url_light,omitempty"`
	ContactURL      string `json:"contact_url,omitempty"`
	ServerURL       string `json:"server_url,omitempty"`
	AppleServerURL  string `json:"apple_server_url,omitempty"`
	// NoTeam is a teamSettingsRow.
	NoTeam json.RawMessage `json:"no_team,omitempty"`
	Brake  *brakeRow       `json:"brake,omitempty"`
	// LogDays and LogForever are the policy of the event log.
	LogDays    int  `json:"log_days,omitempty"`
	LogForever bool `json:"log_forever,omitempty"`
}

type brakeRow struct {
	Wipes        int   `json:"wipes_per_hour,omitempty"`
	Locks        int   `json:"locks_per_hour,omitempty"`
	Unenrolls    int   `json:"unenrolls_per_hour,omitempty"`
	Deletes      int   `json:"deletes_per_hour,omitempty"`
	ApprovalFor  []int `json:"approval_for,omitempty"`
	DelayFor     []int `json:"delay_for,omitempty"`
	DelayMinutes int   `json:"delay_minutes,omitempty"`
}

func packBrake(p fleet.BrakePolicy) *brakeRow {
	return &brakeRow{Wipes: int(p.WipesPerHour), Locks: int(p.LocksPerHour), Unenrolls: int(p.UnenrollsPerHour), Deletes: int(p.DeletesPerHour),
		ApprovalFor: converted[int](p.ApprovalFor), DelayFor: converted[int](p.DelayFor), DelayMinutes: p.DelayMinutes}
}

func unpackBrake(r *brakeRow) fleet.BrakePolicy {
	if r == nil {
		return fleet.BrakePolicy{}
	}
	return fleet.BrakePolicy{WipesPerHour: fleet.BrakeLimit(r.Wipes), LocksPerHour: fleet.BrakeLimit(r.Locks),
		UnenrollsPerHour: fleet.BrakeLimit(r.Unenrolls), DeletesPerHour: fleet.BrakeLimit(r.Deletes),
		ApprovalFor: converted[fleet.ActionKind](r.ApprovalFor), DelayFor: converted[fleet.ActionKind](r.DelayFor), DelayMinutes: r.DelayMinutes}
}

// converted turns numbers of one type into those of another; nil stays nil.
func converted[To, From int | fleet.ActionKind](values []From) []To {
	var out []To
	for _, v := range values {
		out = append(out, To(v))
	}
	return out
}

func (s *session) settings() (fleet.Settings, error) {
	var body []byte
	var at int64
	found, err := s.get("SELECT body, updated_at FROM settings WHERE id = 1", nil, &body, &at)
	if err != nil || !found {
		return fleet.Settings{}, err
	}
	var r settingsRow
	if err := json.Unmarshal(body, &r); err != nil {
		return fleet.Settings{}, fmt.Errorf("decode settings: %w", err)
	}
	var noTeam fleet.TeamSettings
	if len(r.NoTeam) > 0 {
		if noTeam, err = unpackTeamSettings(r.NoTeam); err != nil {
			return fleet.Settings{}, err
		}
	}
	return fleet.Settings{NoTeam: noTeam, Brake: unpackBrake(r.Brake), Log: fleet.LogPolicy{Forever: r.LogForever, Days: r.LogDays},
		OrgName: r.OrgName, OrgLogoURL: r.OrgLogoURL, OrgLogoURLLight: r.OrgLogoURLLight,
		ContactURL: r.ContactURL, ServerURL: r.ServerURL, AppleServerURL: r.AppleServerURL, UpdatedAt: timeOf(at)}, nil
}

func (s *session) putSettings(v fleet.Settings) error {
	noTeam, err := packTeamSettings(v.NoTeam)
	if err != nil {
		return err
	}
	body, err := json.Marshal(settingsRow{NoTeam: noTeam, Brake: packBrake(v.Brake), LogDays: v.Log.Days, LogForever: v.Log.Forever,
		OrgName: v.OrgName, OrgLogoURL: v.OrgLogoURL, OrgLogoURLLight: v.OrgLogoURLLight,
		ContactURL: v.ContactURL, ServerURL: v.ServerURL, AppleServerURL: v.AppleServerURL})
	if err != nil {
		return err
	}
	n, err := s.changed("UPDATE settings SET body = ?, version = version + 1, updated_at = ? WHERE id = 1", body, s.db.now())
	if err == nil && n == 0 {
		err = s.exec("INSERT INTO settings (id, body, version, updated_at) VALUES (1, ?, 1, ?)", body, s.db.now())
	}
	if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

// Settings returns the settings; all empty before setup.
func (s *Settings) Settings(ctx context.Context) (fleet.Settings, error) {
	return s.db.view(ctx).settings()
}

// Update lets change alter the settings and stores them with the events, in
// one transaction. With dryRun nothing is stored.
func (s *Settings) Update(ctx context.Context, change func(*fleet.Settings) ([]fleet.Event, error), dryRun bool) (fleet.Settings, error) {
	var out fleet.Settings
	err := s.db.update(ctx, func(t *session) error {
		// Two changes at once take turns: each writes everything.
		var id int64
		if _, err := t.get("SELECT id FROM settings WHERE id = 1"+t.db.dialect.lockForUpdate(), nil, &id); err != nil {
			return fmt.Errorf("lock settings: %w", err)
		}
		v, err := t.settings()
		if err != nil {
			return err
		}
		events, err := change(&v)
		if err != nil {
			return err
		}
		out = v
		if dryRun {
			return nil
		}
		if err := t.putSettings(v); err != nil {
			return err
		}
		return t.appendEvents(events...)
	})
	return out, err
}
