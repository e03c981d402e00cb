package gitops

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// memory is a repository in memory.
type memory map[string]string

func (m memory) Read(name string, limit int64) ([]byte, error) {
	text, ok := m[name]
	if !ok {
		return nil, errors.New("there is no such file")
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return []byte(text), nil
}

func (m memory) Glob(pattern string) ([]string, error) {
	var out []string
	for name := range m {
		ok, err := path.Match(pattern, name)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, name)
		}
	}
	return out, nil
}

var environment = map[string]string{"NAME": "Acme", "EMPTY": "", "SECRET": "s3cret", "FLEET_SECRET_WIFI": "swordfish", "VERSION": "26.1"}

func getenv(name string) string { return environment[name] }

func readAll(m memory, want string, force bool) (*Repository, error) {
	var names []string
	for name := range m {
		if strings.HasSuffix(name, ".yml") && !strings.HasPrefix(name, "lib/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return Read(m, names, Options{Getenv: getenv, Want: want, Force: force})
}

// lib are files that tests name.
func lib(files memory) memory {
	files["lib/a.mobileconfig"], files["lib/b.mobileconfig"], files["lib/c.json"] = "A", "B ${FLEET_SECRET_WIFI} $FLEET_SECRET_OTHER $FLEET_VAR_HOST_UUID", "{}"
	return files
}

func TestFaultsHaveFileLineAndWhatToDo(t *testing.T) {
	for name, tt := range map[string]struct {
		files memory
		want  string
	}{
		"an unknown key names the nearest":       {memory{"default.yml": "labels: []\norg_setings:\n  x: 1\n"}, "default.yml:2: org_setings: is not a known key; did you mean org_settings?"},
		"an unknown key far from all names none": {memory{"default.yml": "zebra: 1\n"}, "default.yml:1: zebra: is not a known key"},
		"a nested unknown key":                   {memory{"default.yml": "org_settings:\n  org_info:\n    org_nam: x\n"}, "default.yml:3: org_settings.org_info.org_nam: is not a known key; did you mean org_name?"},
		"a key twice":                            {memory{"default.yml": "labels: []\nlabels: []\n"}, "default.yml:2: labels: is there twice: see line 1"},
		"what Muster does not have":              {memory{"default.yml": "policies:\n  - name: x\n"}, "default.yml:1: policies: Muster does not have this yet: remove it or leave it empty"},
		"a package":                              {memory{"t.yml": "name: T\ncontrols:\n  macos_setup:\n    bootstrap_package: https://x/a.pkg\n"}, "t.yml:4: controls.macos_setup.bootstrap_package: is not set by files: set it with `muster bootstrap upload`"},
		"a profile for Setup Assistant":          {memory{"t.yml": "name: T\ncontrols:\n  macos_setup:\n    macos_setup_assistant: a.json\n"}, "is not set by files: set it with `muster setup-assistant set`"},
		"server tokens":                          {memory{"default.yml": "org_settings:\n  mdm:\n    apple_business_manager: [{organization_name: Acme}]\n"}, "is not set by files: set it with `muster abm teams`"},
		"Windows settings":                       {memory{"t.yml": "name: T\ncontrols:\n  windows_settings:\n    custom_settings: [{path: x}]\n"}, "t.yml:3: controls.windows_settings: Muster does not have this yet"},
		"an unset variable":                      {memory{"default.yml": "org_settings:\n  org_info:\n    org_name: The $NOWHERE\n"}, `default.yml:3: org_settings.org_info.org_name: the environment variable NOWHERE is not set or empty: set it, or write \$NOWHERE`},
		"an empty variable":                      {memory{"default.yml": "labels:\n  - name: ${EMPTY}x\n"}, "default.yml:2: labels[1].name: the environment variable EMPTY"},
		"two files without a name":               {memory{"a.yml": "labels: []\n", "b.yml": "labels: []\n"}, "b.yml:1: has no name, so that it speaks of the whole server, as a.yml does"},
		"two files of one team":                  {memory{"a.yml": "name: T\n", "b.yml": "name: t\n"}, `b.yml:1: name: the team "t" is in a.yml:1 as well`},
		"a team without a name":                  {memory{"a.yml": "team_settings: {}\n"}, "a.yml:1: name: is missing"},
		"no team by another name":                {memory{"teams/no-team.yml": "name: Macs\n"}, `teams/no-team.yml:1: name: is Macs: this file is for hosts without a team`},
		"controls of no team twice":              {memory{"default.yml": "controls: {ios_updates: {}}\n", "no-team.yml": "controls: {ios_updates: {}}\n"}, "no-team.yml:1: controls: are in default.yml:1 as well"},
		"a label twice":                          {memory{"default.yml": "labels:\n  - name: A\n  - name: A\n"}, `default.yml:3: labels: the label "A" is in default.yml:2 as well`},
		"a label without a name":                 {memory{"default.yml": "labels:\n  - query: select 1\n"}, "default.yml:2: labels[1]: has no name"},
		"a truth that is none":                   {memory{"t.yml": "name: T\ncontrols:\n  macos_setup:\n    hold_on_timeout: soon\n"}, "t.yml:4: controls.macos_setup.hold_on_timeout: must be true or false"},
		"a number that is none":                  {memory{"default.yml": "org_settings:\n  mdm:\n    brake:\n      wipes_per_hour: few\n"}, "default.yml:4: org_settings.mdm.brake.wipes_per_hour: must be a whole number"},
		"half an update":                         {memory{"t.yml": "name: T\ncontrols:\n  macos_updates:\n    minimum_version: '26'\n"}, "t.yml:4: controls.macos_updates: give both minimum_version and deadline, or neither"},
		"a profile without path":                 {lib(memory{"t.yml": "name: T\ncontrols:\n  macos_settings:\n    custom_settings:\n      - labels_include_all: [A]\n"}), "t.yml:5: controls.macos_settings.custom_settings[1]: has no path"},
		"a profile twice":                        {lib(memory{"t.yml": "name: T\ncontrols:\n  macos_settings:\n    custom_settings:\n      - path: lib/a.mobileconfig\n      - paths: lib/*\n"}), "t.yml:6: controls.macos_settings.custom_settings[2]: lib/a.mobileconfig is listed twice: see line 5"},
		"a pattern that finds nothing":           {lib(memory{"t.yml": "name: T\ncontrols:\n  macos_settings:\n    custom_settings:\n      - paths: lib/*.xml\n"}), "t.yml:5: controls.macos_settings.custom_settings[1]: no file fits lib/*.xml"},
		"profiles in two places":                 {lib(memory{"t.yml": "name: T\ncontrols:\n  macos_settings: {custom_settings: []}\n  apple_settings: {configuration_profiles: []}\n"}), "t.yml:4: controls.apple_settings.configuration_profiles: the profiles are listed in t.yml:3 as well"},
		"a path out of the repository":           {memory{"t.yml": "name: T\ncontrols:\n  macos_settings:\n    custom_settings:\n      - path: ../x.mobileconfig\n"}, "t.yml:5: controls.macos_settings.custom_settings[1]: ../x.mobileconfig: the path leaves the repository"},
		"a pattern out of the repository":        {memory{"t.yml": "name: T\ncontrols:\n  macos_settings:\n    custom_settings:\n      - paths: ../*\n"}, "the path leaves the repository"},
		"a large profile":                        {memory{"t.yml": "name: T\ncontrols:\n  macos_settings:\n    custom_settings: [big]\n", "big": strings.Repeat("x", maxProfile+1)}, "t.yml:4: controls.macos_settings.custom_settings[1]: big: more than"},
		"a text where a list belongs":            {memory{"default.yml": "labels: yes\n"}, "default.yml:1: labels: must be a list"},
		"a list where keys belong":               {memory{"default.yml": "org_settings: [1]\n"}, "default.yml:1: org_settings: must hold keys with values"},
		"no YAML":                                {memory{"default.yml": "a: b: c\n"}, "default.yml: not YAML: "},
		"an empty file":                          {memory{"default.yml": "# nothing\n"}, "default.yml: the file is empty"},
		"aliases that repeat one another":        {memory{"default.yml": bomb()}, "have more than"},
		"an unknown kind":                        {memory{"a.yml": "apiVersion: v1\nkind: labels\nspec: {}\n"}, "a.yml:1: kind: there is no kind labels; did you mean label?"},
		"a kind that Muster does not have":       {memory{"a.yml": "kind: label\nspec: {name: A}\n---\napiVersion: v1\nkind: query\nspec: {}\n"}, "a.yml:4: kind: Muster does not have documents of kind query yet"},
		"a document of another version":          {memory{"a.yml": "apiVersion: v2\nkind: label\nspec: {name: A}\n"}, `a.yml:1: apiVersion: is "v2": this program reads v1`},
		"a document without spec":                {memory{"a.yml": "kind: label\n"}, "a.yml:1: spec: is missing"},
		"documents among the layout":             {memory{"a.yml": "kind: label\n", "b.yml": "name: T\n"}, "b.yml: is of the GitOps layout, and a.yml holds documents"},
		"a team document without team":           {memory{"a.yml": "kind: team\nspec: {team: {name: No team}}\n"}, "hosts without a team have no document of their own"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readAll(tt.files, "", false)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// bomb is a text whose aliases stand for very many values.
func bomb() string {
	var b strings.Builder
	b.WriteString("policies:\n  x: &b0 {}\n")
	for i := range 30 {
		fmt.Fprintf(&b, "  x%d: &b%d {a: *b%d, b: *b%d}\n", i, i+1, i, i)
	}
	return b.String()
}

func TestAllFaultsAreToldAtOnce(t *testing.T) {
	_, err := readAll(memory{"default.yml": "zebra: 1\nlabels:\n  - name: $NOWHERE\n", "t.yml": "name: T\nyak: 1\n"}, "", false)
	for _, want := range []string{"default.yml:1", "default.yml:3", "t.yml:2"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s is missing: %v", want, err)
		}
	}
}

func TestTheLayoutIsRead(t *testing.T) {
	r, err := readAll(lib(memory{
		"default.yml": `
policies:
queries: []
agent_options: {}
org_settings:
  org_info: {org_name: $NAME}
  server_settings: {server_url: "https://mdm.example.com"}
  mdm: {apple_server_url: "", apple_business_manager: []}
  activity_expiry_settings: {activity_expiry_enabled: true, activity_expiry_window: 90}
  secrets: [{secret: $SECRET}]
labels:
  - path: lib/labels.yml
  - {name: Two, criteria: {vital: platform, value: ios}}
`,
		"lib/labels.yml": "- name: One\n  hosts: [A1, B2]\n",
		"teams/no-team.yml": `
name: No team
controls: {path: ../lib/controls.yml}
`,
		"lib/controls.yml": "macos_updates: {minimum_version: $VERSION, deadline: 2027-01-31}\nmacos_settings: {custom_settings: [a.mobileconfig]}\n",
		"fleets/macs.yml": `
name: Macs
settings: {secrets: []}
controls:
  windows_enabled_and_configured: false
  ios_updates: {}
  apple_settings:
    configuration_profiles:
      - path: ../lib/b.mobileconfig
        labels_include_any: [One]
        labels_exclude_any: [Two]
      - {path: ../lib/c.json, name: Passcode}
`,
		"fleets/quiet.yml": "name: Quiet\ncontrols:\n",
	}), WantGitOps, false)
	if err != nil {
		t.Fatal(err)
	}
	text := func(p *string) string {
		if p == nil {
			return "nil"
		}
		return *p
	}
	if got := text(r.Config.OrgInfo.OrgName) + text(r.Config.ServerSettings.ServerURL) + text(r.Config.OrgInfo.ContactURL) + text(r.Config.MDM.AppleServerURL); got != "Acmehttps://mdm.example.comnil" {
		t.Errorf("settings: %s", got)
	}
	if x := r.Config.ActivityExpiry; x == nil || x.Enabled == nil || !*x.Enabled || x.Window == nil || *x.Window != 90 {
		t.Errorf("expiry of the log: %+v", x)
	}
	if u := r.Config.MDM.MacOSUpdates; u == nil || text(u.MinimumVersion) != "26.1" || text(u.Deadline) != "2027-01-31" {
		t.Errorf("updates: %+v", u)
	}
	if !r.AllLabels || len(r.Labels) != 2 || r.Labels[0].Place.String() != "lib/labels.yml:1" || !slices.Equal(*r.Labels[0].Hosts, []string{"A1", "B2"}) || r.Labels[1].Hosts != nil {
		t.Errorf("labels: %+v", r.Labels)
	}
	if r.NoTeam == nil || !r.NoTeam.SetsProfiles() || r.NoTeam.Profiles[0].Path != "lib/a.mobileconfig" || (*r.NoTeam.Spec.Secrets)[0].Secret != "s3cret" {
		t.Errorf("no team: %+v", r.NoTeam)
	}
	macs, quiet := r.Teams[0], r.Teams[1]
	if quiet.SetsProfiles() || quiet.Spec.Secrets != nil || quiet.Spec.MDM != nil {
		t.Errorf("a team that says nothing: %+v", quiet)
	}
	if macs.Spec.Secrets == nil || len(*macs.Spec.Secrets) != 0 || text(macs.Spec.MDM.IOSUpdates.Deadline) != "" || macs.Spec.MDM.MacOSUpdates != nil {
		t.Errorf("a team: %+v", macs.Spec)
	}
	want := []Profile{
		{Place: Place{"fleets/macs.yml", 9}, Path: "lib/b.mobileconfig", Name: "lib/b.mobileconfig", IncludeAny: []string{"One"}, ExcludeAny: []string{"Two"},
			Content: []byte("B ${FLEET_SECRET_WIFI} $FLEET_SECRET_OTHER $FLEET_VAR_HOST_UUID")},
		{Place: Place{"fleets/macs.yml", 12}, Path: "lib/c.json", Name: "Passcode", Content: []byte("{}")},
	}
	if diff := cmp.Diff(want, macs.Profiles); diff != "" {
		t.Errorf("profiles: %s", diff)
	}
	if len(r.Secrets) != 2 || r.Secrets[0].Name != "OTHER" || r.Secrets[0].Value != "" || r.Secrets[1].Value != "swordfish" {
		t.Errorf("secrets: %+v", r.Secrets)
	}
	if len(r.Files) != 9 {
		t.Errorf("files: %v", r.Files)
	}
}

func TestTheHashFollowsEveryFile(t *testing.T) {
	files := func() memory {
		return lib(memory{"t.yml": "name: T\ncontrols: {macos_settings: {custom_settings: [lib/a.mobileconfig]}}\n"})
	}
	hash := func(m memory) string {
		r, err := readAll(m, "", false)
		if err != nil {
			t.Fatal(err)
		}
		return r.Hash
	}
	first := hash(files())
	changed := files()
	changed["lib/a.mobileconfig"] = "other"
	if hash(files()) != first || hash(changed) == first {
		t.Error("the hash does not follow the content of profiles")
	}
	unused := files()
	unused["lib/b.mobileconfig"] = "other"
	if hash(unused) != first {
		t.Error("the hash follows a file that is not used")
	}
}

func TestVariablesAreFilledIn(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain", "$NAME": "Acme", "a${NAME}b": "aAcmeb", `\$NAME`: "$NAME", `\\$NAME`: `\$NAME`, "5 $": "5 $", "$5": "$5", "${NAME": "${NAME", "${}": "${}",
		"$FLEET_VAR_HOST_UUID": "$FLEET_VAR_HOST_UUID", "$FLEET_SECRET_WIFI": "swordfish", `a\b`: `a\b`,
	} {
		if got, missing := expand(text, getenv); got != want || len(missing) > 0 {
			t.Errorf("%s: %q, want %q; missing %v", text, got, want, missing)
		}
	}
}

func TestForceSkipsWhatIsNotKnown(t *testing.T) {
	r, err := readAll(memory{"a.yml": "kind: label\nspec: {name: A, colour: red}\n---\nkind: pack\nspec: {}\n"}, WantApply, true)
	if err != nil || len(r.Labels) != 1 || len(r.Warnings) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAKeyWithoutValueIsLeftAloneWithAWarning(t *testing.T) {
	r, err := readAll(memory{"default.yml": "labels:\n", "t.yml": "name: T\ncontrols: {macos_settings: {custom_settings: }, macos_updates: }\n"}, "", false)
	if err != nil || r.AllLabels || r.Teams[0].SetsProfiles() || r.Teams[0].Spec.MDM != nil || len(r.Warnings) != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}

// onDisk writes files below a new directory.
func onDisk(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func readDisk(t *testing.T, paths ...string) (*Repository, error) {
	t.Helper()
	files, names, closeFiles, err := Open(paths)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := closeFiles(); err != nil {
			t.Error(err)
		}
	}()
	return Read(files, names, Options{Getenv: getenv})
}

func TestNothingOutsideOfTheRepositoryIsReadUnlessNamed(t *testing.T) {
	outside := filepath.Join(onDisk(t, map[string]string{"secret.mobileconfig": "X"}), "secret.mobileconfig")
	const list = "name: T\ncontrols: {macos_settings: {custom_settings: [%s]}}\n"
	dir := onDisk(t, map[string]string{
		"repo/default.yml":        "labels: []\n",
		"repo/teams/in.yml":       fmt.Sprintf(list, "../lib/a.mobileconfig"),
		"repo/teams/abs.yml":      fmt.Sprintf(list, outside),
		"repo/teams/out.yml":      fmt.Sprintf(list, "../../secret.mobileconfig"),
		"repo/teams/lnk.yml":      fmt.Sprintf(list, "../lib/link.mobileconfig"),
		"repo/teams/dir.yml":      fmt.Sprintf(list, "../lib"),
		"repo/lib/a.mobileconfig": "A", "secret.mobileconfig": "X",
	})
	if err := os.Symlink("../../secret.mobileconfig", filepath.Join(dir, "repo/lib/link.mobileconfig")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"in": "", "abs": "", "out": "the path leaves the repository", "lnk": "a symbolic link leaves the repository", "dir": "not a file"} {
		r, err := readDisk(t, filepath.Join(dir, "repo/teams", name+".yml"))
		if want == "" && (err != nil || len(r.Teams[0].Profiles) != 1) {
			t.Errorf("%s: %v", name, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	r, err := readDisk(t, filepath.Join(dir, "repo/default.yml"), filepath.Join(dir, "repo/teams/in.yml"))
	if err != nil || !slices.Equal(r.Files, []string{"default.yml", "lib/a.mobileconfig", "teams/in.yml"}) {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := readDisk(t, filepath.Join(dir, "repo/default.yml"), outside); err == nil || !strings.Contains(err.Error(), "is not in the repository") {
		t.Errorf("two repositories: %v", err)
	}
}

func TestWhatIsWrittenReadsTheSame(t *testing.T) {
	version, deadline := "26.1", "2027-01-31"
	hosts := []string{"A1"}
	s := State{
		Config: apiv1.Config{OrgInfo: apiv1.OrgInfo{OrgName: `Acme $NAME \$5 "x": #`}, MDM: apiv1.MDMConfig{MacOSUpdates: apiv1.OSUpdates{MinimumVersion: &version, Deadline: &deadline}}},
		Labels: []apiv1.LabelSpec{{Name: "yes", LabelMembershipType: "manual", Hosts: &hosts}, {Name: "Q", Query: "select '$HOME'\nfrom x", Platform: "darwin", LabelMembershipType: "dynamic"}},
		NoTeam: TeamState{HasSecrets: true},
		Teams: []TeamState{
			{Team: apiv1.Team{Name: "Ä/Ö: 1.0"}, HasSecrets: true, Profiles: []ProfileState{
				{Profile: apiv1.Profile{ProfileUUID: "d1", Name: "a/b", LabelsIncludeAll: []apiv1.ProfileLabel{{Name: "yes"}, {Name: "gone", Broken: true}}}, Content: []byte("{}")},
				{Profile: apiv1.Profile{ProfileUUID: "d2", Name: "a b"}, Content: []byte("{ }")}, {Profile: apiv1.Profile{ProfileUUID: "a3", Name: "A-B"}, Content: []byte("X")}}},
			{Team: apiv1.Team{Name: "ä/ö: 1.0!", Description: "two\nlines"}},
		},
	}
	files, notes, err := Write(s)
	if err != nil || len(notes) != 1 {
		t.Fatal(notes, err)
	}
	m := memory{}
	for _, f := range files {
		if _, twice := m[f.Name]; twice || !filepath.IsLocal(f.Name) {
			t.Errorf("a file named %s", f.Name)
		}
		m[f.Name] = string(f.Content)
	}
	r, err := readAll(m, WantGitOps, false)
	if err != nil {
		t.Fatalf("%v\n%s", err, m)
	}
	if got := *r.Config.OrgInfo.OrgName; got != s.Config.OrgInfo.OrgName {
		t.Errorf("a text came back as %q", got)
	}
	for i, l := range r.Labels {
		if diff := cmp.Diff(s.Labels[i], l.LabelSpec); diff != "" {
			t.Error(diff)
		}
	}
	if r.NoTeam.Spec.Secrets != nil || r.Teams[0].Spec.Secrets != nil || *r.Config.MDM.MacOSUpdates.MinimumVersion != version {
		t.Errorf("%+v", r.NoTeam)
	}
	got := map[string]string{}
	for _, team := range r.Teams {
		for _, p := range team.Profiles {
			got[p.Name] = string(p.Content) + strings.Join(p.IncludeAll, ",")
		}
		got[team.Name()] = "team"
	}
	if got["a/b"] != "{}yes" || got["a b"] != "{ }" || got["Ä/Ö: 1.0"] != "team" || got["ä/ö: 1.0!"] != "team" {
		t.Errorf("%v\n%s", got, m)
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range []string{"name: T\ncontrols: {macos_settings: {custom_settings: [lib/a.mobileconfig, {paths: 'lib/*'}]}}\n",
		"labels: [{name: A, criteria: {vital: v, value: $NAME}}]\norg_settings: {secrets: [{secret: x}]}\n", "kind: team\nspec: {team: {name: A, mdm: {ios_updates: {}}}}\n---\nkind: label\nspec: {name: x}\n",
		"x: &a [*a]\n", "controls: {path: t.yml}\n", "labels: [{path: t.yml}]\n", "kind: config\nspec: {mdm: {macos_settings: {custom_settings: []}}}\n", bomb()} {
		f.Add(text, false)
		f.Add(text, true)
	}
	f.Fuzz(func(t *testing.T, text string, force bool) {
		r, err := readAll(lib(memory{"t.yml": text}), "", force)
		if (r == nil) == (err == nil) {
			t.Fatalf("%v, %v", r, err)
		}
		if r == nil {
			return
		}
		for _, team := range append(r.Teams, r.NoTeam) {
			if team != nil && (team.Name() == "" || len(team.Profiles) > 0 && !team.SetsProfiles()) {
				t.Errorf("%+v", team)
			}
		}
	})
}

func TestSettingsOfSetupAssistantAndTheBrakeAreRead(t *testing.T) {
	r, err := readAll(memory{
		"default.yml": "org_settings:\n  mdm:\n    brake: {wipes_per_hour: 3, approval_for: [wipe], delay_for: []}\ncontrols:\n  macos_setup: {release_timeout_minutes: 20}\n",
		"t.yml":       "name: T\ncontrols:\n  setup_experience: {enable_release_device_manually: true, hold_on_timeout: false}\n",
	}, "", false)
	if err != nil {
		t.Fatal(err)
	}
	b := r.Config.MDM.Brake
	if b == nil || *b.WipesPerHour != 3 || len(*b.ApprovalFor) != 1 || len(*b.DelayFor) != 0 || b.LocksPerHour != nil || b.DelayMinutes != nil {
		t.Errorf("%+v", b)
	}
	if s := r.Config.MDM.MacOSSetup; s == nil || *s.ReleaseTimeoutMinutes != 20 || s.HoldOnTimeout != nil {
		t.Errorf("%+v", s)
	}
	if s := r.Teams[0].Spec.MDM.MacOSSetup; s == nil || !*s.EnableReleaseDeviceManually || *s.HoldOnTimeout || s.ReleaseTimeoutMinutes != nil {
		t.Errorf("%+v", s)
	}
}
