package reconcile

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/mobileconfig"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/kit/wake"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

var ctx = context.Background()

// world is a reconciler over a real database, with devices played by hand.
type world struct {
	*testing.T
	db  *store.DB
	r   *Reconciler
	now time.Time
}

func each(t *testing.T, test func(*world)) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres, store.MySQL} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			w := &world{T: t, now: time.Now().UTC().Truncate(time.Microsecond)}
			w.db = storetest.OpenAt(t, d, func() time.Time { return w.now })
			if err := store.NewLabels(w.db).EnsureBuiltin(ctx, []fleet.BuiltinLabel{fleet.LabelAllHosts, fleet.LabelMacOS, fleet.LabelIOS, fleet.LabelIPadOS}); err != nil {
				t.Fatal(err)
			}
			var err error
			w.r, err = New(ctx, store.NewPlans(w.db), store.NewItems(w.db), store.NewTeams(w.db), func() time.Time { return w.now }, slog.New(slog.DiscardHandler), wake.NewBell())
			if err != nil {
				t.Fatal(err)
			}
			test(w)
		})
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// pass lets time go by and plans.
func (w *world) pass(d time.Duration) {
	w.Helper()
	w.now = w.now.Add(d)
	w.must(w.r.Round(ctx))
}

// device is a phone that keeps profiles and answers as it is told.
type device struct {
	w        *world
	n        int
	host     fleet.HostID
	channel  fleet.EnrollmentID
	profiles map[string]string // identifier: UUID
	refuse   map[string]string // identifier: words
	installs int
	removals int
	listings int
	// announcements of declarations, none of which it fetches by itself
	announcements int
	lie           bool
}

func (w *world) device(n int, os string) *device {
	w.Helper()
	return w.deviceOf(fleet.PlatformIOS, n, os)
}

func (w *world) deviceOf(platform fleet.Platform, n int, os string) *device {
	w.Helper()
	key := fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: fmt.Sprintf("UDID-%d", n)}
	h := fleet.Host{UUID: key.ID, HardwareSerial: fmt.Sprintf("SERIAL%d", n), Platform: platform, OSVersion: os, DetailUpdatedAt: w.now,
		MDM: fleet.HostMDM{Status: fleet.MDMManual}}
	e, err := store.NewEnrollments(w.db).Apply(ctx, fleet.CheckinLookup{Key: key}, func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
		return fleet.EnrollmentChange{Host: &h, Enrollment: &fleet.Enrollment{Key: key.ID, Channel: key.Channel, State: fleet.EnrollmentOn, Generation: 1, EnrolledAt: w.now,
			PushToken: []byte{1}, PushMagic: "m", Topic: "t"}}, nil
	})
	w.must(err)
	return &device{w: w, n: n, host: e.HostID, channel: e.ID, profiles: map[string]string{}, refuse: map[string]string{}}
}

// connect polls until the server has nothing more.
func (d *device) connect() {
	d.w.Helper()
	var rep *fleet.CommandReport
	var answer plist.Dict
	for range 100 {
		next, err := store.NewCommands(d.w.db).Exchange(ctx, d.channel, rep, 0, func(t fleet.CommandTarget) fleet.ReportOutcome {
			return d.w.r.Outcome(t, *rep, answer)
		})
		d.w.must(err)
		if next == nil {
			return
		}
		rep, answer = d.execute(next)
	}
	d.w.Fatal("the server never stops sending commands")
}

