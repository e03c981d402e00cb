package gitops

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// State is what a server has, to be written as a repository.
type State struct {
	Config apiv1.Config
	Labels []apiv1.LabelSpec // manual ones with their hosts
	NoTeam TeamState
	Teams  []TeamState
	// Only teams: nothing about the whole server is written.
	OnlyTeams bool
}

// TeamState is a team with its profiles.
type TeamState struct {
	Team       apiv1.Team
	Profiles   []ProfileState
	HasSecrets bool
}

// ProfileState is a profile with its file.
type ProfileState struct {
	apiv1.Profile
	Content []byte
}

// Output is a file of the repository.
type Output struct {
	Name    string
	Content []byte
}

// writer makes nodes and remembers names.
type writer struct {
	used  map[string]bool
	files []Output
	// Notes are what people should look at.
	notes []string
}

// Write makes the files of the GitOps layout that say what the state is.
// Secrets are not in it: where there are some, a comment says how to name them.
func Write(s State) (files []Output, notes []string, err error) {
	w := &writer{used: map[string]bool{}}
	if !s.OnlyTeams {
		if err := w.global(s); err != nil {
			return nil, nil, err
		}
	}
	for i := range s.Teams {
		if err := w.team(&s.Teams[i]); err != nil {
			return nil, nil, err
		}
	}
	return w.files, w.notes, nil
}

