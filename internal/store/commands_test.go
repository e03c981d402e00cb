package store_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// enqueue puts a command on the queues of devices.
func enqueue(t testing.TB, db *store.DB, uuid string, purpose fleet.CommandPurpose, devices ...device) {
	t.Helper()
	targets := make([]fleet.Target, 0, len(devices))
	for _, d := range devices {
		targets = append(targets, d.target())
	}
	cmd := &fleet.Command{UUID: uuid, RequestType: "Type-" + uuid, Purpose: purpose, Platform: fleet.PlatformDarwin, Body: []byte("body of " + uuid)}
	if off, err := store.NewCommands(db).Enqueue(context.Background(), cmd, targets); err != nil || len(off) > 0 {
		t.Fatalf("enqueue %s: %v, %v", uuid, off, err)
	}
}

// poll is an Idle; it returns the UUID of the command that comes.
func poll(t testing.TB, db *store.DB, d device) string {
	t.Helper()
	return exchange(t, db, d, nil, fleet.ReportOutcome{})
}

// answer reports on a command and returns the UUID of the next one.
func answer(t testing.TB, db *store.DB, d device, uuid string, outcome fleet.ReportOutcome) string {
	t.Helper()
	status := outcome.Status
	if outcome.Keep {
		status = fleet.CommandNotNow
	}
	return exchange(t, db, d, &fleet.CommandReport{CommandUUID: uuid, Status: status, Body: []byte("answer to " + uuid), At: storetest.Clock()()}, outcome)
}

func exchange(t testing.TB, db *store.DB, d device, r *fleet.CommandReport, outcome fleet.ReportOutcome) string {
	t.Helper()
	next, err := store.NewCommands(db).Exchange(context.Background(), d.enrollment.ID, r, 0, func(fleet.CommandTarget) fleet.ReportOutcome { return outcome })
	if err != nil {
		t.Fatal(err)
	}
	if next == nil {
		return ""
	}
	if string(next.Body) != "body of "+next.UUID {
		t.Errorf("the body of %s is %q", next.UUID, next.Body)
	}
	return next.UUID
}

// stored is the outcome of an answer that is kept in the history.
func stored(s fleet.CommandStatus) fleet.ReportOutcome {
	return fleet.ReportOutcome{Store: true, Status: s, Event: &fleet.Event{Kind: fleet.EventCommandAnswered}}
}

var notNow = fleet.ReportOutcome{Keep: true}

func listed(t testing.TB, db *store.DB, f fleet.CommandFilter) []string {
	t.Helper()
	list, _, err := store.NewCommands(db).List(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, 0, len(list))
	for _, r := range list {
		out = append(out, fmt.Sprint(r.CommandUUID, " ", r.Status))
	}
	return out
}

func TestCommandsComeInOrderUntilTheyAreAnswered(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		d, other := addDevice(t, db, fleet.Host{UUID: "U-1"}), addDevice(t, db, fleet.Host{UUID: "U-2"})
		for _, uuid := range []string{"C", "A", "B"} {
			enqueue(t, db, uuid, fleet.CommandCustom, d)
		}
		got := []string{poll(t, db, d), poll(t, db, d), answer(t, db, d, "C", stored(fleet.CommandAcknowledged)), answer(t, db, d, "A", stored(fleet.CommandError)),
			answer(t, db, d, "B", stored(fleet.CommandFormatError)), poll(t, db, d), poll(t, db, other)}
		equal(t, "what is handed out", got, "C", "C", "A", "B", "", "", "")
		got = listed(t, db, fleet.CommandFilter{Page: fleet.Page{OrderKey: "command_uuid"}})
		equal(t, "the history", got, "A Error", "B CommandFormatError", "C Acknowledged")
		equal(t, "the event log", eventKinds(t, db), fleet.EventCommandAnswered, fleet.EventCommandAnswered, fleet.EventCommandAnswered)
	})
}

