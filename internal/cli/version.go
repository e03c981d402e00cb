package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version of this program and of the server in use", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			both := struct {
				Client apiv1.Version  `json:"client"`
				Server *apiv1.Version `json:"server"`
			}{Client: c.Version}
			rows := [][]string{versionRow("client", c.Version)}
			if connection, _, err := c.anonymous(); err == nil {
				server, err := connection.Version(cmd.Context())
				if err != nil {
					fmt.Fprintln(c.Err, "Warning: the server's version is not known:", err)
				} else {
					both.Server = &server
					rows = append(rows, versionRow("server", server))
				}
			}
			return c.show(listing{value: both, columns: []string{"WHAT", "VERSION", "REVISION", "BUILT", "GO"}, rows: rows})
		},
	}
}

func versionRow(what string, v apiv1.Version) []string {
	return []string{what, v.Version, v.Revision, v.BuildDate, v.GoVersion}
}

// warnOfVersion tells when program and server differ. It is only advice, so
// its own failure is not told.
func (c *cli) warnOfVersion(ctx context.Context, connection *client.Client) {
	server, err := connection.Version(ctx)
	if err != nil || server.Version == c.Version.Version {
		return
	}
	fmt.Fprintf(c.Err, "Warning: this program is version %s and the server %s; use the same to be safe.\n", c.Version.Version, server.Version)
}
