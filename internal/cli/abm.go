package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

// businessPortal is where server tokens come from.
const businessPortal = "https://business.apple.com (or https://school.apple.com)"

// Limits of files that are uploaded, in bytes.
const (
	maxTokenFile     = 64 << 10
	maxAssistantFile = 512 << 10
)

func (c *cli) abmCommand() *cobra.Command {
	return group("abm", "Server tokens of Apple Business Manager and Apple School Manager",
		c.abmUploadCommand(), c.abmRenewCommand(), c.abmTeamsCommand(), c.abmDevicesCommand(), c.abmResyncCommand(), c.abmDeleteCommand())
}

func (c *cli) generateMDMAppleBMCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "mdm-apple-bm", Short: "Write the public key to upload at Apple for a server token",
		Long: "Writes the server's public key to a file; its private key never leaves the server.\n" +
			"Upload the file at " + businessPortal + ", download the server token, then run: muster abm upload --token FILE",
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			pem, err := connection.ServerTokenKey(cmd.Context())
			if err != nil {
				return err
			}
			const mode = 0o644
			if err := os.WriteFile(path, pem, mode); err != nil {
				return fmt.Errorf("write the public key: %w", err)
			}
			fmt.Fprintf(c.Err, "The public key is in %s.\nUpload it at %s, download the server token, then run: muster abm upload --token FILE\n", path, businessPortal)
			return nil
		},
	}
	cmd.Flags().StringVar(&path, "public-key", "muster-apple-bm-public-key.pem", "file to write to")
	return cmd
}

func (c *cli) getMDMAppleBMCommand() *cobra.Command {
	return &cobra.Command{
		Use: "mdm-apple-bm", Aliases: []string{"mdm_apple_bm"}, Short: "List server tokens of Apple's device enrollment service", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			list, err := connection.ServerTokens(cmd.Context())
			if err != nil {
				return err
			}
			return c.showServerTokens(list, list)
		},
	}
}

func (c *cli) showServerTokens(value any, list []apiv1.ServerToken) error {
	rows := make([][]string, 0, len(list))
	for _, t := range list {
		state := "in sync since " + c.whenOrNot(t.Sync.LastSyncedAt)
		switch {
		case t.Sync.Error != "":
			state = t.Sync.Error
		case t.Sync.LastSyncedAt == nil:
			state = "reading the devices"
		}
		rows = append(rows, []string{strconv.FormatInt(t.ID, 10), t.ServerName, t.OrgName, t.AppleID, c.when(t.RenewDate),
			t.MacOSTeam.Name, t.IOSTeam.Name, t.IPadOSTeam.Name, state})
		switch left := t.RenewDate.Sub(c.Now()); {
		case left <= 0:
			fmt.Fprintf(c.Err, "Warning: server token %d (%s) has expired: no device can be enrolled automatically. Download a new one at %s, then run: muster abm renew %d --token FILE\n",
				t.ID, t.ServerName, businessPortal, t.ID)
		case left < renewWithin:
			fmt.Fprintf(c.Err, "Warning: server token %d (%s) expires in %d days. Download a new one at %s, then run: muster abm renew %d --token FILE\n",
				t.ID, t.ServerName, int(left/(24*time.Hour)), businessPortal, t.ID)
		}
		if t.TermsExpired {
			fmt.Fprintf(c.Err, "Warning: server token %d (%s): an administrator must sign Apple's new terms at %s\n", t.ID, t.ServerName, businessPortal)
		}
	}
	return c.show(listing{value: value, columns: []string{"ID", "SERVER", "ORGANIZATION", "APPLE ID", "EXPIRES", "MACOS TEAM", "IOS TEAM", "IPADOS TEAM", "STATE"}, rows: rows,
		empty: "No server tokens yet. Begin with: muster generate mdm-apple-bm"})
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", path, info.Size(), limit)
	}
	return os.ReadFile(path)
}

func (c *cli) abmUploadCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "upload", Short: "Add a server token, after Apple took it", Args: args(cobra.NoArgs),
		Example: "  muster abm upload --token Muster_Token_2026-11-21_smime.p7m",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withToken("token", path, func(connection *client.Client, file []byte) (apiv1.ServerToken, error) {
				return connection.AddServerToken(cmd.Context(), client.ServerTokenUpload{Token: file})
			})
		},
	}
	cmd.Flags().StringVar(&path, "token", "", "the .p7m file from Apple (required)")
	return cmd
}

// withToken reads a token file, has it uploaded, and shows what came of it.
func (c *cli) withToken(flag, path string, upload func(*client.Client, []byte) (apiv1.ServerToken, error)) error {
	if path == "" {
		return usagef("--%s is required", flag)
	}
	file, err := readLimited(path, maxTokenFile)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	connection, err := c.connect()
	if err != nil {
		return err
	}
	out, err := upload(connection, file)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.Err, "Apple took the token. Devices that are assigned to the server there appear as pending hosts.")
	return c.showServerTokens(out, []apiv1.ServerToken{out})
}

