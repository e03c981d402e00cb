package gitops

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/muster-mdm/muster/internal/kit/near"
)

// laterKinds are kinds of documents of Fleet that Muster does not have yet.
var laterKinds = []string{"query", "report", "policy", "pack", "user_roles", "software", "secrets"}

var knownKinds = []string{"config", "team", "fleet", "label", "enroll_secret"}

// document reads one document with apiVersion, kind and spec.
func (s *source) document(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		s.fault(n, "", "a document holds apiVersion, kind and spec")
		return
	}
	var version, kind string
	var spec *yaml.Node
	s.mapping(n, "", keys{ignored: []string{"metadata"}, take: map[string]func(*yaml.Node){
		"apiVersion": func(n *yaml.Node) { version = s.textOrNone(n, "apiVersion") },
		"kind":       func(n *yaml.Node) { kind = s.textOrNone(n, "kind") },
		"spec":       func(n *yaml.Node) { spec = s.value(n) },
	}})
	switch {
	case version != "v1" && version != "":
		s.fault(n, "apiVersion", "is %q: this program reads v1", version)
	case kind == "":
		s.fault(n, "kind", "is missing: it is one of %s", strings.Join(knownKinds, ", "))
	case slices.Contains(laterKinds, kind):
		s.refuse(n, "kind", "Muster does not have documents of kind "+kind+" yet: remove it")
	case !slices.Contains(knownKinds, kind):
		text := "there is no kind " + kind
		if meant := near.Of(kind, knownKinds); meant != "" {
			text += "; did you mean " + meant + "?"
		}
		s.refuse(n, "kind", text)
	case spec == nil || isNull(spec):
		s.fault(n, "spec", "is missing: it says what the %s is like", kind)
	default:
		s.spec(kind, spec)
	}
}

func (s *source) spec(kind string, spec *yaml.Node) {
	switch kind {
	case "config":
		s.config(spec, "spec", false)
	case "label":
		s.label(spec, "spec")
	case "enroll_secret":
		s.mapping(spec, "spec", keys{take: map[string]func(*yaml.Node){
			"secrets": func(n *yaml.Node) { s.enrollSecrets(s.noTeam(s.at(n)), n, "spec.secrets") },
		}})
	case "team", "fleet":
		s.mapping(spec, "spec", keys{take: map[string]func(*yaml.Node){
			kind: func(n *yaml.Node) { s.teamSpec(n, "spec."+kind) },
		}})
	}
}

func (s *source) teamSpec(n *yaml.Node, what string) {
	n = s.value(n)
	t := &Team{Place: s.at(n)}
	mdm := keys{later: laterMDM, take: map[string]func(*yaml.Node){}}
	s.teamMDM(mdm.take, what+".mdm", func() *Team { return t }, false)
	s.mapping(n, what, keys{
		later:   []string{"agent_options", "features", "scripts", "software", "webhook_settings", "host_expiry_settings", "integrations"},
		ignored: []string{"id", "created_at", "user_count", "host_count"},
		take: map[string]func(*yaml.Node){
			"name":        func(n *yaml.Node) { t.Place = s.at(n); t.Spec.Name = strings.TrimSpace(s.textOrNone(n, what+".name")) },
			"description": func(n *yaml.Node) { t.Spec.Description = s.text(n, what+".description") },
			"secrets":     func(n *yaml.Node) { s.enrollSecrets(t, n, what+".secrets") },
			"mdm":         func(n *yaml.Node) { s.mapping(n, what+".mdm", mdm) },
		}})
	switch {
	case t.Spec.Name == "":
		s.fault(n, what+".name", "may not be empty")
	case isNoTeam(t.Spec.Name):
		s.fault(n, what+".name", "hosts without a team have no document of their own: use the kinds config and enroll_secret")
	default:
		s.out.Teams = append(s.out.Teams, t)
	}
}
