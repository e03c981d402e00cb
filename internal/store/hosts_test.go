package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func TestAHostIsReadAsItWasWritten(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		now := storetest.Clock()()
		want := fleet.Host{TeamID: 3, UUID: "U-full", HardwareSerial: "SERIAL", Hostname: "höst-名前-🙂", ComputerName: "Ada's Mac", Platform: fleet.PlatformIPadOS,
			HardwareModel: "iPad14,8", HardwareVendor: "Apple", OSVersion: "iPadOS 18.6", Build: "22G100", PrimaryMAC: "f0:18:98:00:00:01",
			DiskTotalGB: 128.5, DiskAvailableGB: -1, Supervised: fleet.Yes,
			MDM:             fleet.HostMDM{Status: fleet.MDMManual, ServerURL: "https://mdm.example.com", EnrolledAt: now, UnenrolledAt: now.Add(time.Microsecond), BootstrapHeld: true},
			DetailUpdatedAt: now, LastEnrolledAt: now, RefetchAt: now.Add(time.Hour)}
		want = addDevice(t, db, want).host
		hosts := store.NewHosts(db)
		seen := now.Add(time.Minute)
		if err := hosts.Seen(ctx, map[fleet.HostID]time.Time{want.ID: seen}); err != nil {
			t.Fatal(err)
		}
		want.SeenAt, want.MDM.CheckedInAt = seen, seen
		got, err := hosts.Host(ctx, want.ID)
		if err != nil || got == nil {
			t.Fatal(got, err)
		}
		if diff := cmp.Diff(want, got.Host); diff != "" {
			t.Error(diff)
		}
		if got.Host.CreatedAt.IsZero() || len(got.Enrollments) != 1 || got.PendingCommands != 0 {
			t.Errorf("%+v", got)
		}
		if none, err := hosts.Host(ctx, 999_999); err != nil || none != nil {
			t.Errorf("a host that does not exist: %v, %v", none, err)
		}
	})
}

func TestHostsAreListedInPagesThatNeverOverlap(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		const count, size = 11, 4
		for i := range count {
			addDevice(t, db, fleet.Host{UUID: fmt.Sprintf("U-%02d", i), Hostname: fmt.Sprint("name-", i%3), ComputerName: fmt.Sprintf("c-%02d", count-i),
				DiskAvailableGB: float64(i % 4), OSVersion: "macOS 15.1", TeamID: fleet.TeamID(i % 2)})
		}
		hosts := store.NewHosts(db)
		for _, key := range []string{"", "id", "hostname", "computer_name", "display_name", "platform", "uuid", "hardware_serial", "hardware_model", "os_version",
			"created_at", "updated_at", "detail_updated_at", "last_enrolled_at", "seen_time", "team_id", "gigs_disk_space_available"} {
			for _, desc := range []bool{false, true} {
				met := map[fleet.HostID]bool{}
				for number := range 3 {
					list, meta, err := hosts.List(ctx, fleet.HostFilter{Page: fleet.Page{Number: number, Size: size, OrderKey: key, Desc: desc}})
					if err != nil {
						t.Fatalf("by %q: %v", key, err)
					}
					if meta.HasNext != (number < 2) || meta.HasPrevious != (number > 0) {
						t.Errorf("by %q, page %d: %+v", key, number, meta)
					}
					for _, h := range list {
						if met[h.ID] {
							t.Errorf("by %q: host %d twice", key, h.ID)
						}
						met[h.ID] = true
					}
				}
				if len(met) != count {
					t.Errorf("by %q: %d hosts", key, len(met))
				}
			}
		}
		if _, _, err := hosts.List(ctx, fleet.HostFilter{Page: fleet.Page{OrderKey: "password"}}); fleet.KindOf(err) != fleet.KindInvalid {
			t.Errorf("an order key that does not exist: %v", err)
		}
		beyond, meta, err := hosts.List(ctx, fleet.HostFilter{Page: fleet.Page{Number: 9, Size: size}})
		if err != nil || len(beyond) != 0 || meta.HasNext {
			t.Errorf("a page beyond the end: %d, %+v, %v", len(beyond), meta, err)
		}
	})
}

