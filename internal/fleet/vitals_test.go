package fleet

import "testing"

func TestWhatIsNotToldStaysAsItWas(t *testing.T) {
	half, full := 0.5, 1.0
	d := VitalDetails{IMEI: "35", BatteryLevel: &half, FileVault: Yes, Update: &SoftwareUpdate{State: "waiting", Version: "18"}}
	for name, c := range map[string]struct {
		news    VitalDetails
		changed bool
	}{
		"nothing":            {VitalDetails{}, false},
		"the same":           {VitalDetails{IMEI: "35", BatteryLevel: &half, FileVault: Yes, Update: &SoftwareUpdate{State: "waiting", Version: "18"}}, false},
		"another charge":     {VitalDetails{BatteryLevel: &full}, true},
		"no update any more": {VitalDetails{Update: &SoftwareUpdate{State: "none"}}, true},
		"a no":               {VitalDetails{FileVault: No}, true},
		"a text":             {VitalDetails{TimeZone: "Europe/Berlin"}, true},
	} {
		got := d
		if got.Learn(&c.news) != c.changed {
			t.Errorf("%s: changed is not %v", name, c.changed)
		}
		if got.IMEI != "35" || got.BatteryLevel == nil || got.Update == nil || got.FileVault == Unknown {
			t.Errorf("%s: something is forgotten: %+v", name, got)
		}
	}
}
