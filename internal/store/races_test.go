package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// A wipe that is taken back while the device polls is not carried out: whoever
// took it back is told that it never went out.
func TestACommandThatIsTakenBackIsNotHandedOut(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, d := context.Background(), addDevices(t, db, 1)[0]
		wipe(t, db, d, "wipe-1")
		var next *fleet.NextCommand
		var polled <-chan error
		err := store.NewHostActions(db).Act(ctx, fleet.ActionLookup{Hosts: []fleet.HostID{d.host.ID}, CommandUUID: "wipe-1"}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
			if f.Command == nil || f.Command.Sends > 0 {
				t.Errorf("too late: %+v", f.Command)
			}
			if polled == nil {
				polled = begin(func() (err error) {
					next, err = store.NewCommands(db).Exchange(ctx, d.enrollment.ID, nil, 0, nil)
					return err
				})
			}
			return fleet.ActionChange{Cancel: true}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-polled; err != nil {
			t.Fatal(err)
		}
		if next != nil {
			t.Errorf("the device got %s", next.UUID)
		}
	})
}

// addTeam makes a team.
func addTeam(t *testing.T, db *store.DB, name string) fleet.TeamID {
	t.Helper()
	team := &fleet.Team{Name: name}
	if err := store.NewTeams(db).Create(context.Background(), team); err != nil {
		t.Fatal(err)
	}
	return team.ID
}

func transfer(t *testing.T, db *store.DB, team fleet.TeamID, hosts ...fleet.HostID) {
	t.Helper()
	if _, err := store.NewTeams(db).Transfer(context.Background(), fleet.Transfer{TeamID: team, Hosts: hosts}); err != nil {
		t.Fatal(err)
	}
}

// moveAll carries out every noted transfer.
func moveAll(t *testing.T, db *store.DB) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = store.NewTeams(db).MoveSome(context.Background(), 1000); err != nil {
			t.Fatal(err)
		}
	}
}

func hostsIn(t *testing.T, db *store.DB, team fleet.TeamID) int {
	t.Helper()
	n, err := store.NewHosts(db).Count(context.Background(), fleet.HostFilter{TeamID: &team})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTransfersAreCarriedOutInTheirOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var all []fleet.HostID
		for _, d := range addDevices(t, db, store.MoveThreshold+1) {
			all = append(all, d.host.ID)
		}
		everyone, exceptions, gone := addTeam(t, db, "A"), addTeam(t, db, "B"), addTeam(t, db, "C")
		transfer(t, db, everyone, all...)
		transfer(t, db, exceptions, all[0])
		moveAll(t, db)
		if a, b := hostsIn(t, db, everyone), hostsIn(t, db, exceptions); a != len(all)-1 || b != 1 {
			t.Errorf("%d hosts are where all were moved, and %d where one was moved after that", a, b)
		}
		transfer(t, db, gone, all...)
		if err := store.NewTeams(db).Delete(context.Background(), gone); err != nil {
			t.Fatal(err)
		}
		moveAll(t, db)
		if n := hostsIn(t, db, gone); n > 0 {
			t.Errorf("%d hosts are in a team that was deleted", n)
		}
	})
}

func TestNoHostJoinsATeamThatIsBeingDeleted(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, d, team := context.Background(), addDevices(t, db, 1)[0], addTeam(t, db, "A")
		teams := store.NewTeams(db)
		release := hold(t, db, d.host.ID)
		moved := begin(func() error {
			_, err := teams.Transfer(ctx, fleet.Transfer{TeamID: team, Hosts: []fleet.HostID{d.host.ID}})
			return err
		})
		deleted := begin(func() error { return teams.Delete(ctx, team) })
		release()
		if err := <-moved; err != nil {
			t.Error(err)
		}
		if err := <-deleted; err != nil {
			t.Error(err)
		}
		moveAll(t, db)
		if n := hostsIn(t, db, team); n > 0 {
			t.Errorf("%d hosts are in a team that was deleted", n)
		}
	})
}

