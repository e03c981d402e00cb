package appledev

import (
	"fmt"
	"slices"
	"strings"
)

// Configuration types that a device acts on here.
const (
	typeSubscriptions = "com.apple.configuration.management.status-subscriptions"
	typePasscodeDecl  = "com.apple.configuration.passcode.settings"
	typeLegacy        = "com.apple.configuration.legacy"
	typeEnforcement   = "com.apple.configuration.softwareupdate.enforcement.specific"
	typeAppManaged    = "com.apple.configuration.app.managed"
	typeProperties    = "com.apple.management.properties"
)

// reason is why a declaration is not in effect. The codes are those of Apple's
// declarationbase.
type reason struct {
	code        string
	description string
	details     map[string]any
}

// verdict is what a device thinks of a declaration.
type verdict struct {
	active  bool
	valid   string // unknown, invalid, valid
	reasons []reason
}

func invalidBecause(code, description string, details map[string]any) verdict {
	return verdict{valid: "invalid", reasons: []reason{{code, description, details}}}
}

// idle is a declaration that nothing makes effective; a real device does not
// look whether it would be valid.
func idle(code, description string) verdict {
	return verdict{valid: "unknown", reasons: []reason{{code: code, description: description}}}
}

// court judges the declarations of one channel, which depend on one another.
type court struct {
	held     map[string]*declaration
	payloads map[string]map[string]any
	facts    snapshot
	which    Channel
	rejected []string // types that a fault makes invalid
	verdicts map[string]verdict
}

// judge judges what a channel holds. Call it with mu held.
func (d *Device) judge(c *channel) map[string]verdict {
	j := &court{
		held: c.ddm.held, payloads: make(map[string]map[string]any, len(c.ddm.held)), facts: d.observe(c),
		which: c.which, rejected: d.faults.rejectedDeclarations(), verdicts: make(map[string]verdict, len(c.ddm.held)),
	}
	for id, x := range j.held {
		j.payloads[id] = x.contents()
	}
	effective, failed := j.activations()
	referenced := j.configurations(effective, failed)
	for id, x := range j.held {
		switch x.kind {
		case "asset":
			j.verdicts[id] = j.asset(x, referenced[id])
		case "management":
			j.verdicts[id] = j.common(x)
		}
	}
	return j.verdicts
}

// common is what all kinds of declarations have to fulfill.
func (j *court) common(x *declaration) verdict {
	switch {
	case !declarationTypes[x.declType].on(j.facts.spec.Model.Family, j.facts.osVersion, DeviceChannel):
		return invalidBecause("Error.UnknownDeclarationType", "Unknown Declaration Type", map[string]any{"UnknownDeclarationType": x.declType})
	case !declarationTypes[x.declType].on(j.facts.spec.Model.Family, j.facts.osVersion, j.which):
		return invalidBecause("Error.ConfigurationNotSupported", "Not supported in this scope", nil)
	case j.payloads[x.identifier] == nil:
		return invalidBecause("Error.InvalidPayload", "The payload is no object", nil)
	case slices.Contains(j.rejected, x.declType):
		return invalidBecause("Error.ConfigurationCannotBeApplied", "Rejected as planned", nil)
	}
	return verdict{active: true, valid: "valid"}
}

// activations judges activations and returns which configurations they make
// effective, and which they would if they had not failed.
func (j *court) activations() (effective, failed map[string]bool) {
	effective, failed = make(map[string]bool), make(map[string]bool)
	for _, x := range sorted(j.held) {
		if x.kind != "activation" {
			continue
		}
		names := dict(j.payloads[x.identifier]).texts("StandardConfigurations")
		v := j.activation(x, names)
		j.verdicts[x.identifier] = v
		for _, name := range names {
			effective[name] = effective[name] || v.active
			failed[name] = failed[name] || v.valid == "invalid"
		}
	}
	return effective, failed
}

