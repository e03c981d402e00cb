package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

const (
	maxProfile  = 1 << 20 // bytes of a profile's file
	shownFailed = 20      // hosts that a status lists
)

func (c *cli) profilesCommand() *cobra.Command {
	return group("profiles", "Upload configuration profiles and declarations, and see them through",
		c.profilesUploadCommand(), c.profilesDeleteCommand(), c.profilesResendCommand(), c.profilesStatusCommand(), c.profilesRolloutCommand())
}

var profileUUID = regexp.MustCompile(`^[ad][0-9a-fA-F]{8}-[0-9a-fA-F-]{27}$`)

// findProfile resolves a UUID, or a name or identifier in a team.
func findProfile(ctx context.Context, connection *client.Client, ref, teamName string) (apiv1.Profile, error) {
	if profileUUID.MatchString(ref) {
		p, err := connection.Profile(ctx, ref)
		if err != nil {
			return p, fmt.Errorf("profile %s: %w\nList profiles with: muster get profiles", ref, err)
		}
		return p, nil
	}
	team, err := findTeam(ctx, connection, teamName)
	if err != nil {
		return apiv1.Profile{}, err
	}
	list, err := connection.Profiles(ctx, team.ID)
	if err != nil {
		return apiv1.Profile{}, fmt.Errorf("profile %q: %w", ref, err)
	}
	for _, p := range list {
		if p.Name == ref || p.Identifier == ref || p.ProfileUUID == ref {
			return p, nil
		}
	}
	return apiv1.Profile{}, &client.Error{Status: http.StatusNotFound,
		Message: fmt.Sprintf("%s has no profile %q; list profiles with: muster get profiles --team NAME", team.Name, ref)}
}

func (c *cli) getProfilesCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "profiles", Short: "List the configuration profiles and declarations of a team", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.listProfiles(cmd.Context(), name) },
	}
	c.teamFlag(cmd, &name, "team by name (default: hosts without a team)")
	return cmd
}

func (c *cli) listProfiles(ctx context.Context, teamName string) error {
	connection, err := c.connect()
	if err != nil {
		return err
	}
	team, err := findTeam(ctx, connection, teamName)
	if err != nil {
		return err
	}
	profiles, err := connection.Profiles(ctx, team.ID)
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(profiles))
	for _, p := range profiles {
		rows = append(rows, []string{p.ProfileUUID, p.Name, p.Identifier, p.Scope, scopeText(p), rolloutText(p.Rollout), c.when(p.UploadedAt)})
	}
	return c.show(listing{value: profiles, columns: []string{"UUID", "NAME", "IDENTIFIER", "CHANNEL", "LABELS", "ROLLOUT", "UPLOADED"}, rows: rows,
		empty: team.Name + " has no profiles. Upload one with: muster profiles upload FILE"})
}

// scopeText tells which hosts a profile is for.
func scopeText(p apiv1.Profile) string {
	var parts []string
	for _, set := range []struct {
		word   string
		labels []apiv1.ProfileLabel
	}{{"all of", p.LabelsIncludeAll}, {"any of", p.LabelsIncludeAny}, {"none of", p.LabelsExcludeAny}} {
		if len(set.labels) == 0 {
			continue
		}
		names := make([]string, 0, len(set.labels))
		for _, l := range set.labels {
			names = append(names, l.Name+yesNo(l.Broken, " (deleted)", ""))
		}
		parts = append(parts, set.word+" "+strings.Join(names, ", "))
	}
	return strings.Join(parts, "; ")
}

func rolloutText(r *apiv1.Rollout) string {
	if r == nil {
		return ""
	}
	text := fmt.Sprintf("%s, ring %d of %d, %.4g%%", strings.ReplaceAll(r.State, "_", " "), r.Ring, len(r.Rings), r.PercentOpen)
	if r.Why != "" {
		text += ": " + r.Why
	}
	return text
}

