package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

func (c *cli) hostSetupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "setup HOST", Short: "Show what a host waits for, or waited for, in Setup Assistant",
		Args: args(cobra.ExactArgs(1)), ValidArgsFunction: c.completeHost,
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			host, err := findHost(cmd.Context(), connection, given[0])
			if err != nil {
				return err
			}
			s, err := connection.HostSetup(cmd.Context(), host.ID)
			if err != nil {
				return fmt.Errorf("setup of %s: %w", host.DisplayName, err)
			}
			return c.showSetup(host.DisplayName, s)
		},
	}
}

func (c *cli) showSetup(name string, s apiv1.HostSetup) error {
	rows := make([][]string, 0, len(s.Steps))
	for _, step := range s.Steps {
		rows = append(rows, []string{step.Name, step.Status, c.when(step.Since), step.Detail})
	}
	l := listing{value: s, columns: []string{"STEP", "STATUS", "SINCE", "DETAIL"}, rows: rows}
	l.text = func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s since %s", name, s.Status, c.when(s.StartedAt))
		switch {
		case s.EndedAt != nil:
			fmt.Fprintf(w, ", over at %s (%s)", c.when(*s.EndedAt), s.Outcome)
		case s.Deadline != nil:
			fmt.Fprintf(w, ", until %s at the latest", c.when(*s.Deadline))
		}
		fmt.Fprintln(w)
		_ = writeGrid(w, l.columns, l.rows) // to the terminal
	}
	return c.show(l)
}

func (c *cli) hostReleaseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "release HOST", Short: "Let a host that waits in Setup Assistant go on",
		Args: args(cobra.ExactArgs(1)), ValidArgsFunction: c.completeHost,
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			host, err := findHost(cmd.Context(), connection, given[0])
			if err != nil {
				return err
			}
			if err := connection.ReleaseHost(cmd.Context(), host.ID); err != nil {
				return fmt.Errorf("release %s: %w", host.DisplayName, err)
			}
			fmt.Fprintf(c.Err, "%s is told to go on. See: muster host setup %s\n", printable(host.DisplayName), given[0])
			return nil
		},
	}
}

func (c *cli) hostRenewCommand() *cobra.Command {
	return &cobra.Command{
		Use: "renew-identity HOST", Short: "Renew the certificate of a host's MDM enrollment now, whenever it expires",
		Args: args(cobra.ExactArgs(1)), ValidArgsFunction: c.completeHost,
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			host, err := findHost(cmd.Context(), connection, given[0])
			if err != nil {
				return err
			}
			if err := connection.RenewIdentity(cmd.Context(), host.ID); err != nil {
				return fmt.Errorf("renew the identity of %s: %w", host.DisplayName, err)
			}
			fmt.Fprintf(c.Err, "%s gets a new certificate when it next connects. The present one stays good until the new one is used.\n", printable(host.DisplayName))
			return nil
		},
	}
}