func TestAListGoesOnAfterAValue(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		hosts := store.NewHosts(db)
		var ids []fleet.HostID
		for i, name := range []string{"b", "a", "d", "c"} {
			ids = append(ids, addDevice(t, db, fleet.Host{UUID: fmt.Sprint("U-", i), Hostname: name, Platform: fleet.PlatformIOS}).host.ID)
		}
		for _, c := range []struct {
			page fleet.Page
			want []string
		}{
			{fleet.Page{OrderKey: "hostname", After: "b"}, []string{"c", "d"}},
			{fleet.Page{OrderKey: "hostname", After: "c", Desc: true}, []string{"b", "a"}},
			{fleet.Page{OrderKey: "hostname", After: "b", Size: 1}, []string{"c"}},
			{fleet.Page{After: fmt.Sprint(ids[1])}, []string{"d", "c"}},
			{fleet.Page{OrderKey: "id", After: fmt.Sprint(ids[1]), Desc: true}, []string{"b"}},
			{fleet.Page{OrderKey: "hostname", After: "z"}, nil},
		} {
			for _, f := range []fleet.HostFilter{{Page: c.page}, {Page: c.page, Platforms: []fleet.Platform{fleet.PlatformIOS}}} {
				list, meta, err := hosts.List(ctx, f)
				if err != nil || !meta.HasPrevious {
					t.Errorf("%+v: %+v, %v", f, meta, err)
				}
				equal(t, fmt.Sprintf("%+v", f), names(list), c.want...)
			}
		}
	})
}