func (d *device) execute(c *fleet.NextCommand) (*fleet.CommandReport, plist.Dict) {
	d.w.Helper()
	v, err := plist.Read(c.Body)
	d.w.must(err)
	cmd := v.(map[string]any)["Command"].(map[string]any)
	rep := &fleet.CommandReport{CommandUUID: c.UUID, Status: fleet.CommandAcknowledged, At: d.w.now, Body: []byte("answer")}
	fail := func(text string) {
		rep.Status, rep.ErrorChain = fleet.CommandError, []fleet.ErrorChainItem{{Domain: "MCInstallationErrorDomain", Code: 4001, USEnglish: text}}
	}
	answer := plist.Dict{}
	switch cmd["RequestType"] {
	case "InstallProfile":
		d.installs++
		p, err := mobileconfig.Parse(cmd["Payload"].([]byte))
		d.w.must(err)
		switch words := d.refuse[p.Identifier]; {
		case words != "":
			fail(words)
		case !d.lie:
			d.profiles[p.Identifier] = p.UUID
		}
	case "RemoveProfile":
		d.removals++
		id := cmd["Identifier"].(string)
		if d.profiles[id] == "" {
			fail("The profile is not installed.")
		}
		delete(d.profiles, id)
	case "DeclarativeManagement":
		d.announcements++
	case "ProfileList":
		d.listings++
		list := []any{}
		for id, uuid := range d.profiles {
			list = append(list, map[string]any{"PayloadIdentifier": id, "PayloadUUID": uuid})
		}
		raw, err := plist.Marshal(map[string]any{"ProfileList": list})
		d.w.must(err)
		answer, err = plist.ReadDict(raw)
		d.w.must(err)
	}
	return rep, answer
}

// settle plans and connects until nothing changes any more.
func (w *world) settle(devices ...*device) {
	w.Helper()
	for range 6 {
		w.pass(time.Second)
		for _, d := range devices {
			d.connect()
		}
	}
}

// upload makes an item that is a profile.
func upload(identifier, value string, labels ...fleet.ItemLabel) fleet.ItemUpload {
	uuid := ids.DerivedUUID([16]byte(sha256.New().Sum([]byte(identifier + value + strings.Repeat(" ", 16)))[:16]))
	raw, err := plist.Marshal(map[string]any{"PayloadType": "Configuration", "PayloadVersion": 1, "PayloadIdentifier": identifier, "PayloadUUID": uuid,
		"PayloadDisplayName": identifier, "PayloadContent": []any{map[string]any{"PayloadType": "com.example." + value, "PayloadVersion": 1,
			"PayloadIdentifier": identifier + ".p", "PayloadUUID": uuid + "-p", "Value": value}}})
	if err != nil {
		panic(err)
	}
	return fleet.ItemUpload{Content: raw, Item: fleet.Item{Kind: fleet.ItemProfile, UUID: "a" + ids.UUID(), Identifier: identifier, Name: identifier,
		Platforms: fleet.OnApple, Labels: labels, ItemVersion: fleet.ItemVersion{Version: 1, SHA256: sha256.Sum256(raw), Spec: fleet.ItemSpec{PayloadUUID: uuid}}}}
}

func (w *world) edit(team fleet.TeamID, edits func(live []*fleet.Item) fleet.ItemEdits) {
	w.Helper()
	w.must(store.NewItems(w.db).Edit(ctx, team, false, func(live []*fleet.Item) (fleet.ItemEdits, error) { return edits(live), nil }))
}

func (w *world) add(team fleet.TeamID, u fleet.ItemUpload) {
	w.Helper()
	u.Item.TeamID = team
	w.edit(team, func([]*fleet.Item) fleet.ItemEdits { return fleet.ItemEdits{Add: []fleet.ItemUpload{u}} })
}

