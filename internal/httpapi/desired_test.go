package httpapi

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

func TestHostsAreFilteredByWhatBecameOfProfiles(t *testing.T) {
	none, three := fleet.NoTeam, fleet.TeamID(3)
	page := fleet.Page{Size: 500}
	for _, tt := range []struct {
		query  string
		status int
		want   fleet.HostFilter
	}{
		{"os_settings=failed&team_id=3", 200, fleet.HostFilter{Page: page, TeamID: &three, Items: fleet.ItemFailed}},
		{"macos_settings=verifying&fleet_id=3", 200, fleet.HostFilter{Page: page, TeamID: &three, Items: fleet.ItemVerifying}},
		{"os_settings=pending", 200, fleet.HostFilter{Page: page, TeamID: &none, Items: fleet.ItemPending}},
		{"os_settings=failed&macos_settings=failed", 200, fleet.HostFilter{Page: page, TeamID: &none, Items: fleet.ItemFailed}},
		{"profile_uuid=a-uuid&profile_status=verified", 200, fleet.HostFilter{Page: page, ItemUUID: "a-uuid", ItemStatus: fleet.ItemVerified}},
		{"os_settings=failed&macos_settings=pending", 400, fleet.HostFilter{}},
		{"profile_status=failed", 400, fleet.HostFilter{}},
		{"os_settings=broken", 400, fleet.HostFilter{}},
	} {
		t.Run(tt.query, func(t *testing.T) {
			b := newBench(t)
			status, body, _ := b.call(t, "GET", "/api/v1/fleet/hosts?"+tt.query, "")
			got, _ := json.Marshal(b.hosts.Filter)
			want, _ := json.Marshal(tt.want)
			if status != tt.status || string(got) != string(want) {
				t.Errorf("%d %v\ngot  %s\nwant %s", status, body, got, want)
			}
		})
	}
}

func TestNamesOfTeamsAreLookedUpOncePerPage(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/api/v1/fleet/hosts", "/api/v1/fleet/labels/9/hosts"} {
		b.teams.Asked = 0
		if status, _, _ := b.call(t, "GET", path, ""); status != 200 || b.teams.Asked > 1 {
			t.Errorf("%s: %d, asked %d times", path, status, b.teams.Asked)
		}
	}
	if b.hosts.Filter.LabelID != 9 {
		t.Errorf("filter: %+v", b.hosts.Filter)
	}
}

func TestFleetsAreTeams(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/teams", "/teams/3", "/teams/3/secrets", "/configuration_profiles?team_id=3", "/mdm/profiles?team_id=3"} {
		old := "/api/v1/fleet" + path
		renamed := strings.NewReplacer("/teams", "/fleets", "team_id", "fleet_id").Replace(path)
		status, want, _ := b.call(t, "GET", old, "")
		again, got, _ := b.call(t, "GET", "/api/latest/fleet"+renamed, "")
		if status != 200 || again != 200 || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d %v\n%s: %d %v", path, status, want, renamed, again, got)
		}
	}
	for _, body := range []string{`{"team_id":3,"hosts":[7],"expected_count":1}`, `{"fleet_id":3,"hosts":[7],"expected_count":1}`} {
		b.teams.MovedTo = 0
		if status, answer, _ := b.call(t, "POST", "/api/v1/fleet/hosts/transfer", body); status != 200 || b.teams.MovedTo != 3 || b.teams.Expected != 1 {
			t.Errorf("%s: %d %v", body, status, answer)
		}
	}
	if status, _, _ := b.call(t, "POST", "/api/v1/fleet/hosts/transfer/filter", `{"team_id":null,"filters":{"fleet_id":0,"status":"mia"}}`); status != 200 ||
		b.teams.MovedTo != 0 || b.teams.Filter.TeamID == nil || b.teams.Filter.SeenBefore.IsZero() || b.teams.Expected != -1 {
		t.Errorf("by filter: %d %+v", status, b.teams)
	}
}