func TestWhatIsPutOffWaitsForTheNextConnection(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		d := addDevice(t, db, fleet.Host{UUID: "U-1"})
		enqueue(t, db, "A", fleet.CommandCustom, d)
		enqueue(t, db, "B", fleet.CommandCustom, d)
		got := []string{poll(t, db, d), answer(t, db, d, "A", notNow), answer(t, db, d, "B", notNow), poll(t, db, d), answer(t, db, d, "A", notNow)}
		equal(t, "what is handed out", got, "A", "B", "", "A", "B")
		equal(t, "the list", listed(t, db, fleet.CommandFilter{Page: fleet.Page{OrderKey: "command_uuid"}}), "A NotNow", "B NotNow")

		// A device that finished another command will not ask again by itself.
		pushes := store.NewPushes(db)
		due, err := pushes.Due(ctx, storetest.Clock()(), 10)
		if err != nil || len(due) != 1 {
			t.Fatalf("%d pushes are due, %v", len(due), err)
		}
		if err := pushes.Record(ctx, []fleet.PushOutcome{{EnrollmentID: d.enrollment.ID, DueAt: due[0].DueAt, At: storetest.Clock()(), NextAt: storetest.Clock()().Add(24 * time.Hour)}}); err != nil {
			t.Fatal(err)
		}
		if next := answer(t, db, d, "B", stored(fleet.CommandAcknowledged)); next != "" {
			t.Errorf("what was put off came on the same connection: %s", next)
		}
		for ahead, want := range map[time.Duration]int{0: 0, 2 * time.Minute: 1} {
			if due, err := pushes.Due(ctx, storetest.Clock()().Add(ahead), 10); err != nil || len(due) != want {
				t.Errorf("in %s %d pushes are due, want %d (%v)", ahead, len(due), want, err)
			}
		}
		if next := poll(t, db, d); next != "A" {
			t.Errorf("the next connection begins with %q", next)
		}
	})
}

func TestAReportChangesOnlyWhatWasAskedOfItsSender(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		d, other := addDevice(t, db, fleet.Host{UUID: "U-1"}), addDevice(t, db, fleet.Host{UUID: "U-2"})
		enqueue(t, db, "A", fleet.CommandCustom, d)
		called := false
		for _, uuid := range []string{"A", "unknown", ""} {
			_, err := store.NewCommands(db).Exchange(ctx, other.enrollment.ID, &fleet.CommandReport{CommandUUID: uuid, Status: fleet.CommandAcknowledged}, 0,
				func(fleet.CommandTarget) fleet.ReportOutcome { called = true; return stored(fleet.CommandAcknowledged) })
			if err != nil {
				t.Fatal(err)
			}
		}
		if called {
			t.Error("a decision was asked for")
		}
		equal(t, "the list", listed(t, db, fleet.CommandFilter{}), "A Pending")
		poll(t, db, d)
		answer(t, db, d, "A", stored(fleet.CommandAcknowledged))
		answer(t, db, d, "A", stored(fleet.CommandError))
		answer(t, db, d, "A", notNow)
		equal(t, "after repeated answers", listed(t, db, fleet.CommandFilter{}), "A Acknowledged")
		equal(t, "the event log", eventKinds(t, db), fleet.EventCommandAnswered)
	})
}

func TestOneOfManyReportsAtOnceIsStored(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		d := addDevice(t, db, fleet.Host{UUID: "U-1"})
		enqueue(t, db, "A", fleet.CommandCustom, d)
		const many = 10
		storetest.Parallel(many, func(int) {
			_, err := store.NewCommands(db).Exchange(context.Background(), d.enrollment.ID,
				&fleet.CommandReport{CommandUUID: "A", Status: fleet.CommandAcknowledged, Body: []byte("x"), At: storetest.Clock()()}, 0,
				func(fleet.CommandTarget) fleet.ReportOutcome { return stored(fleet.CommandAcknowledged) })
			if err != nil {
				t.Error(err)
			}
		})
		equal(t, "the history", listed(t, db, fleet.CommandFilter{}), "A Acknowledged")
		equal(t, "the event log", eventKinds(t, db), fleet.EventCommandAnswered)
	})
}

func TestACommandUUIDIsUsedOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		d := addDevice(t, db, fleet.Host{UUID: "U-1"})
		var made, refused atomic.Int64
		storetest.Parallel(8, func(int) {
			_, err := store.NewCommands(db).Enqueue(ctx, &fleet.Command{UUID: "same", RequestType: "R", Purpose: fleet.CommandCustom, Body: []byte("b")},
				[]fleet.Target{d.target()}, fleet.Event{Kind: fleet.EventCommandEnqueued})
			switch {
			case err == nil:
				made.Add(1)
			case fleet.KindOf(err) == fleet.KindConflict:
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
		if made.Load() != 1 || refused.Load() != 7 {
			t.Errorf("%d made, %d refused", made.Load(), refused.Load())
		}
		equal(t, "the list", listed(t, db, fleet.CommandFilter{}), "same Pending")
		equal(t, "the event log", eventKinds(t, db), fleet.EventCommandEnqueued)
	})
}

func TestACommandGoesToThoseThatAreStillEnrolled(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		commands := store.NewCommands(db)
		on, left := addDevice(t, db, fleet.Host{UUID: "U-1"}), addDevice(t, db, fleet.Host{UUID: "U-2"})
		setState(t, db, "U-2", fleet.EnrollmentOff)
		off, err := commands.Enqueue(ctx, &fleet.Command{UUID: "A", RequestType: "R", Purpose: fleet.CommandCustom, Body: []byte("body of A")}, []fleet.Target{on.target(), left.target()})
		if err != nil || len(off) != 1 || off[0].EnrollmentID != left.enrollment.ID {
			t.Errorf("%+v, %v", off, err)
		}
		_, err = commands.Enqueue(ctx, &fleet.Command{UUID: "B", RequestType: "R", Purpose: fleet.CommandCustom, Body: []byte("b")}, []fleet.Target{left.target()},
			fleet.Event{Kind: fleet.EventCommandEnqueued})
		if fleet.KindOf(err) != fleet.KindPrecondition {
			t.Errorf("a command for nobody: %v", err)
		}
		if exists, err := commands.Exists(ctx, "B"); err != nil || exists {
			t.Errorf("it exists all the same: %v, %v", exists, err)
		}
		equal(t, "the event log", eventKinds(t, db))
		// What waits is not handed out either, once the device left.
		setState(t, db, "U-1", fleet.EnrollmentOff)
		equal(t, "after it left", []string{poll(t, db, on)}, "")
		setState(t, db, "U-1", fleet.EnrollmentPending)
		equal(t, "before it is back", []string{poll(t, db, on)}, "")
		setState(t, db, "U-1", fleet.EnrollmentOn)
		equal(t, "when it is back", []string{poll(t, db, on)}, "A")
	})
}

func TestOnlyCommandsOfOnePurposeAreHandedOut(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		d := addDevice(t, db, fleet.Host{UUID: "U-1"})
		enqueue(t, db, "A", fleet.CommandCustom, d)
		enqueue(t, db, "R", fleet.CommandRenew, d)
		next, err := store.NewCommands(db).Exchange(context.Background(), d.enrollment.ID, nil, fleet.CommandRenew, nil)
		if err != nil || next == nil || next.UUID != "R" {
			t.Errorf("%+v, %v", next, err)
		}
	})
}

func TestCommandsOfMusterItselfLeaveNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		d := addDevice(t, db, fleet.Host{UUID: "U-1"})
		enqueue(t, db, "V", fleet.CommandVitals, d)
		if exists, err := store.NewCommands(db).Exists(ctx, "V"); err != nil || exists {
			t.Errorf("it can be asked for: %v, %v", exists, err)
		}
		equal(t, "the list", listed(t, db, fleet.CommandFilter{}))
		equal(t, "what is handed out", []string{poll(t, db, d)}, "V")
		total := 256.0
		answer(t, db, d, "V", fleet.ReportOutcome{Status: fleet.CommandAcknowledged, Inventory: &fleet.Inventory{Vitals: &fleet.Vitals{OSVersion: "15.6", Model: "Mac14,2", DiskTotalGB: &total}}})
		h, err := store.NewHosts(db).Host(ctx, d.host.ID)
		if err != nil || h.OSVersion != "macOS 15.6" || h.DiskTotalGB != total || h.PendingCommands != 0 {
			t.Errorf("%+v, %v", h.Host, err)
		}
		enqueue(t, db, "V", fleet.CommandVitals, d) // its UUID is free again
	})
}

