package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
)

func TestTeamsAreNamedByName(t *testing.T) {
	b := loggedIn(t, "admin")
	if out := b.ok("get", "teams"); !strings.Contains(out, "| 3  | Sales | 1     | 15.1 by 2026-03-01 |") {
		t.Errorf("list:\n%s", out)
	}
	b.ok("teams", "create", "Lab", "--description", "test devices")
	if b.teams.Created.Name != "Lab" || b.teams.Created.Description != "test devices" {
		t.Errorf("%+v", b.teams.Created)
	}
	if _, errs, code := b.run("teams", "delete", "Nobody", "--yes"); code != ExitNotFound || !strings.Contains(errs, "muster get teams") {
		t.Errorf("an unknown team: %d %s", code, errs)
	}
	if _, _, code := b.run("teams", "delete", "No team", "--yes"); code != ExitUsage {
		t.Errorf("no team: exit %d", code)
	}
	if _, _, code := b.run("teams", "delete", "Sales"); code != ExitUsage || b.teams.Deleted != 0 {
		t.Errorf("an unconfirmed deletion: exit %d", code)
	}
	b.ok("teams", "delete", "Sales", "--yes")
	if b.teams.Deleted != 3 {
		t.Errorf("deleted %d", b.teams.Deleted)
	}
	if out := b.ok("get", "enroll-secrets", "--team", "Sales", "-o", "csv"); !strings.Contains(out, "enroll-me,Sales") {
		t.Errorf("secrets: %s", out)
	}
	b.ok("get", "hosts", "--team", "Sales", "--os-settings", "failed")
	if f := b.hosts.Filter; f.TeamID == nil || *f.TeamID != 3 || f.Items != fleet.ItemFailed {
		t.Errorf("filter: %+v", f)
	}
}

func TestHostsAreTransferredByNameOrByFilter(t *testing.T) {
	b := loggedIn(t, "admin")
	if out := b.ok("hosts", "transfer", "--team", "Sales", "--hosts", "C02ABC,mdm", "--expect", "2"); !strings.Contains(out, "| 2     | Sales |") {
		t.Errorf("%s", out)
	}
	if len(b.teams.Moved) != 2 || b.teams.MovedTo != 3 || b.teams.Expected != 2 {
		t.Errorf("%+v", b.teams)
	}
	b.ok("hosts", "transfer", "--team", "", "--label", "Lab", "--search_query", "mac", "--status", "online")
	if f := b.teams.Filter; b.teams.MovedTo != 0 || f.LabelID != 9 || f.Query != "mac" || f.SeenAfter.IsZero() || b.teams.Expected != -1 {
		t.Errorf("%+v", b.teams)
	}
	for name, arguments := range map[string][]string{
		"without a team":          {"--hosts", "C02ABC"},
		"without hosts":           {"--team", "Sales"},
		"by name and by a filter": {"--team", "Sales", "--hosts", "C02ABC", "--label", "Lab"},
	} {
		b.teams.Moved = nil
		if _, _, code := b.run(append([]string{"hosts", "transfer"}, arguments...)...); code != ExitUsage || b.teams.Moved != nil {
			t.Errorf("%s: exit %d", name, code)
		}
	}
	for name, arguments := range map[string][]string{
		"an unknown host":  {"--team", "Sales", "--hosts", "C02ABC,nobody"},
		"an unknown label": {"--team", "Sales", "--label", "Nothing"},
		"an unknown team":  {"--team", "Nobody", "--hosts", "C02ABC"},
	} {
		b.teams.Moved = nil
		if _, _, code := b.run(append([]string{"hosts", "transfer"}, arguments...)...); code != ExitNotFound || b.teams.Moved != nil {
			t.Errorf("%s: exit %d", name, code)
		}
	}
}

