package cli

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func (c *cli) configCommand() *cobra.Command {
	return group("config", "Set up which server the commands talk to", c.configSetCommand(), c.configGetCommand(), c.configCheckCommand())
}

func (c *cli) configSetCommand() *cobra.Command {
	var next serverContext
	var headers []string
	cmd := &cobra.Command{
		Use: "set", Short: "Change the context in use",
		Example: "  muster config set --address https://mdm.example.com\n  muster config set --context lab --address https://lab.example.com --rootca lab.pem",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			changed := cmd.Flags().Changed
			if !anyChanged(cmd) {
				return usagef("nothing to set; see muster config set --help")
			}
			custom, err := parseHeaders(headers)
			if err != nil {
				return err
			}
			if changed("rootca") && next.RootCA != "" {
				// The command will run from other directories.
				if next.RootCA, err = filepath.Abs(next.RootCA); err != nil {
					return fmt.Errorf("--rootca: %w", err)
				}
			}
			return c.changeContext(func(s *serverContext) {
				if changed("address") {
					address := strings.TrimRight(next.Address, "/")
					if address != s.Address {
						s.Token = "" // it is the other server's
					}
					s.Address = address
				}
				if changed("email") {
					s.Email = next.Email
				}
				if changed("token") {
					s.Token = next.Token
				}
				if changed("tls-skip-verify") {
					s.TLSSkipVerify = next.TLSSkipVerify
				}
				if changed("rootca") {
					s.RootCA = next.RootCA
				}
				if changed("url-prefix") {
					s.URLPrefix = next.URLPrefix
				}
				if changed("custom-header") {
					s.CustomHeaders = custom
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&next.Address, "address", "", "server, such as https://mdm.example.com")
	f.StringVar(&next.Email, "email", "", "e-mail to log in with")
	f.StringVar(&next.Token, "token", "", "token of an API-only user")
	f.BoolVar(&next.TLSSkipVerify, "tls-skip-verify", false, "trust any certificate: for trials only")
	f.StringVar(&next.RootCA, "rootca", "", "file of root certificates in PEM form to trust instead of the system's")
	f.StringVar(&next.URLPrefix, "url-prefix", "", "path below which the server is reached")
	f.StringArrayVar(&headers, "custom-header", nil, "header to send with every request, Name:value; may be repeated")
	return cmd
}

// settable are the names that config set and get know.
func settable() []string {
	return []string{"address", "email", "token", "tls-skip-verify", "rootca", "url-prefix"}
}

func anyChanged(cmd *cobra.Command) bool {
	for _, name := range append(settable(), "custom-header") {
		if cmd.Flags().Changed(name) {
			return true
		}
	}
	return false
}

func parseHeaders(lines []string) (map[string]string, error) {
	out := map[string]string{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, usagef("--custom-header must be Name:value")
		}
		out[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return out, nil
}

func (c *cli) configGetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "get NAME", Short: "Show one value of the context in use",
		Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			ctx, err := c.current()
			if err != nil {
				return err
			}
			values := map[string]string{
				"address": ctx.Address, "email": ctx.Email, "token": ctx.Token, "tls-skip-verify": strconv.FormatBool(ctx.TLSSkipVerify),
				"rootca": ctx.RootCA, "url-prefix": ctx.URLPrefix,
			}
			value, ok := values[given[0]]
			if !ok {
				return usagef("the names are %s", strings.Join(settable(), ", "))
			}
			fmt.Fprintln(c.Out, value)
			return nil
		},
	}
	cmd.ValidArgs = settable()
	return cmd
}