// Two people who change different settings at once both get what they asked
// for.
func TestNoChangeOfSettingsIsLost(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, settings, teams := context.Background(), store.NewSettings(db), store.NewTeams(db)
		name := func(v *fleet.Settings) ([]fleet.Event, error) { v.OrgName = "B"; return nil, nil }
		if _, err := settings.Update(ctx, name, false); err != nil {
			t.Fatal(err)
		}
		var other <-chan error
		_, err := settings.Update(ctx, func(v *fleet.Settings) ([]fleet.Event, error) {
			if other == nil {
				other = begin(func() error {
					_, err := settings.Update(ctx, func(v *fleet.Settings) ([]fleet.Event, error) {
						v.Brake.ApprovalFor = []fleet.ActionKind{fleet.ActionWipe}
						return nil, nil
					}, false)
					return err
				})
			}
			return name(v)
		}, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-other; err != nil {
			t.Fatal(err)
		}
		if v, err := settings.Settings(ctx); err != nil || v.OrgName != "B" || len(v.Brake.ApprovalFor) != 1 {
			t.Errorf("%q, approval for %v, %v", v.OrgName, v.Brake.ApprovalFor, err)
		}

		id := addTeam(t, db, "A")
		other = nil
		_, err = teams.Update(ctx, id, func(team *fleet.Team) ([]fleet.Event, error) {
			if other == nil {
				other = begin(func() error {
					_, err := teams.Update(ctx, id, func(team *fleet.Team) ([]fleet.Event, error) {
						team.Settings.Setup.ManualRelease = true
						return nil, nil
					}, false)
					return err
				})
			}
			team.Settings.IOSUpdates.MinimumVersion = "18.1"
			return nil, nil
		}, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-other; err != nil {
			t.Fatal(err)
		}
		if v, err := teams.Team(ctx, id); err != nil || !v.Settings.Setup.ManualRelease || v.Settings.IOSUpdates.MinimumVersion != "18.1" {
			t.Errorf("%+v, %v", v.Settings, err)
		}
	})
}