func (c *cli) getProfileCommand() *cobra.Command {
	var team string
	var content bool
	cmd := &cobra.Command{
		Use: "profile UUID", Short: "Show a profile, by UUID or by its name in a team", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			p, err := findProfile(cmd.Context(), connection, given[0], team)
			if err != nil {
				return err
			}
			if content {
				data, err := connection.ProfileContent(cmd.Context(), p.ProfileUUID)
				if err == nil {
					_, err = c.Out.Write(data)
				}
				return err
			}
			return c.showProfile(p)
		},
	}
	c.teamFlag(cmd, &team, "team in which the name is looked up")
	cmd.Flags().BoolVar(&content, "content", false, "write the file itself to standard output")
	return cmd
}

func (c *cli) showProfile(p apiv1.Profile) error {
	facts := [][]string{{"Name", p.Name}, {"UUID", p.ProfileUUID}, {"Identifier", p.Identifier}, {"Channel", p.Scope}, {"Team ID", strconv.FormatInt(p.TeamID, 10)},
		{"Labels", scopeText(p)}, {"Version", strconv.Itoa(p.Version)}, {"Rollout", rolloutText(p.Rollout)}, {"Uploaded", c.when(p.UploadedAt)}}
	for _, w := range p.Warnings {
		facts = append(facts, []string{"Warning", w})
	}
	return c.show(listing{value: p, columns: []string{"FACT", "VALUE"}, rows: facts, text: func(w io.Writer) { writeFacts(w, facts) }})
}

// readProfile reads a file to upload.
func readProfile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(file, maxProfile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case len(data) > maxProfile:
		return nil, fmt.Errorf("%s is larger than %d bytes, which is the most that a profile may have", path, maxProfile)
	case len(data) == 0:
		return nil, fmt.Errorf("%s is empty", path)
	}
	return data, nil
}

// uploadFlags are what upload commands take.
type uploadFlags struct {
	team                  string
	all, anyOf, none      string
	rings                 []string
	minVerified, maxFails float64
}

func (u *uploadFlags) add(c *cli, cmd *cobra.Command) {
	f := cmd.Flags()
	c.teamFlag(cmd, &u.team, "team by name (default: hosts without a team)")
	f.StringVar(&u.all, "labels-include-all", "", "comma list: only hosts of all these labels")
	f.StringVar(&u.anyOf, "labels-include-any", "", "comma list: only hosts of any of these labels")
	f.StringVar(&u.none, "labels-exclude-any", "", "comma list: only hosts of none of these labels")
	f.StringArrayVar(&u.rings, "ring", nil, "bring it to hosts in rings: PERCENT, or PERCENT:TIME to wait before the next, as 5:24h; repeatable")
	f.Float64Var(&u.minVerified, "min-verified", 0, "share of a ring's hosts, 0 to 1, that have it before the next ring opens (default 0.9)")
	f.Float64Var(&u.maxFails, "max-failed", 0, "share of hosts, 0 to 1, on which it may fail before the rollout halts (default 0.05)")
	for _, name := range []string{"labels-include-all", "labels-include-any", "labels-exclude-any"} {
		c.complete(cmd, name, c.offerLabels)
	}
}

// plan reads the rings; nil: to all hosts at once.
func (u *uploadFlags) plan() (*apiv1.RolloutPlan, error) {
	if len(u.rings) == 0 {
		if u.minVerified != 0 || u.maxFails != 0 {
			return nil, usagef("--min-verified and --max-failed are about rings: give --ring as well")
		}
		return nil, nil
	}
	plan := &apiv1.RolloutPlan{MinVerified: u.minVerified, MaxFailed: u.maxFails}
	for _, text := range u.rings {
		percent, soak, _ := strings.Cut(text, ":")
		n, err := strconv.ParseFloat(strings.TrimSuffix(percent, "%"), 64)
		if err != nil {
			return nil, usagef("--ring %q: give PERCENT or PERCENT:TIME, as 5:24h", text)
		}
		plan.Rings = append(plan.Rings, apiv1.Ring{Percent: n, Soak: soak})
	}
	return plan, nil
}

func (u *uploadFlags) upload(team int64, path string, content []byte) (client.ProfileUpload, error) {
	plan, err := u.plan()
	return client.ProfileUpload{FileName: filepath.Base(path), Content: content, TeamID: team, LabelsIncludeAll: splitComma(u.all),
		LabelsIncludeAny: splitComma(u.anyOf), LabelsExcludeAny: splitComma(u.none), Rollout: plan}, err
}