func TestHostsAreFoundByPartsOfTheirNames(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		hosts := store.NewHosts(db)
		addDevice(t, db, fleet.Host{UUID: "UUID-1", Hostname: "100%_done!", HardwareSerial: "C02AAA", PrimaryMAC: "f0:18:98:aa:bb:cc", Platform: fleet.PlatformDarwin,
			MDM: fleet.HostMDM{Status: fleet.MDMManual}})
		second := addDevice(t, db, fleet.Host{UUID: "UUID-2", Hostname: "100x done", ComputerName: "Ada's iPhone", HardwareSerial: "F2LBBB", Platform: fleet.PlatformIOS, TeamID: 4,
			MDM: fleet.HostMDM{Status: fleet.MDMOff}})
		now := storetest.Clock()()
		if err := hosts.Seen(ctx, map[fleet.HostID]time.Time{second.host.ID: now}); err != nil {
			t.Fatal(err)
		}
		team, noTeam := fleet.TeamID(4), fleet.TeamID(0)
		for name, c := range map[string]struct {
			filter fleet.HostFilter
			want   int
		}{
			"everything":                    {fleet.HostFilter{}, 2},
			"a common part":                 {fleet.HostFilter{Query: "DONE"}, 2},
			"a percent sign is no wildcard": {fleet.HostFilter{Query: "100%"}, 1},
			"an underscore is none either":  {fleet.HostFilter{Query: "%_"}, 1},
			"nor an exclamation mark":       {fleet.HostFilter{Query: "done!"}, 1},
			"an apostrophe":                 {fleet.HostFilter{Query: "ada's"}, 1},
			"a serial":                      {fleet.HostFilter{Query: "c02a"}, 1},
			"a MAC address":                 {fleet.HostFilter{Query: "AA:BB"}, 1},
			"a UUID":                        {fleet.HostFilter{Query: "uuid-"}, 2},
			"nothing like it":               {fleet.HostFilter{Query: "nobody"}, 0},
			"a backslash":                   {fleet.HostFilter{Query: `\`}, 0},
			"a platform":                    {fleet.HostFilter{Platforms: []fleet.Platform{fleet.PlatformIOS, fleet.PlatformWindows}}, 1},
			"a team":                        {fleet.HostFilter{TeamID: &team}, 1},
			"no team":                       {fleet.HostFilter{TeamID: &noTeam}, 1},
			"an MDM status":                 {fleet.HostFilter{MDM: []fleet.MDMStatus{fleet.MDMManual, fleet.MDMAutomatic}}, 1},
			"seen lately":                   {fleet.HostFilter{SeenAfter: now}, 1},
			"not seen lately":               {fleet.HostFilter{SeenBefore: now}, 1},
			"created lately":                {fleet.HostFilter{CreatedAfter: now.Add(-time.Hour)}, 2},
			"all of it":                     {fleet.HostFilter{Query: "done", Platforms: []fleet.Platform{fleet.PlatformIOS}, TeamID: &team, SeenAfter: now}, 1},
		} {
			list, _, err := hosts.List(ctx, c.filter)
			if err != nil || len(list) != c.want {
				t.Errorf("%s: %d hosts, want %d (%v)", name, len(list), c.want, err)
			}
			if n, err := hosts.Count(ctx, c.filter); err != nil || n != c.want {
				t.Errorf("%s: counted %d, want %d (%v)", name, n, c.want, err)
			}
		}
	})
}

// A large fleet is looked through in parts.
func TestASearchFindsTheHostsOfEveryPart(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		for i, id := range []int64{1, 40_000, 40_001, 80_000} {
			d := addDevice(t, db, fleet.Host{UUID: fmt.Sprint("U-", i), Hostname: fmt.Sprint("part ", i)})
			err := store.InTransaction(ctx, db, func(exec func(string, ...any) error) error {
				return errors.Join(exec("UPDATE hosts SET id = ? WHERE id = ?", id, int64(d.host.ID)),
					exec("UPDATE host_search SET host_id = ? WHERE host_id = ?", id, int64(d.host.ID)))
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		list, _, err := store.NewHosts(db).List(ctx, fleet.HostFilter{Query: "part", Page: fleet.Page{Size: 10}})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "found", names(list), "part 0", "part 1", "part 2", "part 3")
	})
}

// The words of a search follow the host, and a text that most hosts have is
// found in the order of the page.
func TestASearchFollowsTheNamesOfHosts(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		hosts := store.NewHosts(db)
		const many = 600 // more than are looked up by key
		devices := make([]device, many)
		for i := range devices {
			devices[i] = addDevice(t, db, fleet.Host{UUID: fmt.Sprintf("U-%04d", i), Hostname: fmt.Sprintf("Bücher %04d", many-i), Platform: fleet.PlatformIOS})
		}
		found := func(query string) int {
			t.Helper()
			n, err := hosts.Count(ctx, fleet.HostFilter{Query: query})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := found("BÜCHER"); n != many {
			t.Errorf("%d of %d", n, many)
		}
		page, meta, err := hosts.List(ctx, fleet.HostFilter{Query: "bücher", Page: fleet.Page{OrderKey: "hostname", Number: 1, Size: 2}})
		if err != nil || !meta.HasNext || !meta.HasPrevious {
			t.Fatalf("%+v, %v", meta, err)
		}
		equal(t, "second page by name", names(page), "Bücher 0003", "Bücher 0004")
		renamed := devices[7]
		apply(t, db, renamed.host.UUID, func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			f.Host.ComputerName, f.Host.HardwareSerial = "ÄNNE", "NEW7"
			return fleet.EnrollmentChange{Host: f.Host}
		})
		for query, want := range map[string]int{"änne": 1, "new7": 1, "bücher 0593": 1, "u-0007": 1, "0593|": 0, "new7\nu-": 0} {
			if n := found(query); n != want {
				t.Errorf("%q finds %d hosts, want %d", query, n, want)
			}
		}
		if _, err := hosts.Delete(ctx, renamed.host.ID, nil); err != nil {
			t.Fatal(err)
		}
		if n := found("änne"); n != 0 {
			t.Errorf("a deleted host is found %d times", n)
		}
	})
}

func TestAnIdentifierIsAUUIDElseASerialElseAName(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		hosts := store.NewHosts(db)
		a := addDevice(t, db, fleet.Host{UUID: "X", HardwareSerial: "S1", Hostname: "twin"}).host.ID
		b := addDevice(t, db, fleet.Host{UUID: "U2", HardwareSerial: "X", Hostname: "twin"}).host.ID
		c := addDevice(t, db, fleet.Host{UUID: "U3", HardwareSerial: "S3", Hostname: "X", ComputerName: "Ada"}).host.ID
		for identifier, want := range map[string][]fleet.HostID{"X": {a}, "U2": {b}, "S3": {c}, "twin": {a, b}, "Ada": {c}, "nobody": nil, "tw": nil, "%": nil} {
			refs, err := hosts.ByIdentifier(ctx, identifier)
			if err != nil {
				t.Fatal(err)
			}
			var got []fleet.HostID
			for _, r := range refs {
				got = append(got, r.ID)
			}
			equal(t, identifier, got, want...)
		}
	})
}

// A table that says of which host its rows are loses them with the host, or
// stands here with the reason why not.
func TestNoTableIsForgottenWhenAHostIsDeleted(t *testing.T) {
	kept := map[string]string{
		"events": "the log keeps what happened",
		"setups": "they are an enrollment's, which stays",
	}
	described, err := storetest.Open(t, store.SQLite).DescribeSchema(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for _, line := range described {
		table, ok := strings.CutSuffix(line, ".host_id nullable=false")
		if !ok {
			continue
		}
		tables++
		treated := slices.ContainsFunc(store.HostLeaves(), func(q string) bool {
			return strings.HasPrefix(q, "DELETE FROM "+table+" WHERE") || strings.HasPrefix(q, "UPDATE "+table+" SET")
		})
		if treated == (kept[table] != "") {
			t.Errorf("%s: rows of a deleted host are treated: %v", table, treated)
		}
	}
	if tables < 15 {
		t.Errorf("only %d tables tell their host", tables)
	}
}

func TestADeletedHostLeavesItsEnrollmentBehind(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		hosts, commands := store.NewHosts(db), store.NewCommands(db)
		d, other := addDevice(t, db, fleet.Host{UUID: "U-1"}), addDevice(t, db, fleet.Host{UUID: "U-2"})
		enqueue(t, db, "C-1", fleet.CommandCustom, d, other)
		found, err := hosts.Delete(ctx, d.host.ID, []fleet.Event{{Kind: fleet.EventHostDeleted, HostID: d.host.ID}})
		if err != nil || !found {
			t.Fatal(found, err)
		}
		if h, err := hosts.Host(ctx, d.host.ID); err != nil || h != nil {
			t.Errorf("the host is %+v, %v", h, err)
		}
		e, err := store.NewEnrollments(db).ByKey(ctx, "U-1")
		if err != nil || e == nil || e.HostID != 0 || e.State != fleet.EnrollmentOn {
			t.Errorf("the enrollment is %+v, %v", e, err)
		}
		list, _, err := commands.List(ctx, fleet.CommandFilter{})
		if err != nil || len(list) != 1 || list[0].Host.ID != other.host.ID {
			t.Errorf("the commands are %+v, %v", list, err)
		}
		before := eventKinds(t, db)
		if found, err := hosts.Delete(ctx, d.host.ID, []fleet.Event{{Kind: fleet.EventHostDeleted}}); err != nil || found {
			t.Errorf("once more: %v, %v", found, err)
		}
		equal(t, "the event log", eventKinds(t, db), before...)
	})
}

func TestAHostIsAMemberOfItsPlatformsLabels(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		labels := store.NewLabels(db)
		all := []fleet.BuiltinLabel{fleet.LabelAllHosts, fleet.LabelMacOS, fleet.LabelIOS, fleet.LabelIPadOS}
		for range 2 {
			if err := labels.EnsureBuiltin(ctx, all); err != nil {
				t.Fatal(err)
			}
		}
		d := addDevice(t, db, fleet.Host{UUID: "U-1", Platform: fleet.PlatformIOS})
		of := func() []string {
			h, err := store.NewHosts(db).Host(ctx, d.host.ID)
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for _, l := range h.Labels {
				if !l.Builtin || l.ID == 0 {
					t.Errorf("label %+v", l)
				}
				out = append(out, l.Name)
			}
			return out
		}
		equal(t, "an iPhone", of(), "All Hosts", "iOS")
		// Vitals know better than the first message.
		enqueue(t, db, "V", fleet.CommandVitals, d)
		answer(t, db, d, "V", fleet.ReportOutcome{Status: fleet.CommandAcknowledged, Inventory: &fleet.Inventory{Vitals: &fleet.Vitals{Model: "iPad14,8", DeviceName: "Ada's iPad"}}})
		equal(t, "an iPad after all", of(), "All Hosts", "iPadOS")
		h, err := store.NewHosts(db).Host(ctx, d.host.ID)
		if err != nil || h.Platform != fleet.PlatformIPadOS || h.Hostname != "Ada's iPad" || h.DetailUpdatedAt.IsZero() {
			t.Errorf("%+v, %v", h.Host, err)
		}
		list, _, err := store.NewHosts(db).List(ctx, fleet.HostFilter{LabelID: h.Labels[1].ID})
		if err != nil || len(list) != 1 {
			t.Errorf("%d hosts of the label, %v", len(list), err)
		}
	})
}
