package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/gitops"
)

// makePlan finds out what is to be done, with the server's own dry runs.
func (w *specWork) makePlan(ctx context.Context) (*savedPlan, error) {
	r := w.repository
	p := &savedPlan{Version: planVersion, Server: w.address, Command: gitops.WantApply, Files: w.flags.files, Inputs: r.Hash,
		DeleteOtherTeams: w.flags.deleteTeams, Force: w.flags.force, Changes: []specChange{}, Teams: []apiv1.PlanResponse{}, Warnings: r.Warnings}
	if r.Declarative {
		p.Command = gitops.WantGitOps
	}
	for _, step := range []func(context.Context, *savedPlan) error{w.planVariables, w.planLabels, w.planConfig, w.planTeams, w.planProfiles, w.planDeletes} {
		if err := step(ctx, p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (w *specWork) planVariables(ctx context.Context, p *savedPlan) error {
	if len(w.repository.Secrets) == 0 {
		return nil
	}
	list, err := w.connection.CustomVariables(ctx)
	if err != nil {
		return fmt.Errorf("custom variables: %w", err)
	}
	there := map[string]bool{}
	for _, v := range list {
		there[v.Name] = true
	}
	var faults gitops.Faults
	var set []apiv1.SetVariable
	from := map[string]string{}
	for _, s := range w.repository.Secrets {
		switch {
		case s.Value != "":
			set = append(set, apiv1.SetVariable{Name: s.Name, Value: s.Value})
			from[s.Name] = s.Path
		case !there[s.Name]:
			faults = append(faults, gitops.Fault{Place: s.Place, Item: s.Path, Text: fmt.Sprintf("uses $FLEET_SECRET_%s, which is not on the server: set the environment variable FLEET_SECRET_%s", s.Name, s.Name)})
		}
	}
	if len(faults) > 0 {
		return faults
	}
	if len(set) == 0 {
		return nil
	}
	changed, err := w.connection.PlanCustomVariables(ctx, set)
	if err != nil {
		return fmt.Errorf("custom variables: %w", err)
	}
	for _, v := range set {
		if !slices.Contains(changed, v.Name) {
			continue
		}
		w.secrets = append(w.secrets, v)
		if there[v.Name] {
			p.add("variable", "", v.Name, changeEdit, "hosts get the profiles that use it again, such as %s", from[v.Name])
		} else {
			p.add("variable", "", v.Name, changeAdd, "used by %s", from[v.Name])
		}
	}
	return nil
}

// allTeams are the teams of the files, those without a team first.
func (w *specWork) allTeams() []*gitops.Team {
	var out []*gitops.Team
	if w.repository.NoTeam != nil {
		out = append(out, w.repository.NoTeam)
	}
	return append(out, w.repository.Teams...)
}

func (w *specWork) planLabels(ctx context.Context, p *savedPlan) error {
	have, err := w.connection.LabelSpecs(ctx)
	if err != nil {
		return fmt.Errorf("labels: %w", err)
	}
	there := map[string]apiv1.LabelSpec{}
	for _, l := range have {
		there[l.Name] = l
	}
	wanted := map[string]bool{}
	var faults gitops.Faults
	for _, l := range w.repository.Labels {
		wanted[l.Name] = true
		old, exists := there[l.Name]
		if !exists {
			w.labels = append(w.labels, l.LabelSpec)
			p.add("label", "", l.Name, changeAdd, "")
			continue
		}
		what, err := w.labelChange(ctx, p, old, l)
		var fault gitops.Fault
		switch {
		case errors.As(err, &labelFault{}):
			fault = gitops.Fault{Place: l.Place, Item: "label " + l.Name, Text: err.Error()}
			faults = append(faults, fault)
		case err != nil:
			return err
		case what != "":
			w.labels = append(w.labels, l.LabelSpec)
			p.add("label", "", l.Name, changeEdit, "%s", what)
		}
	}
	if w.repository.AllLabels {
		for _, l := range have {
			if l.LabelType != "builtin" && !wanted[l.Name] {
				w.unLabel = append(w.unLabel, l.Name)
				p.add("label", "", l.Name, changeRemove, "it is not in the list of labels")
			}
		}
	}
	faults = append(faults, w.checkProfileLabels(there, wanted)...)
	if len(faults) > 0 {
		return faults
	}
	if len(w.labels) > 0 {
		if err := w.connection.CheckLabelSpecs(ctx, w.labels); err != nil {
			return fmt.Errorf("labels (%s): %w", w.repository.LabelsPlace(), err)
		}
	}
	return nil
}

// labelFault is a change of a label that the server does not make.
type labelFault struct{ text string }

func (e labelFault) Error() string { return e.text }

// labelChange tells what is different; "" when nothing is.
func (w *specWork) labelChange(ctx context.Context, p *savedPlan, old apiv1.LabelSpec, l gitops.Label) (string, error) {
	if old.LabelType == "builtin" {
		return "", labelFault{"is built in and cannot be changed: remove it from the files"}
	}
	var criteria apiv1.Criteria
	if l.Criteria != nil {
		criteria = *l.Criteria
	}
	var was apiv1.Criteria
	if old.Criteria != nil {
		was = *old.Criteria
	}
	for _, c := range []*apiv1.Criteria{&criteria, &was} {
		if c.Operator == "" && c.Vital != "" {
			c.Operator = "="
		}
	}
	if old.Query != l.Query || old.Platform != l.Platform || criteria != was {
		return "", labelFault{"has another query, platform or criteria on the server, and those cannot be changed: give the label a new name, or delete it first"}
	}
	var what []string
	if old.Description != l.Description {
		what = append(what, fmt.Sprintf("description %q -> %q", old.Description, l.Description))
	}
	if l.Hosts != nil {
		full, err := w.connection.LabelSpec(ctx, l.Name)
		if err != nil {
			return "", fmt.Errorf("label %q: %w", l.Name, err)
		}
		text, err := w.memberChange(ctx, full, *l.Hosts, l.Place)
		if err != nil {
			return "", err
		}
		if text != "" {
			what = append(what, text)
			p.Warnings = append(p.Warnings, fmt.Sprintf("the members of the label %q change: hosts are counted by those of now", l.Name))
		}
	}
	return strings.Join(what, "; "), nil
}

// memberChange compares members, which may be named in several ways.
func (w *specWork) memberChange(ctx context.Context, full apiv1.LabelSpec, hosts []string, at gitops.Place) (string, error) {
	left := map[string]bool{}
	if full.Hosts != nil {
		for _, h := range *full.Hosts {
			left[h] = true
		}
	}
	come := 0
	seen := map[string]bool{}
	for i, name := range hosts {
		w.c.progress(i, len(hosts), "Looking up hosts of the label "+full.Name)
		key := name
		if !left[name] {
			host, err := findHost(ctx, w.connection, name)
			if err != nil {
				return "", fmt.Errorf("%s: label %q: %w", at, full.Name, err)
			}
			if key = host.HardwareSerial; key == "" {
				key = host.UUID
			}
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		if left[key] {
			delete(left, key)
		} else {
			come++
		}
	}
	if come+len(left) == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d hosts join and %d leave", come, len(left)), nil
}

// checkProfileLabels finds labels of profiles that will not be there.
func (w *specWork) checkProfileLabels(there map[string]apiv1.LabelSpec, wanted map[string]bool) gitops.Faults {
	var faults gitops.Faults
	for _, t := range w.allTeams() {
		for i := range t.Profiles {
			prof := &t.Profiles[i]
			for _, name := range prof.LabelNames() {
				_, exists := there[name]
				text := ""
				switch {
				case slices.Contains(w.unLabel, name):
					text = fmt.Sprintf("the label %q would be deleted, as it is not in the list of labels: add it there, or remove it here", name)
				case !exists && !wanted[name]:
					text = fmt.Sprintf("there is no label named %q: add it to labels, or correct the name", name)
				default:
					continue
				}
				faults = append(faults, gitops.Fault{Place: prof.Place, Item: prof.Path, Text: text})
			}
		}
	}
	return faults
}

// differences tells which values of two answers differ.
func differences(was, is any) ([]string, error) {
	flat := func(v any) (map[string]string, error) {
		data, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		var tree any
		if err := json.Unmarshal(data, &tree); err != nil {
			return nil, err
		}
		out := map[string]string{}
		flatten("", tree, out)
		return out, nil
	}
	a, err := flat(was)
	if err != nil {
		return nil, err
	}
	b, err := flat(is)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(b)) {
		if a[key] != b[key] {
			out = append(out, fmt.Sprintf("%s: %s -> %s", key, orNone(a[key]), orNone(b[key])))
		}
	}
	return out, nil
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func flatten(prefix string, v any, out map[string]string) {
	m, ok := v.(map[string]any)
	if !ok {
		if v != nil {
			out[prefix] = fmt.Sprint(v)
		} else {
			out[prefix] = ""
		}
		return
	}
	for key, e := range m {
		at := key
		if prefix != "" {
			at = prefix + "." + key
		}
		flatten(at, e, out)
	}
}

func (w *specWork) planConfig(ctx context.Context, p *savedPlan) error {
	r := w.repository
	if r.ConfigAt != (gitops.Place{}) {
		was, err := w.connection.Config(ctx)
		if err != nil {
			return fmt.Errorf("settings: %w", err)
		}
		is, err := w.connection.ModifyConfig(ctx, r.Config, true)
		if err != nil {
			return fmt.Errorf("%s: settings: %w", r.ConfigAt, err)
		}
		was.License, is.License = apiv1.License{}, apiv1.License{} // it repeats the name
		changes, err := differences(was, is)
		if err != nil {
			return err
		}
		for _, c := range changes {
			name, detail, _ := strings.Cut(c, ": ")
			p.add("setting", "", name, changeEdit, "%s", detail)
		}
	}
	if r.NoTeam == nil || r.NoTeam.Spec.Secrets == nil {
		return nil
	}
	if err := w.connection.CheckEnrollSecrets(ctx, *r.NoTeam.Spec.Secrets); err != nil {
		return fmt.Errorf("%s: enroll secrets: %w", r.NoTeam.Place, err)
	}
	return w.planSecrets(ctx, p, gitops.NoTeam, 0, *r.NoTeam.Spec.Secrets)
}

// planSecrets compares enroll secrets without showing them.
func (w *specWork) planSecrets(ctx context.Context, p *savedPlan, team string, id int64, wanted []apiv1.EnrollSecret) error {
	have, err := w.connection.EnrollSecrets(ctx, id)
	if err != nil {
		return fmt.Errorf("enroll secrets of %q: %w", team, err)
	}
	left := map[string]bool{}
	for _, s := range have {
		left[s.Secret] = true
	}
	come := 0
	for _, s := range wanted {
		if left[s.Secret] {
			delete(left, s.Secret)
		} else {
			come++
		}
	}
	if come > 0 {
		p.add("enroll_secrets", team, "enroll secrets", changeAdd, "%d added", come)
	}
	if len(left) > 0 {
		p.add("enroll_secrets", team, "enroll secrets", changeRemove, "%d removed: agents that have one can no longer enroll with it", len(left))
	}
	return nil
}

func (w *specWork) planTeams(ctx context.Context, p *savedPlan) error {
	w.teamIDs = map[string]int64{}
	if len(w.repository.Teams) == 0 {
		return nil
	}
	specs := make([]apiv1.TeamSpec, 0, len(w.repository.Teams))
	for _, t := range w.repository.Teams {
		specs = append(specs, t.Spec)
	}
	ids, err := w.connection.ApplyTeamSpecs(ctx, specs, true, false)
	if err != nil {
		return fmt.Errorf("teams (%s): %w", placesOf(w.repository.Teams), err)
	}
	w.teamIDs = ids
	for i, t := range w.repository.Teams {
		w.c.progress(i, len(specs), "Comparing teams")
		id := ids[t.Name()]
		if id == 0 {
			p.add("team", t.Name(), t.Name(), changeAdd, "the team will be created")
			w.specs = append(w.specs, t.Spec)
			continue
		}
		before := len(p.Changes)
		was, err := w.connection.Team(ctx, id)
		if err != nil {
			return fmt.Errorf("%s: team %q: %w", t.Place, t.Name(), err)
		}
		is, err := w.connection.ModifyTeam(ctx, id, apiv1.ModifyTeamRequest{Description: t.Spec.Description, MDM: t.Spec.MDM}, true)
		if err != nil {
			return fmt.Errorf("%s: team %q: %w", t.Place, t.Name(), err)
		}
		is.HostCount = was.HostCount // hosts come and go meanwhile
		changes, err := differences(was, is)
		if err != nil {
			return err
		}
		for _, c := range changes {
			name, detail, _ := strings.Cut(c, ": ")
			p.add("setting", t.Name(), name, changeEdit, "%s", detail)
		}
		if t.Spec.Secrets != nil {
			if err := w.planSecrets(ctx, p, t.Name(), id, *t.Spec.Secrets); err != nil {
				return err
			}
		}
		if len(p.Changes) > before {
			w.specs = append(w.specs, t.Spec)
		}
	}
	w.c.progress(len(specs), len(specs), "Comparing teams")
	return nil
}

func placesOf(teams []*gitops.Team) string {
	var out []string
	for _, t := range teams {
		out = append(out, t.Place.String())
	}
	return strings.Join(out, ", ")
}

// planRequest asks about a team's profiles. Before anything is applied,
// secrets and labels that come first are assumed.
func (w *specWork) planRequest(t *gitops.Team, id int64, before bool) apiv1.PlanRequest {
	req := apiv1.PlanRequest{TeamID: &id, Profiles: []apiv1.PlanProfile{}}
	if before {
		for _, s := range w.secrets {
			req.AssumeSecrets = append(req.AssumeSecrets, s.Name)
		}
		for _, l := range w.labels {
			req.AssumeLabels = append(req.AssumeLabels, l.Name)
		}
		if t != w.repository.NoTeam && id == 0 {
			req.TeamID, req.TeamName, req.NewTeam = nil, t.Name(), true
		}
	}
	for i := range t.Profiles {
		p := &t.Profiles[i]
		req.Profiles = append(req.Profiles, apiv1.PlanProfile{Profile: base64.StdEncoding.EncodeToString(p.Content), DisplayName: p.Name,
			LabelsIncludeAll: p.IncludeAll, LabelsIncludeAny: p.IncludeAny, LabelsExcludeAny: p.ExcludeAny})
	}
	return req
}

func (w *specWork) planProfiles(ctx context.Context, p *savedPlan) error {
	teams := w.allTeams()
	for i, t := range teams {
		w.c.progress(i, len(teams), "Planning profiles")
		if !t.SetsProfiles() {
			continue
		}
		id := w.teamIDs[t.Name()]
		answer, err := w.connection.Plan(ctx, w.planRequest(t, id, true))
		if err != nil {
			return profileError(t, err)
		}
		answer.TeamName = t.Name()
		p.HasChanges = p.HasChanges || changes(answer) > 0
		p.Teams = append(p.Teams, answer)
	}
	w.c.progress(len(teams), len(teams), "Planning profiles")
	return nil
}

// changes counts what would happen to profiles.
func changes(answer apiv1.PlanResponse) int {
	n := 0
	for _, i := range answer.Items {
		if i.Change != changeNone {
			n++
		}
	}
	return n
}

// profileError says which file of a team the server's refusal is about.
func profileError(t *gitops.Team, err error) error {
	var refused *client.Error
	if !errors.As(err, &refused) {
		return fmt.Errorf("%s: profiles of %q: %w", t.ProfilesAt, t.Name(), err)
	}
	var at []string
	for i := range t.Profiles {
		p := &t.Profiles[i]
		for _, e := range refused.Errors {
			if p.Name != "" && strings.Contains(e.Reason, p.Name) {
				at = append(at, fmt.Sprintf("%s (%s)", p.Place, p.Path))
				break
			}
		}
	}
	if len(at) == 0 {
		at = []string{t.ProfilesAt.String()}
	}
	return fmt.Errorf("%s: profiles of %q: %w", strings.Join(at, ", "), t.Name(), err)
}

func (w *specWork) planDeletes(ctx context.Context, p *savedPlan) error {
	if !w.flags.deleteTeams && len(w.unLabel) == 0 {
		return nil
	}
	all, err := w.connection.Teams(ctx, "")
	if err != nil {
		return fmt.Errorf("teams: %w", err)
	}
	named := map[int64]bool{}
	for _, id := range w.teamIDs {
		named[id] = true
	}
	set := map[int64]bool{}
	for _, t := range w.allTeams() {
		set[w.teamIDs[t.Name()]] = t.SetsProfiles()
	}
	left := []apiv1.Team{{Name: gitops.NoTeam}}
	for _, t := range all {
		if !named[t.ID] && w.flags.deleteTeams {
			profiles, err := w.connection.Profiles(ctx, t.ID)
			if err != nil {
				return fmt.Errorf("profiles of %q: %w", t.Name, err)
			}
			w.deletes = append(w.deletes, t)
			p.add("team", t.Name, t.Name, changeRemove, "no file names it; its %d hosts are without a team then, and its %d profiles are gone", t.HostCount, len(profiles))
			continue
		}
		left = append(left, t)
	}
	if len(w.unLabel) == 0 {
		return nil
	}
	for _, t := range left {
		if set[t.ID] {
			continue
		}
		profiles, err := w.connection.Profiles(ctx, t.ID)
		if err != nil {
			return fmt.Errorf("profiles of %q: %w", t.Name, err)
		}
		for _, prof := range profiles {
			for _, l := range slices.Concat(prof.LabelsIncludeAll, prof.LabelsIncludeAny, prof.LabelsExcludeAny) {
				if slices.Contains(w.unLabel, l.Name) && !l.Broken {
					p.Warnings = append(p.Warnings, fmt.Sprintf("the profile %q of %q is scoped by the label %q, which is deleted: it goes to no further hosts then", prof.Name, t.Name, l.Name))
				}
			}
		}
	}
	return nil
}

// show prints a plan.
func (w *specWork) show(p *savedPlan) error {
	l := listing{value: p, columns: []string{"TEAM", "KIND", "CHANGE", "NAME", "INSTALL", "UPDATE", "REMOVE", "HELD", "DETAIL"}, rows: planRows(p)}
	l.text = func(out io.Writer) { tellPlan(out, p) }
	return w.c.show(l)
}

func planRows(p *savedPlan) [][]string {
	rows := [][]string{}
	for _, c := range p.Changes {
		rows = append(rows, []string{c.Team, c.Kind, c.Change, c.Name, "", "", "", "", c.Detail})
	}
	for _, t := range p.Teams {
		for _, i := range t.Items {
			if i.Change != changeNone {
				rows = append(rows, []string{t.TeamName, "profile", i.Change, i.Name, fmt.Sprint(i.Install), fmt.Sprint(i.Update), fmt.Sprint(i.Remove), fmt.Sprint(i.Held), i.Identifier})
			}
		}
	}
	return rows
}

func sign(change string) string {
	switch change {
	case changeAdd:
		return "+"
	case changeRemove:
		return "-"
	}
	return "~"
}

func tellPlan(out io.Writer, p *savedPlan) {
	for _, text := range p.Warnings {
		fmt.Fprintf(out, "Warning: %s\n", printable(text))
	}
	if !p.HasChanges {
		fmt.Fprintf(out, "No changes: %s is what the files say.\n", p.Server)
		return
	}
	fmt.Fprintf(out, "Changes of %s\n", p.Server)
	var gone []string
	count := map[string]int{}
	for _, c := range p.Changes {
		tellChange(out, c)
		count[c.Change]++
		if c.Change == changeRemove {
			gone = append(gone, strings.TrimSpace(strings.ReplaceAll(c.Kind, "_", " ")+" "+c.Name+inTeam(c)))
		}
	}
	for i := range p.Teams {
		tellTeam(out, &p.Teams[i])
		for _, item := range p.Teams[i].Items {
			what := item.Change
			if what == changeScope {
				what = changeEdit
			}
			count[what]++
			if item.Change == changeRemove {
				gone = append(gone, fmt.Sprintf("profile %s (%s) of %s", item.Name, item.Identifier, p.Teams[i].TeamName))
			}
		}
	}
	if len(gone) > 0 {
		fmt.Fprintln(out, "\nDeletions")
		for _, g := range gone {
			fmt.Fprintf(out, "  - %s\n", printable(g))
		}
	}
	fmt.Fprintf(out, "\n%d to add, %d to change, %d to delete.\n", count[changeAdd], count[changeEdit], count[changeRemove])
}

func inTeam(c specChange) string {
	if c.Team == "" || c.Team == c.Name {
		return ""
	}
	return " of " + c.Team
}

func tellChange(out io.Writer, c specChange) {
	fmt.Fprintf(out, "  %s %s %s%s", sign(c.Change), strings.ReplaceAll(c.Kind, "_", " "), printable(c.Name), printable(inTeam(c)))
	if c.Detail != "" {
		fmt.Fprintf(out, ": %s", printable(c.Detail))
	}
	fmt.Fprintln(out)
}

func tellTeam(out io.Writer, t *apiv1.PlanResponse) {
	if changes(*t) == 0 {
		return
	}
	if t.NewTeam {
		fmt.Fprintf(out, "\nProfiles of %s (a new team, without hosts)\n", printable(t.TeamName))
	} else {
		fmt.Fprintf(out, "\nProfiles of %s (%d enrolled hosts)\n", printable(t.TeamName), t.Hosts)
	}
	for _, i := range t.Items {
		if i.Change == changeNone {
			continue
		}
		what := map[string]string{changeAdd: "add", changeEdit: "change", changeScope: "other hosts", changeRemove: "remove"}[i.Change]
		fmt.Fprintf(out, "  %s %s (%s): %s", sign(i.Change), printable(i.Name), printable(i.Identifier), what)
		for _, n := range []struct {
			hosts int
			text  string
		}{{i.Install, "get it"}, {i.Update, "get the new version"}, {i.Remove, "lose it"}, {i.Held, "are held, as their labels are not known yet"}} {
			if n.hosts > 0 {
				fmt.Fprintf(out, ", %d %s", n.hosts, n.text)
			}
		}
		if len(i.Samples) > 0 {
			fmt.Fprintf(out, "; such as %s", printable(strings.Join(i.Samples, ", ")))
		}
		fmt.Fprintln(out)
		for _, r := range i.Refusals {
			fmt.Fprintf(out, "      %d expected to refuse it: %s\n      to do: %s\n      such as %s\n", r.Hosts, printable(r.Text), printable(r.Fix), printable(strings.Join(r.Samples, ", ")))
		}
		for _, text := range i.Warnings {
			fmt.Fprintf(out, "      warning: %s\n", printable(text))
		}
	}
}