func (c *cli) abmRenewCommand() *cobra.Command {
	var path string
	var force bool
	cmd := &cobra.Command{
		Use: "renew ID", Short: "Put a newer server token of the same server in the place of one", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := parseID(given[0])
			if err != nil {
				return err
			}
			return c.withToken("token", path, func(connection *client.Client, file []byte) (apiv1.ServerToken, error) {
				return connection.RenewServerToken(cmd.Context(), id, client.ServerTokenUpload{Token: file}, force)
			})
		},
	}
	cmd.Flags().StringVar(&path, "token", "", "the .p7m file from Apple (required)")
	cmd.Flags().BoolVar(&force, "force", false, "take the token of another server: its devices replace those of the present one")
	return cmd
}

func (c *cli) abmTeamsCommand() *cobra.Command {
	var names [3]string
	cmd := &cobra.Command{
		Use: "teams ID", Short: "Say which teams new devices of a server token join", Args: args(cobra.ExactArgs(1)),
		Long:    "Says which teams new devices join. A flag that is not given leaves its platform as it is; an empty name means no team.",
		Example: "  muster abm teams 1 --ipados Classroom --macos ''",
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := parseID(given[0])
			if err != nil {
				return err
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			body, err := teamsOf(cmd, connection, id, names)
			if err != nil {
				return err
			}
			out, err := connection.SetServerTokenTeams(cmd.Context(), id, body)
			if err != nil {
				return err
			}
			return c.showServerTokens(out, []apiv1.ServerToken{out})
		},
	}
	for i, flag := range teamFlags() {
		cmd.Flags().StringVar(&names[i], flag, "", "team of new devices with that system")
		c.complete(cmd, flag, c.offerTeams)
	}
	return cmd
}

func teamFlags() [3]string { return [3]string{"macos", "ios", "ipados"} }

func teamsOf(cmd *cobra.Command, connection *client.Client, id int64, names [3]string) (apiv1.ServerTokenTeams, error) {
	var out apiv1.ServerTokenTeams
	list, err := connection.ServerTokens(cmd.Context())
	if err != nil {
		return out, err
	}
	for _, t := range list {
		if t.ID != id {
			continue
		}
		ids := [3]int64{t.MacOSTeam.TeamID, t.IOSTeam.TeamID, t.IPadOSTeam.TeamID}
		for i, flag := range teamFlags() {
			if !cmd.Flags().Changed(flag) {
				continue
			}
			team, err := findTeam(cmd.Context(), connection, names[i])
			if err != nil {
				return out, err
			}
			ids[i] = team.ID
		}
		out.MacOSTeamID, out.IOSTeamID, out.IPadOSTeamID = &ids[0], &ids[1], &ids[2]
		return out, nil
	}
	return out, noServerToken(id)
}

func noServerToken(id int64) error {
	return &client.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no server token %d; list them with: muster get mdm-apple-bm", id)}
}

func (c *cli) abmResyncCommand() *cobra.Command {
	return &cobra.Command{
		Use: "resync ID", Short: "Read all devices of a server token from Apple anew", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := parseID(given[0])
			if err != nil {
				return err
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			return c.resync(cmd.Context(), connection, id)
		},
	}
}

func (c *cli) resync(ctx context.Context, connection *client.Client, id int64) error {
	if err := connection.ResyncServerToken(ctx, id); err != nil {
		return err
	}
	fmt.Fprintf(c.Err, "The devices of server token %d are read from Apple anew. See how far it is with: muster get mdm-apple-bm\n", id)
	return nil
}

func (c *cli) abmDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete ID", Short: "Delete a server token and its automatic enrollment; hosts stay",
		Long: "Deletes a server token, the automatic enrollment that its devices come in through, and what is known here of its\n" +
			"devices. Hosts that only waited to enroll are pending no more; enrolled hosts stay.", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := parseID(given[0])
			if err != nil {
				return err
			}
			if err := c.confirm(yes, fmt.Sprintf("Delete server token %d? Its automatic enrollment goes with it, so its devices can no longer enroll by themselves; enrolled hosts stay.", id)); err != nil {
				return err
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			if err := connection.DeleteServerToken(cmd.Context(), id); err != nil {
				return err
			}
			fmt.Fprintf(c.Err, "Server token %d is deleted.\n", id)
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (c *cli) abmDevicesCommand() *cobra.Command {
	var f client.DEPFilter
	cmd := &cobra.Command{
		Use: "devices", Short: "List devices that Apple assigned to this server, and what became of their enrollment profile", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.listDEPDevices(cmd.Context(), f) },
	}
	cmd.Flags().Int64Var(&f.ServerTokenID, "token", 0, "id of a server token: its devices only")
	cmd.Flags().StringSliceVar(&f.Serials, "serial", nil, "these serial numbers only")
	cmd.Flags().BoolVar(&f.Deleted, "include-deleted", false, "devices too that were taken from this server at Apple")
	return cmd
}

