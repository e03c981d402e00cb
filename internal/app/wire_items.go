package app

import (
	"context"
	"time"

	"github.com/muster-mdm/muster/internal/apple"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/command"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/inventory"
	"github.com/muster-mdm/muster/internal/jobs"
	"github.com/muster-mdm/muster/internal/profile"
	"github.com/muster-mdm/muster/internal/reconcile"
	"github.com/muster-mdm/muster/internal/store"
)

// Times of the desired state.
const (
	planEvery    = time.Second
	planTimeout  = 10 * time.Minute
	refreshEvery = 2 * time.Second
	ownedEvery   = time.Minute
	rolloutEvery = 10 * time.Second
	// goneLife is how long a deleted item that no host has is remembered.
	goneLife = time.Hour
)

// desired is what hosts should have, and who sees to it.
type desired struct {
	profiles   *profile.Service
	reconciler *reconcile.Reconciler
	delivery   *profile.Delivery
	teams      *inventory.Teams
	labels     *inventory.Labels
	// enrollSecrets are those of agents.
	enrollSecrets *inventory.EnrollSecrets
}

// wireDesired builds the desired state; the device authority's certificate is
// itself something that hosts should have.
func (a *App) wireDesired(ctx context.Context, caDER []byte) (*desired, error) {
	items, plans, teams := store.NewItems(a.db), store.NewPlans(a.db), store.NewTeams(a.db)
	hosts, secrets, statuses := store.NewHosts(a.db), store.NewSecrets(a.db), store.NewItemStatuses(a.db)
	d := &desired{delivery: profile.NewDelivery(items, hosts, secrets, a.vault)}
	var err error
	if d.reconciler, err = reconcile.New(ctx, plans, items, teams, a.clock, a.log, a.pushes); err != nil {
		return nil, err
	}
	d.profiles = profile.New(items, statuses, store.NewLabels(a.db), customSecrets{plans, secrets}, a.vault, a.clock, a.plan)
	d.teams = inventory.NewTeams(teams, hosts, a.clock, a.plan, a.settled)
	d.labels = inventory.NewLabels(store.NewLabels(a.db), hosts, a.clock, a.plan)
	d.enrollSecrets = inventory.NewEnrollSecrets(secrets, a.vault, teams, a.clock)
	owned := profile.NewOwned(d.profiles, teams, caDER)
	rollouts := reconcile.NewRollouts(d.reconciler, items, statuses, a.clock, a.plan)
	a.Jobs = append(a.Jobs,
		jobs.Job{Name: "apple_mdm_profile_manager", Every: planEvery, Timeout: planTimeout, Bell: a.plan, Quiet: true, Run: d.reconciler.Round},
		jobs.Job{Name: "catalog", Every: refreshEvery, Local: true, Run: d.reconciler.Refresh},
		jobs.Job{Name: "settings_items", Every: ownedEvery, Bell: a.settled, Quiet: true, Run: owned.Sync},
		jobs.Job{Name: "rollouts", Every: rolloutEvery, Quiet: true, Run: rollouts.Round},
	)
	return d, nil
}

// customSecrets are the sealed values with the list of their names.
type customSecrets struct {
	*store.Plans
	*store.Secrets
}

// decide judges answers: those about items by the reconciler's rules.
func (d *desired) decide(t fleet.CommandTarget, r fleet.CommandReport, answer plist.Dict) fleet.ReportOutcome {
	if t.Command.Purpose.ForItems() {
		return d.reconciler.Outcome(t, r, answer)
	}
	return command.Outcome(t, r, answer)
}

func (d *desired) judge() apple.Judge { return d.reconciler.Rules() }
