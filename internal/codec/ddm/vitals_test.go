package ddm

import (
	"slices"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
)

func TestADeviceIsAskedOnlyForWhatItsSystemKnows(t *testing.T) {
	for _, c := range []struct {
		platform fleet.Platform
		version  string
		item     string
		want     bool
	}{
		{fleet.PlatformIOS, "15.1", "device.operating-system.version", true},
		{fleet.PlatformIOS, "15.8.2", "passcode.is-present", false},
		{fleet.PlatformIOS, "16", "passcode.is-present", true},
		{fleet.PlatformIPadOS, "16.7", "device.power.battery-health", false},
		{fleet.PlatformIPadOS, "17.0", "device.power.battery-health", true},
		{fleet.PlatformIOS, "26.0", "diskmanagement.filevault.enabled", false},
		{fleet.PlatformDarwin, "13.6", "diskmanagement.filevault.enabled", false},
		{fleet.PlatformDarwin, "14.0", "diskmanagement.filevault.enabled", true},
	} {
		if got := slices.Contains(Subscriptions(c.platform, c.version), c.item); got != c.want {
			t.Errorf("%s on %s %s: %v", c.item, c.platform, c.version, got)
		}
	}
}

func TestAReportTellsOnlyWhatItHasNewsOf(t *testing.T) {
	held := map[string]any{"device": map[string]any{"operating-system": map[string]any{"version": "17.0"}},
		"softwareupdate": map[string]any{"install-state": "waiting", "pending-version": map[string]any{"os-version": "18.0"}}}
	r, err := DecodeReport([]byte(`{"StatusItems":{"passcode":{"is-present":true},"softwareupdate":{"failure-reason":{"reason":"no power","count":1}}},"Errors":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	v := Vitals(r.Touched(Merge(held, r)))
	if !r.TellsVitals() || v.OSVersion != "" || v.Details.PasscodePresent != fleet.Yes || v.Details.PasscodeCompliant != fleet.Unknown {
		t.Errorf("%+v", v)
	}
	if u := v.Details.Update; u == nil || *u != (fleet.SoftwareUpdate{State: "waiting", Version: "18.0", Failure: "no power"}) {
		t.Errorf("%+v", u)
	}
	r, err = DecodeReport([]byte(`{"StatusItems":{"management":{}},"Errors":[]}`))
	if err != nil || r.TellsVitals() || Vitals(r.Touched(held)).Details.Update != nil {
		t.Errorf("a report about something else tells %+v, %v", r, err)
	}
}