func (c *cli) profilesUploadCommand() *cobra.Command {
	var u uploadFlags
	var replace string
	cmd := &cobra.Command{
		Use: "upload FILE...", Short: "Upload configuration profiles (.mobileconfig) and declarations (.json)", Args: args(cobra.MinimumNArgs(1)),
		Example: "  muster profiles upload wifi.mobileconfig passcode.json --team Sales --labels-include-any Lab\n" +
			"  muster profiles upload wifi.mobileconfig --replace Wi-Fi --ring 5:24h --ring 25:24h",
		RunE: func(cmd *cobra.Command, files []string) error {
			if _, err := u.plan(); err != nil {
				return err
			}
			if replace != "" && len(files) > 1 {
				return usagef("--replace takes one file")
			}
			contents := make([][]byte, 0, len(files))
			for _, path := range files { // all of them, before the first is sent
				content, err := readProfile(path)
				if err != nil {
					return err
				}
				contents = append(contents, content)
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			return c.uploadProfiles(cmd.Context(), connection, u, replace, files, contents)
		},
	}
	u.add(c, cmd)
	cmd.Flags().StringVar(&replace, "replace", "", "UUID or name of the profile whose content this is from now on; labels that are not given stay")
	return cmd
}

func (c *cli) uploadProfiles(ctx context.Context, connection *client.Client, u uploadFlags, replace string, files []string, contents [][]byte) error {
	team, err := findTeam(ctx, connection, u.team)
	if err != nil {
		return err
	}
	var done []apiv1.CreateProfileResponse
	var rows [][]string
	for i, path := range files {
		c.progress(i, len(files), "Uploading")
		upload, err := u.upload(team.ID, path, contents[i])
		if err != nil {
			return err
		}
		var out apiv1.CreateProfileResponse
		if replace == "" {
			out, err = connection.CreateProfile(ctx, upload)
		} else {
			var old apiv1.Profile
			if old, err = findProfile(ctx, connection, replace, u.team); err != nil {
				return err
			}
			upload.TeamID = 0
			out, err = connection.ModifyProfile(ctx, old.ProfileUUID, upload)
		}
		if err != nil {
			return c.uploadError(path, i, len(files), err)
		}
		for _, w := range out.Warnings {
			fmt.Fprintf(c.Err, "Warning: %s: %s\n", path, w)
		}
		done = append(done, out)
		rows = append(rows, []string{out.ProfileUUID, path, team.Name})
	}
	c.progress(len(files), len(files), "Uploading")
	return c.show(listing{value: done, columns: []string{"UUID", "FILE", "TEAM"}, rows: rows})
}

// uploadError names the file, how far the others came, and what to do.
func (c *cli) uploadError(path string, before, total int, err error) error {
	text := ""
	if total > 1 {
		text = fmt.Sprintf("\n%d of %d files were uploaded before it", before, total)
	}
	if client.StatusOf(err) == http.StatusConflict {
		text += "\nTo change the profile that is there: muster profiles upload --replace UUID"
	}
	return fmt.Errorf("%s: %w%s", path, err, text)
}

func (c *cli) profilesDeleteCommand() *cobra.Command {
	var team string
	var yes bool
	cmd := &cobra.Command{
		Use: "delete UUID", Short: "Delete a profile, by UUID or by its name in a team: hosts lose it", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return c.deleteProfile(cmd.Context(), given[0], team, yes)
		},
	}
	c.teamFlag(cmd, &team, "team in which the name is looked up")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (c *cli) deleteProfile(ctx context.Context, ref, team string, yes bool) error {
	connection, err := c.connect()
	if err != nil {
		return err
	}
	p, err := findProfile(ctx, connection, ref, team)
	if err != nil {
		return err
	}
	if err := c.confirm(yes, fmt.Sprintf("Delete profile %s? It is removed from all hosts.", printable(p.Name))); err != nil {
		return err
	}
	if err := connection.DeleteProfile(ctx, p.ProfileUUID); err != nil {
		return fmt.Errorf("profile %q: %w", p.Name, err)
	}
	fmt.Fprintf(c.Err, "Profile %s is deleted; hosts lose it as they are reached.\n", printable(p.Name))
	return nil
}

func (c *cli) profilesResendCommand() *cobra.Command {
	var team, host, detail string
	var failed bool
	cmd := &cobra.Command{
		Use: "resend UUID", Short: "Send a profile again: to a host, or to all on which it failed", Args: args(cobra.ExactArgs(1)),
		Example: "  muster profiles resend Wi-Fi --host C02XK1ABJGH5\n  muster profiles resend Wi-Fi --failed --error timeout",
		RunE: func(cmd *cobra.Command, given []string) error {
			if (host != "") == failed {
				return usagef("give --host or --failed")
			}
			if detail != "" && !failed {
				return usagef("--error selects among the hosts of --failed")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			p, err := findProfile(ctx, connection, given[0], team)
			if err != nil {
				return err
			}
			if failed {
				if err := connection.ResendFailedProfile(ctx, p.ProfileUUID, detail); err != nil {
					return fmt.Errorf("profile %q: %w", p.Name, err)
				}
				fmt.Fprintf(c.Err, "%s is sent again where it failed. Follow it with: muster profiles status %s\n", printable(p.Name), p.ProfileUUID)
				return nil
			}
			h, err := findHost(ctx, connection, host)
			if err != nil {
				return err
			}
			if err := connection.ResendProfile(ctx, h.ID, p.ProfileUUID); err != nil {
				return fmt.Errorf("profile %q on %s: %w", p.Name, host, err)
			}
			fmt.Fprintf(c.Err, "%s is sent to %s again.\n", printable(p.Name), printable(h.DisplayName))
			return nil
		},
	}
	f := cmd.Flags()
	c.teamFlag(cmd, &team, "team in which the name is looked up")
	f.StringVar(&host, "host", "", "serial number, UUID or host name")
	f.BoolVar(&failed, "failed", false, "all hosts on which it failed")
	f.StringVar(&detail, "error", "", "with --failed: only where the error contains this")
	c.complete(cmd, "host", c.offerHosts)
	return cmd
}

func (c *cli) profilesStatusCommand() *cobra.Command {
	var team, detail string
	cmd := &cobra.Command{
		Use: "status UUID", Short: "Show how far a profile is, and where it failed", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			p, err := findProfile(ctx, connection, given[0], team)
			if err != nil {
				return err
			}
			counts, err := connection.ProfileStatus(ctx, p.ProfileUUID)
			if err != nil {
				return err
			}
			failed, err := connection.ProfileHosts(ctx, p.ProfileUUID, "failed", detail, 0, shownFailed)
			if err != nil {
				return err
			}
			return c.showStatus(p, counts, failed)
		},
	}
	c.teamFlag(cmd, &team, "team in which the name is looked up")
	cmd.Flags().StringVar(&detail, "error", "", "list only failures whose error contains this")
	return cmd
}

func (c *cli) showStatus(p apiv1.Profile, counts apiv1.ProfileStatusCounts, failed apiv1.ProfileHostsResponse) error {
	value := struct {
		ProfileUUID string                    `json:"profile_uuid"`
		Name        string                    `json:"name"`
		Status      apiv1.ProfileStatusCounts `json:"status"`
		Rollout     *apiv1.Rollout            `json:"rollout,omitempty"`
		Failed      []apiv1.ProfileHost       `json:"failed"`
	}{p.ProfileUUID, p.Name, counts, p.Rollout, failed.Hosts}
	facts := [][]string{{"Name", p.Name}, {"UUID", p.ProfileUUID}, {"Verified", strconv.Itoa(counts.Verified)}, {"Verifying", strconv.Itoa(counts.Verifying)},
		{"Pending", strconv.Itoa(counts.Pending)}, {"Failed", strconv.Itoa(counts.Failed)}}
	if p.Rollout != nil {
		facts = append(facts, []string{"Rollout", rolloutText(p.Rollout)})
	}
	columns := []string{"HOSTNAME", "SERIAL", "OPERATION", "ERROR", "SINCE"}
	rows := make([][]string, 0, len(failed.Hosts))
	for _, h := range failed.Hosts {
		rows = append(rows, []string{h.Hostname, h.HardwareSerial, h.OperationType, h.Detail, c.when(h.UpdatedAt)})
	}
	return c.show(listing{value: value, columns: columns, rows: rows, text: func(w io.Writer) {
		writeFacts(w, facts)
		if len(rows) > 0 {
			_ = writeGrid(w, columns, rows) // a reader that went away, as with | head
		}
		if failed.Meta.HasNextResults {
			fmt.Fprintf(c.Err, "These are the first %d hosts on which it failed.\n", len(rows))
		}
	}})
}

func rolloutActions() []string { return []string{"halt", "resume", "complete", "rollback"} }

func (c *cli) profilesRolloutCommand() *cobra.Command {
	var team, reason string
	cmd := &cobra.Command{
		Use: "rollout UUID ACTION", Short: "Halt, resume, complete or rollback a rollout in rings", Args: args(cobra.ExactArgs(2)),
		Example: "  muster profiles rollout Wi-Fi halt --reason tickets",
		ValidArgsFunction: func(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(given) == 1 {
				return rolloutActions(), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			p, err := findProfile(cmd.Context(), connection, given[0], team)
			if err != nil {
				return err
			}
			out, err := connection.SteerRollout(cmd.Context(), p.ProfileUUID, given[1], reason)
			if err != nil {
				return fmt.Errorf("rollout of %q: %w", p.Name, err)
			}
			return c.showProfile(out)
		},
	}
	c.teamFlag(cmd, &team, "team in which the name is looked up")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look later")
	return cmd
}

// The profiles commands below apple-mdm are those of the first plans.

func (c *cli) appleProfilesCreateCommand() *cobra.Command {
	var u uploadFlags
	var name, payload string
	cmd := &cobra.Command{
		Use: "create", Short: "Upload a configuration profile or declaration", Args: args(cobra.NoArgs),
		Example: "  muster apple-mdm profiles create --name Wi-Fi --payload wifi.mobileconfig",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" || payload == "" {
				return usagef("--name and --payload are required")
			}
			content, err := readProfile(payload)
			if err != nil {
				return err
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			return c.createNamed(cmd.Context(), connection, u, name, payload, content)
		},
	}
	u.add(c, cmd)
	cmd.Flags().StringVar(&name, "name", "", "name of a declaration; a profile holds its own (required)")
	cmd.Flags().StringVar(&payload, "payload", "", "file of the profile (required)")
	return cmd
}

func (c *cli) createNamed(ctx context.Context, connection *client.Client, u uploadFlags, name, payload string, content []byte) error {
	team, err := findTeam(ctx, connection, u.team)
	if err != nil {
		return err
	}
	upload, err := u.upload(team.ID, name+filepath.Ext(payload), content)
	if err != nil {
		return err
	}
	out, err := connection.CreateProfile(ctx, upload)
	if err != nil {
		return c.uploadError(payload, 0, 1, err)
	}
	for _, w := range out.Warnings {
		fmt.Fprintf(c.Err, "Warning: %s: %s\n", payload, w)
	}
	p, err := connection.Profile(ctx, out.ProfileUUID)
	if err != nil {
		return errors.Join(errors.New("the profile is uploaded, but cannot be shown"), err)
	}
	if p.Name != name {
		fmt.Fprintf(c.Err, "The profile's own name is kept: %s\n", printable(p.Name))
	}
	return c.showProfile(p)
}

func (c *cli) appleProfilesListCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "list", Short: "List configuration profiles and declarations", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.listProfiles(cmd.Context(), name) },
	}
	c.teamFlag(cmd, &name, "team by name (default: hosts without a team)")
	return cmd
}

func (c *cli) appleProfilesDeleteCommand() *cobra.Command {
	cmd := c.profilesDeleteCommand()
	cmd.Short = "Delete a configuration profile or declaration: hosts lose it"
	return cmd
}
