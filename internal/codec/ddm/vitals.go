package ddm

import (
	"cmp"

	"github.com/muster-mdm/muster/internal/fleet"
)

// subscription is a status item that Muster asks for, with the first versions
// that know it (contracts/apple.md 5.4, Apple's schema of status items).
type subscription struct {
	name     string
	ios, mac string // "": none
}

var subscriptions = []subscription{
	{"device.identifier.serial-number", "16", "13"},
	{"device.identifier.udid", "16", "13"},
	{"device.model.family", "15", "13"},
	{"device.model.identifier", "15", "13"},
	{"device.model.marketing-name", "15", "13"},
	{"device.operating-system.build-version", "15", "13"},
	{"device.operating-system.family", "15", "13"},
	{"device.operating-system.version", "15", "13"},
	{"device.power.battery-health", "17", "14"},
	{"diskmanagement.filevault.enabled", "", "14"},
	{"management.client-capabilities", "15", "13"},
	{"management.declarations", "15", "13"},
	{"passcode.is-compliant", "16", "13"},
	{"passcode.is-present", "16", "13"},
	{"softwareupdate.failure-reason", "17", "14"},
	{"softwareupdate.install-state", "17", "14"},
	{"softwareupdate.pending-version", "17", "14"},
}

// Subscriptions are the status items to ask a device for: those that its
// system knows.
func Subscriptions(p fleet.Platform, osVersion string) []string {
	var out []string
	for _, s := range subscriptions {
		first := s.ios
		if p == fleet.PlatformDarwin {
			first = s.mac
		}
		if first != "" && fleet.CompareVersions(osVersion, first) >= 0 {
			out = append(out, s.name)
		}
	}
	return out
}

// Vitals reads the host's vitals from a merged status, or a part of one.
func Vitals(status map[string]any) *fleet.Vitals {
	text := func(path ...string) string { t, _ := dig(status, path...).(string); return t }
	truth := func(path ...string) fleet.Tri {
		b, ok := dig(status, path...).(bool)
		if !ok {
			return fleet.Unknown
		}
		return fleet.TriOf(b)
	}
	out := &fleet.Vitals{
		OSVersion: text("device", "operating-system", "version"),
		Build:     text("device", "operating-system", "build-version"),
		Model:     text("device", "model", "identifier"),
		ModelName: text("device", "model", "marketing-name"),
		Serial:    text("device", "identifier", "serial-number"),
	}
	// Names and numbers of the model are others than those of
	// DeviceInformation, whose words count.
	out.Details = fleet.VitalDetails{
		BatteryHealth:   text("device", "power", "battery-health"),
		PasscodePresent: truth("passcode", "is-present"), PasscodeCompliant: truth("passcode", "is-compliant"),
		FileVault: truth("diskmanagement", "filevault", "enabled")}
	if dig(status, "softwareupdate") != nil {
		out.Details.Update = &fleet.SoftwareUpdate{State: text("softwareupdate", "install-state"),
			Version: text("softwareupdate", "pending-version", "os-version"),
			Failure: cmp.Or(text("softwareupdate", "failure-reason", "reason"), text("softwareupdate", "failure-reason"))}
	}
	return out
}

// Touched is the part of a merged status about which a report has news.
func (r *Report) Touched(merged map[string]any) map[string]any {
	out := make(map[string]any, len(r.StatusItems))
	for key := range r.StatusItems {
		out[key] = merged[key]
	}
	return out
}

// TellsVitals reports whether a report has items that Vitals reads.
func (r *Report) TellsVitals() bool {
	for _, key := range []string{"device", "passcode", "diskmanagement", "softwareupdate"} {
		if r.StatusItems[key] != nil {
			return true
		}
	}
	return false
}
