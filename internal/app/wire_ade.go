package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/muster-mdm/muster/internal/ade"
	"github.com/muster-mdm/muster/internal/apple"
	"github.com/muster-mdm/muster/internal/applenet"
	"github.com/muster-mdm/muster/internal/bootstrap"
	"github.com/muster-mdm/muster/internal/codec/machineinfo"
	"github.com/muster-mdm/muster/internal/enroll"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/inventory"
	"github.com/muster-mdm/muster/internal/jobs"
	"github.com/muster-mdm/muster/internal/settings"
	"github.com/muster-mdm/muster/internal/setup"
	"github.com/muster-mdm/muster/internal/store"
)

// Bounds of syncing with Apple's device enrollment service.
const (
	depTimeout = 30 * time.Minute // of one round: a first fetch of very many devices
	depAtOnce  = 4                // server tokens that are synced at the same time
	setupEvery = 2 * time.Second  // somebody waits in front of the device
)

// adeParts are about devices that Apple assigned to this server.
type adeParts struct {
	tokens     *ade.Tokens
	assistants *ade.Assistants
	setup      http.Handler
	setups     *setup.Service
	packages   *bootstrap.Service
	trusted    machineinfo.Authorities // of devices
}

func (a *App) wireADE(org *settings.Service, issuer *enroll.Issuer, teams *inventory.Teams) (*adeParts, error) {
	devices, kept := store.NewADE(a.db), store.NewServerTokens(a.db)
	bell := a.syncs
	tokens := ade.NewTokens(kept, devices, store.NewSecrets(a.db), a.vault, a.clock, bell)
	roots, err := rootsFrom("apple.dep_root_ca_file", a.config.Apple.DEPRootCAFile)
	if err != nil {
		return nil, err
	}
	service := applenet.NewDEP(a.config.Apple.DEPURL, roots, "Muster/"+a.options.Version.Version, tokens, a.clock)
	a.closers = append(a.closers, service.Close)
	tokens.Ask(service)
	assistants := ade.NewAssistants(devices, kept, service, issuer, a.clock, bell)
	syncer := ade.NewSyncer(service, devices, assistants, a.clock)
	a.Jobs = append(a.Jobs, jobs.Job{Name: "dep_syncer", Every: a.config.Apple.DEPSyncEvery, Timeout: depTimeout, Bell: bell, Local: true,
		Run: func(ctx context.Context) error { return a.syncTokens(ctx, kept, store.NewLeases(a.db), syncer) }})
	trusted, err := deviceAuthorities(a.config.Apple.DeviceCAFile)
	if err != nil {
		return nil, err
	}
	admission := enroll.NewAdmission(issuer, devices, teamSettings{org, teams})
	packages := bootstrap.New(store.NewPackages(a.db), org, a.clock, int64(a.config.Limits.PackageBytes))
	a.sweep = append(a.sweep, func(ctx context.Context, _ time.Time) error { return packages.Sweep(ctx) })
	return &adeParts{tokens: tokens, assistants: assistants, setup: apple.NewSetup(admission, trusted, a.clock), setups: a.wireSetup(org, teams), packages: packages, trusted: trusted}, nil
}

// depRound is what names of the rounds of server tokens begin with; the token's
// id follows.
const depRound = "dep_syncer_"

// syncTokens gives every server token a round, each under a lease of its own:
// replicas share them.
func (a *App) syncTokens(ctx context.Context, tokens *store.ServerTokens, leases *store.Leases, syncer *ade.Syncer) error {
	list, err := tokens.List(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, depAtOnce)
	names := make([]string, 0, len(list))
	for _, t := range list {
		name := fmt.Sprintf("%s%d", depRound, t.Sync.TokenID)
		names = append(names, name)
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			a.runner.Once(ctx, jobs.Job{Name: name, Every: a.config.Apple.DEPSyncEvery, Timeout: depTimeout,
				Run: func(ctx context.Context) error {
					err := syncer.Round(ctx, t.Sync.TokenID)
					if fleet.KindOf(err) == fleet.KindPrecondition {
						return nil // the server has no URL yet: people are told where they set up
					}
					return err
				}})
		})
	}
	wg.Wait()
	// Those of tokens that were deleted would be reported for ever.
	return leases.ForgetRuns(ctx, depRound, names)
}

// teamSettings finds the settings of a scope.
type teamSettings struct {
	org   *settings.Service
	teams *inventory.Teams
}

// TeamSettings implements enroll.TeamSettings.
func (t teamSettings) TeamSettings(ctx context.Context, team fleet.TeamID) (fleet.TeamSettings, error) {
	if team == fleet.NoTeam {
		s, err := t.org.Settings(ctx)
		return s.NoTeam, err
	}
	v, err := t.teams.Team(ctx, team)
	if err != nil {
		return fleet.TeamSettings{}, err
	}
	return v.Settings, nil
}

// deviceAuthorities are Apple's, and those of the file.
func deviceAuthorities(path string) (machineinfo.Authorities, error) {
	list, err := machineinfo.Apple()
	if err != nil || path == "" {
		return list, err
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("apple.device_ca_file: %w", err)
	}
	more, err := machineinfo.ParseAuthorities(pem)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("apple.device_ca_file: %s", path), err)
	}
	return append(list, more...), nil
}

// wireSetup looks after devices in Setup Assistant.
func (a *App) wireSetup(org *settings.Service, teams *inventory.Teams) *setup.Service {
	links := func(ctx context.Context) (setup.Links, error) {
		s, err := org.Settings(ctx)
		if err != nil {
			return nil, err
		}
		return func(p *fleet.BootstrapPackage) string { return bootstrap.ManifestURL(s.AppleBase(), p) }, nil
	}
	service := setup.New(setup.Options{Store: store.NewSetups(a.db), Teams: teamSettings{org, teams}, Links: links, Clock: a.clock, Pushes: a.pushes,
		ItemsPaused: a.config.Desired.Paused})
	a.Jobs = append(a.Jobs, jobs.Job{Name: "setup_release", Every: setupEvery, Quiet: true, Run: service.Round})
	return service
}