// statuses are a host's items as "identifier op status".
func (d *device) statuses() string {
	d.w.Helper()
	list, err := store.NewItemStatuses(d.w.db).HostItems(ctx, d.host)
	d.w.must(err)
	var out []string
	for _, i := range list {
		out = append(out, fmt.Sprintf("%s %s %s", i.Identifier, i.Op, i.Status))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (d *device) expect(when, want string) {
	d.w.Helper()
	if got := d.statuses(); got != want {
		d.w.Errorf("%s: %q, want %q", when, got, want)
	}
}

func TestAProfileIsInstalledListedAndVerified(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		w.settle(d)
		w.add(fleet.NoTeam, upload("wifi", "1"))
		w.pass(time.Second)
		d.expect("planned", "wifi install pending")
		d.connect()
		d.expect("acknowledged", "wifi install verifying")
		w.settle(d)
		d.expect("listed", "wifi install verified")
		if d.installs != 1 || d.listings != 1 {
			t := d.w.T
			t.Errorf("%d installs and %d listings, want 1 of each", d.installs, d.listings)
		}
		c, err := store.NewItemStatuses(w.db).Summary(ctx, fleet.NoTeam)
		w.must(err)
		if c != (fleet.ItemStatusCounts{Verified: 1}) {
			w.Errorf("summary %+v", c)
		}
	})
}

func TestADeletedProfileLeavesTheHostAndIsForgotten(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		w.add(fleet.NoTeam, upload("wifi", "1"))
		w.settle(d)
		w.edit(fleet.NoTeam, func(live []*fleet.Item) fleet.ItemEdits { return fleet.ItemEdits{Remove: []fleet.ItemID{live[0].ID}} })
		w.pass(time.Second)
		d.expect("deleted", "wifi remove pending")
		w.settle(d)
		d.expect("removed", "")
		if d.removals != 1 || len(d.profiles) != 0 {
			w.Errorf("%d removals, left %v", d.removals, d.profiles)
		}
		w.must(store.NewItems(w.db).DeleteGone(ctx, w.now.Add(time.Hour).UnixMicro()))
		c, err := store.NewPlans(w.db).Catalog(ctx)
		w.must(err)
		if len(c.Items) != 0 {
			w.Errorf("%d items are still known", len(c.Items))
		}
	})
}

func TestAProfileThatNeverWentOutIsTakenBackWithoutACommand(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		w.settle(d)
		w.add(fleet.NoTeam, upload("wifi", "1"))
		w.pass(time.Second)
		w.edit(fleet.NoTeam, func(live []*fleet.Item) fleet.ItemEdits { return fleet.ItemEdits{Remove: []fleet.ItemID{live[0].ID}} })
		w.settle(d)
		d.expect("taken back", "")
		if d.installs+d.removals != 0 {
			w.Errorf("%d installs and %d removals", d.installs, d.removals)
		}
	})
}

func TestAnErrorIsTriedAgainWithPausesUntilTheBudgetIsSpent(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		d.refuse["wifi"] = "The payload is not valid."
		w.add(fleet.NoTeam, upload("wifi", "1"))
		w.settle(d)
		d.expect("refused once", "wifi install pending")
		if d.installs != 1 {
			w.Errorf("%d installs at once", d.installs)
		}
		for range 40 {
			w.now = w.now.Add(time.Hour)
			w.settle(d)
		}
		d.expect("budget spent", "wifi install failed")
		if d.installs != MaxTries {
			w.Errorf("%d installs, want %d", d.installs, MaxTries)
		}
		list, err := store.NewItemStatuses(w.db).HostItems(ctx, d.host)
		w.must(err)
		if !strings.Contains(list[0].Detail, "The payload is not valid.") {
			w.Errorf("the reason is %q", list[0].Detail)
		}
		delete(d.refuse, "wifi")
		w.must(store.NewItemStatuses(w.db).Resend(ctx, d.host, list[0].ItemID))
		w.settle(d)
		d.expect("resent", "wifi install verified")
	})
}