// activation judges one.
func (j *court) activation(x *declaration, names []string) verdict {
	v := j.common(x)
	if !v.active {
		return v
	}
	if j.payloads[x.identifier]["StandardConfigurations"] == nil {
		return invalidBecause("Error.InvalidPayload", "StandardConfigurations is missing", nil)
	}
	var missing []string
	for _, name := range names {
		if j.held[name] == nil || j.held[name].kind != "configuration" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return invalidBecause("Error.MissingConfigurations", "Configurations are missing: "+strings.Join(missing, ", "),
			map[string]any{"ConfigurationIdentifiers": missing})
	}
	text := dict(j.payloads[x.identifier]).text("Predicate")
	if text == "" {
		return v
	}
	yes, err := evaluate(text, j.resolve)
	if err == nil && !yes {
		return verdict{valid: "valid", reasons: []reason{{code: "Info.Predicate", description: "The predicate evaluated to false"}}}
	}
	return v // a predicate that is not understood here counts as true
}

// resolve looks up what a predicate names.
func (j *court) resolve(function, name string) any {
	if function == "status" {
		return j.facts.item(name, j.which)
	}
	for id, x := range j.held {
		if x.declType == typeProperties && j.payloads[id][name] != nil {
			return j.payloads[id][name]
		}
	}
	return nil
}

// configurations judges configurations and returns which assets they name.
func (j *court) configurations(effective, failed map[string]bool) (referenced map[string]bool) {
	referenced = make(map[string]bool)
	for id, x := range j.held {
		if x.kind != "configuration" {
			continue
		}
		assets := assetsIn(j.payloads[id])
		for _, asset := range assets {
			referenced[asset] = true
		}
		switch {
		case effective[id]:
			j.verdicts[id] = j.configuration(x, assets)
		case failed[id]:
			j.verdicts[id] = idle("Error.ActivationFailed", "Its activation failed")
		default:
			// Also where an activation's predicate is false: then no activation
			// that is in effect refers to it (contracts/apple.md 5.2).
			j.verdicts[id] = idle("Info.NotReferencedByActivation",
				fmt.Sprintf("Configuration “%s:%s” is not referenced by an activation.", id, x.serverToken))
		}
	}
	return referenced
}

// configuration judges one that an activation wants.
func (j *court) configuration(x *declaration, assets []string) verdict {
	v := j.common(x)
	if !v.active {
		return v
	}
	if x.declType == typePasscodeDecl {
		length, is := j.payloads[x.identifier]["MinimumLength"].(float64)
		if is && (length < 0 || length > maxPasscodeLength) {
			return invalidBecause("Error.ConfigurationCannotBeApplied", fmt.Sprintf("MinimumLength %v is not within 0 and %d", length, maxPasscodeLength), nil)
		}
	}
	for _, id := range assets {
		asset := j.held[id]
		if asset == nil || asset.kind != "asset" {
			return invalidBecause("Error.MissingAssets", "An asset is missing: "+id, map[string]any{"AssetIdentifiers": []string{id}})
		}
		if asset.outcome != nil && asset.outcome.reason != nil {
			return invalidBecause("Error.ConfigurationCannotBeApplied", "The asset cannot be used: "+id, nil)
		}
	}
	if x.outcome != nil && x.outcome.reason != nil {
		return verdict{valid: "invalid", reasons: []reason{*x.outcome.reason}}
	}
	return v
}

// asset judges an asset.
func (j *court) asset(x *declaration, referenced bool) verdict {
	v := j.common(x)
	switch {
	case !v.active:
		return v
	case !referenced:
		return idle("Info.NotReferencedByConfiguration", fmt.Sprintf("Asset “%s:%s” is not referenced by a configuration.", x.identifier, x.serverToken))
	case x.outcome != nil && x.outcome.reason != nil:
		return verdict{valid: "invalid", reasons: []reason{*x.outcome.reason}}
	}
	return v
}

// assetsIn finds the references to assets, which Apple names by what their key
// ends in.
func assetsIn(v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			name, is := value.(string)
			switch {
			case is && strings.HasSuffix(key, "AssetReference"):
				out = append(out, name)
			case strings.HasSuffix(key, "AssetReferences"):
				out = append(out, dict(v).texts(key)...)
			default:
				out = append(out, assetsIn(value)...)
			}
		}
	case []any:
		for _, value := range v {
			out = append(out, assetsIn(value)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
