package command

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func TestWhatFollowsFromAPush(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name     string
		result   fleet.PushResult
		attempts int
		broken   bool
		least    time.Duration // until the next one
		most     time.Duration
	}{
		{name: "accepted for the first time", result: fleet.PushResult{OK: true}, least: 96 * time.Second, most: 2 * time.Minute},
		{name: "accepted, and the device did not come four times", result: fleet.PushResult{OK: true}, attempts: 4, least: 25 * time.Minute, most: 32 * time.Minute},
		{name: "accepted many times", result: fleet.PushResult{OK: true}, attempts: 99, least: 4 * time.Hour, most: 6 * time.Hour},
		{name: "a token that died later than it was reported", result: fleet.PushResult{Dead: true, DeadAt: now}, broken: true},
		{name: "a token that is bad without a time", result: fleet.PushResult{Dead: true}, broken: true},
		{name: "a token that died before it was reported", result: fleet.PushResult{Dead: true, DeadAt: now.Add(-2 * time.Hour)}, least: 10 * time.Second, most: 15 * time.Second},
		{name: "an outage", result: fleet.PushResult{Reason: "InternalServerError"}, attempts: 1, least: 20 * time.Second, most: 30 * time.Second},
		{name: "a long outage", result: fleet.PushResult{Reason: "InternalServerError"}, attempts: 50, least: 10 * time.Minute, most: 15 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := fleet.PushTarget{EnrollmentID: 4, HostID: 5, TokenAt: now.Add(-time.Hour), Attempts: c.attempts, DueAt: now.Add(-time.Second)}
			got, event := judge(target, c.result, now)
			if got.EnrollmentID != 4 || got.HostID != 5 || !got.DueAt.Equal(target.DueAt) || got.Attempts != c.attempts+1 || !got.At.Equal(now) {
				t.Errorf("it is about something else: %+v", got)
			}
			if got.Broken != c.broken || (event != nil) != c.broken || got.NextAt.IsZero() != c.broken {
				t.Errorf("%+v, event %v", got, event)
			}
			if wait := got.NextAt.Sub(now); !c.broken && (wait < c.least || wait > c.most) {
				t.Errorf("the next push is in %s, want %s to %s", wait, c.least, c.most)
			}
			if c.result.OK && got.Reason != "" {
				t.Errorf("a success with the reason %q", got.Reason)
			}
		})
	}
}

// apns answers pushes as a test says.
type apns struct {
	mu     sync.Mutex
	answer func(fleet.PushTarget) fleet.PushResult
	pushed map[fleet.EnrollmentID]int
	most   int // targets of one call
}

func (a *apns) Send(_ context.Context, targets []fleet.PushTarget) []fleet.PushResult {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.most = max(a.most, len(targets))
	out := make([]fleet.PushResult, 0, len(targets))
	for _, t := range targets {
		a.pushed[t.EnrollmentID]++
		r := fleet.PushResult{OK: true}
		if a.answer != nil {
			r = a.answer(t)
		}
		out = append(out, r)
	}
	return out
}

// pushBench is a pusher over a real database, with a clock that a test moves.
type pushBench struct {
	*Pusher
	t        *testing.T
	db       *store.DB
	commands *store.Commands
	pushes   *store.Pushes
	sender   *apns
	log      bytes.Buffer
	at       time.Time
	targets  []fleet.Target
	sent     int
}

func newPushBench(t *testing.T, devices int) *pushBench {
	t.Helper()
	b := &pushBench{t: t, sender: &apns{pushed: map[fleet.EnrollmentID]int{}}, at: time.Now().UTC().Truncate(time.Microsecond)}
	b.db = openAt(t, b.now)
	b.commands, b.pushes = store.NewCommands(b.db), store.NewPushes(b.db)
	b.Pusher = NewPusher(b.pushes, b.commands, b.sender, b.now, slog.New(slog.NewTextHandler(&b.log, nil)))
	storetest.Parallel(devices, func(i int) { b.token(i, "token") })
	uuids := make([]string, 0, devices)
	for i := range devices {
		uuids = append(uuids, udid(i))
	}
	var err error
	b.targets, err = store.NewEnrollments(b.db).Targets(context.Background(), uuids)
	if err != nil || len(b.targets) != devices {
		t.Fatalf("%d targets, %v", len(b.targets), err)
	}
	slices.SortFunc(b.targets, func(x, y fleet.Target) int { return strings.Compare(x.Host.UUID, y.Host.UUID) })
	return b
}

// openAt opens a fresh SQLite database that goes by the given clock.
func openAt(t *testing.T, now func() time.Time) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), store.Options{URL: storetest.URL(t, store.SQLite), Clock: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return db
}

func (b *pushBench) now() time.Time { return b.at }

func udid(i int) string { return fmt.Sprintf("UDID-%04d", i) }