func TestAllFailedHostsAreTriedAgainByOneChange(t *testing.T) {
	each(t, func(w *world) {
		good, bad := w.device(1, "iOS 17.1"), w.device(2, "iOS 17.1")
		good.refuse["wifi"], bad.refuse["wifi"] = "no network", "not valid"
		w.add(fleet.NoTeam, upload("wifi", "1"))
		for range 40 {
			w.now = w.now.Add(time.Hour)
			w.settle(good, bad)
		}
		delete(good.refuse, "wifi")
		delete(bad.refuse, "wifi")
		w.now = w.now.Add(time.Second)
		w.edit(fleet.NoTeam, func(live []*fleet.Item) fleet.ItemEdits {
			next := *live[0]
			next.ResendAt, next.ResendMatch = w.now, "NO NETWORK"
			return fleet.ItemEdits{Edit: []fleet.ItemUpload{{Item: next}}}
		})
		w.settle(good, bad)
		good.expect("the error that was named", "wifi install verified")
		bad.expect("another error", "wifi install failed")
	})
}

func TestAMoveToATeamWithTheSameProfileSendsNothing(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		w.add(fleet.NoTeam, upload("wifi", "1"))
		w.add(fleet.NoTeam, upload("mail", "1"))
		w.settle(d)
		team := &fleet.Team{Name: "Sales"}
		w.must(store.NewTeams(w.db).Create(ctx, team))
		w.add(team.ID, upload("wifi", "1"))
		w.add(team.ID, upload("vpn", "1"))
		_, err := store.NewTeams(w.db).Transfer(ctx, fleet.Transfer{TeamID: team.ID, Hosts: []fleet.HostID{d.host}})
		w.must(err)
		w.settle(d)
		d.expect("moved", "vpn install verified, wifi install verified")
		if d.installs != 3 || d.removals != 1 {
			w.Errorf("%d installs and %d removals, want 3 and 1", d.installs, d.removals)
		}
		// Another content under the same identifier is put in its place.
		other := &fleet.Team{Name: "Lab"}
		w.must(store.NewTeams(w.db).Create(ctx, other))
		w.add(other.ID, upload("wifi", "2"))
		_, err = store.NewTeams(w.db).Transfer(ctx, fleet.Transfer{TeamID: other.ID, Hosts: []fleet.HostID{d.host}})
		w.must(err)
		w.settle(d)
		d.expect("moved again", "wifi install verified")
		if d.installs != 4 || d.removals != 2 {
			w.Errorf("%d installs and %d removals, want 4 and 2", d.installs, d.removals)
		}
	})
}

func TestANewVersionReplacesTheOldInPlace(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		w.add(fleet.NoTeam, upload("wifi", "1"))
		w.settle(d)
		old := d.profiles["wifi"]
		w.edit(fleet.NoTeam, func(live []*fleet.Item) fleet.ItemEdits {
			next := upload("wifi", "2")
			next.Item.ID, next.Item.UUID, next.Item.Version = live[0].ID, live[0].UUID, 2
			return fleet.ItemEdits{Edit: []fleet.ItemUpload{next}}
		})
		w.settle(d)
		d.expect("changed", "wifi install verified")
		if d.profiles["wifi"] == old || d.installs != 2 || d.removals != 0 {
			w.Errorf("%d installs, %d removals", d.installs, d.removals)
		}
	})
}

func TestAProfileRemovedByHandIsFoundAndRepaired(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		w.add(fleet.NoTeam, upload("wifi", "1"))
		w.settle(d)
		delete(d.profiles, "wifi")
		w.now = w.now.Add(VerifyEvery)
		w.settle(d)
		d.expect("repaired", "wifi install verified")
		if d.profiles["wifi"] == "" {
			w.Error("it is not on the device")
		}
	})
}

func TestAnAcknowledgedProfileThatIsNotThereFailsInTheEnd(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		d.lie = true
		w.add(fleet.NoTeam, upload("wifi", "1"))
		for range 40 {
			w.now = w.now.Add(time.Hour)
			w.settle(d)
		}
		d.expect("never listed", "wifi install failed")
		if d.installs != MaxTries {
			w.Errorf("%d installs, want %d", d.installs, MaxTries)
		}
	})
}