// text is a scalar that reading gives back as it is.
func text(v string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(escape(v))
	if n.Style == 0 && strings.ContainsAny(v, "\n\t\r\x00") {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// pairs is a mapping that keeps its order.
type pairs struct{ node yaml.Node }

func mapped() *pairs { return &pairs{yaml.Node{Kind: yaml.MappingNode}} }

func (p *pairs) add(key string, v *yaml.Node) *pairs {
	k := &yaml.Node{}
	k.SetString(key)
	p.node.Content = append(p.node.Content, k, v)
	return p
}

// some adds a text that is not empty.
func (p *pairs) some(key, value string) *pairs {
	if value != "" {
		p.add(key, text(value))
	}
	return p
}

// comment is put above the last key.
func (p *pairs) comment(lines string) {
	if n := len(p.node.Content); n > 1 {
		p.node.Content[n-2].HeadComment = lines
	}
}

func texts(values []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, v := range values {
		n.Content = append(n.Content, text(v))
	}
	return n
}

func encode(p *pairs) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	const indent = 2
	e.SetIndent(indent)
	if err := e.Encode(&p.node); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

func (w *writer) yaml(name string, p *pairs) error {
	data, err := encode(p)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.files = append(w.files, Output{name, data})
	return nil
}

const secretsComment = "The enroll secrets are on the server and left alone. To keep them from here, add:\n" +
	"  secrets:\n    - secret: $ENROLL_SECRET"

func (w *writer) global(s State) error {
	c := s.Config
	org := mapped()
	org.add("org_info", &mapped().add("org_name", text(c.OrgInfo.OrgName)).add("org_logo_url", text(c.OrgInfo.OrgLogoURL)).
		add("org_logo_url_light_background", text(c.OrgInfo.OrgLogoURLLight)).add("contact_url", text(c.OrgInfo.ContactURL)).node)
	org.add("server_settings", &mapped().add("server_url", text(c.ServerSettings.ServerURL)).node)
	org.add("activity_expiry_settings", &mapped().add("activity_expiry_enabled", truthNode(c.ActivityExpiry.Enabled)).
		add("activity_expiry_window", numberNode(c.ActivityExpiry.Window)).node)
	org.add("mdm", &mapped().add("apple_server_url", text(c.MDM.AppleServerURL)).add("brake", brakeNode(c.MDM.Brake)).node)
	if s.NoTeam.HasSecrets {
		org.comment(secretsComment)
	}
	labels := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range s.Labels {
		labels.Content = append(labels.Content, labelNode(&s.Labels[i]))
	}
	controls := w.controls(scopeSettings{c.MDM.MacOSUpdates, c.MDM.IOSUpdates, c.MDM.IPadOSUpdates, c.MDM.MacOSSetup}, s.NoTeam.Profiles, "no-team", "")
	return w.yaml("default.yml", mapped().add("org_settings", &org.node).add("labels", labels).add("controls", controls))
}

func labelNode(l *apiv1.LabelSpec) *yaml.Node {
	p := mapped().add("name", text(l.Name)).some("description", l.Description).some("query", l.Query).some("platform", l.Platform).
		some("label_membership_type", l.LabelMembershipType)
	if l.Criteria != nil {
		p.add("criteria", &mapped().add("vital", text(l.Criteria.Vital)).some("operator", l.Criteria.Operator).add("value", text(l.Criteria.Value)).node)
	}
	if l.Hosts != nil {
		p.add("hosts", texts(*l.Hosts))
	}
	return &p.node
}

func (w *writer) team(t *TeamState) error {
	slug := w.unique("teams/", fileName(t.Team.Name, "team"), ".yml")
	name := strings.TrimSuffix(path.Base(slug), ".yml")
	p := mapped().add("name", text(t.Team.Name)).some("description", t.Team.Description)
	m := t.Team.MDM
	controls := w.controls(scopeSettings{m.MacOSUpdates, m.IOSUpdates, m.IPadOSUpdates, m.MacOSSetup}, t.Profiles, name, "../")
	p.add("controls", controls)
	if t.HasSecrets {
		p.comment(strings.Replace(secretsComment, "  secrets:", "team_settings:\n  secrets:", 1))
	}
	return w.yaml(slug, p)
}

func updatesNode(u apiv1.OSUpdates) *yaml.Node {
	value := func(v *string) *yaml.Node {
		if v == nil {
			return text("")
		}
		return text(*v)
	}
	return &mapped().add("minimum_version", value(u.MinimumVersion)).add("deadline", value(u.Deadline)).node
}

// scopeSettings are what a team and hosts without one have in common.
type scopeSettings struct {
	macos, ios, ipados apiv1.OSUpdates
	setup              apiv1.SetupExperience
}

// controls writes profiles next to it; up leads from the file to the root.
func (w *writer) controls(v scopeSettings, profiles []ProfileState, dir, up string) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range profiles {
		prof := &profiles[i]
		ext := ".mobileconfig"
		declaration := strings.HasPrefix(prof.ProfileUUID, "d")
		if declaration {
			ext = ".json"
		}
		name := w.unique("lib/"+dir+"/", fileName(prof.Name, "profile"), ext)
		w.files = append(w.files, Output{name, prof.Content})
		e := mapped().add("path", text(up+name))
		if declaration && displayName(name, "") != prof.Name {
			e.add("name", text(prof.Name))
		}
		for _, l := range []struct {
			key    string
			labels []apiv1.ProfileLabel
		}{{"labels_include_all", prof.LabelsIncludeAll}, {"labels_include_any", prof.LabelsIncludeAny}, {"labels_exclude_any", prof.LabelsExcludeAny}} {
			var names []string
			for _, label := range l.labels {
				if label.Broken {
					w.notes = append(w.notes, fmt.Sprintf("the profile %q is scoped by the label %q, which was deleted: it is written without, so that applying it gives it to more hosts", prof.Name, label.Name))
					continue
				}
				names = append(names, label.Name)
			}
			if len(names) > 0 {
				e.add(l.key, texts(names))
			}
		}
		for _, text := range prof.Warnings {
			w.notes = append(w.notes, fmt.Sprintf("%s: %s", name, text))
		}
		list.Content = append(list.Content, &e.node)
	}
	p := mapped().add("macos_updates", updatesNode(v.macos)).add("ios_updates", updatesNode(v.ios)).add("ipados_updates", updatesNode(v.ipados)).
		add("macos_setup", setupNode(v.setup))
	p.add("macos_settings", &mapped().add("custom_settings", list).node)
	return &p.node
}

// fileName makes a name of letters that every file system takes.
func fileName(name, otherwise string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) || r == '.' || r == '_':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	const longest = 80
	out := b.String()
	out = strings.Trim(out[:min(len(out), longest)], "-.")
	if out == "" || out == "no-team" || out == "unassigned" {
		return otherwise
	}
	return out
}

// unique is a name that no other file has, in any case of letters.
func (w *writer) unique(dir, name, ext string) string {
	for n := 1; ; n++ {
		full := dir + name + ext
		if n > 1 {
			full = fmt.Sprintf("%s%s-%d%s", dir, name, n, ext)
		}
		if key := strings.ToLower(full); !w.used[key] {
			w.used[key] = true
			return full
		}
	}
}
