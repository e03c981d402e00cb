package appledev_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/muster-mdm/muster/sim/appledev"
)

func wantKinds(t *testing.T, s *server, want ...string) {
	t.Helper()
	if got := s.kinds(); !slices.Equal(got, want) {
		t.Fatalf("the server heard %q, want %q", got, want)
	}
}

func poll(t *testing.T, d *appledev.Device) {
	t.Helper()
	if _, err := d.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestSpecsOfOneSeedAreEqualAndDistinct(t *testing.T) {
	a, b := appledev.NewSpecs(1, 500, appledev.Mix{}), appledev.NewSpecs(1, 500, appledev.Mix{})
	if !slices.Equal(a, b) {
		t.Fatal("two populations of one seed differ")
	}
	serials, udids := map[string]bool{}, map[string]bool{}
	for _, s := range append(a, appledev.NewSpecs(2, 500, appledev.Mix{})...) {
		serials[s.Serial], udids[s.UDID] = true, true
		if len(s.Serial) != 12 {
			t.Fatalf("serial %q", s.Serial)
		}
	}
	if len(serials) != 1000 || len(udids) != 1000 {
		t.Fatalf("%d serials and %d UDIDs of 1000", len(serials), len(udids))
	}
}

func TestEveryFamilyEnrolls(t *testing.T) {
	for family, want := range map[appledev.Family][]string{
		appledev.IPhone: {"Authenticate", "TokenUpdate"},
		appledev.IPad:   {"Authenticate", "TokenUpdate"},
		appledev.Mac:    {"Authenticate", "TokenUpdate", "user TokenUpdate", "SetBootstrapToken"},
	} {
		t.Run(family.String(), func(t *testing.T) {
			s := start(t)
			d := s.device(t, family, appledev.Options{})
			wantKinds(t, s, want...)
			poll(t, d)
			if family == appledev.Mac {
				wantKinds(t, s, "Idle", "user Idle")
				token, err := d.GetBootstrapToken(t.Context())
				if err != nil || len(token) == 0 {
					t.Fatalf("%x, %v", token, err)
				}
				return
			}
			wantKinds(t, s, "Idle")
		})
	}
}

func TestASignedProfileEnrollsToo(t *testing.T) {
	s := start(t)
	d := appledev.New(appledev.NewSpecs(3, 1, appledev.Mix{IPad: 1})[0], appledev.Options{Keys: pool()})
	if err := d.Enroll(t.Context(), s.url+"/signed"); err != nil {
		t.Fatal(err)
	}
}

func TestAnEnrollmentThatTheServerRefusesLeavesTheDeviceAlone(t *testing.T) {
	s := start(t)
	d := appledev.New(appledev.NewSpecs(3, 1, appledev.Mix{IPad: 1})[0], appledev.Options{Keys: pool()})
	used := s.profile(nil)
	if err := d.EnrollWith(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	d.Wipe()
	if err := d.EnrollWith(t.Context(), used); err == nil || d.Enrolled() {
		t.Fatalf("a used challenge enrolled: %v", err)
	}
	if _, err := d.Poll(t.Context()); !errors.Is(err, appledev.ErrNotEnrolled) {
		t.Fatal(err)
	}
}

func TestMacWhoseUserChannelIsDeclinedStaysEnrolled(t *testing.T) {
	s := start(t)
	s.noUsers = true
	d := s.device(t, appledev.Mac, appledev.Options{})
	s.take()
	poll(t, d)
	wantKinds(t, s, "Idle")
}

func TestCommandsAreExecutedAndReported(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPhone, appledev.Options{})
	plain := encode(map[string]any{
		"PayloadType": "Configuration", "PayloadIdentifier": "wifi", "PayloadUUID": "U1", "PayloadVersion": 1,
		"PayloadContent": []any{map[string]any{"PayloadType": "com.apple.wifi.managed", "PayloadIdentifier": "wifi.1", "PayloadUUID": "U2", "PayloadVersion": 1}},
	})
	for _, c := range []struct {
		name, requestType string
		fields            map[string]any
		status            string
		check             func(answer map[string]any) bool
	}{
		{"a profile", "InstallProfile", map[string]any{"Payload": plain}, "Acknowledged", nil},
		{"a broken profile", "InstallProfile", map[string]any{"Payload": []byte("x")}, "Error", nil},
		{"no profile", "InstallProfile", nil, "CommandFormatError", nil},
		{"the store", "ProfileList", nil, "Acknowledged", func(a map[string]any) bool { l, _ := a["ProfileList"].([]any); return len(l) == 2 }},
		{"the managed store", "ProfileList", map[string]any{"ManagedOnly": true}, "Acknowledged", func(a map[string]any) bool {
			l, _ := a["ProfileList"].([]any)
			return len(l) == 1
		}},
		{"what it is", "DeviceInformation", map[string]any{"Queries": []string{"SerialNumber", "Nonsense"}}, "Acknowledged", func(a map[string]any) bool {
			q, _ := a["QueryResponses"].(map[string]any)
			return len(q) == 1 && q["SerialNumber"] == d.Spec().Serial
		}},
		{"one application", "InstalledApplicationList", map[string]any{"Identifiers": []string{"com.apple.Pages"}}, "Acknowledged", func(a map[string]any) bool {
			l, _ := a["InstalledApplicationList"].([]any)
			return len(l) == 1
		}},
		{"its keychain", "CertificateList", nil, "Acknowledged", func(a map[string]any) bool { l, _ := a["CertificateList"].([]any); return len(l) == 1 }},
		{"its protection", "SecurityInfo", nil, "Acknowledged", func(a map[string]any) bool { return a["SecurityInfo"] != nil }},
		{"a lock", "DeviceLock", map[string]any{"Message": "hello"}, "Acknowledged", func(a map[string]any) bool { return a["MessageResult"] == "Success" }},
		{"a name", "Settings", map[string]any{"Settings": []any{map[string]any{"Item": "DeviceName", "DeviceName": "New"}}}, "Acknowledged", nil},
		{"the new name", "DeviceInformation", map[string]any{"Queries": []string{"DeviceName"}}, "Acknowledged", func(a map[string]any) bool {
			q, _ := a["QueryResponses"].(map[string]any)
			return q["DeviceName"] == "New"
		}},
		{"the profile's removal", "RemoveProfile", map[string]any{"Identifier": "wifi"}, "Acknowledged", nil},
		{"its second removal", "RemoveProfile", map[string]any{"Identifier": "wifi"}, "Error", nil},
		{"a restart", "RestartDevice", nil, "Acknowledged", nil},
		{"the end of a setup that is over", "DeviceConfigured", nil, "Error", nil},
		{"nonsense", "MakeCoffee", nil, "Error", func(a map[string]any) bool {
			chain, _ := a["ErrorChain"].([]any)
			link, _ := chain[0].(map[string]any)
			return link["ErrorCode"] == uint64(12021) && link["ErrorDomain"] == "MCMDMErrorDomain"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.take()
			id := s.enqueue(c.requestType, c.fields)
			poll(t, d)
			log := s.take()
			if len(log) != 2 || log[1].body["CommandUUID"] != id || log[1].kind() != c.status {
				t.Fatalf("%+v", log)
			}
			if c.check != nil && !c.check(log[1].body) {
				t.Fatalf("%+v", log[1].body)
			}
		})
	}
}

func TestFaultsHappenAsPlanned(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPhone, appledev.Options{})
	s.take()
	fresh := func() { s.mu.Lock(); s.queue = nil; s.mu.Unlock(); s.take() }

	t.Run("NotNow, and the same command at the next connection", func(t *testing.T) {
		s.enqueue("InstalledApplicationList", nil) // never refused by an iPhone
		s.enqueue("SecurityInfo", nil)
		d.Faults().NotNow(1)
		poll(t, d)
		wantKinds(t, s, "Idle", "Acknowledged", "NotNow")
		poll(t, d)
		wantKinds(t, s, "Idle", "Acknowledged")
	})
	t.Run("a lost answer, and the same result again", func(t *testing.T) {
		fresh()
		id := s.enqueue("SecurityInfo", nil)
		d.Faults().LoseAnswers(1)
		if _, err := d.Poll(t.Context()); !errors.Is(err, appledev.ErrLost) {
			t.Fatal(err)
		}
		poll(t, d)
		log := s.take()
		if len(log) != 3 || log[1].body["CommandUUID"] != id || log[2].body["CommandUUID"] != id {
			t.Fatalf("%+v", log)
		}
	})
	t.Run("a result never sent, and the command again", func(t *testing.T) {
		fresh()
		s.enqueue("SecurityInfo", nil)
		d.Faults().DropResults(1)
		if _, err := d.Poll(t.Context()); !errors.Is(err, appledev.ErrLost) {
			t.Fatal(err)
		}
		poll(t, d)
		wantKinds(t, s, "Idle", "Idle", "Acknowledged")
	})
	t.Run("a result sent twice", func(t *testing.T) {
		fresh()
		s.enqueue("SecurityInfo", nil)
		d.Faults().Duplicate(1)
		poll(t, d)
		wantKinds(t, s, "Idle", "Acknowledged", "Acknowledged")
	})
	t.Run("a result the server could not take, and again", func(t *testing.T) {
		fresh()
		s.enqueue("SecurityInfo", nil)
		s.mu.Lock()
		s.status = http.StatusInternalServerError
		s.mu.Unlock()
		if _, err := d.Poll(t.Context()); err == nil {
			t.Fatal("no error")
		}
		s.mu.Lock()
		s.status = 0
		s.mu.Unlock()
		poll(t, d)
		wantKinds(t, s, "Idle", "Acknowledged", "Acknowledged")
	})
	t.Run("a wrong signature", func(t *testing.T) {
		fresh()
		d.Faults().WrongSignature(1)
		var status *appledev.StatusError
		if _, err := d.Poll(t.Context()); !errors.As(err, &status) || status.Status != http.StatusBadRequest {
			t.Fatal(err)
		}
	})
	t.Run("no network", func(t *testing.T) {
		d.Faults().Offline(time.Now().Add(time.Hour))
		if _, err := d.Poll(t.Context()); !errors.Is(err, appledev.ErrOffline) {
			t.Fatal(err)
		}
		d.Faults().Offline(time.Time{})
		poll(t, d)
	})
}

