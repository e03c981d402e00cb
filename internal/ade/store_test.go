package ade

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// shop is a syncer over a real database and the model of Apple.
type shop struct {
	*testing.T
	ctx    context.Context
	clock  *watch
	apple  *appleModel
	db     *store.DB
	store  *store.ADE
	tokens *store.ServerTokens
	token  fleet.ServerTokenID
	pads   fleet.TeamID
}

func sealed(ref fleet.SecretRef) (fleet.SecretWrite, error) {
	return fleet.SecretWrite{Ref: ref, Value: fleet.Sealed{KeyID: "k", Data: []byte("sealed")}}, nil
}

func eachShop(t *testing.T, test func(*shop)) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres, store.MySQL} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			w := &watch{at: start}
			s := &shop{T: t, ctx: context.Background(), clock: w, apple: newApple(w), db: storetest.OpenAt(t, d, func() time.Time { return w.at })}
			s.store, s.tokens = store.NewADE(s.db), store.NewServerTokens(s.db)
			s.must(store.NewLabels(s.db).EnsureBuiltin(s.ctx, []fleet.BuiltinLabel{fleet.LabelAllHosts, fleet.LabelMacOS, fleet.LabelIOS, fleet.LabelIPadOS}))
			team := fleet.Team{Name: "iPads"}
			s.must(store.NewTeams(s.db).Create(s.ctx, &team))
			s.pads = team.ID
			v := fleet.ServerToken{Account: fleet.DEPAccount{ServerUUID: "S", ServerName: "MDM", OrgName: "Acme"},
				Sync: fleet.DEPSync{Expiry: start.AddDate(1, 0, 0), Teams: map[fleet.Platform]fleet.TeamID{fleet.PlatformIPadOS: team.ID}}}
			s.must(s.tokens.Create(s.ctx, &v, &fleet.EnrollmentProfile{Name: "ADE", Kind: fleet.EnrollmentADE, Token: "t"}, sealed))
			s.token = v.Sync.TokenID
			s.must(s.store.PutProfile(s.ctx, s.token, team.ID, [32]byte{1}, "PADS"))
			s.must(s.store.PutProfile(s.ctx, s.token, fleet.NoTeam, [32]byte{2}, "OTHERS"))
			test(s)
		})
	}
}

func (s *shop) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *shop) round() {
	s.Helper()
	s.clock.at = s.clock.at.Add(10 * time.Minute)
	s.must(NewSyncer(s.apple, s.store, defined{}, s.clock.now).Round(s.ctx, s.token))
}

func (s *shop) host(serial string) fleet.Host {
	s.Helper()
	list, _, err := store.NewHosts(s.db).List(s.ctx, fleet.HostFilter{Query: serial})
	s.must(err)
	if len(list) != 1 {
		s.Fatalf("%d hosts of %s", len(list), serial)
	}
	return list[0]
}

func TestDevicesAreKeptWithTheirHosts(t *testing.T) {
	eachShop(t, func(s *shop) {
		for i := range 7 {
			s.apple.add(fmt.Sprintf("SERIAL%d", i))
		}
		s.round()
		for i := range 7 {
			serial := fmt.Sprintf("SERIAL%d", i)
			h := s.host(serial)
			if h.TeamID != s.pads || h.Platform != fleet.PlatformIPadOS || h.MDM.Status != fleet.MDMPending || h.UUID != "" {
				t.Errorf("%s: %+v", serial, h)
			}
			if p := s.apple.devices[serial].profile; p != "PADS" {
				t.Errorf("%s has the profile %q", serial, p)
			}
		}
		s.apple.assigns = 0
		s.round()
		if s.apple.assigns != 0 {
			t.Error("profiles are assigned again")
		}

		// A host moves, one is deleted, a device is taken away, and somebody
		// gives one another profile.
		if _, err := store.NewTeams(s.db).Transfer(s.ctx, fleet.Transfer{TeamID: fleet.NoTeam, Hosts: []fleet.HostID{s.host("SERIAL0").ID}}); err != nil {
			t.Fatal(err)
		}
		before := s.host("SERIAL1").ID
		if _, err := store.NewHosts(s.db).Delete(s.ctx, before, nil); err != nil {
			t.Fatal(err)
		}
		s.apple.remove("SERIAL2")
		s.apple.edit("SERIAL3", "THEIRS")
		s.round()
		if p := s.apple.devices["SERIAL0"].profile; p != "OTHERS" {
			t.Errorf("after the move it has %q", p)
		}
		if h := s.host("SERIAL1"); h.ID == before || h.MDM.Status != fleet.MDMPending || h.TeamID != s.pads {
			t.Errorf("a deleted host came back as %+v", h)
		}
		if h := s.host("SERIAL2"); h.MDM.Status != fleet.MDMUnknown {
			t.Errorf("a device that is gone is %s", h.MDM.Status)
		}
		if p := s.apple.devices["SERIAL3"].profile; p != "PADS" {
			t.Errorf("it keeps %q", p)
		}

		// A full fetch finds what nobody told.
		s.apple.devices["SERIAL4"].here = false
		s.clock.at = s.clock.at.Add(25 * time.Hour)
		s.round()
		if h := s.host("SERIAL4"); h.MDM.Status != fleet.MDMUnknown {
			t.Errorf("a device that vanished is %s", h.MDM.Status)
		}
		state, err := s.store.Sync(s.ctx, s.token)
		s.must(err)
		if state.Phase != fleet.DEPFollow || state.Round == 0 || state.OKAt.IsZero() || state.Expiry != start.AddDate(1, 0, 0) || state.Teams[fleet.PlatformIPadOS] != s.pads {
			t.Errorf("syncing stands at %+v", state)
		}
	})
}

