package gitops

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/muster-mdm/muster/internal/kit/near"
)

// maxNodes bounds the values that are looked at: aliases may repeat them.
const maxNodes = 200_000

// source is one file that is being read.
type source struct {
	*reader
	file string
	// nested is how many files lead to it.
	nested int
}

const maxNested = 3

func (s *source) at(n *yaml.Node) Place { return Place{s.file, n.Line} }

func (s *source) fault(n *yaml.Node, item, format string, args ...any) {
	s.faults = append(s.faults, Fault{s.at(n), item, fmt.Sprintf(format, args...)})
}

func (s *source) warn(n *yaml.Node, item, format string, args ...any) {
	s.out.Warnings = append(s.out.Warnings, Fault{s.at(n), item, fmt.Sprintf(format, args...)}.String())
}

// documents parses all documents of the file; each is the node of its value.
func (s *source) documents(data []byte) []*yaml.Node {
	var out []*yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			s.faults = append(s.faults, Fault{Place{File: s.file}, "", "not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")})
			return nil
		}
		if len(doc.Content) == 1 {
			out = append(out, doc.Content[0])
		}
	}
}

// value follows aliases and counts.
func (s *source) value(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil && s.nodes < maxNodes {
		s.nodes++
		n = n.Alias
	}
	if s.nodes++; s.nodes >= maxNodes {
		if !s.tooMany {
			s.tooMany = true
			s.fault(n, "", "the files have more than %d values", maxNodes)
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line}
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n.Kind == 0 || n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

// keys are what a mapping may hold.
type keys struct {
	take map[string]func(*yaml.Node)
	// later are keys of Fleet that Muster does not have yet, ignored those that
	// are only read.
	later, ignored []string
}

func (k *keys) names() []string {
	out := slices.Concat(k.later, k.ignored)
	for name := range k.take {
		out = append(out, name)
	}
	return out
}

func under(what, key string) string {
	if what == "" {
		return key
	}
	return what + "." + key
}

// mapping hands the values of a mapping to those who take them.
func (s *source) mapping(n *yaml.Node, what string, k keys) {
	n = s.value(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		s.fault(n, what, "must hold keys with values")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		if key.Kind != yaml.ScalarNode {
			s.fault(key, what, "a key must be a name")
			continue
		}
		if line, twice := seen[name]; twice {
			s.fault(key, under(what, name), "is there twice: see line %d", line)
			continue
		}
		seen[name] = key.Line
		take, known := k.take[name]
		switch {
		case known:
			take(value)
		case slices.Contains(k.ignored, name):
		case slices.Contains(k.later, name):
			if !s.empty(value) {
				s.refuse(key, under(what, name), notHere(name))
			}
		default:
			text := "is not a known key"
			if meant := near.Of(name, k.names()); meant != "" {
				text += fmt.Sprintf("; did you mean %s?", meant)
			}
			s.refuse(key, under(what, name), text)
		}
	}
}

// notHere says of a key that files cannot set what does, if anything.
func notHere(key string) string {
	command := ""
	switch key {
	case "bootstrap_package", "macos_bootstrap_package":
		command = "muster bootstrap upload"
	case "macos_setup_assistant", "apple_setup_assistant":
		command = "muster setup-assistant set"
	case "apple_business_manager":
		command = "muster abm teams"
	default:
		return "Muster does not have this yet: remove it or leave it empty"
	}
	return "is not set by files: set it with `" + command + "`, and remove it here or leave it empty"
}

// refuse is a fault, or a warning when keys are forced through.
func (s *source) refuse(n *yaml.Node, item, text string) {
	if s.options.Force {
		s.warn(n, item, "%s (skipped by --force)", text)
		return
	}
	s.fault(n, item, "%s", text)
}

// empty tells whether a value says nothing.
func (s *source) empty(n *yaml.Node) bool {
	n = s.value(n)
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Tag == "!!null" || n.Value == "" || n.Value == "0" || strings.EqualFold(n.Value, "false")
	case yaml.SequenceNode:
		return len(n.Content) == 0
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			if !s.empty(n.Content[i]) {
				return false
			}
		}
		return true
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return n.Kind == 0
}

// text reads a text with the environment filled in; nil: it is not there or
// wrong.
func (s *source) text(n *yaml.Node, what string) *string {
	n = s.value(n)
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.ScalarNode {
		s.fault(n, what, "must be a text")
		return nil
	}
	value, missing := expand(n.Value, s.options.Getenv)
	for _, name := range missing {
		s.fault(n, what, "the environment variable %s is not set or empty: set it, or write \\$%s for the text itself", name, name)
	}
	return &value
}

func (s *source) textOrNone(n *yaml.Node, what string) string {
	if t := s.text(n, what); t != nil {
		return *t
	}
	return ""
}

// list hands out the elements of a list and tells whether there is one: a key
// without a value is left alone, as it may have lost its elements by accident.
func (s *source) list(n *yaml.Node, what string, each func(n *yaml.Node, what string)) bool {
	n = s.value(n)
	if isNull(n) {
		s.warn(n, what, "has no value, so that nothing is changed; write [] to delete all")
		return false
	}
	if n.Kind != yaml.SequenceNode {
		s.fault(n, what, "must be a list")
		return false
	}
	for i, e := range n.Content {
		each(e, fmt.Sprintf("%s[%d]", what, i+1))
	}
	return true
}

// texts reads a list of texts; nil: there is none.
func (s *source) texts(n *yaml.Node, what string) []string {
	out := []string{}
	if !s.list(n, what, func(n *yaml.Node, what string) {
		if t := s.text(n, what); t != nil {
			out = append(out, *t)
		}
	}) {
		return nil
	}
	return out
}

// resolve makes a path of the file one of the repository.
func (s *source) resolve(p string) string {
	if path.IsAbs(p) || filepath.IsAbs(p) {
		return p
	}
	dir := path.Dir(s.file)
	if filepath.IsAbs(s.file) {
		dir = filepath.ToSlash(filepath.Dir(s.file))
	}
	return path.Join(dir, filepath.ToSlash(p))
}

// load reads another file of YAML that the node names; nil when it cannot.
func (s *source) load(n *yaml.Node, what string) (*source, *yaml.Node) {
	name := s.text(n, what)
	if name == nil {
		return nil, nil
	}
	if s.nested >= maxNested {
		s.fault(n, what, "files lead to files to files: say it here")
		return nil, nil
	}
	next := &source{reader: s.reader, file: s.resolve(*name), nested: s.nested + 1}
	data, err := s.read(next.file, maxYAML)
	if err != nil {
		s.fault(n, what, "%s: %v", *name, err)
		return nil, nil
	}
	docs := next.documents(data)
	switch len(docs) {
	case 0:
		return nil, nil
	case 1:
		return next, docs[0]
	}
	next.fault(docs[1], what, "the file must hold one document")
	return nil, nil
}
