package appledev_test

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/muster-mdm/muster/sim/appledev"
)

// subscribed is an enrolled device that reports these items, past its first
// report, which is returned.
func subscribed(t *testing.T, s *server, f appledev.Family, o appledev.Options, items ...string) (*appledev.Device, statusReport) {
	t.Helper()
	d := s.device(t, f, o)
	s.publish(0, "t1", []declaration{activation("a1", "c1"), subscription("c1", items...)}, nil)
	return d, s.synchronize(t, d, 0).reports[0]
}

func TestWithoutSubscriptionsOnlyTheManagementIsReported(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.Mac, appledev.Options{})
	s.publish(0, "t1", []declaration{subscription("inactive", "device.model.family")}, nil)
	r := s.synchronize(t, d, 0).reports[0]
	management, _ := r.StatusItems["management"].(map[string]any)
	if len(r.StatusItems) != 1 || !slices.Equal(slices.Sorted(maps.Keys(management)), []string{"client-capabilities", "declarations"}) {
		t.Fatalf("%v", r.StatusItems)
	}
	types, _ := at(management, "client-capabilities.supported-payloads.declarations.configurations").([]any)
	if !slices.Contains(types, any("com.apple.configuration.passcode.settings")) || slices.Contains(types, any("com.apple.configuration.watch.enrollment")) {
		t.Fatalf("%v", types)
	}
}

func TestSubscribedItemsAreReported(t *testing.T) {
	for family, want := range map[appledev.Family]map[string]any{
		appledev.Mac:  {"device.model.family": "Mac", "device.operating-system.family": "macOS", "diskmanagement.filevault.enabled": true},
		appledev.IPad: {"device.model.family": "iPad", "passcode.is-present": true, "softwareupdate.install-state": "none", "softwareupdate.pending-version.os-version": ""},
	} {
		s := start(t)
		d, r := subscribed(t, s, family, appledev.Options{}, "device.model.family", "device.operating-system.family", "passcode.is-present",
			"softwareupdate.install-state", "softwareupdate.pending-version", "device.identifier.serial-number", "diskmanagement.filevault.enabled", "coffee.level")
		for path, value := range want {
			if got := at(r.StatusItems, path); got != value {
				t.Errorf("%s of a %s is %v, want %v", path, family, got, value)
			}
		}
		if at(r.StatusItems, "device.identifier.serial-number") != d.Spec().Serial || at(r.StatusItems, "device.identifier.udid") != nil {
			t.Errorf("%v", r.StatusItems)
		}
		var unknown []string
		for _, e := range r.Errors {
			if unknown = append(unknown, e.StatusItem); len(e.Reasons) != 1 || e.Reasons[0].Code == "" {
				t.Errorf("%+v has no reason", e)
			}
		}
		wantUnknown := []string{"coffee.level", "diskmanagement.filevault.enabled"}
		if family == appledev.Mac {
			wantUnknown = wantUnknown[:1]
		}
		if !slices.Equal(unknown, wantUnknown) {
			t.Errorf("%s: errors for %v, want %v", family, unknown, wantUnknown)
		}
	}
}

func TestAnEnforcedUpdateIsPendingUntilTheDeviceUpdates(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPhone, appledev.Options{})
	items := []string{"softwareupdate.pending-version", "softwareupdate.install-state", "softwareupdate.install-reason", "device.operating-system.version", "device.model.family"}
	enforce := func(id, version, when string) declaration {
		return declaration{"com.apple.configuration.softwareupdate.enforcement.specific", id, "1", fields{"TargetOSVersion": version, "TargetLocalDateTime": when}}
	}
	s.publish(0, "t1", []declaration{
		activation("a1", "s", "old", "late", "soon"), subscription("s", items...),
		enforce("late", "26.2", "2026-09-01T12:00:00"), enforce("soon", "26.1", "2026-08-01T12:00:00"), enforce("old", "9.3", "2016-01-01T12:00:00"),
	}, nil)
	r := s.synchronize(t, d, 0).reports[0]
	if at(r.StatusItems, "softwareupdate.pending-version.os-version") != "26.1" || at(r.StatusItems, "softwareupdate.install-state") != "waiting" ||
		at(r.StatusItems, "softwareupdate.install-reason.declaration-id") != "soon" {
		t.Fatalf("%v", r.StatusItems)
	}
	d.UpdateOS("26.2", "23C1")
	poll(t, d)
	got := s.heard(t)
	wantEndpoints(t, got, "status")
	r = got.reports[0]
	if *r.FullReport || at(r.StatusItems, "device.operating-system.version") != "26.2" || at(r.StatusItems, "softwareupdate.pending-version.os-version") != "" ||
		at(r.StatusItems, "softwareupdate.install-state") != "none" || at(r.StatusItems, "device.model") != nil || at(r.StatusItems, "management.declarations") != nil {
		t.Fatalf("%v", r.StatusItems)
	}
	answers, _ := s.ask(t, d, 0, "DeviceInformation", fields{"Queries": []string{"OSVersion", "BuildVersion"}})["QueryResponses"].(fields)
	if answers["OSVersion"] != "26.2" || answers["BuildVersion"] != "23C1" || d.OSVersion() != "26.2" {
		t.Fatalf("%v", answers)
	}
}

