package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/gitops"
)

// specFlags are what apply, gitops and plan have in common.
type specFlags struct {
	files       []string
	dryRun      bool
	force       bool
	deleteTeams bool
	plan        string // a saved plan to carry out
	out         string // where to save the plan
}

func (c *cli) applyCommand() *cobra.Command {
	var f specFlags
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Apply documents of teams, labels, configuration and enroll secrets",
		Long: "Reads YAML documents (apiVersion v1; kind config, team, label or enroll_secret) and makes the server so. What the\n" +
			"documents do not mention stays as it is; an explicit empty list deletes what it lists. What will happen is shown\n" +
			"first, deletions included. Paths are relative to the file; $NAME is filled in from the environment.",
		Example: "  muster apply -f team.yml --dry-run\n  muster apply -f team.yml",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.carryOut(cmd.Context(), gitops.WantApply, f) },
	}
	specFileFlag(cmd, &f)
	cmd.Flags().BoolVar(&f.force, "force", false, "skip keys and kinds that Muster does not know instead of refusing them")
	applyFlags(cmd, &f)
	return cmd
}

func (c *cli) gitopsCommand() *cobra.Command {
	var f specFlags
	cmd := &cobra.Command{
		Use: "gitops -f FILE...", Short: "Make the server what a repository says",
		Long: "Reads a repository of the GitOps layout: default.yml for the whole server and a file for each team, and makes the\n" +
			"server so: labels first, then settings, then teams, which are created when missing, then each team's profiles as a\n" +
			"set. A section that is missing is left alone; an explicit empty list deletes. What will happen is shown first,\n" +
			"deletions included.",
		Example: "  muster gitops -f default.yml -f teams/macs.yml --dry-run\n  muster gitops -f default.yml -f teams/macs.yml --delete-other-teams",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.carryOut(cmd.Context(), gitops.WantGitOps, f) },
	}
	specFileFlag(cmd, &f)
	deleteTeamsFlag(cmd, &f)
	applyFlags(cmd, &f)
	return cmd
}

func (c *cli) planCommand() *cobra.Command {
	var f specFlags
	cmd := &cobra.Command{
		Use: "plan -f FILE...", Short: "Tell what applying files would do, to which hosts",
		Long: "Tells what apply or gitops would do with the files: what is added, changed, given to other hosts and removed, how\n" +
			"many hosts that affects, and which devices can be expected to refuse it, and why. Nothing is changed.\n\n" +
			"With --out the plan is saved. Carried out with --plan, it is refused when a team's profiles, the files or anything\n" +
			"else that it would change is not as it was.\n\n" +
			"The exit code is 7 when there are changes and 0 when there are none.",
		Example: "  muster plan -f default.yml -f teams/macs.yml\n  muster plan -f default.yml -f teams/macs.yml --out plan.json\n  muster gitops --plan plan.json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, p, err := c.work(cmd.Context(), "", f)
			if err != nil {
				return err
			}
			if err := w.show(p); err != nil {
				return err
			}
			if f.out != "" {
				if err := savePlan(f.out, p); err != nil {
					return err
				}
				fmt.Fprintf(c.Err, "The plan is in %s. Carry it out with: muster %s --plan %s\n", f.out, p.Command, f.out)
			}
			if p.HasChanges {
				return ErrChanges
			}
			return nil
		},
	}
	specFileFlag(cmd, &f)
	deleteTeamsFlag(cmd, &f)
	cmd.Flags().BoolVar(&f.force, "force", false, "with documents: skip keys and kinds that Muster does not know")
	cmd.Flags().StringVar(&f.out, "out", "", "file to save the plan in")
	return cmd
}

func specFileFlag(cmd *cobra.Command, f *specFlags) {
	cmd.Flags().StringArrayVarP(&f.files, "file", "f", nil, "YAML file to read; may be repeated")
}

func deleteTeamsFlag(cmd *cobra.Command, f *specFlags) {
	cmd.Flags().BoolVar(&f.deleteTeams, "delete-other-teams", false, "delete teams that no file names; their hosts are without a team then")
}

