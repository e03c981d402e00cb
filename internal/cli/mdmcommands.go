package cli

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

// recentCommands is how many commands a listing shows unless told otherwise.
const recentCommands = 100

func commandColumns() []string { return []string{"UUID", "TIME", "TYPE", "STATUS", "HOSTNAME"} }

// typeName shows the type; one that is not told is a profile whose content is
// kept back.
func typeName(requestType string) string {
	if requestType == "" {
		return "InstallProfile"
	}
	return requestType
}

func (c *cli) commandRow(r apiv1.CommandResult) []string {
	name := r.Hostname
	if name == "" {
		name = r.HostUUID
	}
	return []string{r.CommandUUID, c.when(r.UpdatedAt), typeName(r.RequestType), r.Status, name}
}

func (c *cli) getMDMCommandsCommand() *cobra.Command {
	var filter client.CommandFilter
	var limit int
	cmd := &cobra.Command{
		Use: "mdm-commands", Short: "List MDM commands, newest first", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usagef("--limit must be at least 1")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			out, err := connection.Commands(cmd.Context(), filter, 0, limit)
			if err != nil {
				return err
			}
			return c.showCommands(out)
		},
	}
	f := cmd.Flags()
	f.StringVar(&filter.Host, "host", "", "only this host: serial number, UUID or host name")
	f.StringVar(&filter.RequestType, "type", "", "only this request type, such as DeviceInformation")
	f.StringVar(&filter.Status, "status", "", "comma list of Pending, NotNow, Acknowledged, Error, CommandFormatError, Cancelled")
	f.IntVar(&limit, "limit", recentCommands, "how many")
	c.complete(cmd, "host", c.offerHosts)
	return cmd
}

func (c *cli) showCommands(out apiv1.CommandsResponse) error {
	rows := make([][]string, 0, len(out.Results))
	for _, r := range out.Results {
		rows = append(rows, c.commandRow(r))
	}
	return c.show(listing{value: out.Results, columns: commandColumns(), rows: rows, text: func(w io.Writer) {
		if len(rows) == 0 {
			fmt.Fprintln(c.Err, "No MDM commands were sent yet. Send one with: muster mdm run-command")
			return
		}
		fmt.Fprintf(w, "\nThe list of %d most recent commands:\n\n", len(rows))
		_ = writeGrid(w, commandColumns(), rows) // a reader that went away, as with | head
	}})
}

func (c *cli) getMDMCommandResultsCommand() *cobra.Command {
	var id, host string
	cmd := &cobra.Command{
		Use: "mdm-command-results", Short: "Show what became of an MDM command", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if id == "" {
				return usagef("--id is required")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			results, err := connection.CommandResults(cmd.Context(), id, host)
			if err != nil {
				return err
			}
			return c.showResults(results)
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "UUID of the command (required)")
	cmd.Flags().StringVar(&host, "host", "", "only this host: serial number, UUID or host name")
	c.complete(cmd, "host", c.offerHosts)
	return cmd
}

func (c *cli) showResults(results []apiv1.CommandResult) error {
	rows := make([][]string, 0, len(results))
	for _, r := range results {
		rows = append(rows, append(c.commandRow(r), decoded(r.Payload), decoded(r.Result)))
	}
	return c.show(listing{value: results, columns: append(commandColumns(), "PAYLOAD", "RESULTS"), rows: rows, text: func(w io.Writer) {
		if len(rows) == 0 {
			fmt.Fprintln(c.Err, "No host has this command.")
			return
		}
		for i, row := range rows {
			if i > 0 {
				fmt.Fprintln(w, "---")
			}
			fmt.Fprintf(w, "ID: %s\nTIME: %s\nTYPE: %s\nSTATUS: %s\nHOSTNAME: %s\nPAYLOAD:\n%s\nRESULTS:\n%s\n",
				row[0], row[1], row[2], row[3], printable(row[4]), lines(row[5]), lines(row[6]))
		}
	}})
}

func decoded(text *string) string {
	data, err := base64.StdEncoding.DecodeString(deref(text))
	if err != nil {
		return deref(text)
	}
	return string(data)
}

// lines makes a document fit for the terminal and keeps its line breaks.
func lines(document string) string {
	parts := strings.Split(strings.TrimRight(document, "\n"), "\n")
	for i, line := range parts {
		indent := len(line) - len(strings.TrimLeft(line, "\t "))
		parts[i] = line[:indent] + printable(line[indent:])
	}
	return strings.Join(parts, "\n")
}
