package app

import (
	"context"
	"time"

	"github.com/muster-mdm/muster/internal/enroll"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/hostaction"
	"github.com/muster-mdm/muster/internal/inventory"
	"github.com/muster-mdm/muster/internal/jobs"
	"github.com/muster-mdm/muster/internal/settings"
	"github.com/muster-mdm/muster/internal/store"
)

const (
	// actionsEvery is how often requests that wait for their time are looked at.
	actionsEvery = 5 * time.Second
	// unlockedEvery is how often locked Macs are looked for that were heard of.
	unlockedEvery = time.Minute
)

// wireActions builds what people do to hosts, and the brake on it.
func (a *App) wireActions(org *settings.Service, lifecycle *enroll.Lifecycle) *hostaction.Service {
	hosts := inventory.NewService(store.NewHosts(a.db), a.seen)
	actions := hostaction.New(hostaction.Options{
		Store: store.NewHostActions(a.db), Secrets: store.NewSecrets(a.db), Sealer: a.vault, Settings: org, Clock: a.clock, Seen: a.seen.Last, Pushes: a.pushes,
		Doers: map[fleet.ActionKind]hostaction.Doer{fleet.ActionUnenroll: lifecycle.TurnOff, fleet.ActionDelete: hosts.Delete},
	})
	a.Jobs = append(a.Jobs, jobs.Job{Name: "host_actions", Every: actionsEvery, Quiet: true, Run: actions.Round})
	a.Jobs = append(a.Jobs, jobs.Job{Name: "unlocked_macs", Every: unlockedEvery, Quiet: true, Run: actions.NoteUnlocked})
	a.sweep = append(a.sweep, actions.Sweep)
	return actions
}

// sweepAll runs what the capabilities themselves clean up.
func (a *App) sweepAll(ctx context.Context, now time.Time) []error {
	errs := make([]error, 0, len(a.sweep))
	for _, sweep := range a.sweep {
		errs = append(errs, sweep(ctx, now))
	}
	return errs
}
