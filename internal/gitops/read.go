package gitops

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/codec/variables"
)

// Options say how files are read.
type Options struct {
	Getenv func(string) string
	// Force skips keys that are not known, with a warning.
	Force bool
	// Want is "apply" or "gitops"; empty: what the files are.
	Want string
}

// Ways in which files are meant.
const (
	WantApply  = "apply"
	WantGitOps = "gitops"
)

type reader struct {
	files   Files
	options Options
	out     *Repository
	faults  Faults
	nodes   int
	tooMany bool
	total   int64
	sums    map[string][sha256.Size]byte
	secrets map[string]Secret
	// controls is where hosts without a team are spoken of.
	controls Place
	global   Place
}

// Read reads the named files and all that they name. The error is Faults when
// something is wrong with what they say.
func Read(files Files, names []string, o Options) (*Repository, error) {
	r := &reader{files: files, options: o, out: &Repository{}, sums: map[string][sha256.Size]byte{}, secrets: map[string]Secret{}}
	if len(names) == 0 {
		return nil, errors.New("no files are given")
	}
	type opened struct {
		*source
		docs []*yaml.Node
	}
	var all []opened
	documents, layouts := "", ""
	for _, name := range names {
		s := &source{reader: r, file: name}
		data, err := r.read(name, maxYAML)
		if err != nil {
			r.faults = append(r.faults, Fault{Place{File: name}, "", err.Error()})
			continue
		}
		docs := s.documents(data)
		all = append(all, opened{s, docs})
		switch {
		case len(docs) == 0:
		case hasKey(docs[0], "kind"), hasKey(docs[0], "apiVersion"):
			documents = name
		default:
			layouts = name
		}
	}
	r.out.Declarative = o.Want == WantGitOps || o.Want == "" && documents == ""
	switch {
	case documents != "" && layouts != "":
		return nil, Faults{{Place{File: layouts}, "", fmt.Sprintf("is of the GitOps layout, and %s holds documents (kind, spec): read them apart", documents)}}
	case documents != "" && o.Want == WantGitOps:
		return nil, Faults{{Place{File: documents}, "", "holds documents (kind, spec): use muster apply"}}
	case layouts != "" && o.Want == WantApply:
		return nil, Faults{{Place{File: layouts}, "", "holds no documents with apiVersion, kind and spec: use muster gitops for default.yml and the files of teams"}}
	}
	for _, f := range all {
		if r.out.Declarative {
			f.layout(f.docs)
			continue
		}
		for _, d := range f.docs {
			f.document(d)
		}
	}
	r.finish()
	if len(r.faults) > 0 {
		return nil, r.faults
	}
	return r.out, nil
}

func hasKey(n *yaml.Node, key string) bool {
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return true
		}
	}
	return false
}

// read reads a file once more or for the first time and remembers its hash.
func (r *reader) read(name string, limit int64) ([]byte, error) {
	if name == ".." || strings.HasPrefix(name, "../") {
		return nil, errLeaves
	}
	data, err := r.files.Read(name, limit)
	if err != nil {
		return nil, err
	}
	if r.total += int64(len(data)); r.total > maxTotal {
		return nil, fmt.Errorf("the files have more than %d bytes together", maxTotal)
	}
	r.sums[name] = sha256.Sum256(data)
	return data, nil
}

// finish compares what the files say with one another, and sums up.
func (r *reader) finish() {
	seen := map[string]Place{}
	for _, t := range r.out.Teams {
		key := strings.ToLower(t.Name())
		if other, twice := seen[key]; twice {
			r.faults = append(r.faults, Fault{t.Place, "name", fmt.Sprintf("the team %q is in %s as well: say all of a team in one place", t.Name(), other)})
		}
		seen[key] = t.Place
	}
	clear(seen)
	for _, l := range r.out.Labels {
		if other, twice := seen[l.Name]; twice {
			r.faults = append(r.faults, Fault{l.Place, "labels", fmt.Sprintf("the label %q is in %s as well", l.Name, other)})
		}
		seen[l.Name] = l.Place
	}
	for _, name := range slices.Sorted(maps.Keys(r.secrets)) {
		r.out.Secrets = append(r.out.Secrets, r.secrets[name])
	}
	all := sha256.New()
	r.out.Files = slices.Sorted(maps.Keys(r.sums))
	for _, name := range r.out.Files {
		fmt.Fprintf(all, "%q %x\n", name, r.sums[name])
	}
	r.out.Hash = fmt.Sprintf("%x", all.Sum(nil))
}

// noTeam is what is said about hosts without a team.
func (r *reader) noTeam(at Place) *Team {
	if r.out.NoTeam == nil {
		r.out.NoTeam = &Team{Place: at, Spec: apiv1.TeamSpec{Name: NoTeam}}
	}
	return r.out.NoTeam
}