func TestAResetCancelsWhatWaits(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		d, other := addDevice(t, db, fleet.Host{UUID: "U-1"}), addDevice(t, db, fleet.Host{UUID: "U-2"})
		user := addUser(t, db, d, "ada")
		enqueue(t, db, "done", fleet.CommandCustom, d)
		poll(t, db, d)
		answer(t, db, d, "done", stored(fleet.CommandAcknowledged))
		enqueue(t, db, "A", fleet.CommandCustom, d, other)
		enqueue(t, db, "V", fleet.CommandVitals, d)
		enqueue(t, db, "user", fleet.CommandCustom, user)
		apply(t, db, "U-1", func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			return fleet.EnrollmentChange{Enrollment: f.Enrollment, Reset: true}
		})
		got := listed(t, db, fleet.CommandFilter{Page: fleet.Page{OrderKey: "command_uuid"}})
		slices.Sort(got)
		equal(t, "the list", got, "A Cancelled", "A Pending", "done Acknowledged", "user Cancelled")
		equal(t, "what is handed out", []string{poll(t, db, d), poll(t, db, user), poll(t, db, other)}, "", "", "A")
		e, err := store.NewEnrollments(db).ByKey(context.Background(), user.enrollment.Key)
		if err != nil || e.State != fleet.EnrollmentOff {
			t.Errorf("the user channel is %+v, %v", e, err)
		}
	})
}

