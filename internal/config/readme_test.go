package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

//go:generate go test -run TestTheReadmeHasTheTableOfSettings -update .

var update = flag.Bool("update", false, "write the table of settings into the README")

const (
	readme     = "../../README.md"
	tableBegin = "<!-- settings: written by make generate -->\n"
	tableEnd   = "<!-- settings end -->\n"
)

func TestTheReadmeHasTheTableOfSettings(t *testing.T) {
	raw, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, hasBegin := strings.Cut(string(raw), tableBegin)
	table, after, hasEnd := strings.Cut(rest, tableEnd)
	if !hasBegin || !hasEnd {
		t.Fatalf("README.md lacks the lines %q and %q", tableBegin, tableEnd)
	}
	if table == Markdown() {
		return
	}
	if !*update {
		t.Fatal("the table of settings in README.md is not current: make generate")
	}
	if err := os.WriteFile(readme, []byte(before+tableBegin+Markdown()+tableEnd+after), 0o600); err != nil {
		t.Fatal(err)
	}
}
