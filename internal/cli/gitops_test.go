package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

// estate is a real server with a repository next to it.
type estate struct {
	*story
	connection *client.Client
	env        map[string]string
	repo       string
}

func newEstate(t *testing.T) *estate {
	t.Helper()
	e := &estate{story: newStory(t), env: map[string]string{}}
	e.repo = filepath.Join(e.dir, "repo")
	e.story.run("", "config", "set", "--address", e.url)
	e.story.run(storyPassword+"\n", "setup", "--email", "ada@example.com", "--name", "Ada", "--org-name", "Acme")
	token := strings.TrimSpace(e.story.run("", "config", "get", "token"))
	var err error
	if e.connection, err = client.New(client.Options{Address: e.url, Token: token}); err != nil {
		t.Fatal(err)
	}
	return e
}

// write puts a file into the repository and returns its path.
func (e *estate) write(name, content string) string {
	e.t.Helper()
	path := filepath.Join(e.repo, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		e.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		e.t.Fatal(err)
	}
	return path
}

// wants runs a command whose exit code and words are known.
func (e *estate) wants(code int, arguments string, words ...string) string {
	e.t.Helper()
	var out, errs bytes.Buffer
	fields := strings.Fields(arguments)
	for i, f := range fields {
		if strings.HasSuffix(f, ".yml") || strings.HasSuffix(f, "plan.json") {
			fields[i] = filepath.Join(e.repo, f)
		}
	}
	got := Execute(e.t.Context(), Deps{In: strings.NewReader(""), Out: &out, Err: &errs, HomeDir: e.dir, Zone: time.UTC,
		Getenv: func(name string) string { return e.env[name] }, Version: apiv1.Version{Version: "1.0.0"}}, fields)
	text := out.String() + errs.String()
	if got != code {
		e.t.Fatalf("muster %s: exit %d, want %d:\n%s", arguments, got, code, text)
	}
	e.contains(arguments, text, words...)
	return text
}

func (e *estate) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// state is all that files can change, as text.
func (e *estate) state() string {
	e.t.Helper()
	ctx := e.t.Context()
	all := map[string]any{}
	add := func(key string, v any, err error) {
		e.t.Helper()
		e.must(err)
		all[key] = v
	}
	config, err := e.connection.Config(ctx)
	add("config", config, err)
	labels, err := e.connection.Labels(ctx)
	add("labels", labels, err)
	variables, err := e.connection.CustomVariables(ctx)
	add("variables", variables, err)
	teams, err := e.connection.Teams(ctx, "")
	add("teams", teams, err)
	for _, t := range append(teams, apiv1.Team{}) {
		secrets, err := e.connection.EnrollSecrets(ctx, t.ID)
		add(fmt.Sprint("secrets ", t.ID), secrets, err)
		profiles, err := e.connection.Profiles(ctx, t.ID)
		add(fmt.Sprint("profiles ", t.ID), profiles, err)
	}
	data, err := json.MarshalIndent(all, "", " ")
	e.must(err)
	return string(data)
}

// same fails when the server is not as it was.
func (e *estate) same(what, before string) {
	e.t.Helper()
	if after := e.state(); after != before {
		e.t.Errorf("%s changed the server:\nbefore %s\nafter %s", what, before, after)
	}
}

func (e *estate) profiles(team string) []string {
	e.t.Helper()
	names := []string{}
	list, err := e.connection.Profiles(e.t.Context(), e.team(team))
	e.must(err)
	for _, p := range list {
		names = append(names, p.Name)
	}
	return names
}

// team is a team's id; 0: there is none, or those without a team.
func (e *estate) team(name string) int64 {
	e.t.Helper()
	teams, err := e.connection.Teams(e.t.Context(), "")
	e.must(err)
	for _, t := range teams {
		if t.Name == name {
			return t.ID
		}
	}
	return 0
}

func (e *estate) labels() string {
	e.t.Helper()
	list, err := e.connection.LabelNames(e.t.Context())
	e.must(err)
	var out []string
	for _, l := range list {
		if l.LabelType != "builtin" {
			out = append(out, l.Name)
		}
	}
	return " " + strings.Join(out, ",")
}