func TestALabelIsDeletedByNameOrByNumber(t *testing.T) {
	for path, want := range map[string]fleet.LabelID{"/labels/Lab": 9, "/labels/id/4": 4, "/labels/4": 4} {
		b := newBench(t)
		if status, body, _ := b.call(t, "DELETE", "/api/v1/fleet"+path, ""); status != 200 || b.labels.Deleted != want {
			t.Errorf("%s: %d %v, deleted %d", path, status, body, b.labels.Deleted)
		}
	}
}

func TestAProfileIsJSONOrItsFile(t *testing.T) {
	b := newBench(t)
	status, body, header := b.call(t, "GET", "/api/v1/fleet/configuration_profiles/a-uuid", "")
	if status != 200 || body["profile_uuid"] != "a-uuid" || body["checksum"] != "AQAAAAAAAAAAAAAAAAAAAA==" || header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v %v", status, body, header)
	}
	labels, _ := json.Marshal([]any{body["labels_include_any"], body["labels_exclude_any"]})
	if string(labels) != `[[{"id":9,"name":"Lab"}],[{"broken":true,"id":0,"name":"Gone"}]]` {
		t.Errorf("labels: %s", labels)
	}
	rollout := body["rollout"].(map[string]any)
	if rollout["ring"] != 1.0 || rollout["percent_open"] != 5.0 || rollout["state"] != "running" || rollout["min_verified"] != 0.9 {
		t.Errorf("rollout: %v", rollout)
	}
	_, _, header = b.call(t, "GET", "/api/v1/fleet/mdm/profiles/a-uuid?alt=media", "")
	if header.Get("Content-Type") != mobileconfigType || header.Get("Content-Disposition") != `attachment; filename="Wi-Fi.mobileconfig"` {
		t.Errorf("file: %v", header)
	}
	if got := fileName("../a\"b\r\n/ä"); got != "_a_b____" {
		t.Errorf("file name %q", got)
	}
}

func TestTheNearestKnownKeyIsNamed(t *testing.T) {
	for sent, want := range map[string]string{
		`{"org_inf":{}}`:                                     "org_inf: is not known to this server; did you mean org_info?",
		`{"mdm":{"mac_updates":{}}}`:                         "mdm.mac_updates: is not known to this server; did you mean mdm.macos_updates?",
		`{"mdm":{"macos_updates":{"minimum_verison":"15"}}}`: "mdm.macos_updates.minimum_verison: is not known to this server; did you mean mdm.macos_updates.minimum_version?",
		`{"deadline":"x"}`:                                   "deadline: is not known to this server; did you mean mdm.ios_updates.deadline?",
		`{"mdm":{"macos_updates":null}}`:                     "",
	} {
		got := ""
		if err := refuseUnknownKeys([]byte(sent), reflect.TypeFor[apiv1.Config]()); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s", sent, got)
		}
	}
}

func TestSoakTimesMayBeInDays(t *testing.T) {
	for text, want := range map[string]string{"": "0s", "30m": "30m0s", "1.5d": "36h0m0s", "24h": "24h0m0s"} {
		if got, err := soakTime(text); err != nil || got.String() != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"d", "-1d", "9999d", "NaNd", "a day", "3"} {
		if got, err := soakTime(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestSecretsAreInNoErrorAndTheirTeamIsNamed(t *testing.T) {
	b := newBench(t)
	status, body, _ := b.call(t, "PATCH", "/api/v1/fleet/teams/3/secrets", `{"secrets":[{"secret":"hunter2"}]}`)
	if status != 200 || b.secrets.Team != 3 || len(b.secrets.Kept) != 1 || body["secrets"].([]any)[0].(map[string]any)["team_id"] != 3.0 {
		t.Errorf("%d %v %+v", status, body, b.secrets)
	}
	status, body, _ = b.call(t, "PATCH", "/api/v1/fleet/teams/3/secrets", `{"secrets":["hunter2"]}`)
	if raw, _ := json.Marshal(body); status != http.StatusUnprocessableEntity || strings.Contains(string(raw), "hunter2") {
		t.Errorf("%d %s", status, raw)
	}
}
