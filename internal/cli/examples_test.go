package cli

import (
	"fmt"
	"go/scanner"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/internal/fleet"
)

// example is a command line that some text shows.
type example struct {
	where string
	words []string // "muster" or "make" first
	whole bool     // to be run as it stands, so that arguments must be complete
}

// repository is the root of the module, from here.
const repository = "../.."

// pages are the texts for people.
func pages(t *testing.T) map[string]string {
	t.Helper()
	names := []string{"README.md", "CONTRIBUTING.md"}
	for _, pattern := range []string{"docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		for _, path := range found {
			names = append(names, strings.TrimPrefix(filepath.ToSlash(path), repository+"/"))
		}
	}
	out := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(text)
	}
	return out
}

// block is a fenced part of a page.
type block struct {
	kind string // what follows the fence
	line int
	text string
}

// fenced splits a page into its fenced blocks and the prose around them.
func fenced(page string) (blocks []block, prose string) {
	var rest strings.Builder
	inside := false
	for i, line := range strings.Split(page, "\n") {
		bare := strings.TrimSpace(line)
		if kind, ok := strings.CutPrefix(bare, "```"); ok {
			if inside = !inside; inside {
				blocks = append(blocks, block{kind: kind, line: i + 1})
			}
			continue
		}
		if !inside {
			rest.WriteString(line + "\n")
			continue
		}
		blocks[len(blocks)-1].text += line + "\n"
	}
	return blocks, rest.String()
}

// commandsOf lists the command lines of ours in a shell text, with lines that
// end in a backslash joined.
func commandsOf(where, text string) []example {
	var out []example
	for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		line, _, _ = strings.Cut(line, " #")
		if words := wordsOf(line); words != nil {
			out = append(out, example{where: where, words: words, whole: true})
		}
	}
	return out
}

// wordsOf splits a command line of ours; nil: it is somebody else's.
func wordsOf(line string) []string {
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	words[0] = strings.TrimPrefix(words[0], "bin/")
	if words[0] != "muster" && words[0] != "make" {
		return nil
	}
	return words
}

var inlineCode = regexp.MustCompile("`([^`\n]+)`")

// allExamples gathers the command lines of pages and help texts.
func allExamples(t *testing.T) []example {
	t.Helper()
	var out []example
	inline := func(where, text string) {
		for _, m := range inlineCode.FindAllStringSubmatch(text, -1) {
			if words := wordsOf(m[1]); words != nil {
				out = append(out, example{where: where, words: words})
			}
		}
	}
	for name, page := range pages(t) {
		blocks, prose := fenced(page)
		for _, b := range blocks {
			out = append(out, commandsOf(fmt.Sprintf("%s:%d", name, b.line), b.text)...)
		}
		inline(name, prose)
	}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		where := cmd.CommandPath() + " --help"
		out = append(out, commandsOf(where, cmd.Example)...)
		inline(where, cmd.Long)
		for _, child := range cmd.Commands() {
			walk(child)
		}
	}
	walk(program())
	return out
}

// program is the command line, connected to nothing.
func program() *cobra.Command {
	return New(Deps{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Environ: []string{}, HomeDir: os.TempDir(), Getenv: func(string) string { return "" }})
}

// enumerations are flags that take one of few words, which are checked when
// the command runs.
func enumerations() map[string][]string {
	var roles []string
	for _, r := range fleet.Roles() {
		roles = append(roles, string(r))
	}
	return map[string][]string{"output": formats(), "global-role": roles, "scenario": {"idle", "drain", "storm"}}
}

// placeholder stands for what people fill in, such as ID or PID.
var placeholder = regexp.MustCompile(`^[A-Z]{2,}$`)

