package store_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// onHost enrolls a host that is due for a refetch.
func onHost(t testing.TB, db *store.DB, uuid string) device {
	t.Helper()
	d := addDevice(t, db, fleet.Host{UUID: uuid, HardwareSerial: "S-" + uuid, Platform: fleet.PlatformIOS})
	apply(t, db, uuid, func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
		return fleet.EnrollmentChange{Enrollment: f.Enrollment, Host: f.Host, Refetch: true}
	})
	return d
}

// askAll queues one command of each part for whoever is due.
func askAll(t testing.TB, db *store.DB, at time.Time, name string, parts ...string) []fleet.RefetchFacts {
	t.Helper()
	r := store.NewRefetches(db)
	due, err := r.Due(context.Background(), at, 100)
	if err != nil {
		t.Fatal(err)
	}
	var commands []*fleet.Command
	for _, p := range parts {
		uuid := "REFETCH-" + p + "-" + name
		commands = append(commands, &fleet.Command{UUID: uuid, RequestType: p, Purpose: fleet.CommandVitals, Body: []byte("body of " + uuid)})
	}
	asks := make([]fleet.RefetchAsk, 0, len(due))
	for _, f := range due {
		asks = append(asks, fleet.RefetchAsk{Facts: f, Commands: commands, Parts: fleet.RefetchDevice | fleet.RefetchApps,
			Period: time.Hour, RetryAt: at.Add(fleet.SilentAfter)})
	}
	if err := r.Ask(context.Background(), asks); err != nil {
		t.Fatal(err)
	}
	return due
}

func refetchedOutcome(part fleet.RefetchParts, i *fleet.Inventory) fleet.ReportOutcome {
	return fleet.ReportOutcome{Status: fleet.CommandAcknowledged, Refetched: part, Inventory: i}
}

func softwareList(names ...string) *fleet.SoftwareList {
	l := &fleet.SoftwareList{SHA256: sha256.Sum256(fmt.Append(nil, names))}
	for _, n := range names {
		l.Items = append(l.Items, fleet.Software{Name: n, Version: "1", BundleID: "id." + n})
	}
	return l
}

func detail(t testing.TB, db *store.DB, d device) *fleet.HostDetail {
	t.Helper()
	h, err := store.NewHosts(db).Host(context.Background(), d.host.ID)
	if err != nil || h == nil {
		t.Fatalf("%+v, %v", h, err)
	}
	return h
}

func TestARefetchIsOutstandingUntilAllIsAnswered(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := storetest.Clock()()
		d, silent := onHost(t, db, "U-1"), onHost(t, db, "U-2")
		if due := askAll(t, db, now.Add(time.Second), "1", "DEVICE", "APPS"); len(due) != 2 || due[0].EnrollmentID != d.enrollment.ID {
			t.Fatalf("due are %+v", due)
		}
		if due := askAll(t, db, now.Add(time.Minute), "2", "DEVICE"); len(due) != 0 {
			t.Errorf("asked again before it answered: %+v", due)
		}
		if h := detail(t, db, d); h.RefetchAt.IsZero() || h.PendingCommands != 2 || h.Silent(now.Add(time.Hour)) || !h.Silent(now.Add(25*time.Hour)) {
			t.Errorf("%+v", h.Host)
		}
		level := 0.5
		vitals := &fleet.Vitals{OSVersion: "18.6", Details: fleet.VitalDetails{IMEI: "35", BatteryLevel: &level, LostMode: fleet.No}}
		equal(t, "what comes first", []string{poll(t, db, d), answer(t, db, d, "REFETCH-DEVICE-1", refetchedOutcome(fleet.RefetchDevice, &fleet.Inventory{Vitals: vitals}))},
			"REFETCH-DEVICE-1", "REFETCH-APPS-1")
		if h := detail(t, db, d); h.RefetchAt.IsZero() || h.OSVersion != "iOS 18.6" || h.Vitals.IMEI != "35" || h.Vitals.LostMode != fleet.No || *h.Vitals.BatteryLevel != level || h.Vitals.FileVault != fleet.Unknown {
			t.Errorf("%+v", h)
		}
		answer(t, db, d, "REFETCH-APPS-1", fleet.ReportOutcome{Status: fleet.CommandError, Refetched: fleet.RefetchApps, RefetchFault: "APPS: no"})
		if h := detail(t, db, d); !h.RefetchAt.IsZero() || h.RefetchFault != "APPS: no" || h.PendingCommands != 0 {
			t.Errorf("%+v", h)
		}
		// It is due again after its pause; the other one is silent.
		if due := askAll(t, db, now.Add(59*time.Minute), "3", "DEVICE"); len(due) != 0 {
			t.Errorf("due early: %+v", due)
		}
		due := askAll(t, db, now.Add(61*time.Minute), "3", "DEVICE", "APPS")
		if len(due) != 1 || due[0].Host.ID != d.host.ID {
			t.Errorf("due are %+v", due)
		}
		// A silent one is asked anew in the place of the old, not besides.
		if due := askAll(t, db, now.Add(26*time.Hour), "4", "DEVICE", "APPS"); len(due) != 2 {
			t.Errorf("due are %+v", due)
		}
		if h := detail(t, db, silent); h.PendingCommands != 2 {
			t.Errorf("a silent host waits for %d commands", h.PendingCommands)
		}
		equal(t, "what a silent host gets", []string{poll(t, db, silent)}, "REFETCH-DEVICE-4")
		if old, err := store.NewCommands(db).DeleteOld(context.Background(), now.Add(100*time.Hour)); err != nil || old != 0 {
			t.Errorf("%d commands without a host are left, %v", old, err)
		}
	})
}

