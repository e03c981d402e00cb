package ddm

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
)

// MaxStatus bounds a status report, and the merged status of a device, which
// every report takes apart and puts together again.
const MaxStatus = 1 << 20

// maxReasons bounds the reasons kept of one declaration.
const maxReasons = 10

// Report is a status report (contracts/apple.md 5.3).
type Report struct {
	StatusItems map[string]any
	Errors      []any
	FullReport  bool
}

// DecodeReport reads a status report.
func DecodeReport(data []byte) (*Report, error) {
	if len(data) > MaxStatus {
		return nil, fmt.Errorf("a status report of %d bytes, at most %d are taken", len(data), MaxStatus)
	}
	if err := shallow(data); err != nil {
		return nil, err
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("status report: %w", err)
	}
	if r.StatusItems == nil && r.Errors == nil {
		return nil, errors.New("status report: neither StatusItems nor Errors")
	}
	return &r, nil
}

// Merge puts a report into the status that earlier ones built up, and returns
// the new whole. A full report replaces everything; otherwise objects merge,
// values replace, and lists are merged by the identifier of their elements,
// which "_removed" takes out.
func Merge(held map[string]any, r *Report) map[string]any {
	if r.FullReport || held == nil {
		held = map[string]any{}
	}
	return mergeObject(held, r.StatusItems)
}

func mergeObject(held, news map[string]any) map[string]any {
	out := make(map[string]any, len(held)+len(news))
	maps.Copy(out, held)
	for key, v := range news {
		switch v := v.(type) {
		case map[string]any:
			old, _ := out[key].(map[string]any)
			out[key] = mergeObject(old, v)
		case []any:
			old, _ := out[key].([]any)
			out[key] = mergeList(old, v)
		default:
			out[key] = v
		}
	}
	return out
}

// mergeList merges lists of objects with an identifier; any other list
// replaces the old one.
func mergeList(held, news []any) []any {
	for _, e := range news {
		if identifierOf(e) == "" {
			return news
		}
	}
	changed := make(map[string]map[string]any, len(news))
	for _, e := range news {
		changed[identifierOf(e)], _ = e.(map[string]any)
	}
	out := []any{}
	for _, e := range held {
		id := identifierOf(e)
		news, has := changed[id]
		if !has {
			out = append(out, e)
			continue
		}
		delete(changed, id)
		if removed, _ := news["_removed"].(bool); !removed {
			out = append(out, news)
		}
	}
	for _, e := range news {
		id := identifierOf(e)
		if m, has := changed[id]; has {
			delete(changed, id)
			if removed, _ := m["_removed"].(bool); !removed {
				out = append(out, m)
			}
		}
	}
	return out
}

func identifierOf(e any) string {
	m, _ := e.(map[string]any)
	id, _ := m["identifier"].(string)
	return id
}

// Verdict is what a device says of one declaration.
type Verdict struct {
	Kind        string
	Identifier  string
	ServerToken string
	Active      bool
	Valid       string // unknown, invalid, valid
	Reasons     []Reason
}

// Reason is one of a verdict's reasons.
type Reason struct {
	Code        string
	Description string
}

// Verdicts lists what the merged status says of declarations.
func Verdicts(status map[string]any) []Verdict {
	lists := map[string]string{"activations": KindActivation, "assets": KindAsset, "configurations": KindConfiguration, "management": KindManagement}
	var out []Verdict
	declarations, _ := dig(status, "management", "declarations").(map[string]any)
	for list, kind := range lists {
		entries, _ := declarations[list].([]any)
		for _, e := range entries {
			m, ok := e.(map[string]any)
			if !ok {
				continue
			}
			v := Verdict{Kind: kind, Identifier: identifierOf(e)}
			v.ServerToken, _ = m["server-token"].(string)
			v.Active, _ = m["active"].(bool)
			v.Valid, _ = m["valid"].(string)
			reasons, _ := m["reasons"].([]any)
			for _, r := range reasons[:min(len(reasons), maxReasons)] {
				d, _ := r.(map[string]any)
				code, _ := d["code"].(string)
				text, _ := d["description"].(string)
				v.Reasons = append(v.Reasons, Reason{code, text})
			}
			out = append(out, v)
		}
	}
	return out
}

// Words says a verdict's reasons in plain words.
func (v Verdict) Words() string {
	var parts []string
	for _, r := range v.Reasons {
		text := reasonWords[r.Code]
		switch {
		case text == "" && r.Description != "":
			text = r.Description
		case text == "":
			text = r.Code
		case r.Description != "":
			text += " (" + r.Description + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// reasonWords translates reason codes of status reports.
var reasonWords = map[string]string{
	"Error.UnknownDeclarationType":       "the device does not know this type of declaration: its system is too old, or it is for another platform",
	"Error.ConfigurationCannotBeApplied": "the device cannot apply the configuration",
	"Error.ConfigurationIsInvalid":       "the device takes the payload for invalid",
	"Error.MissingConfigurations":        "the activation names configurations that the device does not have",
	"Error.MissingAssets":                "an asset that it needs is missing on the device",
	"Error.AssetCannotBeDownloaded":      "an asset could not be downloaded",
	"Error.AssetCannotBeVerified":        "a downloaded asset has another size or hash than declared",
	"Error.PredicateFailedToParse":       "the device cannot read the activation's predicate",
	"Info.Predicate":                     "the activation's predicate is not met, so that it does not apply to this device",
	"Info.NotReferencedByActivation":     "no activation on the device names it",
}

func dig(v any, path ...string) any {
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}
