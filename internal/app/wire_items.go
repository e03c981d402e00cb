package app

import (
	"context"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/apple"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/command"
	"github.com/muster-mdm/muster/internal/enroll"
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
	explainer  *reconcile.Explainer
	histories  *reconcile.History
	planner    planner
	// enrollSecrets are those of agents.
	enrollSecrets *inventory.EnrollSecrets
}

// planner tells what a set of profiles would do to a team's hosts.
type planner struct {
	profiles  *profile.Service
	teams     *inventory.Teams
	previewer *reconcile.Previewer
}

// Plan works a change out without making it.
func (p planner) Plan(ctx context.Context, team fleet.TeamID, uploads []fleet.ProfileUpload, o fleet.ItemSetOptions) (*fleet.Preview, error) {
	o.Dry = true
	for range maxPlanTries {
		before, err := p.previewer.Revision(ctx, team)
		if err != nil {
			return nil, err
		}
		changes, err := p.profiles.Set(ctx, fleet.Actor{}, team, uploads, o)
		if err != nil {
			return nil, err
		}
		if o.NewTeam {
			return newTeamPreview(changes), nil
		}
		preview, err := p.previewer.Preview(ctx, team, changes, o.AssumeSecrets...)
		if err != nil || preview.Revision == before {
			return preview, err
		}
	}
	return nil, fleet.Errorf(fleet.KindConflict, "the team's profiles keep changing: plan again in a moment")
}

// maxPlanTries bounds the tries to see a team's profiles at rest: the changes
// and the revision of a plan must be of one state.
const maxPlanTries = 5

// newTeamPreview is that of a team without hosts.
func newTeamPreview(changes []fleet.ItemChange) *fleet.Preview {
	out := &fleet.Preview{}
	for i := range changes {
		out.Items = append(out.Items, fleet.PreviewItem{Item: changes[i].Item, What: changes[i].What})
	}
	return out
}

// PlanTeam finds the team of a plan. One that is new must not exist yet.
func (p planner) PlanTeam(ctx context.Context, name string, id *int64, isNew bool) (fleet.TeamID, string, error) {
	switch {
	case isNew:
		ids, err := p.teams.Apply(ctx, fleet.Actor{}, []fleet.TeamSpec{{Name: name}}, true)
		if err != nil {
			return 0, "", err
		}
		for name, id := range ids {
			if id != 0 {
				return 0, "", fleet.FieldErrorf(fleet.KindConflict, "new_team", "there is a team named %q already: plan again", name)
			}
		}
		return 0, name, nil
	case name != "" && !strings.EqualFold(name, fleet.NoTeamName):
		team, err := p.teams.TeamByName(ctx, name)
		if err != nil {
			return 0, "", err
		}
		return team.ID, team.Name, nil
	case name == "" && id != nil && *id != 0:
		team, err := p.teams.Team(ctx, fleet.TeamID(*id))
		if err != nil {
			return 0, "", err
		}
		return team.ID, team.Name, nil
	}
	return fleet.NoTeam, fleet.NoTeamName, nil
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
	d.explainer = reconcile.NewExplainer(d.reconciler, plans, store.NewEvents(a.db), store.NewPushes(a.db), teams, plans, a.plan)
	d.histories = reconcile.NewHistory(store.NewEvents(a.db))
	d.planner = planner{d.profiles, d.teams, reconcile.NewPreviewer(d.reconciler, plans)}
	d.enrollSecrets = inventory.NewEnrollSecrets(secrets, a.vault, teams, a.clock)
	owned := profile.NewOwned(d.profiles, teams, caDER)
	rollouts := reconcile.NewRollouts(d.reconciler, items, statuses, a.clock, a.plan)
	a.Jobs = append(a.Jobs, jobs.Job{Name: "catalog", Every: refreshEvery, Local: true, Run: d.reconciler.Refresh})
	if a.config.Desired.Paused {
		a.log.Warn("desired.paused is set: nothing is installed, removed or verified")
		a.Jobs = append(a.Jobs, jobs.Job{Name: "host_transfers", Every: planEvery, Bell: a.plan, Quiet: true, Run: d.reconciler.Move})
		return d, nil
	}
	a.Jobs = append(a.Jobs,
		jobs.Job{Name: "apple_mdm_profile_manager", Every: planEvery, Timeout: planTimeout, Bell: a.plan, Quiet: true, Run: d.reconciler.Round},
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

// decide judges answers: those about items by the reconciler's rules, those to
// renewals by enroll's.
func (d *desired) decide(t fleet.CommandTarget, r fleet.CommandReport, answer plist.Dict) fleet.ReportOutcome {
	if t.Command.Purpose.ForItems() {
		return d.reconciler.Outcome(t, r, answer)
	}
	if t.Command.Purpose == fleet.CommandRenew {
		return enroll.RenewalOutcome(t, r)
	}
	return command.Outcome(t, r, answer)
}

// judge returns the newest rules.
func (d *desired) judge(ctx context.Context) (apple.Judge, error) {
	if err := d.reconciler.Refresh(ctx); err != nil {
		return nil, err
	}
	return d.reconciler.Rules(), nil
}