func TestLabels(t *testing.T) {
	b := loggedIn(t, "admin")
	if out := b.ok("get", "labels"); !strings.Contains(out, "| 1  | All Hosts | built in") || !strings.Contains(out, "| 9  | Lab       | manual") {
		t.Errorf("list:\n%s", out)
	}
	out := b.ok("get", "label", "Lab")
	if !strings.Contains(out, "Membership:   manual") || !strings.Contains(out, "C02ABC") {
		t.Errorf("label:\n%s", out)
	}
	b.ok("labels", "create", "Sequoia", "--vital", "os_version", "--operator", ">=", "--value", "15")
	if c := b.labels.Created.Criteria; c == nil || *c != (fleet.Criteria{Vital: "os_version", Operator: ">=", Value: "15"}) {
		t.Errorf("criteria: %+v", c)
	}
	b.ok("labels", "create", "Desks", "--hosts", "C02ABC,mdm")
	if len(b.labels.Members) != 2 || b.labels.Created.Query != "" {
		t.Errorf("members: %v", b.labels.Members)
	}
	for _, arguments := range [][]string{{"--hosts", "a", "--query", "SELECT 1"}, {"--vital", "os_version"}, {"--value", "15"}} {
		if _, _, code := b.run(append([]string{"labels", "create", "X"}, arguments...)...); code != ExitUsage {
			t.Errorf("%v: exit %d", arguments, code)
		}
	}
	b.ok("labels", "delete", "Lab", "--yes")
	if b.labels.Deleted != 9 {
		t.Errorf("deleted %d", b.labels.Deleted)
	}
}

func TestProfilesAreUploadedWithLabelsAndRings(t *testing.T) {
	b := loggedIn(t, "admin")
	path := b.file("wifi.mobileconfig", "<plist/>")
	out, errs, code := b.run("profiles", "upload", path, "--team", "Sales", "--labels-include-any", "Lab, Desks", "--labels-exclude-any", "Old",
		"--ring", "5:24h", "--ring", "25%", "--max-failed", "0.1")
	if code != ExitOK || !strings.Contains(out, "a-uuid") || !strings.Contains(errs, "a password stands in clear") {
		t.Fatalf("%d %s %s", code, out, errs)
	}
	u := b.profiles.Uploads[0]
	labels, _ := json.Marshal(u.Labels)
	if b.profiles.Team != 3 || u.FileName != "wifi.mobileconfig" || string(u.Content) != "<plist/>" ||
		string(labels) != `[{"LabelID":0,"Name":"Lab","Mode":2},{"LabelID":0,"Name":"Desks","Mode":2},{"LabelID":0,"Name":"Old","Mode":3}]` {
		t.Errorf("%s to %d with %s", u.FileName, b.profiles.Team, labels)
	}
	if r := u.Rollout; r == nil || len(r.Rings) != 2 || r.Rings[0].Percent != 5 || r.Rings[0].Soak.Hours() != 24 || r.Rings[1].Percent != 25 || r.MaxFailed != 0.1 {
		t.Errorf("rollout: %+v", u.Rollout)
	}
	b.ok("profiles", "upload", path, "--replace", "Wi-Fi", "--team", "Sales")
	if u := b.profiles.Uploads[0]; b.profiles.Replaced != "a-uuid" || u.Labels != nil {
		t.Errorf("replaced %s with labels %v", b.profiles.Replaced, u.Labels)
	}
	b.profiles.Uploads = nil
	for name, arguments := range map[string][]string{
		"a ring that is no number": {path, "--ring", "five"},
		"a budget without rings":   {path, "--max-failed", "0.1"},
		"two files for one":        {path, path, "--replace", "Wi-Fi"},
		"no file":                  {},
	} {
		if _, _, code := b.run(append([]string{"profiles", "upload"}, arguments...)...); code != ExitUsage || b.profiles.Uploads != nil {
			t.Errorf("%s: exit %d", name, code)
		}
	}
	for name, file := range map[string]string{"an empty file": b.file("empty", ""), "a file over the limit": b.file("large", strings.Repeat("x", maxProfile+1)), "a missing file": b.dir + "/none"} {
		if _, _, code := b.run("profiles", "upload", path, file); code != ExitError || b.profiles.Uploads != nil {
			t.Errorf("%s: exit %d, uploads %v", name, code, b.profiles.Uploads)
		}
	}
	b.ok("apple-mdm", "profiles", "create", "--name", "Passcode", "--payload", b.file("p.json", "{}"))
	if u := b.profiles.Uploads[0]; u.FileName != "Passcode.json" {
		t.Errorf("named %s", u.FileName)
	}
}

