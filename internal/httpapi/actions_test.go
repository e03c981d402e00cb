package httpapi

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/httpapi/httpapitest"
)

func TestActionsOnHosts(t *testing.T) {
	const hosts = "/api/v1/fleet/hosts/"
	for _, tt := range []struct {
		name, role, method, path, body string
		status                         int
		key, value                     string // of the answer
		asked                          fleet.ActionKind
	}{
		{"a lock", "maintainer", "POST", hosts + "7/lock", "", 200, "pending_action", "lock", fleet.ActionLock},
		{"a lock with a text", "maintainer", "POST", hosts + "7/lock", `{"message":"Ours"}`, 200, "pending_action", "lock", fleet.ActionLock},
		{"a lock with its PIN", "maintainer", "POST", hosts + "7/lock?view_pin=true", "", 200, "unlock_pin", "123456", fleet.ActionLock},
		{"a lock with an unknown key", "admin", "POST", hosts + "7/lock", `{"mesage":"Ours"}`, 422, "", "", 0},
		{"a lock with an unknown parameter", "admin", "POST", hosts + "7/lock?pin=1", "", 400, "", "", 0},
		{"an observer's lock", "observer", "POST", hosts + "7/lock", "", 403, "", "", 0},
		{"an observer's unlock", "observer_plus", "POST", hosts + "7/unlock", "", 403, "", "", 0},
		{"a technician's wipe", "technician", "POST", hosts + "7/wipe", "", 403, "", "", 0},
		{"a robot's PIN", "gitops", "GET", hosts + "7/unlock_pin", "", 403, "", "", 0},
		{"an unlock", "admin", "POST", hosts + "7/unlock", "", 200, "unlock_pin", "123456", fleet.ActionUnlock},
		{"a wipe", "admin", "POST", hosts + "7/wipe", "", 200, "pending_action", "wipe", fleet.ActionWipe},
		{"a wipe as Fleet's clients send it", "admin", "POST", hosts + "7/wipe", `{"windows":{"wipe_type":"doWipe"}}`, 200, "pending_action", "wipe", fleet.ActionWipe},
		{"a wipe that cannot be", "admin", "POST", hosts + "7/wipe", `{"apple":{"obliteration_behavior":"Never"}}`, 422, "", "", 0},
		{"a wipe with a broken profile", "admin", "POST", hosts + "7/wipe", `{"apple":{"return_to_service":{"enabled":true,"wifi_profile":"%"}}}`, 400, "", "", 0},
		{"a wipe of nobody", "admin", "POST", hosts + "8/wipe", "", 404, "", "", fleet.ActionWipe},
		{"the old lock", "admin", "POST", "/api/v1/fleet/mdm/hosts/7/lock", "", 204, "", "", fleet.ActionLock},
		{"the old wipe", "admin", "POST", "/api/v1/fleet/mdm/hosts/7/wipe", "", 204, "", "", fleet.ActionWipe},
		{"the old unlock", "admin", "POST", "/api/v1/fleet/mdm/hosts/7/unlock", "", 204, "", "", fleet.ActionUnlock},
		{"several", "admin", "POST", hosts + "wipe", `{"hosts":[7],"expected_count":1}`, 200, "", "", fleet.ActionWipe},
		{"several without their count", "admin", "POST", hosts + "wipe", `{"hosts":[7]}`, 422, "", "", 0},
		{"several by a filter", "admin", "POST", hosts + "lock", `{"hosts":[7],"expected_count":1,"filters":{}}`, 422, "", "", 0},
		{"a password", "maintainer", "GET", hosts + "7/recovery_lock_password", "", 200, "", "", 0},
		{"a code", "maintainer", "GET", hosts + "7/activation_lock_bypass_code", "", 200, "", "", 0},
		{"a new password", "maintainer", "POST", hosts + "7/recovery_lock_password/rotate", "", 202, "", "", fleet.ActionRecoveryLock},
		{"a passcode", "maintainer", "POST", hosts + "7/clear_passcode", "", 200, "", "", fleet.ActionClearPasscode},
		{"a cancelled command", "maintainer", "DELETE", hosts + "7/commands/cmd-1", "", 204, "", "", 0},
		{"an approval by a maintainer", "maintainer", "POST", "/api/v1/fleet/approvals/request-1/approve", "", 403, "", "", 0},
		{"an approval", "admin", "POST", "/api/v1/fleet/approvals/request-1/approve", "", 200, "", "", 0},
		{"taking back", "maintainer", "POST", "/api/v1/fleet/approvals/request-1/undo", "", 200, "", "", 0},
		{"what waits", "maintainer", "GET", "/api/v1/fleet/approvals", "", 200, "", "", 0},
		{"what waits, for an observer", "observer", "GET", "/api/v1/fleet/approvals", "", 403, "", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			status, body, _ := b.as(t, "token-"+tt.role, tt.method, tt.path, tt.body)
			if status != tt.status || (tt.key != "" && body[tt.key] != tt.value) || b.actions.Asked.Kind != tt.asked {
				t.Errorf("%d %v, asked for %s", status, body, b.actions.Asked.Kind)
			}
			if _, told := body["unlock_pin"]; told && tt.key != "unlock_pin" {
				t.Error("it shows a PIN that nobody asked for")
			}
		})
	}
}

