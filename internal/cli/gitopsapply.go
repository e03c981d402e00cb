package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/gitops"
)

// specStep is one call that changes the server: all together or not at all,
// unless it has parts, which the server checks all before it begins.
type specStep struct {
	name  string
	run   func(context.Context) error
	parts bool
}

// execute carries a plan out that has been shown.
func (w *specWork) execute(ctx context.Context, p *savedPlan) error {
	steps := w.steps(p)
	var done []string
	for i, s := range steps {
		w.c.progress(i, len(steps), s.name)
		if err := s.run(ctx); err != nil {
			w.c.progress(len(steps), len(steps), s.name) // ends the line
			return failed(done, steps[i:], err)
		}
		done = append(done, s.name)
	}
	w.c.progress(len(steps), len(steps), "Applying")
	fmt.Fprintf(w.c.Err, "Applied: %s.\n", strings.Join(done, ", "))
	return nil
}

// failed says what stands and what does not.
func failed(done []string, left []specStep, err error) error {
	return fmt.Errorf("%s: %w\n%s", left[0].name, err, whatWasDone(done, left))
}

func whatWasDone(done []string, left []specStep) string {
	if len(done) == 0 && !left[0].parts {
		return "Nothing was changed."
	}
	var text, missing []string
	if len(done) > 0 {
		text = append(text, fmt.Sprintf("Already applied: %s.", strings.Join(done, ", ")))
	}
	if left[0].parts {
		text = append(text, fmt.Sprintf("Perhaps applied in part: %s.", left[0].name))
		left = left[1:]
	}
	for _, s := range left {
		missing = append(missing, s.name)
	}
	if len(missing) > 0 {
		text = append(text, fmt.Sprintf("Not applied: %s.", strings.Join(missing, ", ")))
	}
	return strings.Join(append(text, "Correct the cause and run the same again: what is applied stays and is not done twice."), "\n")
}

// Steps that have parts.
const (
	stepLabels = "labels"
	stepTeams  = "teams"
)

// steps in the order in which later ones need earlier ones; deletions last.
func (w *specWork) steps(p *savedPlan) []specStep {
	var out []specStep
	add := func(when bool, name string, run func(context.Context) error) {
		if when {
			out = append(out, specStep{name, run, name == stepLabels || name == stepTeams})
		}
	}
	r := w.repository
	settings, secrets := false, false
	for _, c := range p.Changes {
		settings = settings || c.Kind == "setting" && c.Team == ""
		secrets = secrets || c.Kind == "enroll_secrets" && c.Team == gitops.NoTeam
	}
	add(len(w.secrets) > 0, "custom variables", func(ctx context.Context) error {
		return w.connection.SetCustomVariables(ctx, w.secrets, false)
	})
	add(len(w.labels) > 0, stepLabels, func(ctx context.Context) error { return w.connection.ApplyLabelSpecs(ctx, w.labels) })
	add(settings, "settings", func(ctx context.Context) error {
		_, err := w.connection.ModifyConfig(ctx, r.Config, false)
		return err
	})
	add(secrets, "enroll secrets", func(ctx context.Context) error {
		list := make([]string, 0, len(*r.NoTeam.Spec.Secrets))
		for _, s := range *r.NoTeam.Spec.Secrets {
			list = append(list, s.Secret)
		}
		return w.connection.SetEnrollSecrets(ctx, 0, list)
	})
	add(len(w.specs) > 0, stepTeams, func(ctx context.Context) error {
		ids, err := w.connection.ApplyTeamSpecs(ctx, w.specs, false, false)
		for name, id := range ids {
			w.teamIDs[name] = id
		}
		return err
	})
	for _, t := range w.allTeams() {
		for i := range p.Teams {
			shown := &p.Teams[i]
			add(t.SetsProfiles() && shown.TeamName == t.Name() && changes(*shown) > 0, fmt.Sprintf("profiles of %q", t.Name()),
				func(ctx context.Context) error { return w.setProfiles(ctx, t, shown) })
		}
	}
	for _, name := range w.unLabel {
		add(true, fmt.Sprintf("delete label %q", name), func(ctx context.Context) error { return gone(w.connection.DeleteLabel(ctx, name)) })
	}
	for _, t := range w.deletes {
		add(true, fmt.Sprintf("delete team %q", t.Name), func(ctx context.Context) error { return gone(w.connection.DeleteTeam(ctx, t.ID)) })
	}
	return out
}

// gone takes what is not there any more for deleted.
func gone(err error) error {
	if client.StatusOf(err) == http.StatusNotFound {
		return nil
	}
	return err
}

// maxSetTries bounds the tries to set profiles while Muster's own items of the
// team change, as they do after its settings.
const maxSetTries = 5

// setProfiles replaces a team's profiles if that does what was shown and
// nothing else: the server compares the revision in the same transaction.
func (w *specWork) setProfiles(ctx context.Context, t *gitops.Team, shown *apiv1.PlanResponse) error {
	id := w.teamIDs[t.Name()]
	batch := make([]apiv1.ProfileBatchItem, 0, len(t.Profiles))
	for i := range t.Profiles {
		p := &t.Profiles[i]
		batch = append(batch, apiv1.ProfileBatchItem{Profile: base64.StdEncoding.EncodeToString(p.Content), DisplayName: p.Name,
			LabelsIncludeAll: p.IncludeAll, LabelsIncludeAny: p.IncludeAny, LabelsExcludeAny: p.ExcludeAny})
	}
	for try := 1; ; try++ {
		now, err := w.connection.Plan(ctx, w.planRequest(t, id, false))
		if err != nil {
			return profileError(t, err)
		}
		now.TeamName = t.Name()
		if err := sameItems(shown, &now); err != nil {
			return err
		}
		err = w.connection.SetPlannedProfiles(ctx, id, batch, now.Revision)
		if client.StatusOf(err) == http.StatusConflict && try < maxSetTries {
			continue
		}
		if err != nil {
			return profileError(t, err)
		}
		return nil
	}
}
