package hostaction_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/hostaction"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// plainSealer marks what it sealed, to see that nothing else is stored.
type plainSealer struct{}

func (plainSealer) Seal(ref fleet.SecretRef, secret []byte) (fleet.Sealed, error) {
	out := bytes.Clone(secret)
	for i := range out {
		out[i] ^= 0x55
	}
	return fleet.Sealed{KeyID: string(ref.Scope), Data: out}, nil
}

func (s plainSealer) Open(ref fleet.SecretRef, sealed fleet.Sealed) ([]byte, error) {
	if sealed.KeyID != string(ref.Scope) {
		return nil, fmt.Errorf("sealed as %s, opened as %s", sealed.KeyID, ref.Scope)
	}
	again, err := s.Seal(ref, sealed.Data)
	return again.Data, err
}

type policy struct{ fleet.BrakePolicy }

func (p *policy) Settings(context.Context) (fleet.Settings, error) {
	return fleet.Settings{OrgName: "Acme", Brake: p.BrakePolicy}, nil
}

// bench is the service over a real store.
type bench struct {
	*hostaction.Service
	t      *testing.T
	db     *store.DB
	policy policy
	now    time.Time
	done   []string // what the doers did
	fail   error    // of the next doer
	while  func()   // the next doer works
	hosts  []fleet.HostID
	keys   []fleet.EnrollmentID
}

func newBench(t *testing.T, platforms ...fleet.Platform) *bench {
	t.Helper()
	b := &bench{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	b.db = storetest.OpenAt(t, store.SQLite, func() time.Time { return b.now })
	doer := func(what string) hostaction.Doer {
		return func(_ context.Context, actor fleet.Actor, host fleet.HostID) error {
			if err := b.fail; err != nil {
				b.fail = nil
				return err
			}
			if while := b.while; while != nil {
				b.while = nil
				while()
			}
			b.done = append(b.done, fmt.Sprint(what, " ", host, " ", actor.Name))
			return nil
		}
	}
	b.Service = hostaction.New(hostaction.Options{Store: store.NewHostActions(b.db), Secrets: store.NewSecrets(b.db), Sealer: plainSealer{}, Settings: &b.policy,
		Doers: map[fleet.ActionKind]hostaction.Doer{fleet.ActionUnenroll: doer("unenroll"), fleet.ActionDelete: doer("delete")},
		Clock: func() time.Time { return b.now }, Seen: func(fleet.HostID) time.Time { return time.Time{} }})
	for i, p := range platforms {
		key := fmt.Sprint("UDID-", i)
		host := fleet.Host{UUID: key, HardwareSerial: fmt.Sprint("S-", i), ComputerName: fmt.Sprint("host ", i), Platform: p, Supervised: fleet.Yes, MDM: fleet.HostMDM{Status: fleet.MDMAutomatic}}
		e, err := store.NewEnrollments(b.db).Apply(t.Context(), fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: key}},
			func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
				return fleet.EnrollmentChange{Host: &host, Enrollment: &fleet.Enrollment{Key: key, Channel: fleet.ChannelDevice, State: fleet.EnrollmentOn, PushToken: []byte("t")}}, nil
			})
		if err != nil {
			t.Fatal(err)
		}
		b.hosts, b.keys = append(b.hosts, host.ID), append(b.keys, e.ID)
	}
	return b
}

func person(id int, name string) fleet.Actor {
	return fleet.Actor{Kind: fleet.ActorUser, UserID: fleet.UserID(id), Name: name}
}

func admin(id int, name string) fleet.Viewer {
	return fleet.Viewer{User: fleet.User{ID: fleet.UserID(id), Name: name, Role: fleet.RoleAdmin}}
}

// fetched is the command that a host gets next, as it gets it.
func (b *bench) fetched(host int) map[string]any {
	b.t.Helper()
	next, err := store.NewCommands(b.db).Exchange(b.t.Context(), b.keys[host], nil, 0, nil)
	if err != nil || next == nil {
		b.t.Fatalf("host %d gets nothing: %v", host, err)
	}
	body := next.Body
	if next.Expand {
		if body, err = b.Fill(b.t.Context(), next); err != nil {
			b.t.Fatal(err)
		}
	}
	v, err := plist.Read(body)
	if err != nil {
		b.t.Fatal(err)
	}
	return v.(map[string]any)["Command"].(map[string]any)
}