// secretsOf notes the custom variables of a profile.
func (s *source) secretsOf(p *Profile, n *yaml.Node, what string) {
	found, err := variables.Scan(p.Content)
	if err != nil {
		s.fault(n, what, "%s: %v", p.Path, err)
	}
	for _, name := range found.Secrets {
		if _, known := s.secrets[name]; !known {
			s.secrets[name] = Secret{Name: name, Value: s.options.Getenv(variables.SecretPrefix + name), Place: p.Place, Path: p.Path}
		}
	}
}

// profiles reads a list of profiles. what is its name.
func (s *source) profiles(t *Team, n *yaml.Node, what string) {
	if t.SetsProfiles() {
		s.fault(n, what, "the profiles are listed in %s as well: list them in one place", t.ProfilesAt)
		return
	}
	list := []Profile{}
	byPath := map[string]int{}
	there := s.list(n, what, func(n *yaml.Node, what string) {
		for _, p := range s.profile(n, what) {
			if line, twice := byPath[p.Path]; twice {
				s.fault(n, what, "%s is listed twice: see line %d", p.Path, line)
				continue
			}
			byPath[p.Path] = p.Place.Line
			list = append(list, p)
		}
	})
	if there {
		t.Profiles, t.ProfilesAt = list, s.at(n)
	}
}

// profile reads an element of the list: one file, or several by a pattern.
func (s *source) profile(n *yaml.Node, what string) []Profile {
	var p Profile
	var file, pattern *string
	if n = s.value(n); n.Kind == yaml.ScalarNode {
		file = s.text(n, what) // the oldest form
	} else {
		s.mapping(n, what, keys{take: map[string]func(*yaml.Node){
			"path":               func(n *yaml.Node) { file = s.text(n, what+".path") },
			"paths":              func(n *yaml.Node) { pattern = s.text(n, what+".paths") },
			"name":               func(n *yaml.Node) { p.Name = s.textOrNone(n, what+".name") },
			"labels_include_all": func(n *yaml.Node) { p.IncludeAll = append(p.IncludeAll, s.texts(n, what+".labels_include_all")...) },
			"labels":             func(n *yaml.Node) { p.IncludeAll = append(p.IncludeAll, s.texts(n, what+".labels")...) },
			"labels_include_any": func(n *yaml.Node) { p.IncludeAny = s.texts(n, what+".labels_include_any") },
			"labels_exclude_any": func(n *yaml.Node) { p.ExcludeAny = s.texts(n, what+".labels_exclude_any") },
		}})
	}
	p.Place = s.at(n)
	var paths []string
	switch {
	case file != nil && pattern != nil:
		s.fault(n, what, "give path or paths, not both")
	case file != nil && *file != "":
		paths = []string{s.resolve(*file)}
	case pattern != nil && *pattern != "":
		paths = s.matches(n, what, *pattern)
	case len(s.faults) == 0:
		s.fault(n, what, "has no path: name the file of a profile or declaration")
	}
	if len(paths) > 1 && p.Name != "" {
		s.fault(n, what, "name is for one file, and the pattern finds %d", len(paths))
	}
	var out []Profile
	for _, found := range paths {
		one := p
		content, err := s.read(found, maxProfile)
		if err != nil {
			s.fault(n, what, "%s: %v", found, err)
			continue
		}
		one.Path, one.Content = found, content
		one.Name = displayName(found, p.Name)
		s.secretsOf(&one, n, what)
		out = append(out, one)
	}
	return out
}

// displayName is the name of a declaration, which no declaration holds
// itself; that of a profile is in its file, so that errors name the file.
func displayName(file, given string) string {
	switch {
	case given != "":
		return given
	case strings.EqualFold(path.Ext(file), ".json"):
		return strings.TrimSuffix(path.Base(file), path.Ext(file))
	}
	return file
}

// matches finds the files of a pattern.
func (s *source) matches(n *yaml.Node, what, pattern string) []string {
	resolved := s.resolve(pattern)
	if strings.HasPrefix(resolved, "../") {
		s.fault(n, what, "%s: %v", pattern, errLeaves)
		return nil
	}
	found, err := s.files.Glob(resolved)
	switch {
	case err != nil:
		s.fault(n, what, "%s: %v", pattern, err)
		return nil
	case len(found) == 0:
		s.fault(n, what, "no file fits %s: correct it, or remove it", pattern)
	case len(found) > maxMatches:
		s.fault(n, what, "%d files fit %s, at most %d are read", len(found), pattern, maxMatches)
		return nil
	}
	slices.Sort(found)
	return found
}
