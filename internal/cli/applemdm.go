package cli

import (
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

func (c *cli) appleMDMCommand() *cobra.Command {
	return group("apple-mdm", "Enroll Apple devices, send them commands and profiles",
		group("enrollments", "Enrollments that devices come in through",
			c.enrollmentsCreateCommand(), c.enrollmentsListCommand(), c.enrollmentsDeleteCommand(), c.enrollmentsProfileCommand(), c.enrollmentsDEPCommand()),
		group("commands", "MDM commands to Apple devices", c.commandsSendCommand(), c.commandsListCommand()),
		group("profiles", "Configuration profiles and declarations of Apple devices",
			c.appleProfilesCreateCommand(), c.appleProfilesListCommand(), c.appleProfilesDeleteCommand()))
}

func (c *cli) enrollmentsCreateCommand() *cobra.Command {
	var name, kind string
	cmd := &cobra.Command{
		Use: "create", Short: "Create an enrollment and show its URL", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return usagef("--name is required")
			}
			if kind != "manual" && kind != "automatic" {
				return usagef("--type must be manual or automatic")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			out, err := connection.CreateEnrollment(cmd.Context(), name, kind)
			if err != nil {
				return err
			}
			if kind == "automatic" {
				fmt.Fprintf(c.Err, "Give it a server token with: muster apple-mdm enrollments dep set-token setup --enrollment=%d\n", out.ID)
			} else {
				fmt.Fprintln(c.Err, "Open the URL on a device to enroll it.")
			}
			return c.showEnrollments(out, []apiv1.Enrollment{out})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name (required)")
	cmd.Flags().StringVar(&kind, "type", "manual", "manual, or automatic for devices that Apple assigns to this server")
	return cmd
}

func (c *cli) enrollmentsListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List enrollments with their URLs", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			out, err := connection.Enrollments(cmd.Context())
			if err != nil {
				return err
			}
			return c.showEnrollments(out, out)
		},
	}
}

func (c *cli) showEnrollments(value any, enrollments []apiv1.Enrollment) error {
	rows := make([][]string, 0, len(enrollments))
	for _, e := range enrollments {
		rows = append(rows, []string{strconv.FormatInt(e.ID, 10), e.Name, e.Type, e.EnrollURL, c.when(e.CreatedAt)})
	}
	return c.show(listing{value: value, columns: []string{"ID", "NAME", "TYPE", "ENROLL URL", "CREATED"}, rows: rows,
		empty: "No enrollments yet. Make one with: muster apple-mdm enrollments create --name NAME"})
}

// parseID reads a numeric argument.
func parseID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, usagef("%q is not an id", text)
	}
	return id, nil
}

func (c *cli) enrollmentsDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete ID", Short: "Delete an enrollment; enrolled devices stay", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := parseID(given[0])
			if err != nil {
				return err
			}
			if err := c.confirm(yes, fmt.Sprintf("Delete enrollment %d? Its URL stops working.", id)); err != nil {
				return err
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			if err := connection.DeleteEnrollment(cmd.Context(), id); err != nil {
				return err
			}
			fmt.Fprintf(c.Err, "Enrollment %d is deleted.\n", id)
			return c.forgetDEPKey(id)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (c *cli) enrollmentsProfileCommand() *cobra.Command {
	var path string
	var unsigned bool
	cmd := &cobra.Command{
		Use: "profile [ID]", Short: "Download an enrollment profile, for one device",
		Long: "Downloads the profile of an enrollment, or of the default manual enrollment. Each download enrolls one device.",
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			id := int64(0)
			if len(given) == 1 {
				var err error
				if id, err = parseID(given[0]); err != nil {
					return err
				}
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			data, err := connection.EnrollmentProfile(cmd.Context(), id, !unsigned)
			if err != nil {
				return err
			}
			if path == "-" {
				_, err := c.Out.Write(data)
				return err
			}
			const mode = 0o600 // it holds a one-time secret
			if err := os.WriteFile(path, data, mode); err != nil {
				return fmt.Errorf("write the profile: %w", err)
			}
			fmt.Fprintf(c.Err, "The profile is in %s and enrolls one device.\n", path)
			return nil
		},
	}
	cmd.Flags().StringVar(&path, "out", "muster-enrollment-profile.mobileconfig", "file to write to; - is standard output")
	cmd.Flags().BoolVar(&unsigned, "unsigned", false, "the bare property list")
	return cmd
}

func (c *cli) commandsSendCommand() *cobra.Command {
	var hosts, path string
	cmd := &cobra.Command{
		Use: "send", Short: "Send a command to hosts by id",
		Example: "  muster apple-mdm commands send --target-hosts=1,2 --command=restart.plist",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if hosts == "" || path == "" {
				return usagef("--target-hosts and --command are required")
			}
			var targets []int64
			for _, item := range splitComma(hosts) {
				id, err := parseID(item)
				if err != nil {
					return err
				}
				targets = append(targets, id)
			}
			raw, err := readPayload(path)
			if err != nil {
				return err
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			out, err := connection.RunCommandByID(cmd.Context(), raw, targets)
			if err != nil {
				return err
			}
			return c.showSent(out)
		},
	}
	cmd.Flags().StringVar(&hosts, "target-hosts", "", "comma list of host ids (required)")
	cmd.Flags().StringVar(&path, "command", "", "file of the command, a property list (required)")
	return cmd
}

func (c *cli) commandsListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List commands, newest first", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			out, err := connection.Commands(cmd.Context(), client.CommandFilter{}, 0, recentCommands)
			if err != nil {
				return err
			}
			return c.showCommands(out)
		},
	}
}