// token turns an enrollment on, or gives it a new token.
func (b *pushBench) token(i int, token string) {
	look := fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: udid(i)}}
	_, err := store.NewEnrollments(b.db).Apply(context.Background(), look, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
		e := fleet.Enrollment{Key: udid(i), Channel: fleet.ChannelDevice}
		h := fleet.Host{UUID: udid(i), Platform: fleet.PlatformIOS}
		if f.Enrollment != nil {
			e, h = *f.Enrollment, *f.Host
		}
		e.State, e.Topic, e.PushMagic, e.PushToken, e.TokenUpdatedAt = fleet.EnrollmentOn, "topic", "magic", []byte(token), b.at
		return fleet.EnrollmentChange{Enrollment: &e, Host: &h, ClearPush: true}, nil
	})
	if err != nil {
		b.t.Error(err)
	}
}

func (b *pushBench) enqueue(targets ...fleet.Target) {
	b.t.Helper()
	b.sent++
	cmd := &fleet.Command{UUID: fmt.Sprintf("C%x", sha256.Sum256(fmt.Append(nil, b.sent))), RequestType: "R", Purpose: fleet.CommandCustom, Body: []byte("body")}
	if _, err := b.commands.Enqueue(context.Background(), cmd, targets); err != nil {
		b.t.Fatal(err)
	}
}

func (b *pushBench) round() {
	b.t.Helper()
	if err := b.Round(context.Background()); err != nil {
		b.t.Fatal(err)
	}
}

// pushed is how often the i-th device was pushed to.
func (b *pushBench) pushed(i int) int { return b.sender.pushed[b.targets[i].EnrollmentID] }

func TestADeviceIsPushedToAgainWithGrowingPausesUntilItComes(t *testing.T) {
	b := newPushBench(t, 2)
	b.round()
	if len(b.sender.pushed) != 0 {
		t.Fatalf("pushes without a command: %v", b.sender.pushed)
	}
	b.enqueue(b.targets[0])
	var gaps []time.Duration
	for range 7 {
		before, last := b.pushed(0), b.at
		b.round()
		b.round()
		if got := b.pushed(0) - before; got != 1 {
			t.Fatalf("%d pushes at once", got)
		}
		for due := 0; due == 0; {
			b.at = b.at.Add(10 * time.Second)
			list, err := b.pushes.Due(context.Background(), b.at, 10)
			if err != nil || b.at.Sub(last) > 7*time.Hour {
				t.Fatalf("it is not due after %s, %v", b.at.Sub(last), err)
			}
			due = len(list)
		}
		gaps = append(gaps, b.at.Sub(last))
	}
	for i := range len(gaps) - 1 {
		if gaps[i+1] < gaps[i] {
			t.Errorf("the pauses are %v", gaps)
		}
	}
	if b.pushed(1) != 0 {
		t.Error("a device without a command was pushed to")
	}
	// It comes, so nothing waits any more.
	report := &fleet.CommandReport{CommandUUID: fmt.Sprintf("C%x", sha256.Sum256(fmt.Append(nil, 1))), Status: fleet.CommandAcknowledged, At: b.at, Body: []byte("answer")}
	if _, err := b.commands.Exchange(context.Background(), b.targets[0].EnrollmentID, report, 0, func(fleet.CommandTarget) fleet.ReportOutcome {
		return fleet.ReportOutcome{Status: fleet.CommandAcknowledged, Store: true}
	}); err != nil {
		t.Fatal(err)
	}
	before := b.pushed(0)
	b.at = b.at.Add(24 * time.Hour)
	b.round()
	if b.pushed(0) != before {
		t.Error("it was pushed to after it came")
	}
}

func TestADeadTokenIsPushedToOnlyAfterANewOne(t *testing.T) {
	b := newPushBench(t, 2)
	dead := b.targets[0].EnrollmentID
	b.sender.answer = func(p fleet.PushTarget) fleet.PushResult {
		if p.EnrollmentID == dead && string(p.Token) == "token" {
			return fleet.PushResult{Dead: true, Reason: "Unregistered", DeadAt: b.at.Add(time.Second)}
		}
		return fleet.PushResult{OK: true}
	}
	b.enqueue(b.targets...)
	b.round()
	b.at = b.at.Add(24 * time.Hour)
	b.round()
	b.enqueue(b.targets...)
	b.round()
	if b.pushed(0) != 1 || b.pushed(1) < 2 {
		t.Errorf("the dead token was pushed to %d times, the other %d times", b.pushed(0), b.pushed(1))
	}
	e, err := store.NewEnrollments(b.db).ByKey(context.Background(), udid(0))
	if err != nil || e.PushBrokenAt.IsZero() || e.PushReason != "Unregistered" {
		t.Errorf("the enrollment is %+v, %v", e, err)
	}
	events, err := store.NewEvents(b.db).Since(context.Background(), 0, 0, 100)
	if err != nil || len(events) != 1 || events[0].Kind != fleet.EventPushBroken || events[0].EnrollmentID != dead {
		t.Errorf("the event log is %+v, %v", events, err)
	}
	b.token(0, "new token")
	b.round()
	if b.pushed(0) != 2 {
		t.Errorf("after a new token it was pushed to %d times", b.pushed(0))
	}
}

