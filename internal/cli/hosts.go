package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

func (c *cli) getHostsCommand() *cobra.Command {
	var mdm, pending bool
	var team string
	var filter client.HostFilter
	cmd := &cobra.Command{
		Use: "hosts [HOST]", Short: "List hosts, or show one", Args: args(cobra.MaximumNArgs(1)), ValidArgsFunction: c.completeHost,
		Example: "  muster get hosts --mdm -o csv\n  muster get hosts C02XK1ABJGH5",
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			if len(given) == 1 {
				return c.showHost(cmd.Context(), connection, given[0])
			}
			if mdm && pending {
				return usagef("--mdm and --mdm-pending exclude each other")
			}
			if mdm || pending {
				if err := requireMDM(cmd.Context(), connection); err != nil {
					return err
				}
			}
			filter.ConnectedToFleet = mdm
			if pending {
				filter.MDMName, filter.MDMEnrollmentStatus = "Fleet", "pending"
			}
			if cmd.Flags().Changed("team") {
				found, err := findTeam(cmd.Context(), connection, team)
				if err != nil {
					return err
				}
				filter.TeamID = &found.ID
			}
			return c.listHosts(cmd.Context(), connection, filter)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&mdm, "mdm", false, "only hosts that are enrolled here")
	f.BoolVar(&pending, "mdm-pending", false, "only hosts that are assigned to this server and not enrolled yet")
	f.StringVar(&filter.Query, "query", "", "part of name, serial number, UUID or MAC address")
	c.teamFlag(cmd, &team, "only hosts of this team; '' is no team")
	f.StringVar(&filter.OSSettings, "os-settings", "", "by the worst status of their profiles: verified, verifying, pending or failed; without --team: of hosts that have none")
	f.StringVar(&filter.Status, "status", "", "new, online, offline or mia")
	f.StringVar(&filter.Platform, "platform", "", "comma list of darwin, ios, ipados, windows")
	return cmd
}

// requireMDM refuses where no MDM is set up: an empty list would mislead.
func requireMDM(ctx context.Context, connection *client.Client) error {
	config, err := connection.Config(ctx)
	if err != nil {
		return err
	}
	if !config.MDM.EnabledAndConfigured && !config.MDM.WindowsEnabledAndConfigured {
		return errors.New("MDM is not turned on: give the server its push certificate, see muster generate mdm-apple --help")
	}
	return nil
}

func (c *cli) listHosts(ctx context.Context, connection *client.Client, filter client.HostFilter) error {
	hosts := []apiv1.Host{}
	err := connection.AllHosts(ctx, filter, func(h apiv1.Host) error {
		hosts = append(hosts, h)
		return nil
	})
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(hosts))
	for _, h := range hosts {
		rows = append(rows, []string{h.UUID, h.DisplayName, h.Platform, h.OsqueryVersion, h.Status, h.HardwareSerial, deref(h.MDM.EnrollmentStatus)})
	}
	return c.show(listing{
		value: hosts, rows: rows, empty: "No hosts found.",
		columns: []string{"UUID", "HOSTNAME", "PLATFORM", "OSQUERY VERSION", "STATUS", "SERIAL", "MDM"},
	})
}

func deref(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func (c *cli) getHostCommand() *cobra.Command {
	return &cobra.Command{
		Use: "host HOST", Short: "Show a host by serial number, UUID, host name or id:NUMBER", Args: args(cobra.ExactArgs(1)), ValidArgsFunction: c.completeHost,
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			return c.showHost(cmd.Context(), connection, given[0])
		},
	}
}

// findHost resolves a name, with what to do when it is none or several.
func findHost(ctx context.Context, connection *client.Client, name string) (apiv1.HostDetail, error) {
	host, err := connection.HostByIdentifier(ctx, name)
	switch client.StatusOf(err) {
	case http.StatusNotFound:
		return host, fmt.Errorf("host %q: %w\nHosts are named by serial number, UUID or host name; list them with: muster get hosts", name, err)
	case http.StatusConflict:
		return host, fmt.Errorf("host %q: %w", name, err)
	}
	if err != nil {
		return host, fmt.Errorf("host %q: %w", name, err)
	}
	return host, nil
}

func (c *cli) showHost(ctx context.Context, connection *client.Client, name string) error {
	h, err := findHost(ctx, connection, name)
	if err != nil {
		return err
	}
	facts := [][]string{
		{"Name", h.DisplayName}, {"ID", strconv.FormatInt(h.ID, 10)}, {"Serial number", h.HardwareSerial}, {"UUID", h.UUID},
		{"Host name", h.Hostname}, {"Platform", h.Platform}, {"OS", strings.TrimSpace(h.OSVersion + " " + h.Build)}, {"Model", h.HardwareModel},
		{"Status", h.Status}, {"Seen", c.when(h.SeenTime)}, {"MDM", deref(h.MDM.EnrollmentStatus)}, {"MDM server", deref(h.MDM.ServerURL)},
		{"Enrolled", c.whenOrNot(h.LastMDMEnrolledAt)}, {"Checked in", c.whenOrNot(h.LastMDMCheckedInAt)},
		{"Bootstrap token", yesNo(h.MDM.BootstrapTokenEscrowed, "escrowed", "not escrowed")},
		{"Device", deviceState(h.MDM)},
		{"Pending commands", strconv.Itoa(h.PendingCommands)}, {"Team", teamOr(h.TeamName)}, {"Labels", labelNames(h.Labels)},
	}
	facts = append(facts, c.vitalFacts(&h)...)
	for _, p := range h.MDM.Profiles {
		status := p.Status
		if p.OperationType == "remove" {
			status += " (being removed)"
		}
		if p.Detail != "" {
			status += ": " + p.Detail
		}
		facts = append(facts, []string{"Profile " + printable(p.Name), status})
	}
	for _, e := range h.Enrollments {
		if e.PushBrokenAt != nil {
			facts = append(facts, []string{"Push broken", fmt.Sprintf("since %s on the %s channel: %s", c.when(*e.PushBrokenAt), e.Channel, e.PushReason)})
		}
	}
	return c.show(listing{value: h, columns: []string{"FACT", "VALUE"}, rows: facts, text: func(w io.Writer) { writeFacts(w, facts) }})
}

// writeFacts aligns names and values.
func writeFacts(w io.Writer, facts [][]string) {
	const gap = 2
	aligned := tabwriter.NewWriter(w, 0, 0, gap, ' ', 0)
	for _, fact := range facts {
		fmt.Fprintf(aligned, "%s:\t%s\n", fact[0], printable(fact[1]))
	}
	_ = aligned.Flush() // a reader that went away, as with | head
}

func teamOr(name *string) string {
	if name == nil {
		return noTeam
	}
	return *name
}

func yesNo(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

func labelNames(labels []apiv1.HostLabel) string {
	names := make([]string, 0, len(labels))
	for _, l := range labels {
		names = append(names, l.Name)
	}
	return strings.Join(names, ", ")
}
