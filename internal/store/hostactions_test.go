package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// wipe queues an EraseDevice for a device, as an action does.
func wipe(t testing.TB, db *store.DB, d device, uuid string) {
	t.Helper()
	err := store.NewHostActions(db).Act(context.Background(), fleet.ActionLookup{Hosts: []fleet.HostID{d.host.ID}}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
		return wiping(f.Hosts[0], uuid), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func wiping(h fleet.ActionHost, uuid string) fleet.ActionChange {
	state := h.Action
	state.Pending, state.CommandUUID, state.PINUUID = fleet.PendingWipe, uuid, uuid
	return fleet.ActionChange{States: []fleet.HostActionState{state},
		Secrets: []fleet.SecretWrite{{Ref: fleet.SecretRef{Scope: fleet.ScopeAction, Name: uuid}, Value: fleet.Sealed{KeyID: "k", Data: []byte("sealed")}}},
		Commands: []fleet.ActionCommand{{Command: fleet.Command{UUID: uuid, RequestType: "EraseDevice", Purpose: fleet.CommandAction, Body: []byte("<plist/>"), Expand: true},
			Target: fleet.Target{Host: h.Host, EnrollmentID: h.EnrollmentID, State: h.State}}},
		Events: []fleet.Event{{Kind: fleet.EventHostWiped, HostID: h.Host.ID}}}
}

func mdmOf(t testing.TB, db *store.DB, id fleet.HostID) fleet.HostMDM {
	t.Helper()
	h, err := store.NewHosts(db).Host(context.Background(), id)
	if err != nil || h == nil {
		t.Fatal(h, err)
	}
	return h.MDM
}

func stateOf(t testing.TB, db *store.DB, id fleet.HostID) fleet.HostActionState {
	t.Helper()
	var out fleet.HostActionState
	err := store.NewHostActions(db).Act(context.Background(), fleet.ActionLookup{Hosts: []fleet.HostID{id}}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
		out = f.Hosts[0].Action
		return fleet.ActionChange{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnswersToActionsMoveTheirHostsAndNoOthers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const many = 12
		devices := addDevices(t, db, many)
		for i, d := range devices {
			wipe(t, db, d, fmt.Sprint("wipe-", i))
			enqueue(t, db, fmt.Sprint("own-", i), fleet.CommandCustom, d)
			if m := mdmOf(t, db, d.host.ID); m.Pending != fleet.PendingWipe || m.Device != fleet.DeviceUnlocked || !m.Acted {
				t.Fatalf("%+v", m)
			}
		}
		storetest.Parallel(many, func(i int) {
			d, ctx := devices[i], context.Background()
			next, err := store.NewCommands(db).Exchange(ctx, d.enrollment.ID, nil, 0, nil)
			if err != nil || next == nil || next.Purpose != fleet.CommandAction || next.EnrollmentKey != d.enrollment.Key || !next.Expand {
				t.Errorf("%+v, %v", next, err)
				return
			}
			report := &fleet.CommandReport{CommandUUID: next.UUID, Status: fleet.CommandAcknowledged, Body: []byte("with a secret"), At: time.Now()}
			_, err = store.NewCommands(db).Exchange(ctx, d.enrollment.ID, report, 0, func(target fleet.CommandTarget) fleet.ReportOutcome {
				v := target.Action
				if v.HostID != d.host.ID || v.Pending != fleet.PendingWipe || v.CommandUUID != next.UUID {
					t.Errorf("the target is %+v", v)
				}
				v.Pending, v.CommandUUID, v.Status = fleet.PendingNone, "", fleet.DeviceWiped
				return fleet.ReportOutcome{Store: true, Status: fleet.CommandAcknowledged, Action: &v, Answer: []byte("without"),
					Secrets: []fleet.SecretWrite{{Ref: fleet.SecretRef{Scope: fleet.ScopeBypassCode, Name: d.enrollment.Key}, Value: fleet.Sealed{KeyID: "k", Data: []byte("code")}}}}
			})
			if err != nil {
				t.Error(err)
			}
			// A plain command moves nothing.
			answer(t, db, d, fmt.Sprint("own-", i), stored(fleet.CommandAcknowledged))
		})
		for i, d := range devices {
			if m := mdmOf(t, db, d.host.ID); m.Pending != fleet.PendingNone || m.Device != fleet.DeviceWiped {
				t.Errorf("host %d: %+v", i, m)
			}
			list, _, err := store.NewCommands(db).List(context.Background(), fleet.CommandFilter{CommandUUID: fmt.Sprint("wipe-", i), WithBodies: true})
			if err != nil || len(list) != 1 || string(list[0].Result) != "without" {
				t.Errorf("%+v, %v", list, err)
			}
			if v, err := store.NewSecrets(db).Secret(context.Background(), fleet.SecretRef{Scope: fleet.ScopeBypassCode, Name: d.enrollment.Key}); err != nil || v == nil {
				t.Errorf("%+v, %v", v, err)
			}
		}
	})
}

func TestAnActionIsAllOrNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, d := context.Background(), addDevices(t, db, 1)[0]
		boom := errors.New("boom")
		err := store.NewHostActions(db).Act(ctx, fleet.ActionLookup{Hosts: []fleet.HostID{d.host.ID, 999}}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
			if len(f.Hosts) != 1 || f.Hosts[0].Host.UUID != d.host.UUID || f.Hosts[0].EnrollmentID != d.enrollment.ID || f.Hosts[0].State != fleet.EnrollmentOn {
				t.Errorf("%+v", f.Hosts)
			}
			return wiping(f.Hosts[0], "U"), boom
		})
		if !errors.Is(err, boom) {
			t.Fatal(err)
		}
		c := fleet.ActionChange{}
		err = store.NewHostActions(db).Act(ctx, fleet.ActionLookup{Hosts: []fleet.HostID{d.host.ID}}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
			c = wiping(f.Hosts[0], "U")
			c.Commands = append(c.Commands, c.Commands[0]) // the same UUID twice
			return c, nil
		})
		if err == nil {
			t.Fatal("two commands have one UUID")
		}
		if m := mdmOf(t, db, d.host.ID); m.Acted || len(eventKinds(t, db)) != 0 {
			t.Errorf("%+v", m)
		}
		if v, err := store.NewSecrets(db).Secret(ctx, fleet.SecretRef{Scope: fleet.ScopeAction, Name: "U"}); err != nil || v != nil {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

func TestWhatActionsLeftGoesWithTheEnrollment(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, list := context.Background(), addDevices(t, db, 3)
		for i, d := range list {
			wipe(t, db, d, fmt.Sprint("wipe-", i))
		}
		apply(t, db, list[0].enrollment.Key, func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			return fleet.EnrollmentChange{Reset: true, ForgetActions: f.Host.MDM.Acted}
		})
		apply(t, db, list[1].enrollment.Key, func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			return fleet.EnrollmentChange{CancelQueue: true, EndActions: f.Host.MDM.Acted}
		})
		if m := mdmOf(t, db, list[0].host.ID); m.Acted || m.Pending != 0 {
			t.Errorf("after a reset: %+v", m)
		}
		if v := stateOf(t, db, list[1].host.ID); v.Pending != 0 || v.CommandUUID != "" || v.PINUUID != "wipe-1" {
			t.Errorf("after it left: %+v", v)
		}
		// What is still of use stays, the rest goes.
		if err := store.NewHostActions(db).Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		for i := range list {
			v, err := store.NewSecrets(db).Secret(ctx, fleet.SecretRef{Scope: fleet.ScopeAction, Name: fmt.Sprint("wipe-", i)})
			if err != nil || v == nil {
				t.Errorf("secret %d: %v", i, err)
			}
		}
		if found, err := store.NewHosts(db).Delete(ctx, list[2].host.ID, nil); err != nil || !found {
			t.Fatal(err)
		}
		// What opens a device stays for a time, wherever its host went.
		actions := store.NewHostActions(db)
		for _, at := range []struct {
			drop time.Time
			kept []bool
		}{{time.Now().Add(-time.Hour), []bool{true, true, true}}, {time.Now().Add(time.Hour), []bool{false, true, false}}} {
			if err := errors.Join(actions.DropArchived(ctx, at.drop), actions.Sweep(ctx)); err != nil {
				t.Fatal(err)
			}
			for i, kept := range at.kept {
				v, err := store.NewSecrets(db).Secret(ctx, fleet.SecretRef{Scope: fleet.ScopeAction, Name: fmt.Sprint("wipe-", i)})
				if err != nil || (v != nil) != kept {
					t.Errorf("secret %d: %v, %v", i, v != nil, err)
				}
			}
		}
	})
}