func TestRenewalBringsANewIdentity(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPad, appledev.Options{})
	old := d.Certificate()
	s.take()

	s.enqueue("InstallProfile", map[string]any{"Payload": s.profile(func(m map[string]any) { m["ServerURL"] = s.url + "/elsewhere" })})
	poll(t, d)
	wantKinds(t, s, "Idle", "Error")
	if !d.Certificate().Equal(old) {
		t.Fatal("a refused renewal changed the identity")
	}

	s.enqueue("InstallProfile", map[string]any{"Payload": s.profile(nil)})
	poll(t, d)
	log := s.take()
	if len(log) != 4 || log[1].kind() != "Authenticate" || log[2].kind() != "TokenUpdate" || log[3].kind() != "Acknowledged" {
		t.Fatalf("%+v", log)
	}
	if log[0].signer != old.SerialNumber.Text(16) || log[1].signer == log[0].signer || log[3].signer != log[1].signer {
		t.Fatalf("signers %s %s %s", log[0].signer, log[1].signer, log[3].signer)
	}

	d.Faults().MuteRenewal(true)
	s.enqueue("InstallProfile", map[string]any{"Payload": s.profile(nil)})
	poll(t, d)
	wantKinds(t, s, "Idle", "Authenticate", "TokenUpdate")
}