func TestProfilesAreShownResentAndSteered(t *testing.T) {
	b := loggedIn(t, "admin")
	for _, list := range [][]string{{"get", "profiles"}, {"apple-mdm", "profiles", "list"}} {
		if out := b.ok(list...); !strings.Contains(out, "com.example.wifi") || !strings.Contains(out, "any of Lab; none of Gone (deleted)") || !strings.Contains(out, "running, ring 1 of 2, 5%") {
			t.Errorf("%v:\n%s", list, out)
		}
	}
	if out := b.ok("get", "profile", "Wi-Fi"); !strings.Contains(out, "Warning:") || !strings.Contains(out, "a-uuid") {
		t.Errorf("profile:\n%s", out)
	}
	if out := b.ok("get", "profile", "com.example.wifi", "--content"); out != "<plist/>" {
		t.Errorf("content: %q", out)
	}
	out := b.ok("profiles", "status", "Wi-Fi", "--error", "network")
	if !strings.Contains(out, "Failed:     4") || !strings.Contains(out, "no such network") || b.profiles.Filter.Query != "network" || b.profiles.Filter.Status != fleet.ItemFailed {
		t.Errorf("status:\n%s%+v", out, b.profiles.Filter)
	}
	b.ok("profiles", "resend", "Wi-Fi", "--host", "C02ABC")
	if b.profiles.Resent != "a-uuid" || b.profiles.Host != 7 {
		t.Errorf("resent %s to %d", b.profiles.Resent, b.profiles.Host)
	}
	b.ok("profiles", "resend", "Wi-Fi", "--failed", "--error", "network")
	if b.profiles.Match != "network" {
		t.Errorf("where %q", b.profiles.Match)
	}
	for _, arguments := range [][]string{{}, {"--host", "C02ABC", "--failed"}, {"--host", "C02ABC", "--error", "x"}} {
		if _, _, code := b.run(append([]string{"profiles", "resend", "Wi-Fi"}, arguments...)...); code != ExitUsage {
			t.Errorf("%v: exit %d", arguments, code)
		}
	}
	b.ok("profiles", "rollout", "Wi-Fi", "halt", "--reason", "tickets")
	if b.profiles.Action != "halt tickets" {
		t.Errorf("action %q", b.profiles.Action)
	}
	if _, errs, code := b.run("profiles", "delete", "Nothing", "--yes"); code != ExitNotFound || !strings.Contains(errs, "muster get profiles") {
		t.Errorf("an unknown profile: %d %s", code, errs)
	}
	b.ok("apple-mdm", "profiles", "delete", "Wi-Fi", "--yes")
	if b.profiles.Deleted != "a-uuid" {
		t.Errorf("deleted %q", b.profiles.Deleted)
	}
	if out := b.ok("get", "host", "C02ABC"); !strings.Contains(out, "Profile Wi-Fi:") || !strings.Contains(out, "verified") {
		t.Errorf("host:\n%s", out)
	}
}

func TestVariablesComeFromAFlagAFileOrStandardInput(t *testing.T) {
	b := loggedIn(t, "admin")
	const many = "-----BEGIN KEY-----\nabc\n-----END KEY-----"
	for name, tt := range map[string]struct {
		input     string
		arguments []string
		want      string
	}{
		"a flag":                       {"", []string{"--value", "hunter2"}, "hunter2"},
		"a file":                       {"", []string{"--value-file", b.file("v", many+"\n")}, many},
		"standard input":               {many + "\r\n", nil, many},
		"standard input without break": {"hunter2", nil, "hunter2"},
	} {
		b.input = tt.input
		out, errs, code := b.run(append([]string{"variables", "set", "FLEET_SECRET_WIFI"}, tt.arguments...)...)
		if code != ExitOK || b.profiles.Values["WIFI"] != tt.want || strings.Contains(out+errs, tt.want) {
			t.Errorf("%s: %d %v %s%s", name, code, b.profiles.Values, out, errs)
		}
	}
	b.input = "\n"
	if _, _, code := b.run("variables", "set", "WIFI"); code != ExitUsage {
		t.Errorf("an empty value: exit %d", code)
	}
	if out := b.ok("get", "custom-variables"); !strings.Contains(out, "WIFI_PASSWORD") {
		t.Errorf("list:\n%s", out)
	}
	b.ok("variables", "delete", "WIFI_PASSWORD", "--yes")
	if b.profiles.Deleted != "WIFI_PASSWORD" {
		t.Errorf("deleted %q", b.profiles.Deleted)
	}
}
