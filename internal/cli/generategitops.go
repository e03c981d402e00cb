package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/gitops"
)

type generateFlags struct {
	dir, team    string
	print, force bool
}

func (c *cli) generateGitOpsCommand() *cobra.Command {
	var f generateFlags
	cmd := &cobra.Command{
		Use: "generate-gitops --dir DIR", Short: "Write what the server has as a repository for gitops",
		Long: "Writes the server's settings, labels, teams and profiles as files of the GitOps layout. Secrets are not in them:\n" +
			"custom variables stay $FLEET_SECRET_NAME in profiles, and enroll secrets stay on the server. Planning with the files\n" +
			"finds no changes.",
		Example: "  muster generate-gitops --dir fleet-repo\n  muster generate-gitops --team Macs --print",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (f.dir == "") != f.print {
				return usagef("give --dir or --print")
			}
			return c.generateGitOps(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVar(&f.dir, "dir", "", "directory to write to")
	cmd.Flags().StringVar(&f.team, "team", "", "write this team only")
	cmd.Flags().BoolVar(&f.print, "print", false, "print the files instead")
	cmd.Flags().BoolVar(&f.force, "force", false, "write over files that are there")
	return cmd
}

func (c *cli) generateGitOps(ctx context.Context, f generateFlags) error {
	connection, err := c.connect()
	if err != nil {
		return err
	}
	state, err := c.serverState(ctx, connection, f.team)
	if err != nil {
		return err
	}
	files, notes, err := gitops.Write(state)
	if err != nil {
		return err
	}
	for _, n := range notes {
		fmt.Fprintf(c.Err, "Note: %s\n", printable(n))
	}
	if f.print {
		for _, file := range files {
			fmt.Fprintf(c.Out, "# --- %s\n%s\n", file.Name, file.Content)
		}
		return nil
	}
	if err := writeRepository(f, files); err != nil {
		return err
	}
	fmt.Fprintf(c.Err, "Wrote %d files to %s. Profiles may hold what is secret: look before you publish them.\n", len(files), f.dir)
	return nil
}

// writeRepository writes all files, or none when some are there already.
func writeRepository(f generateFlags, files []gitops.Output) error {
	const dirMode, fileMode = 0o700, 0o600
	if err := os.MkdirAll(f.dir, dirMode); err != nil {
		return err
	}
	root, err := os.OpenRoot(f.dir) // nothing is written through a link that leaves it
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // only directories
	if !f.force {
		for _, file := range files {
			if _, err := root.Lstat(filepath.FromSlash(file.Name)); err == nil {
				return fmt.Errorf("%s is there already, nothing was written: use another directory, or --force to write over it", filepath.Join(f.dir, file.Name))
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	for _, file := range files {
		name := filepath.FromSlash(file.Name)
		if err := root.MkdirAll(filepath.Dir(name), dirMode); err != nil {
			return err
		}
		if err := root.WriteFile(name, file.Content, fileMode); err != nil {
			return err
		}
	}
	return nil
}

// serverState fetches all that a repository can say.
func (c *cli) serverState(ctx context.Context, connection *client.Client, only string) (gitops.State, error) {
	state := gitops.State{OnlyTeams: only != ""}
	teams, err := connection.Teams(ctx, "")
	if err != nil {
		return state, fmt.Errorf("teams: %w", err)
	}
	if only == "" {
		if state.Config, err = connection.Config(ctx); err != nil {
			return state, fmt.Errorf("settings: %w", err)
		}
		if state.Labels, err = regularLabels(ctx, connection); err != nil {
			return state, err
		}
		if state.NoTeam, err = teamState(ctx, connection, apiv1.Team{Name: gitops.NoTeam}); err != nil {
			return state, err
		}
	}
	for i, t := range teams {
		c.progress(i, len(teams), "Reading teams")
		if only != "" && t.Name != only {
			continue
		}
		one, err := teamState(ctx, connection, t)
		if err != nil {
			return state, err
		}
		state.Teams = append(state.Teams, one)
	}
	c.progress(len(teams), len(teams), "Reading teams")
	if only != "" && len(state.Teams) == 0 {
		return state, fmt.Errorf("there is no team named %q", only)
	}
	return state, nil
}

func regularLabels(ctx context.Context, connection *client.Client) ([]apiv1.LabelSpec, error) {
	all, err := connection.LabelSpecs(ctx)
	if err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	var out []apiv1.LabelSpec
	for _, l := range all {
		if l.LabelType == "builtin" {
			continue
		}
		if l.LabelMembershipType == "manual" {
			if l, err = connection.LabelSpec(ctx, l.Name); err != nil {
				return nil, fmt.Errorf("label %q: %w", l.Name, err)
			}
		}
		out = append(out, l)
	}
	return out, nil
}

func teamState(ctx context.Context, connection *client.Client, t apiv1.Team) (gitops.TeamState, error) {
	out := gitops.TeamState{Team: t}
	profiles, err := connection.Profiles(ctx, t.ID)
	if err != nil {
		return out, fmt.Errorf("profiles of %q: %w", t.Name, err)
	}
	for _, p := range profiles {
		if p.FromServer {
			continue
		}
		content, err := connection.ProfileContent(ctx, p.ProfileUUID)
		if err != nil {
			return out, fmt.Errorf("profile %q of %q: %w", p.Name, t.Name, err)
		}
		out.Profiles = append(out.Profiles, gitops.ProfileState{Profile: p, Content: content})
	}
	secrets, err := connection.EnrollSecrets(ctx, t.ID)
	if err != nil {
		return out, fmt.Errorf("enroll secrets of %q: %w", t.Name, err)
	}
	out.HasSecrets = len(secrets) > 0
	return out, nil
}
