// Package settings keeps the organization's settings: its name, its URLs.
// It checks what people change and writes it with an event.
//
// It refuses URLs that devices could not use, and a change of the Apple URL
// is recorded: devices that enrolled keep talking to the old one.
package settings

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// maxText bounds a name or URL.
const maxText = 1000

// Store keeps the settings.
type Store interface {
	Settings(ctx context.Context) (fleet.Settings, error)
	// Update lets change alter the settings and stores them with the events
	// it returns, in one transaction; with dryRun nothing is stored.
	Update(ctx context.Context, change func(*fleet.Settings) ([]fleet.Event, error), dryRun bool) (fleet.Settings, error)
}

// Service reads and changes settings.
type Service struct {
	store Store
	// fallback is the server's URL from the process configuration, for as
	// long as nobody set one.
	fallback string
	bells    []*wake.Bell
}

// New returns the settings over a store. The bells ring after changes.
func New(store Store, fallbackURL string, bells ...*wake.Bell) *Service {
	return &Service{store: store, fallback: strings.TrimRight(fallbackURL, "/"), bells: bells}
}

// Settings returns the settings.
func (s *Service) Settings(ctx context.Context) (fleet.Settings, error) {
	v, err := s.store.Settings(ctx)
	if v.ServerURL == "" {
		v.ServerURL = s.fallback
	}
	return v, err
}

// Update applies a change and returns what came out; with dryRun nothing is
// stored.
func (s *Service) Update(ctx context.Context, actor fleet.Actor, change func(*fleet.Settings) error, dryRun bool) (fleet.Settings, error) {
	out, err := s.store.Update(ctx, func(v *fleet.Settings) ([]fleet.Event, error) {
		before := *v
		if err := change(v); err != nil {
			return nil, err
		}
		if err := Check(v); err != nil {
			return nil, err
		}
		details, err := json.Marshal(map[string]any{"before": shown(before), "after": shown(*v)})
		if err != nil {
			return nil, err
		}
		return []fleet.Event{{Kind: fleet.EventConfigChanged, Actor: actor, Details: details}}, nil
	}, dryRun)
	if err == nil && !dryRun {
		for _, b := range s.bells {
			b.Ring()
		}
	}
	if out.ServerURL == "" {
		out.ServerURL = s.fallback
	}
	return out, err
}

func shown(v fleet.Settings) map[string]any {
	return map[string]any{"no_team": v.NoTeam, "brake": brakeShown(v.Brake), "log": v.Log, "org_name": v.OrgName, "org_logo_url": v.OrgLogoURL, "org_logo_url_light_background": v.OrgLogoURLLight,
		"contact_url": v.ContactURL, "server_url": v.ServerURL, "apple_server_url": v.AppleServerURL}
}

// brakeShown has names of actions: their numbers mean nothing to people.
func brakeShown(p fleet.BrakePolicy) map[string]any {
	names := func(kinds []fleet.ActionKind) []string {
		out := make([]string, 0, len(kinds))
		for _, k := range kinds {
			out = append(out, k.String())
		}
		return out
	}
	return map[string]any{"wipes_per_hour": p.Limit(fleet.ActionWipe), "locks_per_hour": p.Limit(fleet.ActionLock), "unenrolls_per_hour": p.Limit(fleet.ActionUnenroll),
		"deletes_per_hour": p.Limit(fleet.ActionDelete), "approval_for": names(p.ApprovalFor), "delay_for": names(p.DelayFor), "delay_minutes": p.DelayMinutes}
}

// Check brings URLs into their usual form and refuses what cannot be used.
func Check(v *fleet.Settings) error {
	e := &fleet.Error{Kind: fleet.KindInvalid}
	refuse := func(name, reason string) { e.Fields = append(e.Fields, fleet.FieldError{Name: name, Reason: reason}) }
	if len(v.OrgName) > maxText {
		refuse("org_info.org_name", "is too long")
	}
	for name, field := range map[string]*string{"server_settings.server_url": &v.ServerURL, "mdm.apple_server_url": &v.AppleServerURL} {
		*field = strings.TrimRight(strings.TrimSpace(*field), "/")
		if reason := checkURL(*field); *field != "" && reason != "" {
			refuse(name, reason)
		}
	}
	for name, field := range map[string]*string{"org_info.org_logo_url": &v.OrgLogoURL, "org_info.org_logo_url_light_background": &v.OrgLogoURLLight, "org_info.contact_url": &v.ContactURL} {
		if reason := checkURL(*field); *field != "" && reason != "" {
			refuse(name, reason)
		}
	}
	if days := v.Log.Window(); days < fleet.MinLogDays || days > fleet.MaxLogDays {
		refuse("activity_expiry_settings.activity_expiry_window", fmt.Sprintf("must be a number of days from %d to %d", fleet.MinLogDays, fleet.MaxLogDays))
	}
	e.Fields = append(e.Fields, v.NoTeam.Check("mdm.")...)
	if len(e.Fields) > 0 {
		return e
	}
	return nil
}

func checkURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case len(text) > maxText:
		return "is too long"
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return "must be a full URL such as https://mdm.example.com"
	case u.User != nil:
		return "must not carry a password"
	}
	return ""
}