func webclip(identifier, name, value string) string {
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>%[1]s</string><key>PayloadUUID</key><string>%[1]s-uuid</string>
<key>PayloadDisplayName</key><string>%[2]s</string>
<key>PayloadContent</key><array><dict>
<key>PayloadType</key><string>com.example.settings</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>%[1]s.payload</string><key>PayloadUUID</key><string>%[1]s-payload-uuid</string>
<key>Value</key><string>%[3]s</string>
</dict></array></dict></plist>`, identifier, name, value)
}

const passcode = `{"Type":"com.apple.configuration.passcode.settings","Identifier":"com.example.passcode","Payload":{"RequirePasscode":true}}`

// layout writes a repository with two teams.
func (e *estate) layout() {
	e.write("default.yml", `
org_settings:
  org_info:
    org_name: Acme Works
  secrets:
    - secret: $GLOBAL_SECRET
labels:
  - name: Pilots
    description: Who tries things first
    label_membership_type: manual
    hosts: []
  - name: New systems
    criteria: {vital: os_version, operator: ">=", value: "26"}
controls:
  macos_settings:
    custom_settings:
      - path: lib/everyone.mobileconfig
`)
	e.write("teams/macs.yml", `
name: Macs
team_settings:
  secrets:
    - secret: ${MACS_SECRET}
controls:
  macos_updates:
    minimum_version: "26.1"
    deadline: "2027-01-31"
  macos_settings:
    custom_settings:
      - path: ../lib/wifi.mobileconfig
        labels_include_any: [Pilots]
      - path: ../lib/passcode.json
`)
	e.write("teams/phones.yml", `
name: Phones
controls:
  apple_settings:
    configuration_profiles:
      - paths: ../lib/phones/*.mobileconfig
`)
	e.write("lib/everyone.mobileconfig", webclip("com.example.everyone", "Everyone", "all"))
	e.write("lib/wifi.mobileconfig", webclip("com.example.wifi", "Wi-Fi", "$FLEET_SECRET_WIFI"))
	e.write("lib/passcode.json", passcode)
	e.write("lib/phones/a.mobileconfig", webclip("com.example.a", "A", "1"))
	e.write("lib/phones/b.mobileconfig", webclip("com.example.b", "B", "1"))
	e.env = map[string]string{"GLOBAL_SECRET": "global-secret-0123456789abcdef", "MACS_SECRET": "macs-secret-0123456789abcdef", "FLEET_SECRET_WIFI": "swordfish"}
}

const everything = " -f default.yml -f teams/macs.yml -f teams/phones.yml"

func TestARepositoryIsPlannedAppliedAndWrittenAgain(t *testing.T) {
	e := newEstate(t)
	e.layout()

	// A dry run tells all and changes nothing, for teams and labels too that do
	// not exist.
	before := e.state()
	for code, command := range map[int]string{ExitOK: "gitops --dry-run", ExitChanges: "plan"} {
		out := e.wants(code, command+everything, "+ team Macs: the team will be created", "+ label Pilots", "+ variable WIFI", "~ setting org_info.org_name: Acme -> Acme Works",
			"+ Wi-Fi (com.example.wifi)", "+ passcode (com.example.passcode)", "+ A (com.example.a)", "0 to delete")
		if strings.Contains(out, "swordfish") || strings.Contains(out, "global-secret") {
			t.Errorf("%s shows a secret:\n%s", command, out)
		}
		e.same(command, before)
	}

	e.wants(ExitOK, "gitops"+everything, "Applied: custom variables, labels, settings, enroll secrets, teams, profiles of \"No team\"")
	if got := fmt.Sprint(e.profiles("Macs"), e.profiles("Phones"), e.profiles("No team")) + e.labels(); got != "[Wi-Fi passcode] [A B] [Everyone] New systems,Pilots" {
		t.Errorf("the server has %s", got)
	}
	team, err := e.connection.Team(t.Context(), e.team("Macs"))
	if err != nil || *team.MDM.MacOSUpdates.MinimumVersion != "26.1" {
		t.Errorf("%+v, %v", team, err)
	}
	e.wants(ExitOK, "plan"+everything, "No changes")
	before = e.state()
	e.wants(ExitOK, "gitops"+everything, "No changes")
	e.same("applying it again", before)

	// Written down again, nothing is different, and no secret is in it.
	e.env["FLEET_SECRET_WIFI"] = ""
	e.wants(ExitOK, "generate-gitops --dir "+filepath.Join(e.repo, "made"), "Wrote 8 files")
	e.must(filepath.WalkDir(filepath.Join(e.repo, "made"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, secret := range e.env {
			if secret != "" && bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s holds a secret", path)
			}
		}
		return err
	}))
	e.wants(ExitOK, "plan -f made/default.yml -f made/teams/Macs.yml -f made/teams/Phones.yml", "No changes")
	e.wants(ExitOK, "plan -f made/default.yml -f made/teams/Macs.yml -f made/teams/Phones.yml --delete-other-teams", "No changes")
	e.wants(ExitError, "generate-gitops --dir "+filepath.Join(e.repo, "made"), "is there already, nothing was written")
	e.wants(ExitOK, "generate-gitops --team Phones --print", "# --- teams/Phones.yml")

	// One line of it is different: that is what the plan says.
	macs := filepath.Join(e.repo, "made/teams/Macs.yml")
	text, err := os.ReadFile(macs)
	e.must(err)
	e.must(os.WriteFile(macs, bytes.Replace(text, []byte("26.1"), []byte("26.2"), 1), 0o600))
	e.wants(ExitChanges, "plan -f made/teams/Macs.yml", "mdm.macos_updates.minimum_version of Macs: 26.1 -> 26.2", "0 to add, 1 to change, 0 to delete")
}

func TestWhatAFileLeavesOutStaysAndAnEmptyListDeletes(t *testing.T) {
	e := newEstate(t)
	e.layout()
	e.wants(ExitOK, "gitops"+everything)

	// Sections that are missing, or have lost their values, are left alone.
	before := e.state()
	e.write("default.yml", "org_settings:\n  org_info:\n    org_name: Acme Works\n")
	e.write("teams/macs.yml", "name: Macs\n")
	e.write("teams/phones.yml", "name: Phones\ncontrols:\n  macos_settings:\n    custom_settings:\n  ios_updates:\n")
	e.wants(ExitOK, "gitops"+everything, "No changes", "teams/phones.yml:4: controls.macos_settings.custom_settings: has no value")
	e.same("a missing section", before)

	// An empty list deletes, and the plan says so before.
	e.write("teams/phones.yml", "name: Phones\ncontrols:\n  macos_settings:\n    custom_settings: []\n")
	e.wants(ExitChanges, "plan -f teams/phones.yml", "- A (com.example.a): remove", "Deletions", "profile B (com.example.b) of Phones", "2 to delete")
	e.same("a plan", before)
	var p savedPlan
	out := e.wants(ExitChanges, "plan -f teams/phones.yml -o json")
	if err := json.Unmarshal([]byte(out), &p); err != nil || len(p.Teams) != 1 || p.Teams[0].Items[0].Change != "remove" {
		t.Errorf("%v: %s", err, out)
	}
	e.wants(ExitOK, "gitops -f teams/phones.yml", "Deletions", "profile A (com.example.a) of Phones")
	if got := e.profiles("Phones"); len(got) != 0 {
		t.Errorf("still there: %v", got)
	}
	e.write("default.yml", "labels: []\norg_settings:\n  secrets: []\n")
	e.wants(ExitOK, "gitops -f default.yml", "- label Pilots", "- label New systems", "1 removed: agents that have one", `the profile "Wi-Fi" of "Macs" is scoped by the label "Pilots"`)
	if got := e.labels(); got != " " {
		t.Errorf("labels %s", got)
	}

	// Teams go only on request, and are listed.
	before = e.state()
	e.wants(ExitOK, "gitops -f default.yml -f teams/macs.yml", "No changes")
	e.wants(ExitOK, "gitops -f default.yml -f teams/macs.yml --delete-other-teams --dry-run", "- team Phones", "team Phones", "1 to delete")
	e.same("a dry run", before)
	e.wants(ExitOK, "gitops -f default.yml -f teams/macs.yml --delete-other-teams", "- team Phones", `delete team "Phones"`)
	if e.team("Phones") != 0 || e.team("Macs") == 0 {
		t.Error("the wrong teams are left")
	}
}

func TestDocumentsAreApplied(t *testing.T) {
	e := newEstate(t)
	e.write("lib/wifi.mobileconfig", webclip("com.example.wifi", "Wi-Fi", "1"))
	e.write("all.yml", `
apiVersion: v1
kind: config
spec:
  org_info: {org_name: Acme Works}
---
apiVersion: v1
kind: label
spec: {name: Pilots, hosts: []}
---
apiVersion: v1
kind: enroll_secret
spec:
  secrets: [{secret: "a-secret-0123456789abcdef"}]
---
apiVersion: v1
kind: team
spec:
  team:
    name: Macs
    mdm:
      macos_settings:
        custom_settings:
          - path: lib/wifi.mobileconfig
            labels_include_all: [Pilots]
`)
	// A pipeline's user may do all of it.
	var made struct{ Token string }
	e.must(json.Unmarshal([]byte(e.wants(ExitOK, "user create --api-only --name CI --email ci@example.com --global-role gitops -o json")), &made))
	e.env["MUSTER_URL"], e.env["MUSTER_TOKEN"] = e.url, made.Token
	before := e.state()
	e.wants(ExitOK, "apply -f all.yml --dry-run", "+ label Pilots", "+ team Macs", "+ Wi-Fi (com.example.wifi)")
	e.same("a dry run", before)
	e.wants(ExitOK, "apply -f all.yml", "Applied: labels, settings, enroll secrets, teams, profiles of \"Macs\"")
	if got := fmt.Sprint(e.profiles("Macs")) + e.labels(); got != "[Wi-Fi] Pilots" {
		t.Errorf("the server has %s", got)
	}
	e.wants(ExitOK, "apply -f all.yml", "No changes")
	e.write("policy.yml", "apiVersion: v1\nkind: policy\nspec: {name: x}\n---\napiVersion: v1\nkind: label\nspec: {name: More}\n")
	e.wants(ExitError, "apply -f policy.yml", "policy.yml:1: kind: Muster does not have documents of kind policy yet")
	e.wants(ExitOK, "apply -f policy.yml --force", "skipped by --force", "+ label More")
	e.wants(ExitError, "gitops -f policy.yml", "use muster apply")
}

func TestFaultsAreToldWithTheirPlacesAndChangeNothing(t *testing.T) {
	e := newEstate(t)
	e.write("lib/a.mobileconfig", webclip("com.example.a", "A", "$FLEET_SECRET_NOWHERE"))
	e.write("lib/b.mobileconfig", webclip("com.example.b", "B", "1"))
	e.write("lib/b2.mobileconfig", webclip("com.example.b", "B again", "2"))
	e.write("lib/mdm.mobileconfig", strings.Replace(webclip("com.example.mdm", "MDM", "2"), "com.example.settings", "com.apple.mdm", 1))
	list := func(elements string) string {
		return "name: Macs\ncontrols:\n  macos_settings:\n    custom_settings:\n" + elements
	}
	_, err := e.connection.CreateLabel(t.Context(), apiv1.CreateLabelRequest{Name: "Old"})
	e.must(err)
	before := e.state()
	for name, tt := range map[string]struct{ file, want string }{
		"an unknown key":         {"name: Macs\ncontrols:\n  macos_update:\n    deadline: x\n", `teams/macs.yml:3: controls.macos_update: is not a known key; did you mean macos_updates?`},
		"an unset variable":      {"name: Macs\nteam_settings:\n  secrets:\n    - secret: $UNSET\n", "teams/macs.yml:4: team_settings.secrets[1].secret: the environment variable UNSET is not set"},
		"an unset secret":        {list("      - path: ../lib/a.mobileconfig\n"), "teams/macs.yml:5: lib/a.mobileconfig: uses $FLEET_SECRET_NOWHERE"},
		"one identifier twice":   {list("      - path: ../lib/b.mobileconfig\n      - path: ../lib/b2.mobileconfig\n"), "teams/macs.yml:5 (lib/b.mobileconfig), teams/macs.yml:6 (lib/b2.mobileconfig): profiles of \"Macs\": profiles: lib/b.mobileconfig and lib/b2.mobileconfig have the same identifier"},
		"a profile not taken":    {list("      - path: ../lib/b.mobileconfig\n      - path: ../lib/mdm.mobileconfig\n"), "teams/macs.yml:6 (lib/mdm.mobileconfig): profiles of \"Macs\": profile: lib/mdm.mobileconfig: the payload com.apple.mdm is not taken"},
		"a label that is not":    {list("      - path: ../lib/b.mobileconfig\n        labels_include_all: [Nobody]\n"), `teams/macs.yml:5: lib/b.mobileconfig: there is no label named "Nobody"`},
		"a label that would go":  {list("      - path: ../lib/b.mobileconfig\n        labels_exclude_any: [Old]\n"), `teams/macs.yml:5: lib/b.mobileconfig: the label "Old" would be deleted, as it is not in the list of labels`},
		"a file that is not":     {list("      - path: ../lib/c.mobileconfig\n"), "teams/macs.yml:5: controls.macos_settings.custom_settings[1]: lib/c.mobileconfig: there is no such file"},
		"a deadline alone":       {"name: Macs\ncontrols:\n  ios_updates:\n    deadline: \"2027-01-01\"\n", "teams/macs.yml:4: controls.ios_updates: give both"},
		"a version that is none": {"name: Macs\ncontrols:\n  ios_updates: {minimum_version: new, deadline: \"2027-01-01\"}\n", "teams (teams/macs.yml:1): mdm.ios_updates.minimum_version: must be"},
	} {
		t.Run(name, func(t *testing.T) {
			e.write("teams/macs.yml", tt.file)
			e.write("default.yml", "labels:\n  - name: New\n")
			e.wants(ExitError, "gitops -f default.yml -f teams/macs.yml", tt.want)
			e.same(name, before)
		})
	}
}

func TestASavedPlanIsRefusedWhenAnythingChanged(t *testing.T) {
	e := newEstate(t)
	e.layout()
	e.wants(ExitOK, "gitops"+everything)
	changed := func() {
		e.write("lib/phones/a.mobileconfig", webclip("com.example.a", "A", "2"))
		e.must(os.Remove(filepath.Join(e.repo, "lib/phones/b.mobileconfig")))
	}
	changed()
	plan := "plan" + everything + " --out plan.json"
	e.wants(ExitChanges, plan, "~ A (com.example.a): change", "- B (com.example.b): remove", "muster gitops --plan")

	// The files changed.
	e.write("lib/phones/a.mobileconfig", webclip("com.example.a", "A", "3"))
	before := e.state()
	e.wants(ExitError, "gitops --plan plan.json", "the files changed since the plan was made: plan again")
	e.same("a past plan", before)

	// The team changed.
	e.wants(ExitChanges, plan)
	_, err := e.connection.CreateProfile(t.Context(), client.ProfileUpload{FileName: "c.mobileconfig", Content: []byte(webclip("com.example.c", "C", "1")), TeamID: e.team("Phones")})
	e.must(err)
	before = e.state()
	out := e.wants(ExitError, "gitops --plan plan.json", `the profiles of "Phones" changed since the plan was made`)
	if !regexp.MustCompile(`revision \d+, now \d+\): plan again`).MatchString(out) {
		t.Error(out)
	}
	e.same("a past plan", before)

	// The server itself refuses a set that was planned before.
	phones := e.team("Phones")
	at, err := e.connection.Plan(t.Context(), apiv1.PlanRequest{TeamID: &phones, Profiles: []apiv1.PlanProfile{}})
	e.must(err)
	err = e.connection.SetPlannedProfiles(t.Context(), phones, []apiv1.ProfileBatchItem{}, at.Revision-1)
	if client.StatusOf(err) != http.StatusConflict || !strings.Contains(err.Error(), "plan again") {
		t.Errorf("a set of a past revision: %v", err)
	}
	e.same("a set that was refused", before)

	// The settings changed.
	e.wants(ExitChanges, plan, "- C (com.example.c)")
	name := "Other"
	_, err = e.connection.ModifyConfig(t.Context(), apiv1.ConfigPatch{OrgInfo: &apiv1.OrgInfoPatch{OrgName: &name}}, false)
	e.must(err)
	e.wants(ExitError, "gitops --plan plan.json", "org_info.org_name", "plan again")

	// Nothing changed.
	e.wants(ExitChanges, plan, "Other -> Acme Works")
	e.wants(ExitUsage, "apply --plan plan.json", "muster gitops")
	e.wants(ExitOK, "gitops --plan plan.json", "profiles of \"Phones\"")
	if got := fmt.Sprint(e.profiles("Phones")); got != "[A]" {
		t.Errorf("the server has %s", got)
	}
}

func TestThePageOnRepositoriesIsTrue(t *testing.T) {
	e := newEstate(t)
	e.env = map[string]string{"MACS_ENROLL_SECRET": "macs-secret-0123456789abcdef", "FLEET_SECRET_WIFI_PASSWORD": "swordfish"}
	blocks, _ := fenced(pages(t)["docs/gitops.md"])
	for _, b := range blocks {
		if _, name, file := strings.Cut(b.kind, " "); file {
			e.write(name, b.text)
		}
	}
	// What the commands of the page end with and say, in their order.
	told := []struct {
		command string
		code    int
		word    string
	}{
		{"generate-gitops", ExitOK, "Wrote 1 files"},
		{"plan", ExitChanges, "+ Office Wi-Fi (com.example.wifi)"},
		{"gitops", ExitOK, "Dry run: nothing was changed"},
		{"gitops", ExitOK, "Applied: custom variables, labels, teams"},
		{"plan", ExitOK, "The plan is in"},
		{"gitops", ExitOK, "No changes"},
		{"gitops", ExitOK, "No changes"},
		{"apply", ExitOK, "26.1 -> 26.2"},
		{"apply", ExitOK, "Applied: labels, teams"},
	}
	ran := 0
	for _, b := range blocks {
		for _, x := range commandsOf("docs/gitops.md", b.text) {
			if ran >= len(told) || x.words[1] != told[ran].command {
				t.Fatalf("docs/gitops.md:%d: this test does not know %v", b.line, x.words)
			}
			e.wants(told[ran].code, strings.Replace(strings.Join(x.words[1:], " "), "--dir ", "--dir "+e.dir+"/", 1), told[ran].word)
			ran++
		}
	}
	if got := fmt.Sprint(e.profiles("Macs")); ran != len(told) || got != "[Office Wi-Fi passcode]" {
		t.Errorf("%d commands, and the server has %s", ran, got)
	}
}

func TestWhatFailsSaysWhatWasApplied(t *testing.T) {
	err := failed([]string{"labels", "teams"}, []specStep{{name: "profiles of \"Macs\""}, {name: "delete team \"X\""}}, errPlanAgain)
	teams := failed(nil, []specStep{{name: stepTeams, parts: true}, {name: "profiles of \"Macs\""}}, errPlanAgain).Error()
	if strings.Contains(teams, "Nothing was changed") || !strings.Contains(teams, "Perhaps applied in part: teams.\nNot applied: profiles of \"Macs\".\n") {
		t.Error(teams)
	}
	for _, want := range []string{"profiles of \"Macs\": plan again", "Already applied: labels, teams.", "Not applied: profiles of \"Macs\", delete team \"X\".", "run the same again"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing: %v", want, err)
		}
	}
}

func TestAPlanCountsHostsAndTellsWhoWillRefuse(t *testing.T) {
	e := newEstate(t)
	cert, key, err := e.push.NewPushCertificate("com.apple.mgmt.External.story")
	e.must(err)
	e.story.run("", "apns", "upload", "--cert", e.file("push.pem", cert), "--key", e.file("push.key", key))
	e.enroll(e.story.run("", "apple-mdm", "enrollments", "create", "--name", "Macs"))
	serial := e.mac.Spec().Serial
	getenv := func(name string) string { return e.env[name] }
	e.write("lib/a.mobileconfig", webclip("com.example.a", "A", "1"))
	e.write("lib/b.mobileconfig", webclip("com.example.b", "B", "1"))
	e.write("default.yml", "labels:\n  - name: Pilots\n    hosts: ["+serial+"]\ncontrols:\n  macos_settings:\n    custom_settings:\n"+
		"      - path: lib/a.mobileconfig\n      - path: lib/b.mobileconfig\n        labels_include_all: [Pilots]\n")
	e.wants(ExitChanges, "plan -f default.yml", "+ A (com.example.a): add, 1 get it; such as", serial, "+ B (com.example.b): add, 1 are held")

	// A value that comes with the plan is none to be missed; a fact that the host
	// does not have is.
	e.env["FLEET_SECRET_NEW"] = "swordfish"
	e.write("lib/new.mobileconfig", webclip("com.example.new", "New", "$FLEET_SECRET_NEW"))
	e.write("lib/idp.mobileconfig", webclip("com.example.idp", "IdP", "$FLEET_VAR_HOST_END_USER_IDP_USERNAME"))
	e.write("new.yml", "controls:\n  macos_settings:\n    custom_settings: [lib/new.mobileconfig]\n")
	if out := e.wants(ExitChanges, "plan -f new.yml", "+ variable NEW", "+ New (com.example.new): add, 1 get it"); strings.Contains(out, "refuse") {
		t.Errorf("a refusal that will not be:\n%s", out)
	}
	e.write("new.yml", "controls:\n  macos_settings:\n    custom_settings: [lib/idp.mobileconfig]\n")
	e.wants(ExitChanges, "plan -f new.yml", "1 expected to refuse it: the variable $FLEET_VAR_HOST_END_USER_IDP_USERNAME has no value", "to do: set the value", serial)
	e.wants(ExitOK, "gitops -f default.yml")
	e.wants(ExitOK, "plan -f default.yml", "No changes")
	e.write("default.yml", "labels:\n  - name: Pilots\n    hosts: []\ncontrols:\n  macos_settings:\n    custom_settings:\n      - path: lib/b.mobileconfig\n        labels_include_all: [Pilots]\n")
	e.wants(ExitChanges, "plan -f default.yml", "- A (com.example.a): remove, 1 lose it", "~ label Pilots: 0 hosts join and 1 leave", "the members of the label \"Pilots\" change")

	// A new team has neither the hosts nor the profiles of those without one.
	e.write("teams/lab.yml", "name: Lab\ncontrols:\n  macos_settings:\n    custom_settings: [../lib/b.mobileconfig]\n")
	if out := e.wants(ExitChanges, "plan -f teams/lab.yml", "Profiles of Lab (a new team, without hosts)", "+ B (com.example.b): add\n", "2 to add, 0 to change, 0 to delete"); strings.Contains(out, serial) {
		t.Errorf("a host of a team that does not exist:\n%s", out)
	}

	// What is set is what was shown, or nothing: somebody was faster here.
	c := &cli{Deps: Deps{Out: io.Discard, Err: io.Discard, HomeDir: e.dir, Getenv: getenv}}
	w, p, err := c.work(t.Context(), "", specFlags{files: []string{filepath.Join(e.repo, "default.yml")}})
	e.must(err)
	_, err = e.connection.CreateProfile(t.Context(), client.ProfileUpload{FileName: "c.mobileconfig", Content: []byte(webclip("com.example.c", "C", "1"))})
	e.must(err)
	if err := w.execute(t.Context(), p); err == nil || !strings.Contains(err.Error(), "com.example.c of the team \"No team\" is not what was shown") || !strings.Contains(err.Error(), "Already applied: labels.") {
		t.Errorf("a set that removes what was not shown: %v", err)
	}
	if got := fmt.Sprint(e.profiles("No team")); got != "[A B C]" {
		t.Errorf("the server has %s", got)
	}
}