func (b *bench) ask(kind fleet.ActionKind, hosts ...fleet.HostID) fleet.ActionAsk {
	return fleet.ActionAsk{Kind: kind, Hosts: hosts, Expected: -1}
}

func TestWhatAHeldWipeSaysIsKeptUntilItIsApproved(t *testing.T) {
	b := newBench(t, fleet.PlatformIPadOS)
	b.policy.ApprovalFor = []fleet.ActionKind{fleet.ActionWipe}
	ask := b.ask(fleet.ActionWipe, b.hosts...)
	ask.Options = fleet.ActionOptions{PreserveDataPlan: true, ReturnToService: true, WiFiProfile: configuration("com.apple.wifi.managed"), MDMProfile: configuration("com.apple.mdm")}
	r, err := b.Do(t.Context(), person(1, "Ada"), ask)
	if err != nil || r.Held == nil || r.Pending != fleet.PendingNone {
		t.Fatalf("%+v, %v", r, err)
	}
	// Nothing goes in the meantime, the clean-up included.
	if err := b.Sweep(t.Context(), b.now); err != nil {
		t.Fatal(err)
	}
	done, err := b.Decide(t.Context(), admin(2, "Bob"), r.Held.UUID, fleet.ActionDone)
	if err != nil || done.Phase != fleet.ActionDone || done.DecidedBy.Name != "Bob" {
		t.Fatalf("%+v, %v", done, err)
	}
	cmd := b.fetched(0)
	service, _ := cmd["ReturnToService"].(map[string]any)
	if cmd["RequestType"] != "EraseDevice" || cmd["PreserveDataPlan"] != true || string(service["WiFiProfileData"].([]byte)) != string(ask.Options.WiFiProfile) ||
		string(service["MDMProfileData"].([]byte)) != string(ask.Options.MDMProfile) || cmd["PIN"] != nil {
		t.Errorf("%+v", cmd)
	}
}

// configuration is a configuration profile with one payload.
func configuration(payloadType string) []byte {
	out, err := plist.Marshal(map[string]any{"PayloadType": "Configuration", "PayloadVersion": 1, "PayloadIdentifier": "com.acme.profile", "PayloadUUID": "U1",
		"PayloadContent": []any{map[string]any{"PayloadType": payloadType, "PayloadVersion": 1, "PayloadIdentifier": "com.acme.payload", "PayloadUUID": "U2"}}})
	if err != nil {
		panic(err)
	}
	return out
}

