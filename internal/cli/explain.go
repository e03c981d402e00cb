package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

func (c *cli) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use: "explain HOST ITEM", Short: "Tell why a host has a profile or declaration, or why not",
		Long: "Tell the whole story of one profile or declaration on one host: which rules decide that the host gets it, what was\n" +
			"tried, what the device answered and what that means, and what happens next. ITEM is a UUID, identifier or name.",
		Example: "  muster explain C02XK1ABJGH5 com.example.wifi",
		Args:    args(cobra.ExactArgs(2)), ValidArgsFunction: c.completeHost,
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			host, err := findHost(cmd.Context(), connection, given[0])
			if err != nil {
				return err
			}
			x, err := connection.Explain(cmd.Context(), host.ID, given[1])
			if err != nil {
				return fmt.Errorf("%s on %s: %w", given[1], host.DisplayName, err)
			}
			return c.show(listing{value: x, columns: []string{"RULE", "MET", "TEXT"}, rows: ruleRows(x), text: func(w io.Writer) { c.tell(w, x) }})
		},
	}
}

func ruleRows(x apiv1.ExplainResponse) [][]string {
	rows := make([][]string, 0, len(x.Rules))
	for _, r := range x.Rules {
		rows = append(rows, []string{r.Rule, r.Met, r.Text})
	}
	return rows
}

// tell prints an explanation for people.
func (c *cli) tell(w io.Writer, x apiv1.ExplainResponse) {
	fmt.Fprintf(w, "%s\n\nRules\n", printable(x.Answer))
	for _, r := range x.Rules {
		fmt.Fprintf(w, "  %s %s\n", mark(r.Met), printable(r.Text))
		for _, l := range r.Labels {
			fmt.Fprintf(w, "      %s %s: %s\n", mark(l.Member), printable(l.Name), printable(l.Text))
		}
	}
	if p := x.Problem; p != nil {
		fmt.Fprintf(w, "\nProblem\n  said:  %s\n  cause: %s\n  to do: %s\n", printable(p.Said), printable(p.Cause), printable(p.Fix))
	}
	if len(x.Predicted) > 0 {
		fmt.Fprintln(w, "\nExpected trouble")
		for _, p := range x.Predicted {
			fmt.Fprintf(w, "  %s\n      to do: %s\n", printable(p.Text), printable(p.Fix))
		}
	}
	if len(x.Attempts) > 0 {
		fmt.Fprintln(w, "\nWhat happened")
		for _, a := range x.Attempts {
			fmt.Fprintf(w, "  %s  %-9s %s\n", c.when(a.At), a.Status, printable(a.Text))
			if a.Problem != nil && a.Problem.Said != a.Text {
				fmt.Fprintf(w, "      %s\n", printable(a.Problem.Cause))
			}
		}
	}
	fmt.Fprintf(w, "\nNext\n  %s", printable(x.Next.Text))
	if x.Next.At != nil {
		fmt.Fprintf(w, ", at %s", c.when(*x.Next.At))
	}
	fmt.Fprintf(w, " (%s)\n", x.Next.Who)
}

func mark(met string) string {
	switch met {
	case "yes":
		return "[yes]"
	case "no":
		return "[no] "
	}
	return "[?]  "
}

func (c *cli) hostHistoryCommand() *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use: "history HOST", Short: "Show a host as it was at a moment",
		Example: "  muster host history C02XK1ABJGH5 --at 2026-11-20T09:00:00Z\n  muster host history C02XK1ABJGH5 --at 36h",
		Args:    args(cobra.ExactArgs(1)), ValidArgsFunction: c.completeHost,
		RunE: func(cmd *cobra.Command, given []string) error {
			moment, err := parseMoment(at, time.Now())
			if err != nil {
				return err
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			host, err := findHost(cmd.Context(), connection, given[0])
			if err != nil {
				return err
			}
			h, err := connection.History(cmd.Context(), host.ID, moment)
			if err != nil {
				return fmt.Errorf("history of %s: %w", host.DisplayName, err)
			}
			rows := make([][]string, 0, len(h.Items))
			for _, i := range h.Items {
				rows = append(rows, []string{i.Name, i.Operation, i.Status, c.when(i.Since), i.Detail})
			}
			l := listing{value: h, columns: []string{"ITEM", "OPERATION", "STATUS", "SINCE", "DETAIL"}, rows: rows}
			l.text = func(w io.Writer) { c.tellHistory(w, host, h, l) }
			return c.show(l)
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "moment in RFC 3339 form, or how long ago, such as 36h; now unless given")
	return cmd
}

