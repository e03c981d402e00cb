package cli

import "github.com/spf13/cobra"

// commands constructs every command, in the order of the help. A new noun
// adds its constructor here.
func (c *cli) commands() []*cobra.Command {
	return []*cobra.Command{
		c.serveCommand(),
		c.demoCommand(),
		c.simCommand(),
		c.dbCommand(),
		c.keysCommand(),
		c.setupCommand(),
		c.loginCommand(),
		c.logoutCommand(),
		c.configCommand(),
		c.getCommand(),
		c.teamsCommand(),
		c.hostsCommand(),
		c.refetchCommand(),
		c.labelsCommand(),
		c.profilesCommand(),
		c.variablesCommand(),
		c.mdmCommand(),
		c.approvalsCommand(),
		c.brakeCommand(),
		c.applyCommand(),
		c.gitopsCommand(),
		c.planCommand(),
		c.generateGitOpsCommand(),
		c.explainCommand(),
		c.whatIfCommand(),
		group("host", "Look at one host", c.hostHistoryCommand(), c.hostSetupCommand(), c.hostReleaseCommand(), c.hostRenewCommand(), c.hostDeleteCommand()),
		c.appleMDMCommand(),
		c.apnsCommand(),
		c.abmCommand(),
		c.setupAssistantCommand(),
		c.bootstrapCommand(),
		c.generateCommand(),
		c.userCommand(),
		c.versionCommand(),
	}
}
