package cli

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

// noTeam is what people call the hosts without a team.
const noTeam = "No team"

func (c *cli) teamsCommand() *cobra.Command {
	return group("teams", "Create and delete teams of hosts", c.teamsCreateCommand(), c.teamsDeleteCommand())
}

// findTeam resolves a name; empty: hosts without a team.
func findTeam(ctx context.Context, connection *client.Client, name string) (apiv1.Team, error) {
	if name == "" || strings.EqualFold(name, noTeam) {
		return apiv1.Team{Name: noTeam}, nil
	}
	teams, err := connection.Teams(ctx, name)
	if err != nil {
		return apiv1.Team{}, fmt.Errorf("team %q: %w", name, err)
	}
	for _, t := range teams {
		if t.Name == name {
			return t, nil
		}
	}
	return apiv1.Team{}, &client.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no team %q; list them with: muster get teams", name)}
}

// teamFlag adds the flag that names a team.
func (c *cli) teamFlag(cmd *cobra.Command, name *string, usage string) {
	cmd.Flags().StringVar(name, "team", "", usage)
	c.complete(cmd, "team", c.offerTeams)
}

// offerTeams lists the names of teams.
func (c *cli) offerTeams(ctx context.Context, typed string) []string {
	return c.offer(ctx, typed, func(ctx context.Context, connection *client.Client) ([]string, error) {
		teams, err := connection.Teams(ctx, typed)
		names := make([]string, 0, len(teams))
		for _, t := range teams {
			names = append(names, t.Name)
		}
		return names, err
	})
}

func (c *cli) getTeamsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "teams", Short: "List teams", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			teams, err := connection.Teams(cmd.Context(), "")
			if err != nil {
				return err
			}
			return c.showTeams(teams, teams)
		},
	}
}

func (c *cli) showTeams(value any, teams []apiv1.Team) error {
	rows := make([][]string, 0, len(teams))
	for _, t := range teams {
		rows = append(rows, []string{strconv.FormatInt(t.ID, 10), t.Name, strconv.Itoa(t.HostCount),
			updatesText(t.MDM.MacOSUpdates), updatesText(t.MDM.IOSUpdates), updatesText(t.MDM.IPadOSUpdates), t.Description})
	}
	return c.show(listing{value: value, columns: []string{"ID", "NAME", "HOSTS", "MACOS", "IOS", "IPADOS", "DESCRIPTION"}, rows: rows,
		empty: "No teams yet. Make one with: muster teams create NAME"})
}

// updatesText is an enforced version with its deadline.
func updatesText(u apiv1.OSUpdates) string {
	if deref(u.MinimumVersion) == "" {
		return ""
	}
	return deref(u.MinimumVersion) + " by " + deref(u.Deadline)
}

func (c *cli) teamsCreateCommand() *cobra.Command {
	var request apiv1.CreateTeamRequest
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a team", Args: args(cobra.ExactArgs(1)),
		Example: "  muster teams create Sales --description sellers",
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			request.Name = given[0]
			team, err := connection.CreateTeam(cmd.Context(), request)
			if err != nil {
				return fmt.Errorf("team %q: %w", given[0], err)
			}
			return c.showTeams(team, []apiv1.Team{team})
		},
	}
	cmd.Flags().StringVar(&request.Description, "description", "", "what the team is for")
	return cmd
}

func (c *cli) teamsDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete a team with all that is its own; its hosts are without a team then",
		Long: "Deletes a team with its profiles, enroll secrets, bootstrap package and profile for Setup Assistant. Its hosts are\n" +
			"without a team then, and so are devices that would have joined it: by its enrollments, and as new ones of server tokens.",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: c.completeFirst(c.offerTeams),
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			team, err := findTeam(cmd.Context(), connection, given[0])
			if err != nil {
				return err
			}
			if team.ID == 0 {
				return usagef("%q is no team: it stands for the hosts without one", given[0])
			}
			question := fmt.Sprintf("Delete team %s? Its profiles are removed from its %d hosts. Its enroll secrets, package and profile for Setup Assistant go with it, and new devices join no team in its place.", printable(team.Name), team.HostCount)
			if err := c.confirm(yes, question); err != nil {
				return err
			}
			if err := connection.DeleteTeam(cmd.Context(), team.ID); err != nil {
				return fmt.Errorf("team %q: %w", given[0], err)
			}
			fmt.Fprintf(c.Err, "Team %s is deleted.\n", printable(team.Name))
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (c *cli) getEnrollSecretsCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "enroll-secrets", Short: "Show the secrets by which agents join a team", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			team, err := findTeam(cmd.Context(), connection, name)
			if err != nil {
				return err
			}
			secrets, err := connection.EnrollSecrets(cmd.Context(), team.ID)
			if err != nil {
				return err
			}
			rows := make([][]string, 0, len(secrets))
			for _, s := range secrets {
				rows = append(rows, []string{s.Secret, team.Name, c.whenOrNot(s.CreatedAt)})
			}
			return c.show(listing{value: secrets, columns: []string{"SECRET", "TEAM", "CREATED"}, rows: rows,
				empty: team.Name + " has no enroll secrets."})
		},
	}
	c.teamFlag(cmd, &name, "team by name (default: hosts without a team)")
	return cmd
}