func TestAHostThatLeftIsNotAskedAndOneThatWasDecidedAboutTwiceIsAskedOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, now := context.Background(), storetest.Clock()().Add(time.Second)
		r := store.NewRefetches(db)
		d, gone := onHost(t, db, "U-1"), onHost(t, db, "U-2")
		setState(t, db, "U-2", fleet.EnrollmentOff)
		due, err := r.Due(ctx, now, 10)
		if err != nil || len(due) != 2 || due[1].EnrollmentID != 0 {
			t.Fatalf("%+v, %v", due, err)
		}
		var asks []fleet.RefetchAsk
		for _, f := range due {
			c := &fleet.Command{UUID: fmt.Sprint("REFETCH-DEVICE-", f.Host.ID), RequestType: "R", Purpose: fleet.CommandVitals, Body: []byte("b")}
			asks = append(asks, fleet.RefetchAsk{Facts: f, Commands: []*fleet.Command{c}, Parts: fleet.RefetchDevice, Period: time.Hour, RetryAt: now.Add(time.Hour)})
		}
		for range 2 {
			if err := r.Ask(ctx, asks); err != nil {
				t.Fatal(err)
			}
		}
		if a, b := detail(t, db, d), detail(t, db, gone); a.PendingCommands != 1 || b.PendingCommands != 0 || !b.RefetchAt.IsZero() {
			t.Errorf("%d and %d commands wait", a.PendingCommands, b.PendingCommands)
		}
		if due, err := r.Due(ctx, now, 10); err != nil || len(due) != 0 {
			t.Errorf("still due: %+v, %v", due, err)
		}
		if f, err := r.Of(ctx, 999); err != nil || f != nil {
			t.Errorf("%+v, %v", f, err)
		}
		if _, err := store.NewHosts(db).Delete(ctx, d.host.ID, nil); err != nil {
			t.Fatal(err)
		}
		if due, err := r.Due(ctx, now.Add(48*time.Hour), 10); err != nil || len(due) != 0 {
			t.Errorf("a deleted host is due: %+v, %v", due, err)
		}
	})
}

func TestARefetchThatAClockThatWasAheadPutOffIsDue(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := storetest.Clock()().Add(time.Second)
		onHost(t, db, "U-1")
		askAll(t, db, now.Add(400*24*time.Hour), "1", "DEVICE")
		onHost(t, db, "U-2")
		if due := askAll(t, db, now, "2", "DEVICE"); len(due) != 2 || due[0].Host.UUID != "U-2" {
			t.Errorf("due are %+v", due)
		}
		if due := askAll(t, db, now, "3", "DEVICE"); len(due) != 0 {
			t.Errorf("still due are %+v", due)
		}
	})
}

// Where the last two hosts of a command answer at once on a database server,
// neither answer sees that it is the last.
func TestACommandThatTheLastAnswersLeftBehindGoes(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres, store.MySQL} {
		t.Run(string(d), func(t *testing.T) {
			now := storetest.Clock()()
			db := storetest.OpenAt(t, d, func() time.Time { return now })
			own := addDevice(t, db, fleet.Host{UUID: "U-1"})
			enqueue(t, db, "waits", fleet.CommandVitals, own)
			cmd := &fleet.Command{UUID: "orphan", RequestType: "R", Purpose: fleet.CommandVitals, Body: []byte("b")}
			// Many targets are noted, and none of these is there.
			if _, err := store.NewCommands(db).Enqueue(context.Background(), cmd, make([]fleet.Target, store.FanoutThreshold+1)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := store.NewCommands(db).Fanout(context.Background(), 1000); err != nil {
				t.Fatal(err)
			}
			for want, passed := range []time.Duration{0, 2 * time.Hour} {
				now = now.Add(passed)
				if n, err := store.NewCommands(db).DeleteOld(context.Background(), now.Add(-1000*time.Hour)); err != nil || n != want {
					t.Errorf("after %s: %d are dropped, want %d (%v)", passed, n, want, err)
				}
			}
			equal(t, "what is handed out", []string{poll(t, db, own)}, "waits")
		})
	}
}

// tell has a device answer for its lists.
func tell(t testing.TB, db *store.DB, d device, i *fleet.Inventory) {
	t.Helper()
	uuid := fmt.Sprint("REFETCH-APPS-", d.host.ID)
	enqueue(t, db, uuid, fleet.CommandVitals, d)
	answer(t, db, d, uuid, refetchedOutcome(fleet.RefetchApps, i))
}