func TestOneCommandIsTakenBackAndNoOther(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		d := addDevices(t, db, 1)[0]
		enqueue(t, db, "before", fleet.CommandCustom, d)
		wipe(t, db, d, "wipe")
		look := fleet.ActionLookup{Hosts: []fleet.HostID{d.host.ID}, CommandUUID: "wipe"}
		for _, want := range []fleet.CommandStatus{0, fleet.CommandCancelled} {
			err := store.NewHostActions(db).Act(context.Background(), look, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
				if (f.Command == nil) != (want != 0) || f.Answered != want {
					t.Errorf("%+v, %s", f.Command, f.Answered)
				}
				return fleet.ActionChange{Cancel: true}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		equal(t, "the commands", listed(t, db, fleet.CommandFilter{Page: fleet.Page{OrderKey: "command_uuid"}}), "before Pending", "wipe Cancelled")
	})
}

func TestTheLastPlaceUnderTheBrakeIsTakenOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, d := context.Background(), addDevices(t, db, 1)[0]
		u, err := store.NewUsers(db).CreateUser(ctx, fleet.User{Name: "Ada", Email: "ada@example.com", Role: fleet.RoleAdmin}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		actions, now := store.NewHostActions(db), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		look := fleet.ActionLookup{Hosts: []fleet.HostID{d.host.ID}, Actor: u.ID, Kind: fleet.ActionWipe, Since: now.Add(-time.Hour)}
		ask := func(i int, kind fleet.ActionKind, phase fleet.ActionPhase, at time.Time, limit int) error {
			return actions.Act(ctx, look, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
				if f.Used >= limit {
					return fleet.ActionChange{}, errors.New("too many")
				}
				return fleet.ActionChange{Request: &fleet.ActionRequest{UUID: fmt.Sprint(kind, phase, at.Unix(), i), Kind: kind, Phase: phase, Hosts: 1, CreatedAt: at,
					DueAt: at, Actor: fleet.Actor{Kind: fleet.ActorUser, UserID: u.ID, Name: "Ada", Email: "ada@example.com"},
					Targets: []fleet.ActionTarget{{ID: d.host.ID, Name: "Zoë's Mac", Serial: "S"}}}}, nil
			})
		}
		// What is old, of another kind or came to nothing does not count.
		for _, err := range []error{ask(0, fleet.ActionWipe, fleet.ActionDone, now.Add(-2*time.Hour), 1), ask(0, fleet.ActionLock, fleet.ActionDone, now, 1),
			ask(0, fleet.ActionWipe, fleet.ActionDenied, now, 1)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		const tries, limit = 12, 3
		done := make([]bool, tries)
		storetest.Parallel(tries, func(i int) { done[i] = ask(i, fleet.ActionWipe, fleet.ActionWaiting, now, limit) == nil })
		passed := 0
		for _, ok := range done {
			if ok {
				passed++
			}
		}
		if passed != limit {
			t.Errorf("%d passed, want %d", passed, limit)
		}
		list, meta, err := actions.Requests(ctx, []fleet.ActionPhase{fleet.ActionWaiting}, fleet.Page{Size: 2})
		if err != nil || len(list) != 2 || !meta.HasNext || list[0].Targets[0].Name != "Zoë's Mac" || list[0].Actor.Email != "ada@example.com" || !list[0].CreatedAt.Equal(now) {
			t.Errorf("%+v, %+v, %v", list, meta, err)
		}
		due, err := actions.RequestsDue(ctx, fleet.ActionWaiting, now, 10)
		if err != nil || len(due) != limit {
			t.Errorf("%d are due, %v", len(due), err)
		}
		r := due[0]
		r.Phase, r.Detail, r.DecidedBy, r.DecidedAt = fleet.ActionDone, "done", fleet.Actor{UserID: 9, Name: "Bob"}, now
		if err := actions.Act(ctx, fleet.ActionLookup{RequestUUID: r.UUID}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
			if f.Request == nil || f.Request.ID != r.ID {
				t.Errorf("%+v", f.Request)
			}
			return fleet.ActionChange{Request: &r}, nil
		}); err != nil {
			t.Fatal(err)
		}
		got, err := actions.Request(ctx, r.UUID)
		if err != nil || got == nil || got.Phase != fleet.ActionDone || got.DecidedBy.Name != "Bob" || got.Detail != "done" || got.Hosts != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestThePolicyOfTheBrakeIsKept(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		want := fleet.BrakePolicy{WipesPerHour: 3, LocksPerHour: -1, UnenrollsPerHour: 4, DeletesPerHour: 5, ApprovalFor: []fleet.ActionKind{fleet.ActionWipe},
			DelayFor: []fleet.ActionKind{fleet.ActionDelete, fleet.ActionUnenroll}, DelayMinutes: 7}
		settings := store.NewSettings(db)
		if _, err := settings.Update(context.Background(), func(s *fleet.Settings) ([]fleet.Event, error) { s.Brake = want; return nil, nil }, false); err != nil {
			t.Fatal(err)
		}
		got, err := settings.Settings(context.Background())
		if err != nil || fmt.Sprint(got.Brake) != fmt.Sprint(want) {
			t.Errorf("%+v, %v", got.Brake, err)
		}
	})
}

