package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

func (c *cli) labelsCommand() *cobra.Command {
	return group("labels", "Create and delete labels, which are named sets of hosts", c.labelsCreateCommand(), c.labelsDeleteCommand())
}

// findLabel resolves a name.
func findLabel(ctx context.Context, connection *client.Client, name string) (apiv1.LabelSummary, error) {
	labels, err := connection.LabelNames(ctx)
	if err != nil {
		return apiv1.LabelSummary{}, fmt.Errorf("label %q: %w", name, err)
	}
	for _, l := range labels {
		if l.Name == name {
			return l, nil
		}
	}
	return apiv1.LabelSummary{}, &client.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no label %q; list them with: muster get labels", name)}
}

// offerLabels lists the names of labels after the last comma.
func (c *cli) offerLabels(ctx context.Context, typed string) []string {
	return c.offer(ctx, typed, func(ctx context.Context, connection *client.Client) ([]string, error) {
		labels, err := connection.LabelNames(ctx)
		names := make([]string, 0, len(labels))
		for _, l := range labels {
			names = append(names, l.Name)
		}
		return names, err
	})
}

func (c *cli) getLabelsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "labels", Short: "List labels with the number of their hosts", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			labels, err := connection.Labels(cmd.Context())
			if err != nil {
				return err
			}
			return c.showLabels(labels, labels)
		},
	}
}

func (c *cli) showLabels(value any, labels []apiv1.Label) error {
	rows := make([][]string, 0, len(labels))
	for _, l := range labels {
		rows = append(rows, []string{strconv.FormatInt(l.ID, 10), l.Name, membership(l), strconv.Itoa(l.HostCount), ruleText(l), l.Description})
	}
	return c.show(listing{value: value, columns: []string{"ID", "NAME", "MEMBERSHIP", "HOSTS", "RULE", "DESCRIPTION"}, rows: rows})
}

func membership(l apiv1.Label) string {
	if l.LabelType == "builtin" {
		return "built in"
	}
	return l.LabelMembershipType
}

// ruleText is what decides about a label's members.
func ruleText(l apiv1.Label) string {
	if c := l.Criteria; c != nil {
		operator := c.Operator
		if operator == "" {
			operator = "="
		}
		return strings.Join([]string{c.Vital, operator, c.Value}, " ")
	}
	return l.Query
}

func (c *cli) getLabelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "label NAME", Short: "Show a label with its hosts", Args: args(cobra.ExactArgs(1)), ValidArgsFunction: c.completeFirst(c.offerLabels),
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			found, err := findLabel(cmd.Context(), connection, given[0])
			if err != nil {
				return err
			}
			label, err := connection.Label(cmd.Context(), found.ID)
			if err != nil {
				return err
			}
			out := struct {
				apiv1.Label
				Hosts []apiv1.Host `json:"hosts"`
			}{Label: label, Hosts: []apiv1.Host{}}
			err = connection.LabelHosts(cmd.Context(), found.ID, func(h apiv1.Host) error {
				out.Hosts = append(out.Hosts, h)
				return nil
			})
			if err != nil {
				return err
			}
			facts := [][]string{{"Name", label.Name}, {"ID", strconv.FormatInt(label.ID, 10)}, {"Description", label.Description}, {"Membership", membership(label)},
				{"Rule", ruleText(label)}, {"Hosts", strconv.Itoa(label.HostCount)}}
			columns := []string{"UUID", "HOSTNAME", "PLATFORM", "SERIAL"}
			rows := make([][]string, 0, len(out.Hosts))
			for _, h := range out.Hosts {
				rows = append(rows, []string{h.UUID, h.DisplayName, h.Platform, h.HardwareSerial})
			}
			return c.show(listing{value: out, columns: columns, rows: rows, text: func(w io.Writer) {
				writeFacts(w, facts)
				if len(rows) > 0 {
					_ = writeGrid(w, columns, rows) // a reader that went away, as with | head
				}
			}})
		},
	}
}

func (c *cli) labelsCreateCommand() *cobra.Command {
	var request apiv1.CreateLabelRequest
	var hosts string
	var criteria apiv1.Criteria
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a label: of hosts that are named, or by a query or a vital", Args: args(cobra.ExactArgs(1)),
		Example: "  muster labels create Lab --hosts C02XK1ABJGH5,ada-mac\n  muster labels create Sequoia --vital os_version --operator '>=' --value 15",
		RunE: func(cmd *cobra.Command, given []string) error {
			request.Name = given[0]
			request.Hosts = splitComma(hosts)
			ways := 0
			for _, way := range []bool{len(request.Hosts) > 0, request.Query != "", criteria.Vital != ""} {
				if way {
					ways++
				}
			}
			if ways > 1 {
				return usagef("give one of --hosts, --query and --vital")
			}
			if (criteria.Vital != "") != (criteria.Value != "") {
				return usagef("--vital and --value belong together, as --vital os_version --operator '>=' --value 15")
			}
			if criteria.Vital != "" {
				request.Criteria = &criteria
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			label, err := connection.CreateLabel(cmd.Context(), request)
			if err != nil {
				return fmt.Errorf("label %q: %w", given[0], err)
			}
			return c.showLabels(label, []apiv1.Label{label})
		},
	}
	f := cmd.Flags()
	f.StringVar(&request.Description, "description", "", "what the label is for")
	f.StringVar(&hosts, "hosts", "", "comma list of serial numbers, UUIDs or host names")
	f.StringVar(&request.Query, "query", "", "query that a host's agent answers with rows")
	f.StringVar(&request.Platform, "platform", "", "with --query: only hosts of this platform")
	f.StringVar(&criteria.Vital, "vital", "", "vital that decides, such as os_version or hardware_model")
	f.StringVar(&criteria.Operator, "operator", "", "=, !=, <, <=, >, >=, contains or starts_with (default =)")
	f.StringVar(&criteria.Value, "value", "", "what the vital is compared with")
	c.complete(cmd, "hosts", c.offerHosts)
	return cmd
}

func (c *cli) labelsDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete a label; profiles that it scopes go to no further hosts", Args: args(cobra.ExactArgs(1)),
		ValidArgsFunction: c.completeFirst(c.offerLabels),
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			label, err := findLabel(cmd.Context(), connection, given[0])
			if err != nil {
				return err
			}
			if err := c.confirm(yes, fmt.Sprintf("Delete label %s? Profiles that it scopes go to no further hosts.", printable(label.Name))); err != nil {
				return err
			}
			if err := connection.DeleteLabelByID(cmd.Context(), label.ID); err != nil {
				return fmt.Errorf("label %q: %w", label.Name, err)
			}
			fmt.Fprintf(c.Err, "Label %s is deleted.\n", printable(label.Name))
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