func TestReenrollmentIsANewEnrollment(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPad, appledev.Options{})
	token, _ := d.PushToken()
	before := string(token)
	if err := d.Enroll(t.Context(), s.url+"/enroll"); err != nil {
		t.Fatal(err)
	}
	token, _ = d.PushToken()
	if string(token) == before {
		t.Fatal("the token is the old one")
	}
	wantKinds(t, s, "Authenticate", "TokenUpdate", "Authenticate", "TokenUpdate")
}

func TestManagementEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(t *testing.T, s *server, d *appledev.Device)
		want []string
	}{
		"by removal of the enrollment profile": {func(t *testing.T, s *server, d *appledev.Device) {
			s.enqueue("RemoveProfile", map[string]any{"Identifier": "test.enrollment"})
			poll(t, d)
		}, []string{"Idle", "Acknowledged", "CheckOut"}},
		"by a wipe from the server": {func(t *testing.T, s *server, d *appledev.Device) {
			s.enqueue("EraseDevice", nil)
			poll(t, d)
		}, []string{"Idle", "Acknowledged"}},
		"by the user": {func(t *testing.T, _ *server, d *appledev.Device) {
			if err := d.Leave(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, []string{"CheckOut"}},
		"by a wipe without a word": {func(_ *testing.T, _ *server, d *appledev.Device) { d.Wipe() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			d := s.device(t, appledev.IPad, appledev.Options{})
			s.take()
			c.end(t, s, d)
			wantKinds(t, s, c.want...)
			if d.Enrolled() || len(d.Profiles()) > 1 {
				t.Fatalf("still enrolled, or left with %v", d.Profiles())
			}
			if err := d.Enroll(t.Context(), s.url+"/enroll"); err != nil {
				t.Fatalf("enroll again: %v", err)
			}
		})
	}
}

// wakes hands out channels that the test fires.
type wakes struct {
	mu    sync.Mutex
	chans map[string]chan struct{}
	ready chan struct{} // closed at the first subscription
}

func (w *wakes) Subscribe(token []byte, _ string) (<-chan struct{}, func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ch := make(chan struct{}, 1)
	if len(w.chans) == 0 {
		close(w.ready)
	}
	w.chans[string(token)] = ch
	return ch, func() {}
}

// fire wakes the device; a wake that was not taken yet swallows it.
func (w *wakes) fire(token []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.chans[string(token)] <- struct{}{}:
	default:
	}
}

