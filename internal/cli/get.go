package cli

import (
	"github.com/spf13/cobra"
)

func (c *cli) getCommand() *cobra.Command {
	return group("get", "Show hosts, software, teams, labels, profiles, commands, certificates and configuration",
		c.getHostsCommand(), c.getHostCommand(), c.getTeamsCommand(), c.getLabelsCommand(), c.getLabelCommand(), c.getProfilesCommand(), c.getProfileCommand(),
		c.getSoftwareCommand(), c.getCertificatesCommand(),
		c.getEnrollSecretsCommand(), c.getCustomVariablesCommand(), c.getMDMCommandsCommand(), c.getMDMCommandResultsCommand(), c.getMDMAppleCommand(), c.getMDMAppleBMCommand(), c.getExpiringCommand(), c.getConfigCommand())
}

func (c *cli) getConfigCommand() *cobra.Command {
	return &cobra.Command{
		Use: "config", Short: "Show the organization's configuration", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			out, err := connection.Config(cmd.Context())
			if err != nil {
				return err
			}
			format, err := c.format()
			if err != nil {
				return err
			}
			if format == "json" {
				return writeJSON(c.Out, out)
			}
			if format == "csv" {
				return usagef("the configuration is no list: use -o yaml or -o json")
			}
			return writeYAML(c.Out, out)
		},
	}
}
