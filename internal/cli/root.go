package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// Deps are what the commands need from the process. Zero fields take the
// process's own.
type Deps struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	Environ  []string // for the server's configuration
	HomeDir  string
	Version  apiv1.Version
	Now      func() time.Time
	Zone     *time.Location // in which times are shown
	// Terminal reports whether a person sits at In and Err.
	Terminal bool
	// ReadSecret asks on the terminal without echo.
	ReadSecret func(prompt string) (string, error)
	// Transport replaces the network, for tests.
	Transport http.RoundTripper
}

func (d Deps) withDefaults() Deps {
	if d.In == nil {
		d.In = os.Stdin
		d.Terminal = term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd()))
	}
	if d.Out == nil {
		d.Out = os.Stdout
	}
	if d.Err == nil {
		d.Err = os.Stderr
	}
	if d.Getenv == nil {
		d.Getenv = os.Getenv
	}
	if d.Environ == nil {
		d.Environ = os.Environ()
	}
	if d.HomeDir == "" {
		// Without a home the file must be named; see contextFile.
		d.HomeDir, _ = os.UserHomeDir()
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Zone == nil {
		d.Zone = time.Local
	}
	if d.ReadSecret == nil {
		d.ReadSecret = func(prompt string) (string, error) {
			fmt.Fprint(d.Err, prompt)
			secret, err := term.ReadPassword(int(os.Stdin.Fd()))
			fmt.Fprintln(d.Err)
			return string(secret), err
		}
	}
	return d
}

// cli is one invocation.
type cli struct {
	Deps
	// Global flags.
	configFile string
	context    string
	debug      bool
	output     string
	asJSON     bool
	asYAML     bool
}

// New returns the root command.
func New(d Deps) *cobra.Command {
	c := &cli{Deps: d.withDefaults()}
	root := &cobra.Command{
		Use:   "muster",
		Short: "Muster manages Macs, iPhones, iPads and Windows PCs",
		Long:  "Muster is a self-hosted MDM server and its command line.",
		// Errors are printed once, by Execute.
		SilenceErrors: true, SilenceUsage: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; see muster --help", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(c.In)
	root.SetOut(c.Out)
	root.SetErr(c.Err)
	flags := root.PersistentFlags()
	flags.StringVar(&c.configFile, "config", "", "file of contexts (default ~/.muster/config, or $MUSTER_CLIENT_CONFIG)")
	flags.StringVar(&c.context, "context", "", "context to use (default \"default\", or $MUSTER_CONTEXT)")
	flags.BoolVar(&c.debug, "debug", false, "tell each request on standard error")
	flags.StringVarP(&c.output, "output", "o", "", "output as table, json, yaml or csv (default \"table\")")
	flags.BoolVar(&c.asJSON, "json", false, "the same as -o json")
	flags.BoolVar(&c.asYAML, "yaml", false, "the same as -o yaml")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(c.commands()...)
	c.complete(root, "context", func(context.Context, string) []string { return c.contextNames() })
	c.complete(root, "output", func(context.Context, string) []string { return formats() })
	return root
}

// group is a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q for %q; see %s --help", args[0], cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(children...)
	return cmd
}

// args turns cobra's complaints about arguments into usage errors.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if err := check(cmd, given); err != nil {
			return usagef("%w; see %s --help", err, cmd.CommandPath())
		}
		return nil
	}
}

// contextFile is where contexts are kept.
func (c *cli) contextFile() (string, error) {
	if c.configFile != "" {
		return c.configFile, nil
	}
	if path := c.Getenv(envClientConfig); path != "" {
		return path, nil
	}
	if c.HomeDir == "" {
		return "", fmt.Errorf("there is no home directory: name the file of contexts with --config")
	}
	return filepath.Join(c.HomeDir, ".muster", "config"), nil
}