func TestRunPollsWhenWokenAndEndsWithTheEnrollment(t *testing.T) {
	s := start(t)
	events := make(chan appledev.Event, 100)
	w := &wakes{chans: map[string]chan struct{}{}, ready: make(chan struct{})}
	d := s.device(t, appledev.IPad, appledev.Options{Wakes: w, OnEvent: func(e appledev.Event) { events <- e }})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	token, _ := d.PushToken()
	next := func(kind appledev.EventKind) {
		t.Helper()
		for {
			select {
			case e := <-events:
				if e.Kind == kind {
					return
				}
			case <-ctx.Done():
				t.Fatal("nothing happened")
			}
		}
	}
	next(appledev.EventEnrolled)
	<-w.ready
	for range 2 {
		s.enqueue("SecurityInfo", nil)
		w.fire(token)
		next(appledev.EventCommand)
	}
	s.enqueue("EraseDevice", nil)
	w.fire(token)
	next(appledev.EventUnenrolled)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestAPopulationEnrollsAndPollsTogether(t *testing.T) {
	s := start(t)
	var mu sync.Mutex
	ops := map[string]int{}
	p := appledev.NewPopulation(11, 30, appledev.Mix{}, appledev.Options{Keys: pool(), OnRequest: func(r appledev.Request) {
		mu.Lock()
		defer mu.Unlock()
		ops[r.Op]++
		if r.Status != http.StatusOK {
			t.Errorf("%+v", r)
		}
	}})
	last := 0
	err := p.EnrollAll(t.Context(), func(*appledev.Device) string { return s.url + "/enroll" }, 8, func(done, _, total int) {
		mu.Lock()
		defer mu.Unlock()
		last = max(last, done)
		if total != 30 {
			t.Errorf("total %d", total)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	err = p.PollAll(t.Context(), 8)
	if err != nil {
		t.Fatal(err)
	}
	if last != 30 || ops["Authenticate"] != 30 || ops["PKIOperation"] != 30 || ops["Idle"] < 30 {
		t.Fatalf("%d done, %v", last, ops)
	}
	prepared, err := p.Devices[0].PrepareIdle()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		status, body, err := prepared.Send(t.Context(), http.DefaultClient)
		if err != nil || status != http.StatusOK || len(body) != 0 {
			t.Fatalf("%d %q %v", status, body, err)
		}
	}
}