func TestADeviceWhoseHostIsDeletedWhileItSyncsGetsOneAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, team := context.Background(), addTeam(t, db, "A")
		token := fleet.ServerToken{Account: fleet.DEPAccount{ServerUUID: "u"}}
		seal := func(ref fleet.SecretRef) (fleet.SecretWrite, error) {
			return fleet.SecretWrite{Ref: ref, Value: fleet.Sealed{KeyID: "k", Data: []byte("x")}}, nil
		}
		if err := store.NewServerTokens(db).Create(ctx, &token, &fleet.EnrollmentProfile{Name: "A", Kind: fleet.EnrollmentADE, Token: "t"}, seal); err != nil {
			t.Fatal(err)
		}
		ade, id := store.NewADE(db), token.Sync.TokenID
		err := ade.Change(ctx, id, []string{"S"}, func(f fleet.DEPFacts) (fleet.DEPChange, error) {
			return fleet.DEPChange{Sync: f.Sync, Records: []fleet.DEPRecordChange{{Record: fleet.DEPRecord{Device: fleet.DEPDevice{Serial: "S", Model: "iPad", Family: "iPad", OS: "iOS"}},
				Host: &fleet.Host{TeamID: team, HardwareSerial: "S", Platform: fleet.PlatformIPadOS, MDM: fleet.HostMDM{Status: fleet.MDMPending}}}}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var deleted <-chan error
		err = ade.Change(ctx, id, []string{"S"}, func(f fleet.DEPFacts) (fleet.DEPChange, error) {
			r := f.Records["S"]
			r.HostID = f.Hosts["S"].ID
			if deleted == nil {
				deleted = begin(func() error { _, err := store.NewHosts(db).Delete(ctx, r.HostID, nil); return err })
			}
			return fleet.DEPChange{Sync: f.Sync, Records: []fleet.DEPRecordChange{{Record: r}}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-deleted; err != nil {
			t.Fatal(err)
		}
		if list, err := ade.Homeless(ctx, id, 10); err != nil || len(list) != 1 {
			t.Errorf("the devices without a host are %v (%v)", list, err)
		}
	})
}

// A device that begins anew while it is being released does not get the
// DeviceConfigured of before.
func TestAReleaseOfAnEarlierEnrollmentIsNotSent(t *testing.T) {
	for _, d := range []store.Dialect{store.Postgres, store.MySQL} { // SQLite has one writer
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			releaseAndBeginAnew(t, storetest.Open(t, d))
		})
	}
}

func releaseAndBeginAnew(t *testing.T, db *store.DB) {
	ctx := context.Background()
	e := apply(t, db, "M", func(fleet.EnrollmentFacts) fleet.EnrollmentChange {
		return fleet.EnrollmentChange{Host: &fleet.Host{UUID: "M", HardwareSerial: "M", Platform: fleet.PlatformDarwin}, BeginSetup: true,
			Enrollment: &fleet.Enrollment{Key: "M", Channel: fleet.ChannelDevice, State: fleet.EnrollmentOn, Generation: 1, AwaitingConfiguration: true, Serial: "M"}}
	})
	standing, free := make(chan struct{}), make(chan struct{})
	saved := begin(func() error {
		return store.InTransaction(ctx, db, func(exec func(query string, args ...any) error) error {
			if err := exec("UPDATE setups SET version = version + 1 WHERE enrollment_id = ?", int64(e.ID)); err != nil {
				return err
			}
			if err := exec("INSERT INTO command_queue (enrollment_id, seq, command_id, host_id, held, not_now_count, sends, sent_at)"+
				" VALUES (?, 0, 7, ?, FALSE, 0, 0, 0)", int64(e.ID), int64(e.HostID)); err != nil {
				return err
			}
			close(standing)
			<-free
			return nil
		})
	})
	<-standing
	reset := begin(func() error {
		_, err := store.NewEnrollments(db).Apply(ctx, fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: "M"}}, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
			e := *f.Enrollment
			e.State, e.Generation = fleet.EnrollmentPending, 2
			return fleet.EnrollmentChange{Enrollment: &e, Host: f.Host, Reset: true}, nil
		})
		return err
	})
	close(free)
	if err := <-saved; err != nil {
		t.Fatal(err)
	}
	if err := <-reset; err != nil {
		t.Fatal(err)
	}
	if f, err := store.NewSetups(db).OfHost(ctx, e.HostID); err != nil || f != nil {
		t.Errorf("the setup of before: %+v, %v", f, err)
	}
	if n, err := store.Queued(ctx, db, e.ID); err != nil || n != 0 {
		t.Errorf("%d commands of before wait (%v)", n, err)
	}
}

// Whoever comes second to the last batch of a fan-out queues nothing: a device
// may have answered already.
func TestTheLastBatchOfAFanoutIsQueuedOnce(t *testing.T) {
	for _, d := range []store.Dialect{store.Postgres, store.MySQL} { // SQLite has one writer
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			db, ctx := storetest.Open(t, d), context.Background()
			dev := addDevices(t, db, 1)[0]
			targets := make([]fleet.Target, store.FanoutThreshold+1)
			for i := range targets {
				targets[i] = dev.target()
			}
			commands := store.NewCommands(db)
			if _, err := commands.Enqueue(ctx, &fleet.Command{UUID: "many", Purpose: fleet.CommandCustom, Body: []byte("body of many")}, targets); err != nil {
				t.Fatal(err)
			}
			done, free := make(chan struct{}), make(chan struct{})
			first := begin(func() error { // queued it, and the device answered
				return store.InTransaction(ctx, db, func(exec func(query string, args ...any) error) error {
					if err := exec("DELETE FROM command_fanouts"); err != nil {
						return err
					}
					close(done)
					<-free
					return nil
				})
			})
			<-done
			second := begin(func() error { _, _, err := commands.Fanout(ctx, 100); return err })
			close(free)
			if err := <-first; err != nil {
				t.Fatal(err)
			}
			if err := <-second; err != nil {
				t.Fatal(err)
			}
			if n, err := store.Queued(ctx, db, dev.enrollment.ID); err != nil || n != 0 {
				t.Errorf("%d commands wait (%v)", n, err)
			}
		})
	}
}