func (c *cli) listDEPDevices(ctx context.Context, f client.DEPFilter) error {
	connection, err := c.connect()
	if err != nil {
		return err
	}
	const pageSize = 1000
	f.PerPage = pageSize
	var all []apiv1.DEPDevice
	for {
		out, err := connection.DEPDevices(ctx, f)
		if err != nil {
			return err
		}
		all = append(all, out.Devices...)
		if !out.Meta.HasNextResults {
			break
		}
		f.Page++
	}
	rows := make([][]string, 0, len(all))
	for _, d := range all {
		next := ""
		if d.NextTryAt != nil {
			next = c.when(*d.NextTryAt)
		}
		rows = append(rows, []string{d.SerialNumber, d.Model, d.DeviceFamily, d.Assignment, d.ProfileUUID, c.whenOrNot(d.LastTriedAt), next})
	}
	empty := "No devices. Assign some to the server at " + businessPortal
	if f.ServerTokenID != 0 || f.EnrollmentID != 0 || len(f.Serials) > 0 {
		empty = "No device fits that. List all of them with: muster abm devices --include-deleted"
	}
	return c.show(listing{value: all, columns: []string{"SERIAL", "MODEL", "FAMILY", "PROFILE", "PROFILE UUID", "LAST TRIED", "NEXT TRY"}, rows: rows, empty: empty})
}

func (c *cli) setupAssistantCommand() *cobra.Command {
	return group("setup-assistant", "Enrollment profiles that Setup Assistant gets, one a team",
		c.setupAssistantGetCommand(), c.setupAssistantSetCommand(), c.setupAssistantDeleteCommand())
}

func (c *cli) setupAssistantGetCommand() *cobra.Command {
	var team string
	cmd := &cobra.Command{
		Use: "get", Short: "Print the enrollment profile of a team, or the default one", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			t, err := findTeam(cmd.Context(), connection, team)
			if err != nil {
				return err
			}
			out, err := connection.SetupAssistant(cmd.Context(), t.ID)
			if client.StatusOf(err) == http.StatusNotFound {
				fmt.Fprintf(c.Err, "%s has no profile of its own and gets the default one:\n", t.Name)
				out, err = connection.DefaultSetupAssistant(cmd.Context())
			}
			if err != nil {
				return err
			}
			format, err := c.format()
			if err != nil {
				return err
			}
			if format == "yaml" {
				return writeYAML(c.Out, out.EnrollmentProfile)
			}
			return writeJSON(c.Out, out.EnrollmentProfile)
		},
	}
	c.teamFlag(cmd, &team, "team; hosts without a team unless given")
	return cmd
}

func (c *cli) setupAssistantSetCommand() *cobra.Command {
	var team, path, name string
	cmd := &cobra.Command{
		Use: "set", Short: "Set the enrollment profile of a team; Apple checks it first if a server token works", Args: args(cobra.NoArgs),
		Example: "  muster setup-assistant set --team Classroom --file classroom.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return usagef("--file is required")
			}
			profile, err := readLimited(path, maxAssistantFile)
			if err != nil {
				return fmt.Errorf("--file: %w", err)
			}
			if err := checkJSON(profile); err != nil {
				return fmt.Errorf("--file: %s%w", path, err)
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			t, err := findTeam(cmd.Context(), connection, team)
			if err != nil {
				return err
			}
			out, err := connection.SetSetupAssistant(cmd.Context(), t.ID, name, profile)
			if err != nil {
				return err
			}
			for _, w := range out.Warnings {
				fmt.Fprintln(c.Err, "Warning:", w)
			}
			fmt.Fprintf(c.Err, "Devices of %s get the profile %q when they are set up next.\n", t.Name, out.Name)
			return nil
		},
	}
	c.teamFlag(cmd, &team, "team; hosts without a team unless given")
	cmd.Flags().StringVar(&path, "file", "", "the profile as JSON (required)")
	cmd.Flags().StringVar(&name, "name", "", "name in lists; the profile's own unless given")
	return cmd
}

// checkJSON says where a file stops being JSON.
func checkJSON(data []byte) error {
	var read json.RawMessage
	err := json.Unmarshal(data, &read)
	if err == nil {
		return nil
	}
	var broken *json.SyntaxError
	if !errors.As(err, &broken) {
		return fmt.Errorf(" is not JSON: %w", err)
	}
	return fmt.Errorf(":%d is not JSON: %w", 1+bytes.Count(data[:min(int(broken.Offset), len(data))], []byte("\n")), err)
}

func (c *cli) setupAssistantDeleteCommand() *cobra.Command {
	var team string
	cmd := &cobra.Command{
		Use: "delete", Short: "Give a team the default enrollment profile again", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			t, err := findTeam(cmd.Context(), connection, team)
			if err != nil {
				return err
			}
			if err := connection.DeleteSetupAssistant(cmd.Context(), t.ID); err != nil {
				return err
			}
			fmt.Fprintf(c.Err, "%s has the default enrollment profile.\n", t.Name)
			return nil
		},
	}
	c.teamFlag(cmd, &team, "team; hosts without a team unless given")
	return cmd
}