func (c *cli) hostsCommand() *cobra.Command {
	return group("hosts", "Move hosts between teams", c.hostsTransferCommand())
}

// transfer is what the command was told.
type transfer struct {
	team, hosts, label, status, query string
	expect                            int
}

func (c *cli) hostsTransferCommand() *cobra.Command {
	var t transfer
	cmd := &cobra.Command{
		Use: "transfer", Short: "Move hosts into a team, or with --team '' out of any", Args: args(cobra.NoArgs),
		Example: "  muster hosts transfer --team Sales --hosts C02XK1ABJGH5,ada-mac\n  muster hosts transfer --team Sales --label Lab --expect 12",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("team") {
				return usagef("--team is required; --team '' means no team")
			}
			filtered := t.label != "" || t.status != "" || t.query != ""
			if (t.hosts != "") == filtered {
				return usagef("name hosts by --hosts, or select them by --label, --status and --search_query")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			team, err := findTeam(cmd.Context(), connection, t.team)
			if err != nil {
				return err
			}
			if filtered {
				return c.transferSelected(cmd.Context(), connection, team, t)
			}
			return c.transferNamed(cmd.Context(), connection, team, t)
		},
	}
	f := cmd.Flags()
	c.teamFlag(cmd, &t.team, "team by name; '' is no team (required)")
	f.StringVar(&t.hosts, "hosts", "", "comma list of serial numbers, UUIDs or host names")
	f.StringVar(&t.label, "label", "", "hosts of this label")
	f.StringVar(&t.status, "status", "", "hosts of this status: new, online, offline or mia")
	f.StringVar(&t.query, "search_query", "", "hosts whose name, serial number, UUID or MAC address holds this")
	f.IntVar(&t.expect, "expect", -1, "refuse, unless this many hosts would move")
	c.complete(cmd, "hosts", c.offerHosts)
	c.complete(cmd, "label", c.offerLabels)
	return cmd
}

func (c *cli) transferNamed(ctx context.Context, connection *client.Client, team apiv1.Team, t transfer) error {
	names := splitComma(t.hosts)
	ids := make([]int64, 0, len(names))
	for i, name := range names {
		c.progress(i, len(names), "Looking up hosts")
		host, err := findHost(ctx, connection, name)
		if err != nil {
			return err
		}
		ids = append(ids, host.ID)
	}
	c.progress(len(names), len(names), "Looking up hosts")
	if err := connection.TransferHosts(ctx, team.ID, ids, t.expect); err != nil {
		return fmt.Errorf("transfer to %q: %w", team.Name, err)
	}
	return c.showMoved(len(ids), team)
}

func (c *cli) transferSelected(ctx context.Context, connection *client.Client, team apiv1.Team, t transfer) error {
	selection := apiv1.HostSelection{Query: t.query, Status: t.status}
	if t.label != "" {
		label, err := findLabel(ctx, connection, t.label)
		if err != nil {
			return err
		}
		selection.LabelID = &label.ID
	}
	n, err := connection.TransferByFilter(ctx, team.ID, selection, t.expect)
	if err != nil {
		return fmt.Errorf("transfer to %q: %w", team.Name, err)
	}
	return c.showMoved(n, team)
}

// movedAtOnce is how many hosts a server moves before it answers.
const movedAtOnce = 500

func (c *cli) showMoved(n int, team apiv1.Team) error {
	value := struct {
		HostCount int    `json:"host_count"`
		TeamID    int64  `json:"team_id"`
		TeamName  string `json:"team_name"`
	}{n, team.ID, team.Name}
	if n > movedAtOnce {
		fmt.Fprintln(c.Err, "So many hosts move in batches. See how far they are with: muster get teams")
	}
	return c.show(listing{value: value, columns: []string{"HOSTS", "TEAM"}, rows: [][]string{{strconv.Itoa(n), team.Name}}})
}