func installed(t testing.TB, db *store.DB, f fleet.SoftwareFilter) []string {
	t.Helper()
	if f.Page.Size == 0 {
		f.Page.Size = 100
	}
	list, total, _, err := store.NewSoftware(db).List(context.Background(), f)
	if err != nil || f.Page.Size == 100 && total != len(list) {
		t.Fatalf("%d of %d, %v", len(list), total, err)
	}
	out := make([]string, 0, len(list))
	for _, s := range list {
		text := s.Name + " " + s.Source
		if f.WithHosts {
			text = fmt.Sprint(s.Name, " ", s.Hosts)
		}
		out = append(out, text)
	}
	return out
}

func TestSoftwareIsSharedAndReplacedByDifference(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, now := context.Background(), storetest.Clock()()
		a, b := onHost(t, db, "U-1"), onHost(t, db, "U-2")
		tell(t, db, a, &fleet.Inventory{Software: softwareList("Pages", "Slack")})
		tell(t, db, b, &fleet.Inventory{Software: softwareList("Slack", "Zoom")})
		equal(t, "of one", installed(t, db, fleet.SoftwareFilter{HostID: a.host.ID}), "Pages ios_apps", "Slack ios_apps")
		equal(t, "of all", installed(t, db, fleet.SoftwareFilter{WithHosts: true}), "Pages 1", "Slack 2", "Zoom 1")
		equal(t, "a search", installed(t, db, fleet.SoftwareFilter{WithHosts: true, Query: "ID.sl"}), "Slack 2")
		equal(t, "a page", installed(t, db, fleet.SoftwareFilter{WithHosts: true, Page: fleet.Page{Size: 1, Number: 1, Desc: true}}), "Slack 2")
		tell(t, db, a, &fleet.Inventory{Software: softwareList("Slack", "Word")})
		tell(t, db, a, &fleet.Inventory{Software: softwareList("Slack", "Word")})
		equal(t, "after a change", installed(t, db, fleet.SoftwareFilter{HostID: a.host.ID}), "Slack ios_apps", "Word ios_apps")
		// What nobody has goes, but not at once: somebody may be about to have it.
		for _, after := range []time.Duration{0, time.Hour} {
			if err := store.NewSoftware(db).DeleteUnused(ctx, now.Add(after)); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, "in use", installed(t, db, fleet.SoftwareFilter{WithHosts: true}), "Slack 2", "Word 1", "Zoom 1")
		tell(t, db, b, &fleet.Inventory{Software: softwareList("Pages")})
		if err := store.NewSoftware(db).DeleteUnused(ctx, now.Add(30*time.Hour)); err != nil {
			t.Fatal(err)
		}
		equal(t, "one that came back", installed(t, db, fleet.SoftwareFilter{HostID: b.host.ID}), "Pages ios_apps")
		tell(t, db, b, &fleet.Inventory{Software: softwareList()})
		equal(t, "an empty list", installed(t, db, fleet.SoftwareFilter{HostID: b.host.ID}))
	})
}

func TestCrowdsOfHostsTellTheSameNewSoftwareAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const many = 24
		devices := make([]device, many)
		for i := range devices {
			devices[i] = onHost(t, db, fmt.Sprint("U-", i))
		}
		storetest.Parallel(many, func(i int) {
			tell(t, db, devices[i], &fleet.Inventory{Software: softwareList("A", "B", fmt.Sprint("C", i%3)), Vitals: &fleet.Vitals{OSVersion: "26.0", DeviceName: fmt.Sprint("N", i)}})
		})
		equal(t, "software", installed(t, db, fleet.SoftwareFilter{WithHosts: true}), "A 24", "B 24", "C0 8", "C1 8", "C2 8")
		for i, d := range devices {
			if h := detail(t, db, d); h.ComputerName != fmt.Sprint("N", i) || h.OSVersion != "iOS 26.0" {
				t.Errorf("host %d: %+v", i, h.Host)
			}
		}
	})
}

func TestCertificatesAreReplacedByDifference(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		d := onHost(t, db, "U-1")
		until := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		list := func(names ...string) *fleet.CertificateList {
			l := &fleet.CertificateList{SHA256: sha256.Sum256(fmt.Append(nil, names))}
			for _, n := range names {
				l.Items = append(l.Items, fleet.HostCertificate{SHA256: sha256.Sum256([]byte(n)), CommonName: n, HasKey: n == "Own", NotAfter: until, DER: []byte(n)})
			}
			return l
		}
		for _, names := range [][]string{{"Own", "Root"}, {"Own", "Root"}, {"New", "Own"}} {
			tell(t, db, d, &fleet.Inventory{Certificates: list(names...)})
			got, total, _, err := store.NewCertificates(db).List(context.Background(), d.host.ID, fleet.Page{Size: 10})
			if err != nil || total != 2 {
				t.Fatalf("%d, %v", total, err)
			}
			slices.Sort(names)
			for i, c := range got {
				if c.CommonName != names[i] || c.HasKey != (names[i] == "Own") || !c.NotAfter.Equal(until) || string(c.DER) != names[i] || c.SHA256 != sha256.Sum256([]byte(names[i])) {
					t.Errorf("%+v", c)
				}
			}
		}
	})
}