func TestPushesAsAWholePauseWhileAPNsRefusesThem(t *testing.T) {
	b := newPushBench(t, 3)
	refuse := true
	b.sender.answer = func(fleet.PushTarget) fleet.PushResult {
		if refuse {
			return fleet.PushResult{Stop: true, Reason: "BadCertificate"}
		}
		return fleet.PushResult{OK: true}
	}
	b.enqueue(b.targets...)
	var calls []time.Time
	for start := b.at; b.at.Sub(start) < 10*time.Minute; b.at = b.at.Add(5 * time.Second) {
		before := b.pushed(0)
		b.round()
		if b.pushed(0) > before {
			calls = append(calls, b.at)
		}
	}
	if len(calls) < 3 || len(calls) > 9 {
		t.Errorf("in ten minutes there were %d tries: %v", len(calls), calls)
	}
	for i := 2; i+1 < len(calls); i++ {
		if calls[i+1].Sub(calls[i]) < calls[i-1].Sub(calls[i-2]) {
			t.Errorf("the pauses do not grow: %v", calls)
		}
	}
	if !strings.Contains(b.log.String(), "BadCertificate") {
		t.Errorf("the log does not say why: %s", b.log.String())
	}
	refuse = false
	b.at = b.at.Add(15 * time.Minute)
	before := []int{b.pushed(0), b.pushed(1), b.pushed(2)}
	b.round()
	for i := range before {
		if b.pushed(i) != before[i]+1 {
			t.Errorf("device %d was pushed to %d times once it works again", i, b.pushed(i)-before[i])
		}
	}
	events, err := store.NewEvents(b.db).Since(context.Background(), 0, 0, 100)
	if err != nil || len(events) != 0 {
		t.Errorf("devices are blamed for it: %+v, %v", events, err)
	}
}

func TestACommandForVeryManyReachesAllOnce(t *testing.T) {
	const devices = 1200
	b := newPushBench(t, devices)
	b.enqueue(b.targets...)
	if due, err := b.pushes.Due(context.Background(), b.at, devices); err != nil || len(due) != 0 {
		t.Fatalf("%d are due before the fan-out, %v", len(due), err)
	}
	b.round()
	if len(b.sender.pushed) != devices {
		t.Errorf("%d devices were pushed to", len(b.sender.pushed))
	}
	for id, n := range b.sender.pushed {
		if n != 1 {
			t.Errorf("enrollment %d was pushed to %d times", id, n)
		}
	}
	if b.sender.most > pushBatch {
		t.Errorf("%d targets at once, at most %d", b.sender.most, pushBatch)
	}
	list, _, err := b.commands.List(context.Background(), fleet.CommandFilter{Page: fleet.Page{Size: 2 * devices}})
	if err != nil || len(list) != devices {
		t.Errorf("%d entries in the list, %v", len(list), err)
	}
	b.round()
	for range 3 {
		if _, more, err := b.commands.Fanout(context.Background(), fanoutBatch); err != nil || more {
			t.Errorf("there is still something to fan out: %v, %v", more, err)
		}
	}
}

func TestWhoIsFannedOutToWhileAPNsRefusesIsPushedToOnceItWorks(t *testing.T) {
	const devices = 2*pushBatch + 200
	b := newPushBench(t, devices)
	accepted := map[fleet.EnrollmentID]bool{}
	works := 2*pushBatch + 10 // pushes until APNs refuses
	b.sender.answer = func(p fleet.PushTarget) fleet.PushResult {
		if len(accepted) == works {
			return fleet.PushResult{Stop: true} // for no reason that it names
		}
		accepted[p.EnrollmentID] = true
		return fleet.PushResult{OK: true}
	}
	b.enqueue(b.targets...)
	b.round()
	if len(accepted) != works {
		t.Fatalf("%d pushes were accepted before APNs refused", len(accepted))
	}
	if next, err := b.commands.Exchange(context.Background(), b.targets[devices-1].EnrollmentID, nil, 0, nil); err != nil || next == nil {
		t.Errorf("the last device finds nothing: %+v, %v", next, err)
	}
	works = devices
	b.at = b.at.Add(20 * time.Minute)
	b.round()
	if len(accepted) != devices {
		t.Errorf("%d of %d devices were pushed to", len(accepted), devices)
	}
}
