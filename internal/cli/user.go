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

func (c *cli) userCommand() *cobra.Command {
	return group("user", "Manage users and API tokens",
		c.userCreateCommand(), c.userListCommand(), c.userDeleteCommand(), c.userResetPasswordCommand())
}

func roles() []string {
	return []string{"admin", "maintainer", "observer", "observer_plus", "gitops", "technician"}
}

func (c *cli) userCreateCommand() *cobra.Command {
	var request apiv1.CreateUserRequest
	var passwordFile string
	cmd := &cobra.Command{
		Use: "create", Short: "Create a user, or with --api-only a token for a program",
		Example: "  muster user create --name Bob --email bob@example.com --global-role maintainer\n  muster user create --name CI --email ci@example.com --global-role gitops --api-only",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if request.Email == "" || request.Name == "" {
				return usagef("--name and --email are required")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			if !request.APIOnly {
				if request.Password, err = c.secret(request.Password, passwordFile, "Password", true); err != nil {
					return err
				}
			}
			out, err := connection.CreateUser(cmd.Context(), request)
			if err != nil {
				return err
			}
			return c.showCreated(out)
		},
	}
	f := cmd.Flags()
	f.StringVar(&request.Name, "name", "", "name (required)")
	f.StringVar(&request.Email, "email", "", "e-mail (required)")
	f.StringVar(&request.Password, "password", "", "first password; better leave it out and be asked")
	f.StringVar(&passwordFile, "password-file", "", "file that holds the first password")
	f.StringVar(&request.GlobalRole, "global-role", "observer", strings.Join(roles(), ", "))
	f.BoolVar(&request.APIOnly, "api-only", false, "for a program: no password, a token that does not expire")
	c.complete(cmd, "global-role", func(context.Context, string) []string { return roles() })
	return cmd
}

// showCreated prints the user; the token of a program alone on standard
// output, so that it can be piped.
func (c *cli) showCreated(out apiv1.UserResponse) error {
	return c.show(listing{value: out, columns: userColumns(), rows: [][]string{c.userRow(out.User)}, text: func(w io.Writer) {
		if out.Token != nil {
			fmt.Fprintf(c.Err, "Created %s (id %d). This is the token; it is not shown again:\n", out.User.Email, out.User.ID)
			fmt.Fprintln(w, *out.Token)
			return
		}
		fmt.Fprintf(c.Err, "Created %s (id %d). A new password is asked for at the first login.\n", out.User.Email, out.User.ID)
	}})
}

func userColumns() []string { return []string{"ID", "NAME", "EMAIL", "ROLE", "API ONLY", "CREATED"} }

func (c *cli) userRow(u apiv1.User) []string {
	return []string{strconv.FormatInt(u.ID, 10), u.Name, u.Email, u.GlobalRole, yesNo(u.APIOnly, "yes", "no"), c.when(u.CreatedAt)}
}

func (c *cli) userListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List users", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			users, err := connection.Users(cmd.Context(), "")
			if err != nil {
				return err
			}
			rows := make([][]string, 0, len(users))
			for _, u := range users {
				rows = append(rows, c.userRow(u))
			}
			return c.show(listing{value: users, columns: userColumns(), rows: rows})
		},
	}
}

func (c *cli) userDeleteCommand() *cobra.Command {
	var email string
	var yes bool
	cmd := &cobra.Command{
		Use: "delete [ID]", Short: "Delete a user with all sessions and tokens", Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			if (len(given) == 1) == (email != "") {
				return usagef("name the user by id or by --email")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			id, err := findUser(cmd.Context(), connection, given, email)
			if err != nil {
				return err
			}
			if err := c.confirm(yes, fmt.Sprintf("Delete user %d?", id)); err != nil {
				return err
			}
			if err := connection.DeleteUser(cmd.Context(), id); err != nil {
				return err
			}
			fmt.Fprintf(c.Err, "User %d is deleted.\n", id)
			return nil
		},
	}
	cmd.Flags().StringVar(&email, "email", "", "e-mail of the user")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func findUser(ctx context.Context, connection *client.Client, given []string, email string) (int64, error) {
	if len(given) == 1 {
		return parseID(given[0])
	}
	users, err := connection.Users(ctx, email)
	if err != nil {
		return 0, err
	}
	for _, u := range users {
		if strings.EqualFold(u.Email, email) {
			return u.ID, nil
		}
	}
	return 0, &client.Error{Status: http.StatusNotFound, Message: "no user has the e-mail " + email + "; list them with: muster user list"}
}

func (c *cli) userResetPasswordCommand() *cobra.Command {
	var passwordFile string
	cmd := &cobra.Command{
		Use: "reset-password", Short: "Set the new password that an admin required", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			password, err := c.secret("", passwordFile, "New password", true)
			if err != nil {
				return err
			}
			if err := connection.ResetRequiredPassword(cmd.Context(), password); err != nil {
				return err
			}
			fmt.Fprintln(c.Err, "The password is set.")
			return nil
		},
	}
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "file that holds the new password")
	return cmd
}