func TestUnknownMembershipHoldsAndNothingIsRemoved(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		label := &fleet.Label{Name: "new", Kind: fleet.LabelVitals, Criteria: &fleet.Criteria{Vital: "end_user_idp_group", Value: "x"}}
		w.must(store.NewLabels(w.db).Create(ctx, label, nil))
		w.add(fleet.NoTeam, upload("excluded", "1", fleet.ItemLabel{LabelID: label.ID, Name: "new", Mode: fleet.ExcludeAny}))
		w.add(fleet.NoTeam, upload("wifi", "1"))
		w.settle(d)
		d.expect("unknown label", "wifi install verified")
		w.edit(fleet.NoTeam, func(live []*fleet.Item) fleet.ItemEdits {
			i := *live[slices.IndexFunc(live, func(i *fleet.Item) bool { return i.Name == "wifi" })]
			i.Labels = []fleet.ItemLabel{{LabelID: label.ID, Name: "new", Mode: fleet.IncludeAll}}
			return fleet.ItemEdits{Edit: []fleet.ItemUpload{{Item: i}}}
		})
		w.settle(d)
		d.expect("scoped by an unknown label", "wifi install verified")
		if d.removals != 0 {
			w.Error("it was removed on ignorance")
		}
	})
}

func TestLabelsOfVitalsFollowTheHost(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		label := &fleet.Label{Name: "old", Kind: fleet.LabelVitals, Criteria: &fleet.Criteria{Vital: "os_version", Operator: "<", Value: "18"}}
		w.must(store.NewLabels(w.db).Create(ctx, label, nil))
		w.add(fleet.NoTeam, upload("upgrade", "1", fleet.ItemLabel{LabelID: label.ID, Name: "old", Mode: fleet.IncludeAny}))
		w.settle(d)
		d.expect("old system", "upgrade install verified")
		got, err := store.NewLabels(w.db).Label(ctx, label.ID)
		w.must(err)
		if got.HostCount != 1 {
			w.Errorf("%d members, want 1", got.HostCount)
		}
		w.vitals(d, &fleet.Vitals{OSVersion: "18.0"})
		w.settle(d)
		d.expect("new system", "")
	})
}

// vitals stores what a device told about itself.
func (w *world) vitals(d *device, v *fleet.Vitals) {
	w.Helper()
	cmd := &fleet.Command{UUID: ids.UUID(), RequestType: "DeviceInformation", Purpose: fleet.CommandVitals, Body: []byte("x")}
	_, err := store.NewCommands(w.db).Enqueue(ctx, cmd, []fleet.Target{{EnrollmentID: d.channel, Host: fleet.HostRef{ID: d.host}}})
	w.must(err)
	_, err = store.NewCommands(w.db).Exchange(ctx, d.channel, &fleet.CommandReport{CommandUUID: cmd.UUID, Status: fleet.CommandAcknowledged, At: w.now}, 0,
		func(fleet.CommandTarget) fleet.ReportOutcome {
			return fleet.ReportOutcome{Status: fleet.CommandAcknowledged, Inventory: &fleet.Inventory{Vitals: v}}
		})
	w.must(err)
}

func TestAMissingVariableFailsWithItsReasonAndRecovers(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		u := upload("name", "1")
		u.Item.Spec.Variables = []string{"HOST_NAME"}
		w.add(fleet.NoTeam, u)
		w.settle(d)
		d.expect("no name", "name install failed")
		if d.installs != 0 {
			w.Error("it was sent")
		}
		w.vitals(d, &fleet.Vitals{DeviceName: "Ann's phone"})
		w.settle(d)
		d.expect("named", "name install verified")
	})
}

func TestAReenrollmentGetsEverythingAgain(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		w.add(fleet.NoTeam, upload("wifi", "1"))
		w.settle(d)
		key := fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: "UDID-1"}
		_, err := store.NewEnrollments(w.db).Apply(ctx, fleet.CheckinLookup{Key: key}, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
			e := *f.Enrollment
			e.Generation++
			return fleet.EnrollmentChange{Enrollment: &e, Reset: true}, nil
		})
		w.must(err)
		clear(d.profiles)
		w.settle(d)
		d.expect("enrolled again", "wifi install verified")
		if d.installs != 2 {
			w.Errorf("%d installs, want 2", d.installs)
		}
	})
}