func applyFlags(cmd *cobra.Command, f *specFlags) {
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "check everything and show what would happen, change nothing")
	cmd.Flags().StringVar(&f.plan, "plan", "", "saved plan to carry out; refused when anything changed since")
}

// specWork is one run over files.
type specWork struct {
	c          *cli
	connection *client.Client
	address    string
	repository *gitops.Repository
	flags      specFlags
	// What planning found.
	teamIDs map[string]int64    // of the teams of the files, by name; 0: to be created
	secrets []apiv1.SetVariable // that change
	labels  []apiv1.LabelSpec   // to create or change
	unLabel []string            // labels to delete
	specs   []apiv1.TeamSpec    // of teams to create or change
	deletes []apiv1.Team
}

// work reads the files and plans.
func (c *cli) work(ctx context.Context, want string, f specFlags) (*specWork, *savedPlan, error) {
	connection, err := c.connect()
	if err != nil {
		return nil, nil, err
	}
	at, err := c.current()
	if err != nil {
		return nil, nil, err
	}
	if len(f.files) == 0 {
		return nil, nil, usagef("name the files with -f")
	}
	files, names, closeFiles, err := gitops.Open(f.files)
	if err != nil {
		return nil, nil, err
	}
	repository, err := gitops.Read(files, names, gitops.Options{Getenv: c.Getenv, Force: f.force, Want: want})
	if err := errors.Join(err, closeFiles()); err != nil {
		return nil, nil, fmt.Errorf("the files cannot be used, nothing was changed:\n%w", err)
	}
	if f.deleteTeams && !repository.Declarative {
		return nil, nil, usagef("--delete-other-teams is for files of the GitOps layout")
	}
	w := &specWork{c: c, connection: connection, address: at.Address, repository: repository, flags: f}
	p, err := w.makePlan(ctx)
	if err != nil {
		c.progress(2, 2, "Planning") // ends the line
		return nil, nil, fmt.Errorf("%w\nNothing was changed", err)
	}
	return w, p, nil
}

// carryOut is apply and gitops.
func (c *cli) carryOut(ctx context.Context, want string, f specFlags) error {
	var saved *savedPlan
	if f.plan != "" {
		var err error
		if saved, err = loadPlan(f.plan); err != nil {
			return err
		}
		if saved.Command != want {
			return usagef("the plan is one for muster %s", saved.Command)
		}
		if len(f.files) == 0 {
			f.files = saved.Files
		}
		f.deleteTeams, f.force = saved.DeleteOtherTeams, f.force || saved.Force
	}
	w, p, err := c.work(ctx, want, f)
	if err != nil {
		return err
	}
	if saved != nil {
		if err := saved.stillTrue(p); err != nil {
			return fmt.Errorf("%s is not carried out, nothing was changed: %w", f.plan, err)
		}
	}
	if err := w.show(p); err != nil {
		return err
	}
	if f.dryRun {
		fmt.Fprintln(c.Err, "Dry run: nothing was changed.")
		return nil
	}
	if !p.HasChanges {
		return nil
	}
	return w.execute(ctx, p)
}

// savedPlan is what a run would do.
type savedPlan struct {
	Version          int                  `json:"muster_plan"`
	Server           string               `json:"server"`
	Command          string               `json:"command"`
	Files            []string             `json:"files"`
	Inputs           string               `json:"inputs"` // hash of what was read
	DeleteOtherTeams bool                 `json:"delete_other_teams,omitempty"`
	Force            bool                 `json:"force,omitempty"`
	HasChanges       bool                 `json:"has_changes"`
	Changes          []specChange         `json:"changes"`
	Teams            []apiv1.PlanResponse `json:"teams"`
	Warnings         []string             `json:"warnings,omitempty"`
}

const planVersion = 1

// specChange is one change that is not about a profile.
type specChange struct {
	Kind   string `json:"kind"` // variable, label, setting, enroll_secrets or team
	Team   string `json:"team,omitempty"`
	Name   string `json:"name"`
	Change string `json:"change"` // add, change or remove
	Detail string `json:"detail,omitempty"`
}

