package cli

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/muster-mdm/muster/internal/config"
)

// serverFlags puts a flag for every setting of the server on a command. The
// returned function loads the configuration from these flags, the environment
// and the file of --config, which here is the server's.
func (c *cli) serverFlags(cmd *cobra.Command) func() (config.Config, error) {
	flags := cmd.Flags()
	file := flags.String("config", "", "YAML file of settings (default $"+config.EnvConfigFile+")")
	names := map[string]string{} // flag to setting
	var shown config.Config
	for _, s := range config.Settings() {
		help := s.Help + " ($" + s.Env() + ")"
		if !s.NoFlag {
			value := s.Value(&shown)
			flag := flags.VarPF(&settingFlag{value: value, fallback: s.Default}, s.Flag(), "", help)
			if value.Type() == "bool" {
				flag.NoOptDefVal = "true"
			}
			names[s.Flag()] = s.Name
		}
		if s.Secret {
			name := s.Flag() + "-file"
			flags.String(name, "", "File that holds "+s.Name)
			names[name] = s.FileName()
		}
	}
	return func() (config.Config, error) {
		given := map[string]string{}
		flags.Visit(func(f *pflag.Flag) {
			setting, ok := names[f.Name]
			if !ok {
				return
			}
			given[setting] = f.Value.String()
			if own, isSetting := f.Value.(*settingFlag); isSetting {
				given[setting] = own.given // a secret's String is ***
			}
		})
		return config.Load(config.Sources{Flags: given, Environ: c.Environ, File: *file})
	}
}

// settingFlag remembers what was given, and shows the default in the help.
type settingFlag struct {
	value    config.Value
	given    string
	fallback string
}

// Set checks the text at once, so that a wrong flag is a usage error.
func (f *settingFlag) Set(text string) error {
	f.given = text
	return f.value.Set(text)
}

// String is the value in effect before other sources are read.
func (f *settingFlag) String() string {
	if f.given != "" {
		return f.value.String()
	}
	return f.fallback
}

// Type names the kind of value in the help.
func (f *settingFlag) Type() string { return f.value.Type() }
