package cli

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/muster-mdm/muster/client"
)

func (c *cli) loginCommand() *cobra.Command {
	var email, password, passwordFile string
	cmd := &cobra.Command{
		Use: "login", Short: "Log in and keep the token", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, server, err := c.anonymous()
			if err != nil {
				return err
			}
			if email == "" {
				email = server.Email
			}
			if email == "" {
				if !c.Terminal {
					return usagef("--email is required")
				}
				if email, err = c.ask("E-mail: "); err != nil {
					return err
				}
			}
			secret, err := c.secret(password, passwordFile, "Password", false)
			if err != nil {
				return err
			}
			out, err := connection.Login(cmd.Context(), email, secret)
			if err != nil {
				return err
			}
			if err := c.changeContext(func(s *serverContext) {
				s.Address, s.Email, s.Token = server.Address, out.User.Email, out.Token
			}); err != nil {
				return errors.Join(errors.New("logged in, but the token could not be kept"), err)
			}
			fmt.Fprintf(c.Err, "Logged in to %s as %s.\n", server.Address, out.User.Email)
			c.warnOfVersion(cmd.Context(), connection)
			if out.User.ForcePasswordReset {
				fmt.Fprintln(c.Err, "A new password is required: run muster user reset-password")
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&email, "email", "", "e-mail (default the context's)")
	f.StringVar(&password, "password", "", "password; others may see it in the process list, so better leave it out and be asked")
	f.StringVar(&passwordFile, "password-file", "", "file that holds the password")
	return cmd
}

func (c *cli) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "End the session and forget the token", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			err = connection.Logout(cmd.Context())
			if err != nil && client.StatusOf(err) != http.StatusUnauthorized {
				return err
			}
			// A session that has ended already is as good.
			if err := c.changeContext(func(s *serverContext) { s.Token = "" }); err != nil {
				return err
			}
			fmt.Fprintln(c.Err, "Logged out.")
			return nil
		},
	}
}
