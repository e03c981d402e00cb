package httpapi

import (
	"fmt"
	"slices"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
)

func TestASetOfProfilesTakesTheRevisionOfAPlan(t *testing.T) {
	for path, body := range map[string]string{
		"/api/v1/fleet/configuration_profiles/batch": `{"configuration_profiles":[]}`,
		"/api/v1/fleet/mdm/profiles/batch":           `{"profiles":[]}`,
	} {
		b := newBench(t)
		if code, out, _ := b.call(t, "POST", path+"?revision=7", body); code != 204 || b.profiles.Options.Revision != 7 || b.profiles.Options.Dry {
			t.Errorf("%s: %d %v, %+v", path, code, out, b.profiles.Options)
		}
		if code, out, _ := b.call(t, "POST", path, body); code != 204 || b.profiles.Options.Revision != 0 {
			t.Errorf("%s without one: %d %v, %+v", path, code, out, b.profiles.Options)
		}
		if code, out, _ := b.call(t, "POST", path+"?revision=-1", body); code < 400 || code >= 500 {
			t.Errorf("%s with a negative one: %d %v", path, code, out)
		}
	}
}

func TestADryRunAssumesWhatComesFirst(t *testing.T) {
	const path = "/api/v1/fleet/configuration_profiles/batch"
	const body = `{"configuration_profiles":[],"assume_labels":["New"],"assume_secrets":["FLEET_SECRET_WIFI","LAN"]}`
	b := newBench(t)
	if code, out, _ := b.call(t, "POST", path+"?dry_run=true", body); code != 200 || !b.profiles.Options.Dry ||
		!slices.Equal(b.profiles.Options.AssumeLabels, []string{"New"}) || !slices.Equal(b.profiles.Options.AssumeSecrets, []string{"WIFI", "LAN"}) {
		t.Errorf("%d %v, %+v", code, out, b.profiles.Options)
	}
	for _, body := range []string{`{"configuration_profiles":[],"assume_labels":["New"]}`, `{"configuration_profiles":[],"assume_secrets":["LAN"]}`} {
		if code, out, _ := b.call(t, "POST", path, body); code != 400 {
			t.Errorf("assumed outside of a dry run: %d %v", code, out)
		}
	}
}

func TestDryRunsOfLabelsAndVariablesChangeNothing(t *testing.T) {
	b := newBench(t)
	if code, out, _ := b.call(t, "POST", "/api/v1/fleet/spec/labels?dry_run=true", `{"specs":[{"name":"A"}]}`); code != 200 || !b.labels.Dry {
		t.Errorf("labels: %d %v", code, out)
	}
	if code, out, _ := b.call(t, "POST", "/api/v1/fleet/spec/labels", `{"specs":[{"name":"A"}]}`); code != 200 || b.labels.Dry {
		t.Errorf("labels: %d %v", code, out)
	}
	code, out, _ := b.call(t, "PUT", "/api/v1/fleet/spec/secret_variables?dry_run=true", `{"secrets":[{"name":"B","value":"x"},{"name":"FLEET_SECRET_A","value":"x"}]}`)
	if code != 200 || !b.profiles.Dry || fmt.Sprint(out["changed"]) != "[A B]" {
		t.Errorf("variables: %d %v", code, out)
	}
}

func TestAPlanSaysWhetherTheTeamIsNew(t *testing.T) {
	b := newBench(t)
	code, out, _ := b.call(t, "POST", "/api/v1/fleet/plan", `{"team_name":"Macs","new_team":true,"configuration_profiles":[]}`)
	if code != 200 || out["new_team"] != true || out["team_name"] != "Macs" {
		t.Errorf("%d %v", code, out)
	}
	if code, out, _ = b.call(t, "POST", "/api/v1/fleet/plan", `{"configuration_profiles":[]}`); code != 200 || out["new_team"] != nil || out["team_id"] != float64(fleet.NoTeam) {
		t.Errorf("%d %v", code, out)
	}
}