// parse checks a command line of muster without running it.
func parse(words []string, whole bool) error {
	words = slices.Clone(words)
	for i, w := range words {
		if placeholder.MatchString(w) {
			words[i] = "1"
		}
	}
	cmd, rest, err := program().Find(words[1:])
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	for name, known := range enumerations() {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed && !slices.Contains(known, f.Value.String()) {
			return fmt.Errorf("--%s is none of %v", name, known)
		}
	}
	if cmd.HasSubCommands() && (whole || len(cmd.Flags().Args()) > 0) && cmd.HasParent() {
		return fmt.Errorf("%s only holds other commands", cmd.CommandPath())
	}
	if !whole && len(cmd.Flags().Args()) == 0 {
		return nil
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// targets are what make can make.
func targets(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z]+):`).FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	return out
}

func TestEveryCommandThatDocsAndHelpShowExists(t *testing.T) {
	known := targets(t)
	examples := allExamples(t)
	const least = 40
	if len(examples) < least {
		t.Fatalf("only %d examples were found", len(examples))
	}
	for _, e := range examples {
		if e.words[0] == "make" {
			for _, target := range e.words[1:] {
				if !strings.Contains(target, "=") && !slices.Contains(known, target) {
					t.Errorf("%s: %s: there is no target %s", e.where, strings.Join(e.words, " "), target)
				}
			}
			continue
		}
		if err := parse(e.words, e.whole); err != nil {
			t.Errorf("%s: %s: %v", e.where, strings.Join(e.words, " "), err)
		}
	}
}

func TestTheCheckOfExamplesFindsWhatIsWrong(t *testing.T) {
	for _, line := range []string{"muster nonsense", "muster get nonsense", "muster get hosts --nonsense", "muster get host", "muster serve now", "muster mdm",
		"muster get hosts -o xml", "muster serve --tls-mode maybe", "muster sim load --devices many", "muster user create --global-role king"} {
		if err := parse(strings.Fields(line), true); err == nil {
			t.Errorf("%s: nothing is wrong", line)
		}
	}
	if got := commandsOf("", "make build\n  bin/muster serve \\\n   --data-dir x # why\nopenssl x\n"); len(got) != 2 || len(got[1].words) != 4 {
		t.Errorf("%+v", got)
	}
}

// hint is a command that a message tells people to run. Placeholders and
// flags end it.
var hint = regexp.MustCompile(`\bmuster((?: [a-z][a-z0-9-]*)+)((?: --[a-z0-9-]+)?)`)

func TestEveryCommandThatMessagesNameExists(t *testing.T) {
	found := 0
	for _, dir := range []string{"cli", "app", "access", "httpapi", "config", "pki", "enroll", "settings", "hostaction"} {
		files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			for _, text := range literals(t, path) {
				for _, m := range hint.FindAllStringSubmatch(text, -1) {
					found++
					checkHint(t, path, strings.Fields(m[1]), strings.TrimSpace(m[2]))
				}
			}
		}
	}
	const least = 20
	if found < least {
		t.Errorf("only %d hints were found", found)
	}
}

// checkHint looks the longest command up that the words begin with: prose may
// go on behind it.
func checkHint(t *testing.T, where string, words []string, flag string) {
	t.Helper()
	cmd, rest, err := program().Find(words)
	if err != nil || cmd.HasSubCommands() && len(rest) > 0 || !cmd.HasParent() {
		t.Errorf("%s: muster %s: there is no such command", where, strings.Join(words, " "))
		return
	}
	name := strings.TrimPrefix(flag, "--")
	if flag != "" && flag != "--help" && cmd.Flags().Lookup(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
		t.Errorf("%s: muster %s has no %s", where, strings.Join(words, " "), flag)
	}
}

// literals are the string literals of a Go file.
func literals(t *testing.T, path string) []string {
	t.Helper()
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := token.NewFileSet()
	var s scanner.Scanner
	s.Init(files.AddFile(path, -1, len(source)), source, nil, 0)
	var out []string
	for {
		_, kind, text := s.Scan()
		if kind == token.EOF {
			return out
		}
		if kind != token.STRING {
			continue
		}
		if value, err := strconv.Unquote(text); err == nil {
			out = append(out, value)
		}
	}
}

func TestTheSettingsThatDocsShowLoad(t *testing.T) {
	found := 0
	for name, page := range pages(t) {
		blocks, _ := fenced(page)
		for _, b := range blocks {
			if b.kind != "yaml" {
				continue
			}
			found++
			path := filepath.Join(t.TempDir(), "muster.yml")
			if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := config.Load(config.Sources{File: path}); err != nil {
				t.Errorf("%s:%d: %v", name, b.line, err)
			}
		}
	}
	if found == 0 {
		t.Error("no YAML was found")
	}
}

func TestEveryVariableThatDocsNameExists(t *testing.T) {
	known := map[string]bool{config.EnvConfigFile: true, envClientConfig: true, envClientContext: true, envClientURL: true, envClientToken: true,
		"MUSTER_TEST_POSTGRES": true, "MUSTER_TEST_MYSQL": true}
	for _, s := range config.Settings() {
		known[s.Env()], known[s.Env()+"_FILE"] = true, s.Secret
	}
	for name, page := range pages(t) {
		for _, variable := range regexp.MustCompile(`MUSTER_[A-Z0-9_]*[A-Z0-9]`).FindAllString(page, -1) {
			if !known[variable] {
				t.Errorf("%s: nothing reads %s", name, variable)
			}
		}
	}
}
