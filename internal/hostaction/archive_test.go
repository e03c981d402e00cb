package hostaction_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
)

// locked has the first host of a bench locked with a PIN, and returns it.
func (b *bench) locked() string {
	b.t.Helper()
	ask := b.ask(fleet.ActionLock, b.hosts[0])
	ask.ViewPIN = true
	out, err := b.Do(b.t.Context(), person(1, "Ada"), ask)
	if err != nil || out.PIN == "" {
		b.t.Fatal(out, err)
	}
	return out.PIN
}

func TestThePINOfALockedMacIsNotDeletedWithItsHost(t *testing.T) {
	b, ctx := newBench(t, fleet.PlatformDarwin, fleet.PlatformDarwin), t.Context()
	pin := b.locked()
	for _, hosts := range [][]fleet.HostID{b.hosts[:1], b.hosts} {
		if _, err := b.AdmitDelete(ctx, person(1, "Ada"), hosts, false); fleet.KindOf(err) != fleet.KindConflict || !strings.Contains(err.Error(), "unlock it first") {
			t.Errorf("%d hosts: %v", len(hosts), err)
		}
	}
	if held, err := b.AdmitDelete(ctx, person(1, "Ada"), b.hosts, true); err != nil || held != nil {
		t.Fatal(held, err)
	}
	if _, err := store.NewHosts(b.db).Delete(ctx, b.hosts[0], nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Sweep(ctx, b.now); err != nil {
		t.Fatal(err)
	}
	list, err := b.Archived(ctx, person(2, "Bob"), "S-0")
	if err != nil || len(list) != 1 || list[0].Value != pin || list[0].Kind != fleet.ArchivedPIN || list[0].DeviceUUID != "UDID-0" {
		t.Fatalf("%+v, %v", list, err)
	}
	events, err := store.NewEvents(b.db).Since(ctx, 0, 0, 100)
	last := events[len(events)-1]
	if err != nil || last.Kind != fleet.EventHostSecretViewed || last.Actor.Name != "Bob" || !strings.Contains(string(last.Details), "S-0") || strings.Contains(string(last.Details), pin) {
		t.Errorf("%+v %s, %v", last, last.Details, err)
	}
	if list, err := b.Archived(ctx, person(2, "Bob"), "S-1"); err != nil || len(list) != 0 {
		t.Errorf("of another device: %+v, %v", list, err)
	}
	if _, err := b.Archived(ctx, person(2, "Bob"), ""); fleet.KindOf(err) != fleet.KindBadRequest {
		t.Errorf("of no device: %v", err)
	}
	b.now = b.now.Add(181 * 24 * time.Hour)
	if err := b.Sweep(ctx, b.now); err != nil {
		t.Fatal(err)
	}
	if list, err := b.Archived(ctx, person(2, "Bob"), "S-0"); err != nil || len(list) != 0 {
		t.Errorf("half a year later: %+v, %v", list, err)
	}
}

func TestADeletionThatWaitedIsCheckedAgain(t *testing.T) {
	for _, force := range []bool{false, true} {
		b, ctx := newBench(t, fleet.PlatformDarwin), t.Context()
		b.policy.DelayFor, b.policy.DelayMinutes = []fleet.ActionKind{fleet.ActionDelete}, 5
		held, err := b.AdmitDelete(ctx, person(1, "Ada"), b.hosts, force)
		if err != nil || held == nil {
			t.Fatal(held, err)
		}
		b.locked()
		b.now = b.now.Add(10 * time.Minute)
		if err := b.Round(ctx); err != nil {
			t.Fatal(err)
		}
		r, err := store.NewHostActions(b.db).Request(ctx, held.UUID)
		want := fleet.ActionFailed
		if force {
			want = fleet.ActionDone
		}
		if err != nil || r.Phase != want || (len(b.done) == 1) != force || !force && !strings.Contains(r.Detail, "unlock it first") {
			t.Errorf("forced %v: %+v, %v, did %v", force, r, err, b.done)
		}
	}
}

func TestAMacThatEnrolledAgainIsGivenItsNextPasswordWithTheLast(t *testing.T) {
	b, ctx := newBench(t, fleet.PlatformDarwin), t.Context()
	rotate := func() map[string]any {
		t.Helper()
		if _, err := b.Do(ctx, fleet.Actor{}, b.ask(fleet.ActionRecoveryLock, b.hosts[0])); err != nil {
			t.Fatal(err)
		}
		return b.fetched(0)
	}
	report := func(status fleet.CommandStatus) {
		t.Helper()
		next, err := store.NewCommands(b.db).Exchange(ctx, b.keys[0], nil, 0, nil)
		if err != nil || next == nil {
			t.Fatal(next, err)
		}
		r := fleet.CommandReport{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: "UDID-0"}, CommandUUID: next.UUID, Status: status, At: b.now, Body: []byte("answer")}
		if _, err := store.NewCommands(b.db).Exchange(ctx, b.keys[0], &r, 0, func(t fleet.CommandTarget) fleet.ReportOutcome { return b.Outcome(t, r, nil) }); err != nil {
			t.Fatal(err)
		}
	}
	first := rotate()["NewPassword"]
	report(fleet.CommandAcknowledged)
	_, err := store.NewEnrollments(b.db).Apply(context.Background(), fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: "UDID-0"}},
		func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
			return fleet.EnrollmentChange{Host: f.Host, Enrollment: f.Enrollment, Reset: true, ForgetActions: f.Host.MDM.Acted}, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Sweep(ctx, b.now); err != nil {
		t.Fatal(err)
	}
	if second := rotate(); second["CurrentPassword"] != first || second["NewPassword"] == first {
		t.Errorf("it gets %v after %v", second, first)
	}
	// It was unenrolled in between, and has none: it is asked again without.
	report(fleet.CommandError)
	if err := b.Round(ctx); err != nil {
		t.Fatal(err)
	}
	if third := b.fetched(0); third["CurrentPassword"] != nil || third["NewPassword"] == nil {
		t.Errorf("then it gets %v", third)
	}
	report(fleet.CommandError)
	if err := b.Round(ctx); err != nil {
		t.Fatal(err)
	}
	if next, err := store.NewCommands(b.db).Exchange(ctx, b.keys[0], nil, 0, nil); err != nil || next != nil {
		t.Errorf("and asked for ever: %+v, %v", next, err)
	}
	if list, err := b.Archived(ctx, person(1, "Ada"), "S-0"); err != nil || len(list) != 1 || list[0].Value != first {
		t.Errorf("archived: %+v, %v", list, err)
	}
}

// A bypass code is needed when the host is gone, and found by its serial number.
func TestTheBypassCodeOfADeletedHostIsFound(t *testing.T) {
	b, ctx := newBench(t, fleet.PlatformIOS, fleet.PlatformIOS), t.Context()
	ref := fleet.SecretRef{Scope: fleet.ScopeBypassCode, Name: "UDID-0"}
	sealed, err := plainSealer{}.Seal(ref, []byte("ABCDE-FGHIJ"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.NewSecrets(b.db).Write(ctx, []fleet.SecretWrite{{Ref: ref, Value: sealed}}); err != nil {
		t.Fatal(err)
	}
	for _, host := range b.hosts {
		if _, err := store.NewHosts(b.db).Delete(ctx, host, nil); err != nil {
			t.Fatal(err)
		}
	}
	list, err := b.Archived(ctx, person(1, "Ada"), "S-0")
	if err != nil || len(list) != 1 || list[0].Value != "ABCDE-FGHIJ" || list[0].Kind != fleet.ArchivedBypassCode {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := b.Archived(ctx, person(1, "Ada"), "S-1"); err != nil || len(list) != 0 {
		t.Errorf("of a device that told none: %+v, %v", list, err)
	}
}