// Whoever becomes due for the first time while the push before is recorded stays
// due.
func TestAFirstPushThatIsRecordedLeavesDueWhoBecameSoMeanwhile(t *testing.T) {
	for _, d := range []store.Dialect{store.Postgres, store.MySQL} { // SQLite has one writer
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			db, ctx := storetest.Open(t, d), context.Background()
			dev := addDevices(t, db, 1)[0]
			enqueue(t, db, "waits", fleet.CommandCustom, dev)
			if err := store.InTransaction(ctx, db, func(exec func(query string, args ...any) error) error { return exec("DELETE FROM pushes") }); err != nil {
				t.Fatal(err)
			}
			standing, free := make(chan struct{}), make(chan struct{})
			queued := begin(func() error {
				return store.InTransaction(ctx, db, func(exec func(query string, args ...any) error) error {
					if err := exec("INSERT INTO pushes (enrollment_id, due_at, attempts, last_at, last_reason, broken_at) VALUES (?, 1, 0, 0, '', 0)", int64(dev.enrollment.ID)); err != nil {
						return err
					}
					close(standing)
					<-free
					return nil
				})
			})
			<-standing
			pushes, at := store.NewPushes(db), time.Now()
			recorded := begin(func() error {
				return pushes.Record(ctx, []fleet.PushOutcome{{EnrollmentID: dev.enrollment.ID, At: at, NextAt: at.Add(time.Hour), Attempts: 1}})
			})
			time.Sleep(100 * time.Millisecond) // it waits for the row; if not, nothing is shown
			close(free)
			if err := errors.Join(<-queued, <-recorded); err != nil {
				t.Fatal(err)
			}
			if due, err := pushes.Due(ctx, at, 10); err != nil || len(due) != 1 {
				t.Errorf("%d are due (%v)", len(due), err)
			}
		})
	}
}

// A command that is queued again while old ones are cleared away stays: a place
// in the queue without its command would block the device.
func TestACommandThatIsQueuedAgainIsNotClearedAway(t *testing.T) {
	for d, share := range map[store.Dialect]string{store.Postgres: " FOR SHARE", store.MySQL: " LOCK IN SHARE MODE"} { // SQLite has one writer
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			db, ctx := storetest.Open(t, d), context.Background()
			list := addDevices(t, db, 2)
			commands := store.NewCommands(db)
			enqueue(t, db, "old", fleet.CommandInstall, list[0])
			poll(t, db, list[0])
			answer(t, db, list[0], "old", stored(fleet.CommandAcknowledged))
			standing, free := make(chan struct{}), make(chan struct{})
			planned := begin(func() error {
				return store.InTransaction(ctx, db, func(exec func(query string, args ...any) error) error {
					if err := exec("SELECT id FROM commands WHERE uuid = 'old'" + share); err != nil {
						return err
					}
					if err := exec("INSERT INTO command_queue (enrollment_id, seq, command_id, host_id, held, not_now_count, sends, sent_at)"+
						" SELECT ?, 1, c.id, ?, FALSE, 0, 0, 0 FROM commands c WHERE c.uuid = 'old'", int64(list[1].enrollment.ID), int64(list[1].host.ID)); err != nil {
						return err
					}
					close(standing)
					<-free
					return nil
				})
			})
			<-standing
			cleared := begin(func() error {
				_, err := commands.DeleteOld(ctx, storetest.Clock()().Add(time.Hour))
				return err
			})
			close(free)
			if err := <-planned; err != nil {
				t.Fatal(err)
			}
			if err := <-cleared; err != nil {
				t.Fatal(err)
			}
			if next := poll(t, db, list[1]); next != "old" {
				t.Errorf("the device gets %q", next)
			}
		})
	}
}
