package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// meanwhile is long enough for another transaction to come to its end, or to
// where it waits for a lock.
const meanwhile = 300 * time.Millisecond

// hold keeps a host locked until release is called.
func hold(t *testing.T, db *store.DB, host fleet.HostID) (release func()) {
	t.Helper()
	held, free, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- store.NewHostActions(db).Act(context.Background(), fleet.ActionLookup{Hosts: []fleet.HostID{host}}, func(fleet.ActionFacts) (fleet.ActionChange, error) {
			close(held)
			<-free
			return fleet.ActionChange{}, nil
		})
	}()
	<-held
	return func() {
		close(free)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// begin runs something at the same time, and waits until it is done or waits
// for a lock itself.
func begin(run func() error) <-chan error {
	done, out := make(chan error, 1), make(chan error, 1)
	go func() { done <- run() }()
	select {
	case err := <-done:
		out <- err
	case <-time.After(meanwhile):
		go func() { out <- <-done }()
	}
	return out
}

func TestVitalsDoNotBringDeletedHostsBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, list := context.Background(), addDevices(t, db, 2)
		first, second := list[0].host.ID, list[1].host.ID
		release := hold(t, db, first)
		learned := begin(func() error { return db.Learn(ctx, first, second) })
		deleted := begin(func() error {
			_, err := store.NewHosts(db).Delete(ctx, second, nil)
			return err
		})
		release()
		for _, done := range []<-chan error{learned, deleted} {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if h, err := store.NewHosts(db).Host(ctx, second); err != nil || h != nil {
			t.Errorf("the host is back: %+v, %v", h, err)
		}
	})
}

func TestAnActionDuringACheckInIsNotPendingForEver(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		for i, d := range addDevices(t, db, 2) {
			var acted <-chan error
			apply(t, db, d.enrollment.Key, func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
				if acted == nil {
					acted = begin(func() error {
						return store.NewHostActions(db).Act(ctx, fleet.ActionLookup{Hosts: []fleet.HostID{d.host.ID}}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
							if f.Hosts[0].State != fleet.EnrollmentOn {
								return fleet.ActionChange{}, nil // as the rules have it
							}
							return wiping(f.Hosts[0], fmt.Sprint("wipe-", i)), nil
						})
					})
				}
				e := *f.Enrollment
				if e.State = fleet.EnrollmentOff; i == 1 {
					e.State = fleet.EnrollmentPending
				}
				return fleet.EnrollmentChange{Enrollment: &e, Host: f.Host, Reset: i == 1, CancelQueue: i == 0,
					ForgetActions: i == 1 && f.Host.MDM.Acted, EndActions: i == 0 && f.Host.MDM.Acted}
			})
			if err := <-acted; err != nil {
				t.Error(err)
			}
			if v := stateOf(t, db, d.host.ID); v.Pending != fleet.PendingNone {
				t.Errorf("device %d: %s is pending, and its command was cancelled", i, v.Pending)
			}
		}
	})
}
