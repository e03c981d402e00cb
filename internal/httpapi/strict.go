package httpapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/near"
)

// refuseUnknownKeys names every key of a body that its type does not have,
// with the known one that is nearest, so that nobody believes in a setting
// that was dropped.
func refuseUnknownKeys(raw []byte, t reflect.Type) error {
	var sent map[string]any
	if err := json.Unmarshal(raw, &sent); err != nil {
		return fleet.Errorf(fleet.KindBadRequest, "The body is not a JSON object.")
	}
	return refuseKeys(unknownKeys(sent, t))
}

// unknownKey is a key that nobody knows.
type unknownKey struct{ name, nearest string }

func refuseKeys(unknown []unknownKey) error {
	if len(unknown) == 0 {
		return nil
	}
	slices.SortFunc(unknown, func(a, b unknownKey) int { return strings.Compare(a.name, b.name) })
	err := &fleet.Error{Kind: fleet.KindInvalid}
	for _, key := range unknown {
		reason := "is not known to this server"
		if key.nearest != "" {
			reason += fmt.Sprintf("; did you mean %s?", key.nearest)
		}
		err.Fields = append(err.Fields, fleet.FieldError{Name: key.name, Reason: reason})
	}
	return err
}

func unknownKeys(sent map[string]any, t reflect.Type) []unknownKey {
	var out []unknownKey
	walkKeys("", "", sent, t, knownPaths("", t), &out)
	return out
}

// walkKeys compares what was sent with a type. at is where it is, within is
// where it is below the nearest list element, whose paths known holds.
func walkKeys(at, within string, sent any, t reflect.Type, known []string, out *[]unknownKey) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch sent := sent.(type) {
	case map[string]any:
		fields := jsonFields(t)
		if fields == nil {
			return // a map, or raw JSON: its keys are the caller's
		}
		for key, value := range sent {
			field, ok := fields[key]
			if !ok {
				*out = append(*out, unknownKey{name: at + key, nearest: nearestPath(within, key, known)})
				continue
			}
			walkKeys(at+key+".", within+key+".", value, field, known, out)
		}
	case []any:
		if t.Kind() != reflect.Slice {
			return
		}
		known = knownPaths("", t.Elem())
		for i, e := range sent {
			walkKeys(fmt.Sprintf("%s[%d].", strings.TrimSuffix(at, "."), i), "", e, t.Elem(), known, out)
		}
	}
}

// jsonFields lists the keys of a struct type with their types; nil when it is
// no struct with keys.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var out map[string]reflect.Type
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		if out == nil {
			out = map[string]reflect.Type{}
		}
		out[name] = f.Type
	}
	return out
}

// knownPaths lists the dotted keys of a type, down to its lists.
func knownPaths(prefix string, t reflect.Type) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var out []string
	for name, field := range jsonFields(t) {
		out = append(out, prefix+name)
		out = append(out, knownPaths(prefix+name+".", field)...)
	}
	slices.Sort(out)
	return out
}

// nearestPath is the known key that looks most like the given one: better at
// the same place than elsewhere.
func nearestPath(within, key string, known []string) string {
	best, least := "", 0
	for _, path := range known {
		leaf := path[strings.LastIndexByte(path, '.')+1:]
		distance := 2 * near.Distance(key, leaf)
		if strings.TrimSuffix(path, leaf) != within {
			distance++
		}
		if best == "" || distance < least {
			best, least = path, distance
		}
	}
	return best
}