func TestWhatTheBrakeHoldsIsAcceptedAndNotDone(t *testing.T) {
	for _, tt := range []struct{ method, path, body string }{
		{"POST", "/api/v1/fleet/hosts/7/wipe", ""},
		{"POST", "/api/v1/fleet/hosts/wipe", `{"hosts":[7],"expected_count":1}`},
		{"DELETE", "/api/v1/fleet/hosts/7", ""},
		{"DELETE", "/api/v1/fleet/hosts/7/mdm", ""},
		{"PATCH", "/api/v1/fleet/mdm/hosts/7/unenroll", ""},
		{"POST", "/api/v1/fleet/hosts/delete", `{"ids":[7]}`},
	} {
		b := newBench(t)
		r := httpapitest.Request()
		b.actions.Hold = &r
		status, body, _ := b.as(t, "token-admin", tt.method, tt.path, tt.body)
		approval, _ := body["approval"].(map[string]any)
		if status != http.StatusAccepted || approval["uuid"] != "request-1" || approval["status"] != "waiting" || b.hosts.Deleted != 0 || b.enrollments.TurnedOff != 0 {
			t.Errorf("%s %s: %d %v", tt.method, tt.path, status, body)
		}
	}
}

func TestTheBrakeIsASetting(t *testing.T) {
	b := newBench(t)
	status, body, _ := b.as(t, "token-admin", "PATCH", "/api/v1/fleet/config",
		`{"mdm":{"brake":{"wipes_per_hour":3,"locks_per_hour":-1,"approval_for":["wipe","wipe"],"delay_for":["delete"],"delay_minutes":5}}}`)
	got, err := json.Marshal(body["mdm"].(map[string]any)["brake"])
	const want = `{"approval_for":["wipe"],"delay_for":["delete"],"delay_minutes":5,"deletes_per_hour":100,"locks_per_hour":-1,"unenrolls_per_hour":20,"wipes_per_hour":3}`
	if err != nil || status != http.StatusOK || string(got) != want {
		t.Errorf("%d %s, %v", status, got, err)
	}
	for _, bad := range []string{`{"approval_for":["unlock"]}`, `{"delay_for":["everything"]}`, `{"wipes_per_hour":-2}`, `{"delay_minutes":-1}`, `{"wipe_per_hour":1}`, `{"delay_minutes":0}`,
		`{"delay_for":["wipe"],"delay_minutes":0}`} {
		if status, body, _ := b.as(t, "token-admin", "PATCH", "/api/v1/fleet/config", `{"mdm":{"brake":`+bad+`}}`); status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %v", bad, status, body)
		}
	}
	if status, _, _ := b.as(t, "token-maintainer", "PATCH", "/api/v1/fleet/config", `{"mdm":{"brake":{"wipes_per_hour":-1}}}`); status != http.StatusForbidden {
		t.Errorf("a maintainer lets the brake go: %d", status)
	}
}