func TestWhatWasTakenBackDoesNotCount(t *testing.T) {
	b := newBench(t, fleet.PlatformDarwin, fleet.PlatformDarwin)
	b.policy.WipesPerHour = 2
	ada := person(1, "Ada")
	wipe := func(hosts ...fleet.HostID) (fleet.ActionResult, error) {
		b.now = b.now.Add(time.Second)
		return b.Do(t.Context(), ada, b.ask(fleet.ActionWipe, hosts...))
	}
	pending := func(host fleet.HostID) string {
		t.Helper()
		var uuid string
		err := store.NewHostActions(b.db).Act(t.Context(), fleet.ActionLookup{Hosts: []fleet.HostID{host}}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
			uuid = f.Hosts[0].Action.CommandUUID
			return fleet.ActionChange{}, nil
		})
		if err != nil || uuid == "" {
			t.Fatalf("host %d has no command: %v", host, err)
		}
		return uuid
	}
	cancel := func(host fleet.HostID) {
		t.Helper()
		if err := b.Cancel(t.Context(), person(2, "Bob"), host, pending(host)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := wipe(b.hosts...); err != nil {
		t.Fatal(err)
	}
	cancel(b.hosts[0])
	for range 3 { // one host of two does not count, however often
		if _, err := wipe(b.hosts[0]); err != nil {
			t.Fatal(err)
		}
		cancel(b.hosts[0])
	}
	if _, err := wipe(b.hosts[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := wipe(b.hosts[0]); fleet.KindOf(err) != fleet.KindInvalid {
		t.Errorf("it is pending: %v", err)
	}
	// A device that had the command, and put it off, counts: it was asked.
	b.fetched(0)
	uuid := pending(b.hosts[0])
	r := fleet.CommandReport{CommandUUID: uuid, Status: fleet.CommandNotNow, At: b.now}
	if _, err := store.NewCommands(b.db).Exchange(t.Context(), b.keys[0], &r, 0, func(c fleet.CommandTarget) fleet.ReportOutcome { return b.Outcome(c, r, nil) }); err != nil {
		t.Fatal(err)
	}
	cancel(b.hosts[0])
	if _, err := wipe(b.hosts[0]); fleet.KindOf(err) != fleet.KindTooMany {
		t.Errorf("the limit is reached: %v", err)
	}
	list, _, err := b.Requests(t.Context(), nil, fleet.Page{Size: 100})
	if err != nil || len(list) != 5 || list[4].Hosts != 1 || len(list[4].Targets) != 2 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestACommandThatWasSentAsSuchAndTakenBackDoesNotCount(t *testing.T) {
	b := newBench(t, fleet.PlatformDarwin)
	b.policy.WipesPerHour = 1
	ada := person(1, "Ada")
	for range 2 {
		if _, err := b.Admit(t.Context(), ada, fleet.ActionWipe, b.hosts, true); err != nil {
			t.Fatal(err)
		}
		b.now = b.now.Add(time.Second)
		c := fleet.Command{UUID: ids.UUID(), RequestType: "EraseDevice", Purpose: fleet.CommandCustom, Body: []byte("<plist/>"), CreatedAt: b.now, CreatedBy: ada}
		if _, err := store.NewCommands(b.db).Enqueue(t.Context(), &c, []fleet.Target{{Host: fleet.HostRef{ID: b.hosts[0]}, EnrollmentID: b.keys[0], State: fleet.EnrollmentOn}}); err != nil {
			t.Fatal(err)
		}
		if err := b.Cancel(t.Context(), ada, b.hosts[0], c.UUID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPasscodeIsClearedOnceAtATime(t *testing.T) {
	b := newBench(t, fleet.PlatformIOS)
	token := fleet.SecretWrite{Ref: fleet.SecretRef{Scope: fleet.ScopeUnlockToken, Name: "UDID-0"}, Value: fleet.Sealed{KeyID: string(fleet.ScopeUnlockToken), Data: []byte("token")}}
	if _, err := store.NewSecrets(b.db).Create(t.Context(), []fleet.SecretWrite{token}); err != nil {
		t.Fatal(err)
	}
	clearing := func() (fleet.ActionResult, error) {
		return b.Do(t.Context(), person(1, "Ada"), b.ask(fleet.ActionClearPasscode, b.hosts...))
	}
	first, err := clearing()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clearing(); fleet.KindOf(err) != fleet.KindConflict {
		t.Errorf("a second one: %v", err)
	}
	if err := b.Cancel(t.Context(), person(1, "Ada"), b.hosts[0], first.Command); err != nil {
		t.Fatal(err)
	}
	if _, err := clearing(); err != nil {
		t.Errorf("after it was taken back: %v", err)
	}
}

func TestOptionsOfAnotherPlatformAreRefused(t *testing.T) {
	b := newBench(t, fleet.PlatformDarwin, fleet.PlatformIOS)
	for _, c := range []struct {
		kind    fleet.ActionKind
		hosts   []fleet.HostID
		options fleet.ActionOptions
		want    string // in the refusal
	}{
		{fleet.ActionLock, b.hosts[:1], fleet.ActionOptions{Footnote: "Ask Ada"}, "is a Mac, and the option footnote"},
		{fleet.ActionWipe, b.hosts[:1], fleet.ActionOptions{ReturnToService: true}, "is a Mac, and the option apple.return_to_service"},
		{fleet.ActionWipe, b.hosts[:1], fleet.ActionOptions{PreserveDataPlan: true}, "apple.preserve_data_plan"},
		{fleet.ActionWipe, b.hosts[:1], fleet.ActionOptions{DisallowProximitySetup: true}, "apple.disallow_proximity_setup"},
		{fleet.ActionWipe, b.hosts[1:], fleet.ActionOptions{Behavior: "Always"}, "is no Mac, and the option apple.obliteration_behavior"},
		{fleet.ActionWipe, b.hosts, fleet.ActionOptions{Behavior: "Always"}, "1 of 2 hosts cannot take it"},
	} {
		ask := b.ask(c.kind, c.hosts...)
		ask.Options = c.options
		if _, err := b.Do(t.Context(), person(1, "Ada"), ask); fleet.KindOf(err) != fleet.KindInvalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.options, err)
		}
	}
	ask := b.ask(fleet.ActionWipe, b.hosts[0])
	ask.Options.Behavior = "DoNotObliterate"
	if _, err := b.Do(t.Context(), person(1, "Ada"), ask); err != nil {
		t.Error(err)
	}
}

func TestADeviceIsNotErasedForAProfileThatIsNone(t *testing.T) {
	b := newBench(t, fleet.PlatformIPadOS)
	ask := b.ask(fleet.ActionWipe, b.hosts...)
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"a certificate", []byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"), "must be a configuration profile"},
		{"a certificate in bytes", []byte{0x30, 0x82, 0, 1}, "must be a configuration profile"},
		{"a property list", []byte("<plist/>"), "must be a configuration profile"},
		{"another profile", configuration("com.apple.webClip.managed"), "without a payload of the type com.apple.wifi.managed"},
		{"a network", configuration("com.apple.wifi.managed"), ""},
	} {
		ask.Options = fleet.ActionOptions{ReturnToService: true, WiFiProfile: c.data}
		_, err := b.Do(t.Context(), person(1, "Ada"), ask)
		if c.want == "" && err != nil || c.want != "" && (fleet.KindOf(err) != fleet.KindInvalid || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestTimeDecidesWhatNobodyDecided(t *testing.T) {
	b := newBench(t, fleet.PlatformDarwin, fleet.PlatformDarwin)
	b.policy.ApprovalFor = []fleet.ActionKind{fleet.ActionWipe}
	b.policy.DelayFor, b.policy.DelayMinutes = []fleet.ActionKind{fleet.ActionUnenroll, fleet.ActionLock}, 10
	ctx := t.Context()
	waiting, err := b.Do(ctx, person(1, "Ada"), b.ask(fleet.ActionWipe, b.hosts[0]))
	if err != nil {
		t.Fatal(err)
	}
	leaving, err := b.Admit(ctx, person(1, "Ada"), fleet.ActionUnenroll, b.hosts[1:], false)
	if err != nil || leaving == nil {
		t.Fatalf("%+v, %v", leaving, err)
	}
	both, err := b.Do(ctx, person(1, "Ada"), b.ask(fleet.ActionLock, b.hosts...))
	if err != nil || both.Held == nil {
		t.Fatalf("%+v, %v", both, err)
	}
	round := func() {
		t.Helper()
		if err := b.Round(ctx); err != nil {
			t.Fatal(err)
		}
	}
	round()
	if len(b.done) > 0 {
		t.Errorf("%v happened before its time", b.done)
	}
	// One of the two is deleted meanwhile: the other is locked, and the request
	// says so.
	if _, err := store.NewHosts(b.db).Delete(ctx, b.hosts[0], nil); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(10 * time.Minute)
	round()
	round() // once is enough
	if fmt.Sprint(b.done) != fmt.Sprintf("[unenroll %d Ada]", b.hosts[1]) {
		t.Errorf("%v", b.done)
	}
	b.now = b.now.Add(24 * time.Hour)
	round()
	list, _, err := b.Requests(ctx, nil, fleet.Page{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range list {
		got[r.UUID] = r.Phase.String() + " " + r.Detail
	}
	for uuid, want := range map[string]string{waiting.Held.UUID: "expired nobody", leaving.UUID: "done ", both.Held.UUID: "done hosts that are gone: 1"} {
		if !strings.HasPrefix(got[uuid], want) {
			t.Errorf("a request is %q, want %q", got[uuid], want)
		}
	}
	if cmd := b.fetched(1); cmd["RequestType"] != "DeviceLock" || len(fmt.Sprint(cmd["PIN"])) != 6 {
		t.Errorf("%+v", cmd)
	}
}

func TestARequestThatCannotBeCarriedOutFails(t *testing.T) {
	b := newBench(t, fleet.PlatformDarwin)
	b.policy.DelayFor, b.policy.DelayMinutes = []fleet.ActionKind{fleet.ActionWipe}, 10
	held, err := b.Do(t.Context(), person(1, "Ada"), b.ask(fleet.ActionWipe, b.hosts...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Do(t.Context(), person(2, "Bob"), b.ask(fleet.ActionLock, b.hosts...)); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(time.Hour)
	if err := b.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, _, err := b.Requests(t.Context(), []fleet.ActionPhase{fleet.ActionFailed}, fleet.Page{})
	if err != nil || len(list) != 1 || list[0].UUID != held.Held.UUID || !strings.Contains(list[0].Detail, "host 0 has a pending lock") {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestWhatIsInterruptedIsDoneAgain(t *testing.T) {
	b := newBench(t, fleet.PlatformDarwin)
	b.policy.ApprovalFor = []fleet.ActionKind{fleet.ActionDelete}
	held, err := b.Admit(t.Context(), person(1, "Ada"), fleet.ActionDelete, b.hosts, false)
	if err != nil {
		t.Fatal(err)
	}
	b.fail = errors.New("the database is away")
	if _, err := b.Decide(t.Context(), admin(2, "Bob"), held.UUID, fleet.ActionDone); err == nil {
		t.Fatal("a failure was swallowed")
	}
	if _, err := b.Decide(t.Context(), admin(2, "Bob"), held.UUID, fleet.ActionUndone); fleet.KindOf(err) != fleet.KindConflict {
		t.Errorf("what began was undone: %v", err)
	}
	b.fail = fleet.Errorf(fleet.KindNotFound, "it is gone")
	if err := b.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, _, err := b.Requests(t.Context(), nil, fleet.Page{})
	if err != nil || len(list) != 1 || list[0].Phase != fleet.ActionDone || list[0].Detail != "" { // it may have been us
		t.Errorf("%+v, %v", list, err)
	}
}

// held has the brake hold an unenroll of all hosts of a bench.
func (b *bench) held() *fleet.ActionRequest {
	b.t.Helper()
	b.policy.ApprovalFor = []fleet.ActionKind{fleet.ActionUnenroll}
	held, err := b.Admit(b.t.Context(), person(1, "Ada"), fleet.ActionUnenroll, b.hosts, false)
	if err != nil || held == nil {
		b.t.Fatal(held, err)
	}
	return held
}

// ended checks what became of a request, and which hosts it was carried out for
// in which order.
func (b *bench) ended(uuid string, hosts ...fleet.HostID) {
	b.t.Helper()
	var want []string
	for _, id := range hosts {
		want = append(want, fmt.Sprintf("unenroll %d Ada", id))
	}
	r, err := store.NewHostActions(b.db).Request(b.t.Context(), uuid)
	if err != nil || r == nil || r.Phase != fleet.ActionDone || r.Detail != "" || !r.LeaseUntil.IsZero() {
		b.t.Errorf("%+v, %v", r, err)
	}
	if fmt.Sprint(b.done) != fmt.Sprint(want) {
		b.t.Errorf("done: %v, want %v", b.done, want)
	}
}

func TestARequestThatTakesLongIsNotTakenUpByAnother(t *testing.T) {
	b := newBench(t, fleet.PlatformDarwin, fleet.PlatformDarwin, fleet.PlatformDarwin, fleet.PlatformDarwin, fleet.PlatformDarwin)
	held := b.held()
	var slow func()
	slow = func() {
		b.now = b.now.Add(time.Minute)
		if err := b.Round(t.Context()); err != nil {
			t.Error(err)
		}
		b.while = slow
	}
	b.while = slow
	if _, err := b.Decide(t.Context(), admin(2, "Bob"), held.UUID, fleet.ActionDone); err != nil {
		t.Fatal(err)
	}
	b.ended(held.UUID, b.hosts...)
}

// A process that stood still for long finds that another one has gone on.
func TestARequestThatNobodyCarriesOutAnyMoreIsTakenUp(t *testing.T) {
	b := newBench(t, fleet.PlatformDarwin, fleet.PlatformDarwin, fleet.PlatformDarwin)
	held := b.held()
	b.while = func() {
		b.while = func() { // for the second host
			b.now = b.now.Add(3 * time.Minute)
			if err := b.Round(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := b.Decide(t.Context(), admin(2, "Bob"), held.UUID, fleet.ActionDone); err != nil {
		t.Fatal(err)
	}
	b.ended(held.UUID, b.hosts[0], b.hosts[0], b.hosts[1], b.hosts[2], b.hosts[1])
}

func TestALeaseOfAClockThatWasAheadHoldsNobody(t *testing.T) {
	b := newBench(t, fleet.PlatformDarwin)
	held := b.held()
	err := store.NewHostActions(b.db).Act(t.Context(), fleet.ActionLookup{RequestUUID: held.UUID}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
		r := *f.Request
		r.Phase, r.DueAt, r.LeaseUntil = fleet.ActionRunning, b.now, b.now.Add(1000*time.Hour)
		return fleet.ActionChange{Request: &r}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.ended(held.UUID, b.hosts...)
}

func TestAllHostsOfARequestOrNone(t *testing.T) {
	b := newBench(t, fleet.PlatformDarwin, fleet.PlatformIOS, fleet.PlatformDarwin)
	if _, err := b.Do(t.Context(), person(1, "Ada"), b.ask(fleet.ActionLock, b.hosts[2])); err != nil {
		t.Fatal(err)
	}
	_, err := b.Do(t.Context(), person(1, "Ada"), b.ask(fleet.ActionWipe, b.hosts...))
	if fleet.KindOf(err) != fleet.KindInvalid || !strings.Contains(err.Error(), "1 of 3 hosts cannot take it, and nothing was done: host 2 has a pending lock") {
		t.Errorf("%v", err)
	}
	_, err = b.Do(t.Context(), person(1, "Ada"), b.ask(fleet.ActionWipe, b.hosts[0], 999))
	if fleet.KindOf(err) != fleet.KindNotFound || !strings.Contains(err.Error(), "999") {
		t.Errorf("%v", err)
	}
	r, err := b.Do(t.Context(), person(1, "Ada"), b.ask(fleet.ActionWipe, b.hosts[0], b.hosts[1], b.hosts[0]))
	if err != nil || r.Hosts != 2 || r.PIN != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	mac, phone := b.fetched(0), b.fetched(1)
	if mac["RequestType"] != "EraseDevice" || mac["ObliterationBehavior"] != "Default" || len(fmt.Sprint(mac["PIN"])) != 6 || phone["RequestType"] != "EraseDevice" || phone["PIN"] != nil {
		t.Errorf("%+v and %+v", mac, phone)
	}
}

func TestMusterItselfHasNoLimit(t *testing.T) {
	b := newBench(t, fleet.PlatformDarwin)
	b.policy.WipesPerHour = 1
	b.policy.ApprovalFor = []fleet.ActionKind{fleet.ActionDelete}
	if held, err := b.Admit(t.Context(), fleet.Actor{}, fleet.ActionDelete, b.hosts, false); err != nil || held != nil {
		t.Errorf("%+v, %v", held, err)
	}
	_, err := b.Admit(t.Context(), person(1, "Ada"), fleet.ActionWipe, []fleet.HostID{1, 2}, true)
	if fleet.KindOf(err) != fleet.KindTooMany {
		t.Errorf("%v", err)
	}
	events, err := store.NewEvents(b.db).Since(t.Context(), 0, 0, 100)
	if err != nil || len(events) == 0 || events[len(events)-1].Kind != fleet.EventBrake || events[len(events)-1].Actor.Name != "Ada" {
		t.Errorf("%+v, %v", events, err)
	}
}

func TestACommandWhoseSecretIsGoneIsRefused(t *testing.T) {
	b := newBench(t, fleet.PlatformIOS)
	next := &fleet.NextCommand{UUID: "U", HostID: b.hosts[0], EnrollmentKey: "UDID-0",
		Body: []byte(`<plist version="1.0"><dict><key>Command</key><dict><key>RequestType</key><string>ClearPasscode</string></dict></dict></plist>`)}
	if _, err := b.Fill(t.Context(), next); fleet.KindOf(err) != fleet.KindPrecondition {
		t.Errorf("%v", err)
	}
}