// addUser opens a user channel below a device.
func addUser(t testing.TB, db *store.DB, d device, name string) device {
	t.Helper()
	key := fleet.EnrollmentKey{Channel: fleet.ChannelUser, ID: d.host.UUID + ":" + name, ParentID: d.host.UUID}
	e, err := store.NewEnrollments(db).Apply(context.Background(), fleet.CheckinLookup{Key: key}, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
		if f.Parent == nil || f.Parent.ID != d.enrollment.ID || f.Host == nil || f.Host.ID != d.host.ID {
			t.Errorf("the facts of a user channel are %+v", f)
		}
		return fleet.EnrollmentChange{Enrollment: &fleet.Enrollment{Key: key.ID, Channel: key.Channel, ParentID: f.Parent.ID, HostID: f.Parent.HostID,
			State: fleet.EnrollmentOn, Topic: "topic", PushMagic: "magic", PushToken: []byte("user token"), UserName: name}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return device{d.host, *e}
}

func TestCommandsAreListedInPagesWithFilters(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		commands := store.NewCommands(db)
		devices := addDevices(t, db, 3)
		for i := range 5 {
			enqueue(t, db, fmt.Sprint("C", i), fleet.CommandCustom, devices...)
		}
		for i, d := range devices[:2] {
			poll(t, db, d)
			answer(t, db, d, "C0", stored([]fleet.CommandStatus{fleet.CommandAcknowledged, fleet.CommandError}[i]))
			answer(t, db, d, "C1", notNow)
		}
		for name, c := range map[string]struct {
			filter fleet.CommandFilter
			want   int
		}{
			"all":              {fleet.CommandFilter{}, 15},
			"of one command":   {fleet.CommandFilter{CommandUUID: "C0"}, 3},
			"of one host":      {fleet.CommandFilter{HostIDs: []fleet.HostID{devices[0].host.ID}}, 5},
			"of two hosts":     {fleet.CommandFilter{HostIDs: []fleet.HostID{devices[0].host.ID, devices[2].host.ID}}, 10},
			"of a type":        {fleet.CommandFilter{RequestType: "Type-C3"}, 3},
			"pending":          {fleet.CommandFilter{Statuses: []fleet.CommandStatus{fleet.CommandPending}}, 11},
			"put off":          {fleet.CommandFilter{Statuses: []fleet.CommandStatus{fleet.CommandNotNow}}, 2},
			"done":             {fleet.CommandFilter{Statuses: []fleet.CommandStatus{fleet.CommandAcknowledged, fleet.CommandError}}, 2},
			"pending or done":  {fleet.CommandFilter{Statuses: []fleet.CommandStatus{fleet.CommandPending, fleet.CommandError}}, 12},
			"of a host, a one": {fleet.CommandFilter{HostIDs: []fleet.HostID{devices[1].host.ID}, Statuses: []fleet.CommandStatus{fleet.CommandError}, CommandUUID: "C0"}, 1},
			"of nobody":        {fleet.CommandFilter{HostIDs: []fleet.HostID{999_999}}, 0},
		} {
			for _, bodies := range []bool{false, true} {
				f := c.filter
				f.WithBodies = bodies
				list, meta, err := commands.List(ctx, f)
				if err != nil || len(list) != c.want || meta.HasNext {
					t.Errorf("%s: %d, want %d (%+v, %v)", name, len(list), c.want, meta, err)
				}
				for _, r := range list {
					if bodies != (string(r.Payload) == "body of "+r.CommandUUID) || r.Host.ID == 0 || r.EnrollmentKey == "" || r.UpdatedAt.IsZero() {
						t.Errorf("%s: %+v", name, r)
					}
					if answered := r.Status.Final(); bodies && answered != (string(r.Result) == "answer to "+r.CommandUUID) {
						t.Errorf("%s: the result of %s (%s) is %q", name, r.CommandUUID, r.Status, r.Result)
					}
				}
			}
		}
		for _, key := range []string{"", "updated_at", "created_at", "request_type", "status", "command_uuid", "hostname", "host_uuid"} {
			for _, desc := range []bool{false, true} {
				met := map[string]bool{}
				for number := range 4 {
					list, meta, err := commands.List(ctx, fleet.CommandFilter{Page: fleet.Page{Number: number, Size: 4, OrderKey: key, Desc: desc}})
					if err != nil || meta.HasNext != (number < 3) || meta.HasPrevious != (number > 0) {
						t.Errorf("by %q, page %d: %+v, %v", key, number, meta, err)
					}
					for _, r := range list {
						met[r.CommandUUID+r.EnrollmentKey] = true
					}
				}
				if len(met) != 15 {
					t.Errorf("by %q: %d different entries on the pages", key, len(met))
				}
			}
		}
		list, _, err := commands.List(ctx, fleet.CommandFilter{Page: fleet.Page{Size: 1}})
		if err != nil || len(list) != 1 || list[0].EnrollmentKey != "U-1" {
			t.Errorf("the latest change is %+v, %v", list, err)
		}
		if _, _, err := commands.List(ctx, fleet.CommandFilter{Page: fleet.Page{OrderKey: "body"}}); fleet.KindOf(err) != fleet.KindInvalid {
			t.Errorf("an order key that does not exist: %v", err)
		}
	})
}

func TestAFanoutReachesEveryTargetOnceHoweverManyWorkOnIt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		commands := store.NewCommands(db)
		const count = store.FanoutThreshold + 30
		devices := make([]device, count)
		storetest.Parallel(count, func(i int) { devices[i] = addDevice(t, db, fleet.Host{UUID: fmt.Sprint("U-", i)}) })
		setState(t, db, devices[7].host.UUID, fleet.EnrollmentOff)
		enqueue(t, db, "many", fleet.CommandCustom, devices...)
		enqueue(t, db, "later", fleet.CommandCustom, devices[0])
		if next := poll(t, db, devices[0]); next != "later" {
			t.Errorf("before the fan-out %q is handed out", next)
		}
		storetest.Parallel(3, func(int) {
			for more := true; more; {
				var err error
				if _, more, err = commands.Fanout(ctx, 100); err != nil {
					t.Error(err)
					return
				}
			}
		})
		list, _, err := commands.List(ctx, fleet.CommandFilter{CommandUUID: "many"})
		if err != nil || len(list) != count-1 {
			t.Errorf("%d targets, want %d (%v)", len(list), count-1, err)
		}
		// It was accepted first, so it comes first.
		equal(t, "what is handed out", []string{poll(t, db, devices[0]), poll(t, db, devices[count-1]), poll(t, db, devices[7])}, "many", "many", "")
	})
}

