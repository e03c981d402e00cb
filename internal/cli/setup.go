package cli

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

func (c *cli) setupCommand() *cobra.Command {
	var email, name, password, passwordFile, orgName, serverURL string
	cmd := &cobra.Command{
		Use: "setup", Short: "Make the first user of a new server",
		Long:    "Makes the first user, an admin, and logs in as them. It works once, before any user exists.",
		Example: "  muster config set --address https://mdm.example.com\n  muster setup --email ada@example.com --name Ada --org-name Acme",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, server, err := c.anonymous()
			if err != nil {
				return err
			}
			if email == "" {
				return usagef("--email is required")
			}
			if name == "" {
				name = email
			}
			secret, err := c.secret(password, passwordFile, "Password", true)
			if err != nil {
				return err
			}
			request := apiv1.SetupRequest{
				Admin:     apiv1.SetupAdmin{Email: email, Name: name, Password: secret, PasswordConfirmation: secret},
				OrgInfo:   apiv1.SetupOrg{OrgName: orgName},
				ServerURL: serverURL,
			}
			out, err := connection.Setup(cmd.Context(), request)
			if serverURL == "" && lacksServerURL(err) {
				// The server was not started with one: what works for us is the
				// best guess. Nothing was stored by the first request.
				request.ServerURL = server.Address
				out, err = connection.Setup(cmd.Context(), request)
			}
			if client.StatusOf(err) == http.StatusConflict {
				return fmt.Errorf("%w\nLog in with: muster login", err)
			}
			if err != nil {
				return err
			}
			if err := c.changeContext(func(s *serverContext) {
				s.Address, s.Email, s.Token = server.Address, out.Admin.Email, out.Token
			}); err != nil {
				return errors.Join(errors.New("setup is done, but the token could not be kept"), err)
			}
			fmt.Fprintf(c.Err, "Setup is done, and you are logged in as %s.\nNext, give the server its push certificate: muster generate mdm-apple\n", out.Admin.Email)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&email, "email", "", "e-mail of the first user (required)")
	f.StringVar(&name, "name", "", "name of the first user")
	f.StringVar(&password, "password", "", "password; others may see it in the process list, so better leave it out and be asked")
	f.StringVar(&passwordFile, "password-file", "", "file that holds the password")
	f.StringVar(&orgName, "org-name", "", "name of the organization")
	f.StringVar(&serverURL, "server-url", "", "public URL of the server (default what the server was started with, else the address of the context)")
	return cmd
}

func lacksServerURL(err error) bool {
	var refusal *client.Error
	return errors.As(err, &refusal) && len(refusal.Errors) == 1 && refusal.Errors[0].Name == "server_url"
}