// Kinds of changes, as the API spells them.
const (
	changeAdd    = "add"
	changeEdit   = "change"
	changeScope  = "rescope"
	changeRemove = "remove"
	changeNone   = "unchanged"
)

func (p *savedPlan) add(kind, team, name, what, format string, a ...any) {
	p.Changes = append(p.Changes, specChange{kind, team, name, what, fmt.Sprintf(format, a...)})
	p.HasChanges = true
}

// maxPlanFile bounds a saved plan.
const maxPlanFile = 64 << 20

func savePlan(path string, p *savedPlan) error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	const mode = 0o600
	if err := os.WriteFile(path, append(data, '\n'), mode); err != nil {
		return fmt.Errorf("save the plan: %w", err)
	}
	return nil
}

func loadPlan(path string) (*savedPlan, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the plan: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPlanFile))
	err = errors.Join(err, f.Close())
	if err != nil {
		return nil, fmt.Errorf("the plan: %w", err)
	}
	var p savedPlan
	if err := json.Unmarshal(data, &p); err != nil || p.Version != planVersion {
		return nil, fmt.Errorf("%s is no plan of this program: make one with muster plan --out", path)
	}
	return &p, nil
}

// errPlanAgain is what to do about a plan that is past.
var errPlanAgain = errors.New("plan again")

// stillTrue compares a saved plan with what would happen now.
func (p *savedPlan) stillTrue(now *savedPlan) error {
	switch {
	case p.Server != now.Server:
		return fmt.Errorf("it is for %s, and this is %s", p.Server, now.Server)
	case p.Inputs != now.Inputs:
		return fmt.Errorf("the files changed since the plan was made: %w", errPlanAgain)
	}
	teams := map[string]*apiv1.PlanResponse{}
	for i := range now.Teams {
		teams[now.Teams[i].TeamName] = &now.Teams[i]
	}
	for i := range p.Teams {
		was := &p.Teams[i]
		is := teams[was.TeamName]
		switch {
		case is == nil || is.NewTeam != was.NewTeam || is.TeamID != was.TeamID:
			return fmt.Errorf("the team %q was created or deleted since the plan was made: %w", was.TeamName, errPlanAgain)
		case is.Revision != was.Revision:
			return fmt.Errorf("the profiles of %q changed since the plan was made (revision %d, now %d): %w", was.TeamName, was.Revision, is.Revision, errPlanAgain)
		}
		if err := sameItems(was, is); err != nil {
			return err
		}
	}
	if len(p.Teams) != len(now.Teams) || !slices.Equal(p.Changes, now.Changes) {
		return fmt.Errorf("the server or the environment changed since the plan was made, so that %s: %w", firstDifference(p.Changes, now.Changes), errPlanAgain)
	}
	return nil
}

func firstDifference(was, is []specChange) string {
	for _, c := range is {
		if !slices.Contains(was, c) {
			return fmt.Sprintf("it would %s the %s %q in a way that the plan does not say", c.Change, strings.ReplaceAll(c.Kind, "_", " "), c.Name)
		}
	}
	for _, c := range was {
		if !slices.Contains(is, c) {
			return fmt.Sprintf("it would no longer %s the %s %q", c.Change, strings.ReplaceAll(c.Kind, "_", " "), c.Name)
		}
	}
	return "it would do other things"
}

// sameItems compares what happens to a team's profiles.
func sameItems(was, is *apiv1.PlanResponse) error {
	type key struct{ identifier, change string }
	count := map[key]int{}
	for _, i := range was.Items {
		count[key{i.Identifier, i.Change}]++
	}
	for _, i := range is.Items {
		count[key{i.Identifier, i.Change}]--
	}
	for k, n := range count {
		if n != 0 {
			return fmt.Errorf("what happens to %s of the team %q is not what was shown, as somebody changed it meanwhile: %w", k.identifier, is.TeamName, errPlanAgain)
		}
	}
	return nil
}
