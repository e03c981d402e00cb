package appledev_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/muster-mdm/muster/sim/appledev"
)

// declaration is one as the server publishes it.
type declaration struct {
	declType, id, token string
	payload             fields
}

func (x declaration) kind() string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(x.declType, "com.apple."), ".")
	return kind
}

// activation activates configurations.
func activation(id string, configurations ...string) declaration {
	return declaration{"com.apple.activation.simple", id, "1", fields{"StandardConfigurations": append([]string{}, configurations...)}}
}

// subscription asks for status items.
func subscription(id string, items ...string) declaration {
	list := []any{}
	for _, item := range items {
		list = append(list, fields{"Name": item})
	}
	return declaration{"com.apple.configuration.management.status-subscriptions", id, "1", fields{"StatusItems": list}}
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// publish replaces what is declared on a channel; edit, which may be nil,
// spoils it.
func (s *server) publish(c appledev.Channel, token string, list []declaration, edit func(ddm map[string]string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix := ""
	if c == appledev.UserChannel {
		prefix = "user "
	}
	next := map[string]string{}
	for key, value := range s.ddm {
		if strings.HasPrefix(key, "user ") != (prefix != "") {
			next[key] = value
		}
	}
	items := map[string][]any{"Activations": {}, "Assets": {}, "Configurations": {}, "Management": {}}
	lists := map[string]string{"activation": "Activations", "asset": "Assets", "configuration": "Configurations", "management": "Management"}
	for _, x := range list {
		items[lists[x.kind()]] = append(items[lists[x.kind()]], fields{"Identifier": x.id, "ServerToken": x.token})
		next[prefix+"declaration/"+x.kind()+"/"+x.id] = toJSON(fields{"Type": x.declType, "Identifier": x.id, "ServerToken": x.token, "Payload": x.payload})
	}
	next[prefix+"tokens"] = toJSON(fields{"SyncTokens": fields{"DeclarationsToken": token, "Timestamp": "2026-01-01T00:00:00Z"}})
	next[prefix+"declaration-items"] = toJSON(fields{"Declarations": items, "DeclarationsToken": token})
	if edit != nil {
		edit(next)
	}
	s.ddm = next
}

// exchange is what a device said of declarations: endpoints, and its reports.
type exchange struct {
	endpoints []string
	reports   []statusReport
}

type statusReport struct {
	StatusItems map[string]any
	Errors      []struct {
		StatusItem string
		Reasons    []struct{ Code string }
	}
	FullReport *bool
}

// heard empties the log; "user " comes before what the user channel said.
func (s *server) heard(t *testing.T) exchange {
	t.Helper()
	var out exchange
	for _, m := range s.take() {
		endpoint, is := m.body["Endpoint"].(string)
		if !is {
			continue
		}
		if raw, ok := m.body["Data"].([]byte); ok {
			var r statusReport
			if err := json.Unmarshal(raw, &r); err != nil || r.StatusItems == nil || r.Errors == nil || r.FullReport == nil {
				t.Fatalf("%v in %s", err, raw)
			}
			out.reports = append(out.reports, r)
		}
		if m.body["UserID"] != nil {
			endpoint = "user " + endpoint
		}
		out.endpoints = append(out.endpoints, endpoint)
	}
	return out
}

// synchronize sends DeclarativeManagement on a channel and returns what came.
func (s *server) synchronize(t *testing.T, d *appledev.Device, c appledev.Channel) exchange {
	t.Helper()
	s.take()
	s.enqueueOn(c, "DeclarativeManagement", nil)
	poll(t, d)
	return s.heard(t)
}

// at reads a nested value: at(items, "device.model.family").
func at(items map[string]any, path string) any {
	var v any = items
	for part := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		if v = m[part]; v == nil {
			return nil
		}
	}
	return v
}

// row finds a declaration's row in a report as "active valid code".
func (r statusReport) row(id string) string {
	for _, kind := range []string{"activations", "assets", "configurations", "management"} {
		list, _ := at(r.StatusItems, "management.declarations."+kind).([]any)
		for _, entry := range list {
			m, _ := entry.(map[string]any)
			if m["identifier"] != id {
				continue
			}
			out := fmt.Sprintf("%v %v", m["active"], m["valid"])
			reasons, _ := m["reasons"].([]any)
			for _, reason := range reasons {
				out += fmt.Sprint(" ", reason.(map[string]any)["code"])
			}
			return out
		}
	}
	return "absent"
}