// A step whose decision fails leaves nothing.
func TestNothingOfAFailedStepStays(t *testing.T) {
	eachShop(t, func(s *shop) {
		before, err := s.store.Sync(s.ctx, s.token)
		s.must(err)
		err = s.store.Change(s.ctx, s.token, []string{"A"}, func(fleet.DEPFacts) (fleet.DEPChange, error) { return fleet.DEPChange{}, errCrash })
		if !errors.Is(err, errCrash) {
			t.Error(err)
		}
		after, err := s.store.Sync(s.ctx, s.token)
		s.must(err)
		if d := cmp.Diff(before, after); d != "" {
			t.Error(d)
		}
	})
}

// Due selects exactly those for which NeedsProfile holds.
func TestDueIsTheRule(t *testing.T) {
	eachShop(t, func(s *shop) {
		now := start.Add(time.Hour)
		var records []fleet.DEPRecordChange
		n := 0
		for _, family := range []string{"iPad", "AppleTV"} {
			for _, profile := range []string{"", "PADS", "OTHERS"} {
				for _, status := range []string{"assigned", "removed"} {
					for _, tried := range []string{"", "PADS", "OTHERS"} {
						for result := fleet.DEPNotTried; result <= fleet.DEPThrottled; result++ {
							for _, next := range []time.Duration{-time.Second, 0, time.Second, pauseLongest, pauseLongest + time.Second} {
								for _, held := range []bool{false, true} {
									n++
									r := fleet.DEPRecord{Device: fleet.DEPDevice{Serial: fmt.Sprintf("S%05d", n), Family: family, ProfileUUID: profile, ProfileStatus: status},
										Assign: fleet.DEPAssignment{Tried: tried, Result: result, NextAt: now.Add(next), Held: held}, Round: int64(n), Want: "PADS"}
									if n%7 == 0 {
										r.DeletedAt = start
									}
									records = append(records, fleet.DEPRecordChange{Record: r, Host: &fleet.Host{TeamID: s.pads, HardwareSerial: r.Device.Serial,
										Platform: fleet.PlatformIPadOS, MDM: fleet.HostMDM{Status: fleet.MDMPending}}})
								}
							}
						}
					}
				}
			}
		}
		var want []string
		for chunk := range slices.Chunk(records, pageSize) {
			s.must(s.store.Change(s.ctx, s.token, nil, func(f fleet.DEPFacts) (fleet.DEPChange, error) {
				return fleet.DEPChange{Sync: f.Sync, Records: chunk}, nil
			}))
			for _, r := range chunk {
				if NeedsProfile(r.Record, now) {
					want = append(want, r.Record.Device.Serial)
				}
			}
		}
		due, err := s.store.Due(s.ctx, s.token, now, n)
		s.must(err)
		if d := cmp.Diff(want, names(due)); d != "" || len(want) == 0 || len(want) == n {
			t.Errorf("%d of %d: %s", len(want), n, d)
		}
		byRow := map[string]fleet.DEPRecord{}
		for _, r := range records {
			byRow[r.Record.Device.Serial] = r.Record
		}
		for _, r := range due {
			if d := cmp.Diff(byRow[r.Device.Serial], r, cmpopts.IgnoreFields(fleet.DEPRecord{}, "HostID")); d != "" {
				t.Fatal(d)
			}
		}
	})
}

