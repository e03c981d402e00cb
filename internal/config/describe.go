package config

import (
	"fmt"
	"strings"
)

// Line is one setting with its value in effect, for "muster config check".
type Line struct {
	Name  string
	Value string // secrets as ***
}

// Lines lists every setting of c; secrets are hidden.
func (c Config) Lines() []Line {
	lines := make([]Line, 0, len(Settings()))
	for _, s := range Settings() {
		lines = append(lines, Line{Name: s.Name, Value: s.bind(&c).String()})
	}
	return lines
}

// Markdown is the configuration table of the README.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| YAML key | Environment | Flag | Default | Meaning |\n|---|---|---|---|---|\n")
	for _, s := range Settings() {
		env, flag, def := "`"+s.Env()+"`", "`--"+s.Flag()+"`", ""
		if s.Secret {
			env += ", `" + envName(s.FileName()) + "`"
			flag += ", `--" + flagName(s.FileName()) + "`"
		}
		if s.NoFlag {
			flag = "`--" + flagName(s.FileName()) + "`"
		}
		if s.Default != "" {
			def = "`" + s.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", s.Name, env, flag, def, strings.ReplaceAll(s.Help, "|", "\\|"))
	}
	return b.String()
}