// Whoever was queued by a fan-out and not pushed to, because the server ended
// between the two, is pushed to all the same.
func TestABatchOfAFanoutThatWasNotPushedToBecomesDue(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		commands, pushes := store.NewCommands(db), store.NewPushes(db)
		const count, batch = store.FanoutThreshold + 300, 200
		devices := make([]device, count)
		storetest.Parallel(count, func(i int) { devices[i] = addDevice(t, db, fleet.Host{UUID: fmt.Sprint("U-", i)}) })
		slices.SortFunc(devices, func(a, b device) int { return cmp.Compare(a.enrollment.ID, b.enrollment.ID) })
		setState(t, db, devices[3].host.UUID, fleet.EnrollmentOff)
		targets := slices.Clone(devices[:2*batch])
		for i := 2*batch + 50; i < count; i += 2 { // in the third batch no key follows another
			targets = append(targets, devices[i])
		}
		enqueue(t, db, "many", fleet.CommandCustom, targets...)
		fanout := func() fleet.FanoutBatch {
			t.Helper()
			b, more, err := commands.Fanout(ctx, batch)
			if err != nil || !more {
				t.Fatal(b, more, err)
			}
			return b
		}
		due := func() int {
			t.Helper()
			list, err := pushes.Due(ctx, storetest.Clock()(), 2*count)
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		first := fanout()
		wake, err := pushes.Targets(ctx, first.Enrollments)
		if err != nil || len(first.Enrollments) != batch || len(wake) != batch-1 || due() != 0 {
			t.Fatalf("%d are queued, %d to be pushed to, %d due (%v)", len(first.Enrollments), len(wake), due(), err)
		}
		for _, p := range wake {
			if string(p.Token) != "token" || p.Magic != "magic" || p.Topic != "topic" || p.HostID == 0 || p.Attempts != 0 {
				t.Fatalf("%+v", p)
			}
		}
		if err := commands.FanoutPushed(ctx, first); err != nil {
			t.Fatal(err)
		}
		second := fanout()
		if poll(t, db, devices[batch]) != "many" || poll(t, db, devices[2*batch]) != "" {
			t.Error("the second batch is not what is queued")
		}
		// The server starts again.
		if b := fanout(); len(b.Enrollments) != 0 || due() != len(second.Enrollments) {
			t.Errorf("%d are queued before those of the second batch are due, %d are", len(b.Enrollments), due())
		}
		if err := commands.FanoutPushed(ctx, second); err != nil { // too late
			t.Fatal(err)
		}
		third := fanout()
		if len(third.Enrollments) != len(targets)-2*batch || due() != len(second.Enrollments) {
			t.Errorf("%d are queued, %d due", len(third.Enrollments), due())
		}
		for range 2 { // and once more, after the last batch
			if _, _, err := commands.Fanout(ctx, batch); err != nil {
				t.Fatal(err)
			}
		}
		if _, more, err := commands.Fanout(ctx, batch); err != nil || more || due() != len(targets)-batch {
			t.Errorf("%d are due, and there is more: %v (%v)", due(), more, err)
		}
		for i, d := range devices {
			want := "many"
			if i == 3 || (i >= 2*batch && (i < 2*batch+50 || i%2 == 1)) {
				want = ""
			}
			if got := poll(t, db, d); got != want {
				t.Fatalf("device %d is handed out %q", i, got)
			}
		}
	})
}