func TestServerTokens(t *testing.T) {
	eachShop(t, func(s *shop) {
		s.apple.add("SERIAL0")
		s.round()
		twice := fleet.ServerToken{Account: fleet.DEPAccount{ServerUUID: "S"}}
		if err := s.tokens.Create(s.ctx, &twice, &fleet.EnrollmentProfile{Name: "ADE 2", Kind: fleet.EnrollmentADE, Token: "t2"}, sealed); fleet.KindOf(err) != fleet.KindConflict {
			t.Errorf("a second token of a server: %v", err)
		}
		s.must(s.tokens.SetTeams(s.ctx, s.token, map[fleet.Platform]fleet.TeamID{fleet.PlatformIOS: s.pads}))
		later := start.AddDate(2, 0, 0)
		renew := func(server string, force bool) error {
			return s.tokens.Replace(s.ctx, s.token, func(v fleet.ServerToken) (fleet.ServerToken, error) {
				account := fleet.DEPAccount{ServerUUID: server, ServerName: "MDM"}
				next, err := Replaced(v.Sync, v.Account.ServerUUID, account, later, force)
				return fleet.ServerToken{Account: account, Sync: next}, err
			}, sealed)
		}
		if err := renew("OTHER", false); fleet.KindOf(err) != fleet.KindConflict {
			t.Errorf("the token of another server: %v", err)
		}
		s.must(renew("S", false))
		list, err := s.tokens.List(s.ctx)
		s.must(err)
		if len(list) != 1 || list[0].Account.ServerUUID != "S" || list[0].Sync.Expiry != later || list[0].Sync.Phase != fleet.DEPFollow ||
			list[0].Sync.Teams[fleet.PlatformIOS] != s.pads || list[0].Sync.Teams[fleet.PlatformIPadOS] != fleet.NoTeam {
			t.Errorf("got %+v", list)
		}
		s.must(store.NewTeams(s.db).Delete(s.ctx, s.pads))
		list, err = s.tokens.List(s.ctx)
		s.must(err)
		if list[0].Sync.Teams[fleet.PlatformIOS] != fleet.NoTeam {
			t.Error("the token's devices would join a team that is gone")
		}
		for _, want := range []bool{true, false} {
			if found, err := s.tokens.Delete(s.ctx, s.token); err != nil || found != want {
				t.Errorf("deleted: %v, %v", found, err)
			}
		}
		if h := s.host("SERIAL0"); h.MDM.Status != fleet.MDMUnknown {
			t.Errorf("without a token it is %s", h.MDM.Status)
		}
		if secret, err := store.NewSecrets(s.db).Secret(s.ctx, fleet.SecretRef{Scope: fleet.ScopeServerToken, Name: fmt.Sprint(int64(s.token))}); err != nil || secret != nil {
			t.Errorf("its credentials are still there: %v", err)
		}
		if err := s.tokens.SetTeams(s.ctx, s.token, nil); fleet.KindOf(err) != fleet.KindNotFound {
			t.Error(err)
		}
	})
}

// A host that is turned off while Apple still assigns it waits to enroll again;
// one that enrolls at the same moment stays enrolled.
func TestWhatIsOffAndAssignedIsPending(t *testing.T) {
	eachShop(t, func(s *shop) {
		s.apple.add("SERIAL0")
		s.apple.add("SERIAL1")
		s.round()
		status := func(serial string, to fleet.MDMStatus) {
			_, err := store.NewEnrollments(s.db).Apply(s.ctx, fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: "U-" + serial}, Serial: serial},
				func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
					h := *f.Host
					h.MDM.Status = to
					return fleet.EnrollmentChange{Host: &h}, nil
				})
			s.must(err)
		}
		status("SERIAL0", fleet.MDMOff)
		s.round()
		if h := s.host("SERIAL0"); h.MDM.Status != fleet.MDMPending {
			s.Errorf("it is %s", h.MDM.Status)
		}
		// Read while it was off, written after it enrolled.
		status("SERIAL1", fleet.MDMOff)
		s.must(s.store.Change(s.ctx, s.token, []string{"SERIAL1"}, func(f fleet.DEPFacts) (fleet.DEPChange, error) {
			old := f.Hosts["SERIAL1"]
			if s.db.Dialect() != store.SQLite { // which has one writer
				status("SERIAL1", fleet.MDMAutomatic)
			} else {
				old.MDM.Status = fleet.MDMUnknown // as if it had been
				f.Hosts["SERIAL1"] = old
			}
			h := old
			h.MDM.Status = fleet.MDMPending
			return fleet.DEPChange{Sync: f.Sync, Records: []fleet.DEPRecordChange{{Record: f.Records["SERIAL1"], Host: &h}}}, nil
		}))
		want := map[bool]fleet.MDMStatus{true: fleet.MDMOff, false: fleet.MDMAutomatic}[s.db.Dialect() == store.SQLite]
		if h := s.host("SERIAL1"); h.MDM.Status != want {
			s.Errorf("it is %s, not %s", h.MDM.Status, want)
		}
	})
}