// parseMoment reads a time, or how long ago.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, usagef("--at must be a time such as 2026-11-20T09:00:00Z, or how long ago, such as 36h")
	}
	return at, nil
}

func (c *cli) tellHistory(w io.Writer, host apiv1.HostDetail, h apiv1.HistoryResponse, l listing) {
	enrolled := "not recorded"
	if h.Enrolled != nil {
		enrolled = yesNo(*h.Enrolled, "on", "off")
	}
	fmt.Fprintf(w, "%s at %s: MDM %s\n\n", printable(host.DisplayName), c.when(h.At), enrolled)
	if len(l.rows) == 0 {
		fmt.Fprintln(w, "It had no profiles or declarations of this server.")
	} else {
		_ = writeGrid(w, l.columns, l.rows) // a reader that went away, as with | head
	}
	fmt.Fprintln(w, "\nBefore that")
	for _, e := range h.Events {
		fmt.Fprintf(w, "  %s  %s%s\n", c.when(e.At), strings.ReplaceAll(e.Kind, "_", " "), by(e.Actor))
	}
}

func by(actor string) string {
	if actor == "" {
		return ""
	}
	return " by " + printable(actor)
}

func (c *cli) whatIfCommand() *cobra.Command {
	var team string
	var join, leave []string
	cmd := &cobra.Command{
		Use: "what-if HOST", Short: "Tell what a host would have in another team or with other labels",
		Example: "  muster what-if C02XK1ABJGH5 --team Lab --join Kiosks",
		Args:    args(cobra.ExactArgs(1)), ValidArgsFunction: c.completeHost,
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			host, err := findHost(cmd.Context(), connection, given[0])
			if err != nil {
				return err
			}
			var q client.WhatIf
			if cmd.Flags().Changed("team") {
				t, err := findTeam(cmd.Context(), connection, team)
				if err != nil {
					return err
				}
				q.TeamID = &t.ID
			}
			if q.Join, err = labelIDs(cmd.Context(), connection, join); err != nil {
				return err
			}
			if q.Leave, err = labelIDs(cmd.Context(), connection, leave); err != nil {
				return err
			}
			out, err := connection.WhatIf(cmd.Context(), host.ID, q)
			if err != nil {
				return err
			}
			l := listing{value: out, columns: []string{"ITEM", "NOW", "THEN", "REASON"}, empty: "The host would have no profiles or declarations."}
			for _, i := range out.Items {
				l.rows = append(l.rows, []string{i.Name, i.Now, i.Then, i.Reason})
			}
			return c.show(l)
		},
	}
	flags := cmd.Flags()
	c.teamFlag(cmd, &team, `name of the team it would be in; "No team" for none`)
	flags.StringSliceVar(&join, "join", nil, "labels that it would be a member of")
	flags.StringSliceVar(&leave, "leave", nil, "labels that it would be no member of")
	return cmd
}

// labelIDs resolves names.
func labelIDs(ctx context.Context, connection *client.Client, names []string) ([]int64, error) {
	if len(names) == 0 {
		return nil, nil
	}
	known, err := connection.LabelNames(ctx)
	if err != nil {
		return nil, err
	}
	var ids []int64
	for _, name := range names {
		at := slices.IndexFunc(known, func(l apiv1.LabelSummary) bool { return l.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("there is no label %q; list them with: muster get labels", name)
		}
		ids = append(ids, known[at].ID)
	}
	return ids, nil
}
