package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

func (c *cli) bootstrapCommand() *cobra.Command {
	return group("bootstrap", "The installer package that Macs of a team get while they wait in Setup Assistant",
		c.bootstrapUploadCommand(), c.bootstrapGetCommand(), c.bootstrapInstallCommand(), c.bootstrapDeleteCommand())
}

const packageTeamUsage = "team by name (default: hosts without a team)"

func (c *cli) bootstrapUploadCommand() *cobra.Command {
	var name string
	var replace bool
	cmd := &cobra.Command{
		Use: "upload FILE", Short: "Upload a team's package: a distribution that is signed", Args: args(cobra.ExactArgs(1)),
		Long: "Uploads a package, which Macs that enroll automatically get before they leave Setup Assistant.\n" +
			"It must be a distribution (made with productbuild) and signed (with productsign). Macs that are\nset up already do not get it.",
		Example: "  muster bootstrap upload tools.pkg --team Office",
		RunE: func(cmd *cobra.Command, given []string) error {
			file, err := os.Open(given[0])
			if err != nil {
				return err
			}
			defer func() { _ = file.Close() }() // it is only read
			info, err := file.Stat()
			if err != nil {
				return err
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			team, err := findTeam(cmd.Context(), connection, name)
			if err != nil {
				return err
			}
			if !replace {
				if err := vacant(cmd.Context(), connection, team); err != nil {
					return err
				}
			}
			if err := connection.UploadBootstrapPackage(cmd.Context(), team.ID, filepath.Base(given[0]), file, info.Size(), replace); err != nil {
				return err
			}
			p, err := connection.BootstrapPackage(cmd.Context(), team.ID)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.Err, "Macs of %s that enroll from now on get it. It was signed by %s: they must trust that.\n", team.Name, p.Signer)
			return c.showPackage(p, nil)
		},
	}
	c.teamFlag(cmd, &name, packageTeamUsage)
	cmd.Flags().BoolVar(&replace, "replace", false, "put it in the place of the package that is there, which stays when this one is refused")
	return cmd
}

// vacant finds out before a long upload whether there is a package.
func vacant(ctx context.Context, connection *client.Client, team apiv1.Team) error {
	p, err := connection.BootstrapPackage(ctx, team.ID)
	switch {
	case client.StatusOf(err) == http.StatusNotFound:
		return nil
	case err != nil:
		return err
	}
	return &client.Error{Status: http.StatusConflict, Message: fmt.Sprintf("%s has a bootstrap package already, %s; put another in its place with --replace", team.Name, p.Name)}
}

func (c *cli) bootstrapGetCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "get", Short: "Show a team's package, and how many Macs have it", Args: args(cobra.NoArgs),
		Example: "  muster bootstrap get --team Office",
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			team, err := findTeam(cmd.Context(), connection, name)
			if err != nil {
				return err
			}
			p, err := connection.BootstrapPackage(cmd.Context(), team.ID)
			if err != nil {
				return err
			}
			s, err := connection.BootstrapPackageSummary(cmd.Context(), team.ID)
			if err != nil {
				return err
			}
			return c.showPackage(p, &s)
		},
	}
	c.teamFlag(cmd, &name, packageTeamUsage)
	return cmd
}

func (c *cli) showPackage(p apiv1.BootstrapPackage, s *apiv1.BootstrapPackageSummary) error {
	rows := [][]string{{"Name", p.Name}, {"Product", p.Identifier + " " + p.Version}, {"Signed by", p.Signer}, {"Bytes", strconv.FormatInt(p.Size, 10)},
		{"SHA-256", hex.EncodeToString(p.SHA256)}, {"Uploaded", c.when(p.CreatedAt)}}
	value := any(p)
	if s != nil {
		rows = append(rows, []string{"Macs", fmt.Sprintf("%d have it, %d are to get it, %d failed", s.Installed, s.Pending, s.Failed)})
		value = struct {
			apiv1.BootstrapPackage
			Hosts apiv1.BootstrapPackageSummary `json:"hosts"`
		}{p, *s}
	}
	return c.show(listing{value: value, columns: []string{"FACT", "VALUE"}, rows: rows, text: func(w io.Writer) { writeFacts(w, rows) }})
}

func (c *cli) bootstrapInstallCommand() *cobra.Command {
	var name, hosts string
	cmd := &cobra.Command{
		Use: "install", Short: "Install a team's package on Macs now, of whatever team and whenever they enrolled", Args: args(cobra.NoArgs),
		Example: "  muster bootstrap install --team Office --hosts C02XK1ABJGH5",
		RunE: func(cmd *cobra.Command, _ []string) error {
			names := splitComma(hosts)
			if len(names) == 0 {
				return usagef("--hosts is required")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			team, err := findTeam(cmd.Context(), connection, name)
			if err != nil {
				return err
			}
			targets := make([]int64, 0, len(names))
			for _, one := range names {
				host, err := findHost(cmd.Context(), connection, one)
				if err != nil {
					return err
				}
				if host.Platform != "darwin" {
					return usagef("%s is no Mac: packages are for Macs", host.DisplayName)
				}
				targets = append(targets, host.ID)
			}
			out, err := connection.InstallBootstrapPackage(cmd.Context(), team.ID, targets)
			if err != nil {
				return err
			}
			return c.showSent(out)
		},
	}
	c.teamFlag(cmd, &name, packageTeamUsage)
	cmd.Flags().StringVar(&hosts, "hosts", "", "comma list of serial numbers, UUIDs or host names (required)")
	c.complete(cmd, "hosts", c.offerHosts)
	return cmd
}

func (c *cli) bootstrapDeleteCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "delete", Short: "Delete a team's package: Macs that have it keep it", Args: args(cobra.NoArgs),
		Example: "  muster bootstrap delete --team Office",
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			team, err := findTeam(cmd.Context(), connection, name)
			if err != nil {
				return err
			}
			if err := connection.DeleteBootstrapPackage(cmd.Context(), team.ID); err != nil {
				return err
			}
			fmt.Fprintf(c.Err, "Macs of %s get no package any more.\n", team.Name)
			return nil
		},
	}
	c.teamFlag(cmd, &name, packageTeamUsage)
	return cmd
}
