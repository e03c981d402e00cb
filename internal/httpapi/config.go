package httpapi

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

func (a *api) getConfig(ctx context.Context, _ *noInput) (*body[apiv1.Config], error) {
	settings, err := a.settings.Settings(ctx)
	if err != nil {
		return nil, err
	}
	return a.config(ctx, settings)
}

// config is the configuration as clients see it.
func (a *api) config(ctx context.Context, s fleet.Settings) (*body[apiv1.Config], error) {
	tokens, err := a.serverTokens.List(ctx)
	if err != nil {
		return nil, err
	}
	managers, err := a.businessManagers(ctx, tokens)
	if err != nil {
		return nil, err
	}
	packages, err := a.packages.Names(ctx)
	if err != nil {
		return nil, err
	}
	_, err = a.push.Certificate(ctx)
	if err != nil && fleet.KindOf(err) != fleet.KindNotFound {
		return nil, err
	}
	return reply(apiv1.Config{
		OrgInfo:        apiv1.OrgInfo{OrgName: s.OrgName, OrgLogoURL: s.OrgLogoURL, OrgLogoURLLight: s.OrgLogoURLLight, ContactURL: s.ContactURL},
		ServerSettings: apiv1.ServerSettings{ServerURL: s.ServerURL, LiveQueryDisabled: true, QueryReportsDisabled: true, ScriptsDisabled: true, AIFeaturesDisabled: true},
		ActivityExpiry: apiv1.ActivityExpiry{Enabled: !s.Log.Forever, Window: s.Log.Window()},
		MDM: apiv1.MDMConfig{Brake: toBrake(s.Brake), AppleServerURL: s.AppleServerURL, EnabledAndConfigured: err == nil, MacOSUpdates: toUpdates(s.NoTeam.MacOSUpdates),
			IOSUpdates: toUpdates(s.NoTeam.IOSUpdates), IPadOSUpdates: toUpdates(s.NoTeam.IPadOSUpdates),
			MacOSSetup: toSetupExperience(s.NoTeam.Setup, packages[fleet.NoTeam]), AppleBMEnabledAndConfigured: len(tokens) > 0, AppleBMTermsExpired: slices.ContainsFunc(tokens, func(t fleet.ServerToken) bool { return t.Sync.Error == fleet.DEPTerms }),
			AppleBusinessManager: managers},
		// Clients ask for a licence before they use half of what they know.
		License: apiv1.License{Tier: "premium", Organization: s.OrgName, Expiration: time.Date(2100, time.January, 1, 0, 0, 0, 0, time.UTC), Note: "Muster needs no license"},
	}), nil
}

type modifyConfigInput struct {
	DryRun    bool   `query:"dry_run" doc:"Check and show, change nothing"`
	Force     bool   `query:"force" doc:"Skip keys that this server does not have instead of refusing them"`
	Overwrite string `query:"overwrite" doc:"Has no effect: what is not sent stays"`
	RawBody   []byte
	Body      apiv1.ConfigPatch
}

func (a *api) modifyConfig(ctx context.Context, in *modifyConfigInput) (*body[apiv1.Config], error) {
	if !in.Force {
		if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.Config]()); err != nil {
			return nil, err
		}
	}
	settings, err := a.settings.Update(ctx, actorOf(ctx), func(s *fleet.Settings) error {
		before := *s
		if err := patchSettings(s, in.Body); err != nil {
			return err
		}
		if err := a.mayReaddress(ctx, before, s); err != nil {
			return err
		}
		return a.mayBrake(ctx, before.Brake, s)
	}, in.DryRun)
	if err != nil {
		return nil, err
	}
	return a.config(ctx, settings)
}

// mayReaddress refuses other URLs for devices to whoever may change the
// configuration and not these.
func (a *api) mayReaddress(ctx context.Context, before fleet.Settings, s *fleet.Settings) error {
	field := ""
	switch {
	case a.access.Can(viewerOf(ctx), string(addressWrite)):
	case before.ServerURL != s.ServerURL:
		field = "server_settings.server_url"
	case before.AppleServerURL != s.AppleServerURL:
		field = "mdm.apple_server_url"
	}
	if field == "" {
		return nil
	}
	return fleet.FieldErrorf(fleet.KindForbidden, field, "would change, which takes the permission %s, and the role %s lacks it:"+
		" an admin changes where devices find the server", addressWrite, viewerOf(ctx).User.Role)
}

// patchSettings applies what the patch holds.
func patchSettings(s *fleet.Settings, patch apiv1.ConfigPatch) error {
	var texts []struct{ from, to *string }
	set := func(from, to *string) { texts = append(texts, struct{ from, to *string }{from, to}) }
	if o := patch.OrgInfo; o != nil {
		set(o.OrgName, &s.OrgName)
		set(o.OrgLogoURL, &s.OrgLogoURL)
		set(o.OrgLogoURLLight, &s.OrgLogoURLLight)
		set(o.ContactURL, &s.ContactURL)
	}
	for _, t := range texts {
		if t.from != nil {
			*t.to = strings.TrimSpace(*t.from)
		}
	}
	if p := patch.ServerSettings; p != nil && p.ServerURL != nil {
		url, err := webURL("server_settings.server_url", *p.ServerURL)
		if err != nil {
			return err
		}
		s.ServerURL = url
	}
	if p := patch.MDM; p != nil && p.AppleServerURL != nil {
		s.AppleServerURL = ""
		if *p.AppleServerURL != "" {
			url, err := webURL("mdm.apple_server_url", *p.AppleServerURL)
			if err != nil {
				return err
			}
			s.AppleServerURL = url
		}
	}
	if p := patch.ActivityExpiry; p != nil {
		if err := patchLog(&s.Log, *p); err != nil {
			return err
		}
	}
	if p := patch.MDM; p != nil {
		if err := patchBrake(&s.Brake, p.Brake); err != nil {
			return err
		}
		patchUpdates(&s.NoTeam, p.MacOSUpdates, p.IOSUpdates, p.IPadOSUpdates)
		fromSetup(p.MacOSSetup).Apply(&s.NoTeam.Setup)
	}
	return nil
}

// patchLog changes how long the event log is kept. Clients that switch it off
// send a window of 0.
func patchLog(to *fleet.LogPolicy, p apiv1.ActivityExpiryPatch) error {
	if p.Enabled != nil {
		to.Forever = !*p.Enabled
	}
	switch {
	case p.Window == nil || *p.Window == 0 && to.Forever:
	case *p.Window <= 0:
		return fleet.FieldErrorf(fleet.KindInvalid, "activity_expiry_settings.activity_expiry_window", "must be a number of days from %d to %d", fleet.MinLogDays, fleet.MaxLogDays)
	default:
		to.Days = *p.Window
	}
	return nil
}