func TestPlanningAgainChangesNothing(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		for n := range 5 {
			w.add(fleet.NoTeam, upload(fmt.Sprint("p", n), "1"))
		}
		w.settle(d)
		before := d.installs + d.listings
		w.must(store.NewItems(w.db).Edit(ctx, fleet.NoTeam, false, func(live []*fleet.Item) (fleet.ItemEdits, error) {
			return fleet.ItemEdits{Edit: []fleet.ItemUpload{{Item: *live[0]}}}, nil
		}))
		w.settle(d)
		if d.installs+d.listings != before {
			w.Error("an edit without a change sent something")
		}
	})
}

func TestCommandsAreDecodable(t *testing.T) {
	for _, cmd := range []func() (*mdmcmd.Command, error){
		func() (*mdmcmd.Command, error) { return mdmcmd.NewInstallProfile("U", []byte("profile")) },
		func() (*mdmcmd.Command, error) { return mdmcmd.NewRemoveProfile("U", "id") },
		func() (*mdmcmd.Command, error) { return mdmcmd.NewProfileList("U") },
		func() (*mdmcmd.Command, error) { return mdmcmd.NewDeclarativeManagement("U") },
	} {
		c, err := cmd()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mdmcmd.DecodeCommand(c.Raw, ""); err != nil {
			t.Error(err)
		}
	}
}

// meddled runs something just before hosts are claimed, as another replica
// would.
type meddled struct {
	Plans
	before func()
}

func (m *meddled) Claim(ctx context.Context, now time.Time, limit int) ([]fleet.HostID, error) {
	if f := m.before; f != nil {
		m.before = nil
		f()
	}
	return m.Plans.Claim(ctx, now, limit)
}

// A host that moves to where the same profile was just uploaded keeps it,
// whenever planning begins.
func TestAHostIsPlannedWithTheRulesOfTheSameMoment(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "18.0")
		w.add(fleet.NoTeam, upload("com.example.wifi", "one"))
		w.settle(d)
		if got := d.statuses(); got != "com.example.wifi install verified" {
			t.Fatal(got)
		}
		m := &meddled{Plans: w.r.plans, before: func() {
			teams, team := store.NewTeams(w.db), &fleet.Team{Name: "New"}
			w.must(teams.Create(ctx, team))
			w.add(team.ID, upload("com.example.wifi", "one"))
			_, err := teams.Transfer(ctx, fleet.Transfer{TeamID: team.ID, Hosts: []fleet.HostID{d.host}})
			w.must(err)
		}}
		w.r.plans = m
		w.settle(d)
		if m.before != nil {
			t.Fatal("nothing was planned")
		}
		if got := d.statuses(); got != "com.example.wifi install verified" || d.installs != 1 || d.removals != 0 {
			t.Errorf("%s after %d installs and %d removals", got, d.installs, d.removals)
		}
	})
}