func TestWhatIsSecretInACommandStaysUntilNobodyIsToGetIt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		commands := store.NewCommands(db)
		d := addDevice(t, db, fleet.Host{UUID: "U-1"})
		sealed := func(uuid string) fleet.SecretRef { return fleet.SecretRef{Scope: fleet.ScopeCommand, Name: uuid} }
		send := func(uuid string, targets ...fleet.Target) error {
			cmd := fleet.Command{UUID: uuid, RequestType: "SetFirmwarePassword", Purpose: fleet.CommandCustom, Body: []byte("body of " + uuid), Expand: true,
				Whole: &fleet.SecretWrite{Ref: sealed(uuid), Value: fleet.Sealed{KeyID: "k", Data: []byte("sealed")}}}
			_, err := commands.Enqueue(ctx, &cmd, targets)
			return err
		}
		many := make([]fleet.Target, store.FanoutThreshold+1)
		for i := range many {
			many[i] = d.target()
		}
		other := addDevice(t, db, fleet.Host{UUID: "U-2"})
		if err := errors.Join(send("answered", d.target()), send("waits", other.target()), send("to many", many...)); err != nil {
			t.Fatal(err)
		}
		poll(t, db, d)
		answer(t, db, d, "answered", stored(fleet.CommandAcknowledged))
		if err := send("waits", d.target()); fleet.KindOf(err) != fleet.KindConflict {
			t.Errorf("a UUID twice: %v", err)
		}
		if err := commands.SweepSecrets(ctx); err != nil {
			t.Fatal(err)
		}
		for uuid, stays := range map[string]bool{"answered": false, "waits": true, "to many": true} {
			v, err := store.NewSecrets(db).Secret(ctx, sealed(uuid))
			if err != nil || (v != nil) != stays {
				t.Errorf("%s: %+v, %v", uuid, v, err)
			}
		}
	})
}

func TestOldAnswersAreDroppedAndWhatWaitsStays(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		commands := store.NewCommands(db)
		d := addDevice(t, db, fleet.Host{UUID: "U-1"})
		enqueue(t, db, "answered", fleet.CommandCustom, d)
		poll(t, db, d)
		answer(t, db, d, "answered", stored(fleet.CommandAcknowledged))
		enqueue(t, db, "waits", fleet.CommandCustom, d)
		now := storetest.Clock()()
		if n, err := commands.DeleteOld(ctx, now.Add(-time.Hour)); err != nil || n != 0 {
			t.Errorf("%d rows went, %v", n, err)
		}
		if n, err := commands.DeleteOld(ctx, now.Add(time.Hour)); err != nil || n != 2 {
			t.Errorf("%d rows went, want the answer and its command (%v)", n, err)
		}
		equal(t, "the list", listed(t, db, fleet.CommandFilter{}), "waits Pending")
		equal(t, "what is handed out", []string{poll(t, db, d)}, "waits")
		if exists, err := commands.Exists(ctx, "answered"); err != nil || exists {
			t.Errorf("the answered command exists: %v, %v", exists, err)
		}
	})
}

