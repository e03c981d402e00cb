package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/muster-mdm/muster/internal/kit/near"
)

// readYAML flattens the file to dotted names. Unknown keys, repeated keys and
// values of the wrong shape are faults that name their line.
func readYAML(src Sources, path string) (map[string]given, error) {
	data, err := src.readFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: holds more than one document", path)
	}
	r := yamlReader{path: path, known: map[string]bool{}, groups: map[string]bool{}, out: map[string]given{}}
	for _, name := range knownNames() {
		r.known[name] = true
		if group, _, ok := strings.Cut(name, "."); ok {
			r.groups[group] = true
		}
	}
	r.mapping("", doc.Content[0])
	return r.out, errors.Join(r.faults...)
}

type yamlReader struct {
	path   string
	known  map[string]bool
	groups map[string]bool
	out    map[string]given
	faults []error
}

func (r *yamlReader) fault(line int, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("%s:%d: %s", r.path, line, fmt.Sprintf(format, args...)))
}

func (r *yamlReader) mapping(prefix string, node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return // a group whose keys are all commented out
	}
	if node.Kind != yaml.MappingNode {
		r.fault(node.Line, "expected settings as key: value")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name := prefix + key.Value
		if seen[name] {
			r.fault(key.Line, "%s is given twice", name)
		}
		seen[name] = true
		switch {
		case r.known[name]:
			r.leaf(name, value)
		case prefix == "" && r.groups[name]:
			r.mapping(name+".", value)
		default:
			r.fault(key.Line, "unknown key %s; did you mean %s?", name, near.Nearest(name, slices.Collect(maps.Keys(r.known))))
		}
	}
}

func (r *yamlReader) leaf(name string, node *yaml.Node) {
	origin := fmt.Sprintf("%s:%d: %s", r.path, node.Line, name)
	switch node.Kind {
	case yaml.ScalarNode:
		if node.Tag != "!!null" && node.Value != "" {
			r.out[name] = given{text: node.Value, origin: origin}
		}
	case yaml.SequenceNode:
		items := make([]string, 0, len(node.Content))
		for _, item := range node.Content {
			if item.Kind != yaml.ScalarNode {
				r.fault(item.Line, "%s: expected a list of plain values", name)
				return
			}
			items = append(items, item.Value)
		}
		r.out[name] = given{text: strings.Join(items, ","), origin: origin}
	default:
		r.fault(node.Line, "%s: expected a value or a list", name)
	}
}