// Answers that older rules cannot judge are left for newer ones.
func TestOlderRulesDoNotJudgeNewerItems(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "18.0")
		w.add(fleet.NoTeam, upload("com.example.wifi", "one"))
		w.settle(d)
		old := w.r.Rules()
		w.edit(fleet.NoTeam, func(live []*fleet.Item) fleet.ItemEdits {
			u := upload("com.example.wifi", "two")
			u.Item.ID, u.Item.UUID, u.Item.Version = live[0].ID, live[0].UUID, live[0].Version+1
			return fleet.ItemEdits{Edit: []fleet.ItemUpload{u}}
		})
		w.pass(time.Second)
		_, facts, err := w.r.facts(ctx, []fleet.HostID{d.host})
		w.must(err)
		target := fleet.CommandTarget{Command: fleet.Command{Purpose: fleet.CommandListProfiles}, Items: facts[0].Items}
		if !old.Outcome(target, fleet.CommandReport{Status: fleet.CommandAcknowledged}, plist.Dict{}).Stale {
			t.Error("a list of profiles was judged")
		}
		if w.r.Rules().Outcome(target, fleet.CommandReport{Status: fleet.CommandAcknowledged}, plist.Dict{}).Stale {
			t.Error("the newest rules do not judge")
		}
		if _, err := old.Reported(fleet.DDMFacts{Items: facts[0].Items}, []byte(`{"StatusItems":{}}`), w.now); !errors.Is(err, fleet.ErrStaleRules) {
			t.Error("a report was judged:", err)
		}
	})
}

// While the clock was a year ahead, times were written that never come. With
// the right time again hosts are verified, repaired and tried again as before.
func TestHostsFollowAClockThatWasAhead(t *testing.T) {
	each(t, func(w *world) {
		year := 365 * 24 * time.Hour
		w.now = w.now.Add(year)
		d, late := w.device(1, "18.0"), w.device(2, "18.0")
		late.refuse["com.example.wifi"] = "busy"
		w.add(fleet.NoTeam, upload("com.example.wifi", "one"))
		mac, forUsers := w.deviceOf(fleet.PlatformDarwin, 3, "15.0"), upload("com.example.mail", "one")
		forUsers.Item.Scope, forUsers.Item.Platforms = fleet.ScopeUser, fleet.SetOf(fleet.PlatformDarwin)
		w.add(fleet.NoTeam, forUsers)
		w.add(fleet.NoTeam, declaration("com.example.declared", testType, "one")) // which no device fetches
		w.settle(d, late, mac)
		if got := d.statuses() + "; " + late.statuses(); got != "com.example.declared install pending, com.example.wifi install verified; com.example.declared install pending, com.example.wifi install pending" {
			t.Fatal(got)
		}
		w.now = w.now.Add(-year)
		delete(d.profiles, "com.example.wifi")
		delete(late.refuse, "com.example.wifi")
		announced := d.announcements
		claims := &counted{Plans: w.r.plans}
		w.r.plans = claims
		for range 4 {
			w.pass(7 * time.Hour)
			d.connect()
			late.connect()
		}
		w.settle(d, late, mac)
		if got := d.statuses() + "; " + late.statuses(); got != "com.example.declared install pending, com.example.wifi install verified; com.example.declared install pending, com.example.wifi install verified" {
			t.Error(got)
		}
		if got := mac.statuses(); !strings.Contains(got, "com.example.mail install failed") {
			t.Error("the profile for users:", got)
		}
		if d.announcements == announced {
			t.Error("declarations were not announced again")
		}
		if d.installs != 2 || claims.n > 60 {
			t.Errorf("%d installs; hosts were claimed %d times in 10 rounds", d.installs, claims.n)
		}
	})
}

// counted counts claims.
type counted struct {
	Plans
	n int
}

func (c *counted) Claim(ctx context.Context, now time.Time, limit int) ([]fleet.HostID, error) {
	c.n++
	return c.Plans.Claim(ctx, now, limit)
}

// After a restored database, or on a standby that lags, what is held in memory
// goes back as well.
func TestRulesGoBackWithTheDatabase(t *testing.T) {
	each(t, func(w *world) {
		w.add(fleet.NoTeam, upload("com.example.wifi", "one"))
		w.must(w.r.Refresh(ctx))
		newer := *w.r.Rules().catalog
		newer.Stamp += 10
		w.r.rules.Store(NewRules(&newer))
		w.must(w.r.Refresh(ctx))
		if got := w.r.Rules().catalog.Stamp; got != newer.Stamp-10 {
			t.Errorf("the rules have stamp %d, the database %d", got, newer.Stamp-10)
		}
	})
}