func TestPushesAreDueOnlyForThoseWhoMustBeWoken(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		pushes := store.NewPushes(db)
		devices := addDevices(t, db, 4)
		due := func(at time.Time) []string {
			t.Helper()
			list, err := pushes.Due(ctx, at, 10)
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for _, p := range list {
				if string(p.Token) != "token" || p.Magic != "magic" || p.Topic != "topic" || p.HostID == 0 || p.DueAt.IsZero() {
					t.Errorf("%+v", p)
				}
				for _, d := range devices {
					if d.enrollment.ID == p.EnrollmentID {
						out = append(out, d.host.UUID)
					}
				}
			}
			slices.Sort(out)
			return out
		}
		now := storetest.Clock()
		equal(t, "without commands", due(now()))
		enqueue(t, db, "A", fleet.CommandCustom, devices...)
		setState(t, db, "U-1", fleet.EnrollmentOff)
		poll(t, db, devices[2])
		answer(t, db, devices[2], "A", stored(fleet.CommandAcknowledged))
		equal(t, "one left, one answered", due(now()), "U-0", "U-3")
		equal(t, "asked again", due(now()), "U-0", "U-3")
		equal(t, "an hour before", due(now().Add(-time.Hour)))
		equal(t, "after a clock that was two days ahead", due(now().Add(-48*time.Hour)), "U-0", "U-3")
		list, err := pushes.Due(ctx, now(), 10)
		if err != nil || len(list) != 2 {
			t.Fatal(list, err)
		}
		at := now()
		err = pushes.Record(ctx, []fleet.PushOutcome{
			{EnrollmentID: devices[0].enrollment.ID, DueAt: dueOf(list, devices[0]), At: at, NextAt: at.Add(time.Hour), Attempts: 1},
			{EnrollmentID: devices[3].enrollment.ID, DueAt: dueOf(list, devices[3]), At: at, Broken: true, Reason: "Unregistered", Attempts: 1},
		}, fleet.Event{Kind: fleet.EventPushBroken})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "after they were pushed to", due(now()))
		equal(t, "an hour later", due(at.Add(time.Hour)), "U-0")
		enqueue(t, db, "B", fleet.CommandCustom, devices[0], devices[3])
		equal(t, "with another command", due(now()), "U-0")
		apply(t, db, "U-3", func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			if f.Enrollment.PushBrokenAt.IsZero() || f.Enrollment.PushReason != "Unregistered" {
				t.Errorf("the enrollment is %+v", f.Enrollment)
			}
			return fleet.EnrollmentChange{Enrollment: f.Enrollment, ClearPush: true}
		})
		equal(t, "with a new token", due(now()), "U-0", "U-3")
		// What became due while a push was under way stays due.
		stale := list
		enqueue(t, db, "C", fleet.CommandCustom, devices[0])
		if err := pushes.Record(ctx, []fleet.PushOutcome{{EnrollmentID: devices[0].enrollment.ID, DueAt: dueOf(stale, devices[0]), At: now(), NextAt: now().Add(time.Hour)}}); err != nil {
			t.Fatal(err)
		}
		equal(t, "made due meanwhile", due(now()), "U-0", "U-3")
		// Those that were never due are recorded as well, but not over whoever
		// made them due meanwhile.
		if err := store.InTransaction(ctx, db, func(exec func(query string, args ...any) error) error { return exec("DELETE FROM pushes") }); err != nil {
			t.Fatal(err)
		}
		list, err = pushes.Targets(ctx, []fleet.EnrollmentID{devices[0].enrollment.ID, devices[1].enrollment.ID, devices[3].enrollment.ID})
		if err != nil || len(list) != 2 || !list[0].DueAt.IsZero() || !list[1].DueAt.IsZero() {
			t.Fatalf("%+v, %v", list, err)
		}
		outcomes := make([]fleet.PushOutcome, 0, 2)
		for _, p := range list {
			outcomes = append(outcomes, fleet.PushOutcome{EnrollmentID: p.EnrollmentID, At: at, NextAt: at.Add(time.Hour), Attempts: 1})
		}
		enqueue(t, db, "D", fleet.CommandCustom, devices[3])
		if err := pushes.Record(ctx, outcomes); err != nil {
			t.Fatal(err)
		}
		equal(t, "after their first push", due(now()), "U-3")
		equal(t, "an hour after their first push", due(at.Add(time.Hour)), "U-0", "U-3")
		// A dead token is not pushed to, whoever asks.
		if err := pushes.Record(ctx, []fleet.PushOutcome{{EnrollmentID: devices[0].enrollment.ID, DueAt: at.Add(time.Hour), At: at, Broken: true}}); err != nil {
			t.Fatal(err)
		}
		if list, err = pushes.Targets(ctx, []fleet.EnrollmentID{devices[0].enrollment.ID}); err != nil || len(list) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

func dueOf(list []fleet.PushTarget, d device) time.Time {
	for _, p := range list {
		if p.EnrollmentID == d.enrollment.ID {
			return p.DueAt
		}
	}
	return time.Time{}
}