func TestRequestsThatEndedLongAgoAreDropped(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, actions, now := context.Background(), store.NewHostActions(db), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		long, lately := now.Add(-91*24*time.Hour), now.Add(-89*24*time.Hour)
		for name, r := range map[string]fleet.ActionRequest{
			"done long ago":    {Phase: fleet.ActionDone, CreatedAt: long, DueAt: long, DecidedAt: long},
			"counted only":     {Phase: fleet.ActionDone, CreatedAt: long, DueAt: long},
			"denied long ago":  {Phase: fleet.ActionDenied, CreatedAt: long, DueAt: long, DecidedAt: long},
			"expired long ago": {Phase: fleet.ActionExpired, CreatedAt: long, DueAt: long, DecidedAt: long},
			"decided lately":   {Phase: fleet.ActionUndone, CreatedAt: long, DueAt: long, DecidedAt: lately},
			"due lately":       {Phase: fleet.ActionFailed, CreatedAt: long, DueAt: lately},
			"waits":            {Phase: fleet.ActionWaiting, CreatedAt: long, DueAt: long},
			"delayed":          {Phase: fleet.ActionDelayed, CreatedAt: long, DueAt: long},
			"runs":             {Phase: fleet.ActionRunning, CreatedAt: long, DueAt: long},
		} {
			r.UUID, r.Kind = name, fleet.ActionDelete
			if err := actions.Act(ctx, fleet.ActionLookup{}, func(fleet.ActionFacts) (fleet.ActionChange, error) {
				return fleet.ActionChange{Request: &r}, nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := actions.DeleteRequests(ctx, now.Add(-90*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		list, _, err := actions.Requests(ctx, nil, fleet.Page{Size: 100})
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, r := range list {
			left = append(left, r.UUID)
		}
		slices.Sort(left)
		equal(t, "what is left", left, "decided lately", "delayed", "due lately", "runs", "waits")
	})
}

func TestALeaseOnARequestIsKept(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, actions, now := context.Background(), store.NewHostActions(db), storetest.Clock()()
		for _, until := range []time.Time{now.Add(time.Minute), now.Add(time.Hour), {}} {
			if err := actions.Act(ctx, fleet.ActionLookup{RequestUUID: "R"}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
				r := fleet.ActionRequest{UUID: "R", Kind: fleet.ActionDelete, Phase: fleet.ActionRunning, CreatedAt: now, DueAt: now}
				if f.Request != nil {
					r = *f.Request
				}
				r.LeaseUntil = until
				return fleet.ActionChange{Request: &r}, nil
			}); err != nil {
				t.Fatal(err)
			}
			list, err := actions.RequestsDue(ctx, fleet.ActionRunning, now, 10)
			if err != nil || len(list) != 1 || !list[0].LeaseUntil.Equal(until) {
				t.Errorf("until %s: %+v, %v", until, list, err)
			}
		}
	})
}