func TestThePasscodeIsAFact(t *testing.T) {
	s := start(t)
	d, r := subscribed(t, s, appledev.IPhone, appledev.Options{}, "passcode.is-present", "passcode.is-compliant")
	if at(r.StatusItems, "passcode.is-compliant") != true {
		t.Fatalf("%v", r.StatusItems)
	}
	s.enqueue("ClearPasscode", fields{"UnlockToken": s.unlock})
	poll(t, d)
	got := s.heard(t)
	wantEndpoints(t, got, "status")
	if at(got.reports[0].StatusItems, "passcode.is-present") != false || at(got.reports[0].StatusItems, "passcode.is-compliant") != nil {
		t.Fatalf("%v", got.reports[0].StatusItems)
	}
	s.enqueue("InstallProfile", fields{"Payload": configuration("a", nil, payload("com.apple.mobiledevice.passwordpolicy", "p", fields{"minLength": 6}))})
	poll(t, d)
	if r := s.heard(t).reports[0]; at(r.StatusItems, "passcode.is-compliant") != false {
		t.Fatalf("%v", r.StatusItems)
	}
	info, _ := s.ask(t, d, 0, "SecurityInfo", nil)["SecurityInfo"].(fields)
	if info["PasscodePresent"] != false || info["PasscodeCompliant"] != false {
		t.Fatalf("%v", info)
	}
}

func TestListsAreReportedByEntry(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPhone, appledev.Options{})
	app := func(id string) declaration {
		return declaration{"com.apple.configuration.app.managed", id, "1", fields{"BundleID": "app." + id}}
	}
	model := d.Spec().Model
	if model.OSVersion < "17.2" {
		t.Fatalf("%v does not know managed apps", model)
	}
	list := func(token string, apps ...declaration) []any {
		t.Helper()
		names := []string{"s"}
		for _, a := range apps {
			names = append(names, a.id)
		}
		all := activation("a1", names...)
		all.token = token
		s.publish(0, token, append(apps, all, subscription("s", "app.managed.list")), nil)
		l, _ := at(s.synchronize(t, d, 0).reports[0].StatusItems, "app.managed.list").([]any)
		return l
	}
	if l := list("t1", app("x"), app("y")); len(l) != 2 {
		t.Fatalf("%v", l)
	}
	l := list("t2", app("y"), app("z"))
	if len(l) != 2 || l[0].(fields)["identifier"] != "app.z" || l[1].(fields)["identifier"] != "app.x" || l[1].(fields)["_removed"] != true {
		t.Fatalf("%v", l)
	}
	s.take()
	if err := d.SendFullReport(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := s.heard(t).reports[0]
	if l, _ := at(r.StatusItems, "app.managed.list").([]any); !*r.FullReport || len(l) != 2 || at(r.StatusItems, "management.declarations") == nil {
		t.Fatalf("%+v", r)
	}
	poll(t, d)
	wantEndpoints(t, s.heard(t))
}

func TestAStaleReportComesAgain(t *testing.T) {
	s := start(t)
	d, _ := subscribed(t, s, appledev.IPad, appledev.Options{}, "device.operating-system.version")
	d.Faults().StaleStatus(1)
	var versions []any
	for _, v := range []string{"20", "21", "22"} {
		d.UpdateOS(v, "")
		poll(t, d)
		for _, r := range s.heard(t).reports {
			versions = append(versions, at(r.StatusItems, "device.operating-system.version"))
		}
	}
	if want := []any{"20", "21", "20", "22"}; !slices.Equal(versions, want) {
		t.Fatalf("%v, want %v", versions, want)
	}
}

func TestARunningDeviceReportsChangesByItself(t *testing.T) {
	s := start(t)
	w := &wakes{chans: map[string]chan struct{}{}, ready: make(chan struct{})}
	d, _ := subscribed(t, s, appledev.IPad, appledev.Options{Wakes: w}, "device.operating-system.version")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	<-w.ready
	// The first may still be reported by the connection that Run begins with.
	for _, version := range []string{"20", "21"} {
		d.UpdateOS(version, "")
		for reported := any(nil); reported != version; {
			for _, r := range s.heard(t).reports {
				reported = at(r.StatusItems, "device.operating-system.version")
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%s was not reported", version)
			case <-time.After(time.Millisecond):
			}
		}
	}
	cancel()
	<-done
}