func TestARepositoryCannotLetTheBrakeGo(t *testing.T) {
	const path = "/api/v1/fleet/config"
	b := newBench(t)
	b.settings.Current.Brake = fleet.BrakePolicy{LocksPerHour: 5, ApprovalFor: []fleet.ActionKind{fleet.ActionWipe, fleet.ActionDelete}}
	before := b.settings.Current
	// The whole of it as generate-gitops writes it, but for the order.
	const same = `{"wipes_per_hour":10,"locks_per_hour":5,"unenrolls_per_hour":20,"deletes_per_hour":100,"approval_for":["delete","wipe"],"delay_for":[],"delay_minutes":0}`
	if status, body, _ := b.as(t, "token-gitops", "PATCH", path, `{"org_info":{"org_name":"New"},"mdm":{"brake":`+same+`}}`); status != http.StatusOK {
		t.Errorf("the same brake: %d %v", status, body)
	}
	if now := b.settings.Current; now.OrgName != "New" || !reflect.DeepEqual(now.Brake, before.Brake) {
		t.Errorf("%+v", now)
	}
	for _, other := range []string{`{"wipes_per_hour":-1}`, `{"wipes_per_hour":9}`, `{"approval_for":[]}`, `{"delay_for":["wipe"],"delay_minutes":5}`, `{"delay_minutes":5}`} {
		for _, query := range []string{"", "?dry_run=true", "?force=true"} {
			status, body, _ := b.as(t, "token-gitops", "PATCH", path+query, `{"mdm":{"brake":`+other+`}}`)
			if status != http.StatusForbidden || !reflect.DeepEqual(b.settings.Current.Brake, before.Brake) {
				t.Errorf("%s%s: %d %v", other, query, status, body)
			}
		}
	}
}

func TestALockedHostIsDeletedByForceOnly(t *testing.T) {
	for _, tt := range []struct{ method, path, body string }{
		{"DELETE", "/api/v1/fleet/hosts/7", ""},
		{"POST", "/api/v1/fleet/hosts/delete", `{"ids":[7]}`},
	} {
		b := newBench(t)
		b.actions.Locked = true
		if status, body, _ := b.as(t, "token-admin", tt.method, tt.path, tt.body); status != http.StatusConflict || b.hosts.Deleted != 0 {
			t.Errorf("%s: %d %v", tt.path, status, body)
		}
		if status, body, _ := b.as(t, "token-admin", tt.method, tt.path+"?force=true", tt.body); status != http.StatusOK || b.hosts.Deleted != 7 {
			t.Errorf("%s by force: %d %v", tt.path, status, body)
		}
	}
}

func TestArchivedSecretsAreShownToWhoMayRevealThem(t *testing.T) {
	const path = "/api/v1/fleet/hosts/archived_secrets"
	b := newBench(t)
	status, body, _ := b.as(t, "token-maintainer", "GET", path+"?serial_number=C02ABC", "")
	list, _ := body["archived_secrets"].([]any)
	if status != http.StatusOK || len(list) != 1 || list[0].(map[string]any)["value"] != "123456" || list[0].(map[string]any)["kind"] != "unlock_pin" {
		t.Errorf("%d %v", status, body)
	}
	if status, body, _ := b.as(t, "token-maintainer", "GET", path+"?serial_number=OTHER", ""); status != http.StatusOK || len(body["archived_secrets"].([]any)) != 0 {
		t.Errorf("of another device: %d %v", status, body)
	}
	if status, _, _ := b.as(t, "token-maintainer", "GET", path, ""); status != http.StatusBadRequest {
		t.Errorf("of no device: %d", status)
	}
	for _, role := range []string{"observer", "observer_plus", "technician", "gitops"} {
		if status, _, _ := b.as(t, "token-"+role, "GET", path+"?serial_number=C02ABC", ""); status != http.StatusForbidden {
			t.Errorf("%s: %d", role, status)
		}
	}
}
