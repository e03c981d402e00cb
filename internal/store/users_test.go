package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func testUser(name string, role fleet.Role) fleet.User {
	now := storetest.Clock()()
	return fleet.User{Name: name, Email: name + "@example.com", Role: role, PasswordHash: "$argon2id$" + name, CreatedAt: now, UpdatedAt: now}
}

func testSession(user fleet.UserID, n byte) fleet.Session {
	now := storetest.Clock()()
	return fleet.Session{UserID: user, TokenSHA256: [32]byte{n, 1}, CreatedAt: now, UsedAt: now, ExpiresAt: now.Add(time.Hour)}
}

func mustCreate(t *testing.T, users *store.Users, u fleet.User) fleet.User {
	t.Helper()
	created, err := users.CreateUser(context.Background(), u, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func TestSetupMakesOneFirstUserHoweverManyTry(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		users := store.NewUsers(db)
		if found, err := users.AnyUser(ctx); err != nil || found {
			t.Fatalf("before setup: any=%v err=%v", found, err)
		}
		var made, refused atomic.Int64
		storetest.Parallel(8, func(i int) {
			u := testUser(fmt.Sprint("admin", i), fleet.RoleAdmin)
			_, _, err := users.CreateFirstUser(ctx, u, testSession(0, byte(i)), fleet.Settings{OrgName: u.Name}, func(fleet.User) []fleet.Event { return []fleet.Event{{Kind: fleet.EventUserCreated}} })
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
			t.Fatalf("%d made, %d refused", made.Load(), refused.Load())
		}
		list, err := users.Users(ctx, fleet.Page{}, "")
		if err != nil || len(list) != 1 {
			t.Fatalf("%d users, %v", len(list), err)
		}
		settings, err := store.NewSettings(db).Settings(ctx)
		if err != nil || settings.OrgName != list[0].Name {
			t.Errorf("settings are %+v, the user is %s (%v)", settings, list[0].Name, err)
		}
		events, err := store.NewEvents(db).Since(ctx, 0, 0, 10)
		if err != nil || len(events) != 1 {
			t.Errorf("%d events, %v", len(events), err)
		}
	})
}

func TestUsersAreFoundAndAnEmailBelongsToOne(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		users := store.NewUsers(db)
		ada := mustCreate(t, users, testUser("ada", fleet.RoleAdmin))
		mustCreate(t, users, testUser("bob_100%", fleet.RoleObserver))
		got, err := users.UserByEmail(ctx, "ada@example.com")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ada, got); diff != "" {
			t.Error(diff)
		}
		if got, err := users.User(ctx, ada.ID); err != nil || got.Email != ada.Email {
			t.Errorf("by key: %+v, %v", got, err)
		}
		for _, missing := range []error{errOf(users.User(ctx, 999)), errOf(users.UserByEmail(ctx, "ADA@example.com"))} {
			if fleet.KindOf(missing) != fleet.KindNotFound {
				t.Errorf("a missing user: %v", missing)
			}
		}
		if _, err := users.CreateUser(ctx, testUser("ada", fleet.RoleObserver), nil, nil); fleet.KindOf(err) != fleet.KindConflict {
			t.Errorf("a taken e-mail: %v", err)
		}
		list, err := users.Users(ctx, fleet.Page{OrderKey: "name", Desc: true}, "")
		if err != nil || len(list) != 2 || list[0].Name != "bob_100%" {
			t.Errorf("list: %+v, %v", list, err)
		}
		for query, want := range map[string]int{"ADA": 1, "example": 2, "100%": 1, "_100": 1, "%": 1, "nobody": 0} {
			if found, err := users.Users(ctx, fleet.Page{}, query); err != nil || len(found) != want {
				t.Errorf("query %q: %d found, want %d (%v)", query, len(found), want, err)
			}
		}
		if _, err := users.Users(ctx, fleet.Page{OrderKey: "password_hash"}, ""); fleet.KindOf(err) != fleet.KindInvalid {
			t.Errorf("an order key that does not exist: %v", err)
		}
	})
}

func errOf[T any](_ T, err error) error { return err }

func TestTheLastAdminStays(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		users := store.NewUsers(db)
		ada, bob := mustCreate(t, users, testUser("ada", fleet.RoleAdmin)), mustCreate(t, users, testUser("bob", fleet.RoleAdmin))
		// Two admins who remove each other at the same time.
		var gone atomic.Int64
		storetest.Parallel(2, func(i int) {
			err := users.DeleteUser(ctx, []fleet.UserID{ada.ID, bob.ID}[i], nil)
			switch {
			case err == nil:
				gone.Add(1)
			case fleet.KindOf(err) != fleet.KindConflict:
				t.Error(err)
			}
		})
		if gone.Load() != 1 {
			t.Fatalf("%d of two admins are gone", gone.Load())
		}
		list, err := users.Users(ctx, fleet.Page{}, "")
		if err != nil || len(list) != 1 {
			t.Fatalf("%d users, %v", len(list), err)
		}
		last := list[0]
		demoted := last
		demoted.Role, demoted.UpdatedAt = fleet.RoleObserver, last.UpdatedAt.Add(time.Second)
		if err := users.UpdateUser(ctx, demoted, last.UpdatedAt, nil, nil); fleet.KindOf(err) != fleet.KindConflict {
			t.Errorf("the last admin was demoted: %v", err)
		}
		if got, err := users.User(ctx, last.ID); err != nil || got.Role != fleet.RoleAdmin {
			t.Errorf("after the refusal: %+v, %v", got, err)
		}
	})
}

func TestAnUpdateOverSomebodyElsesIsRefused(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		users := store.NewUsers(db)
		mustCreate(t, users, testUser("ada", fleet.RoleAdmin))
		bob := mustCreate(t, users, testUser("bob", fleet.RoleObserver))
		first := bob
		first.Name, first.UpdatedAt = "Bob", bob.UpdatedAt.Add(time.Second)
		if err := users.UpdateUser(ctx, first, bob.UpdatedAt, nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := users.UpdateUser(ctx, first, bob.UpdatedAt, nil, nil); fleet.KindOf(err) != fleet.KindConflict {
			t.Errorf("a stale update: %v", err)
		}
		taken := first
		taken.Email, taken.UpdatedAt = "ada@example.com", first.UpdatedAt.Add(time.Second)
		if err := users.UpdateUser(ctx, taken, first.UpdatedAt, nil, nil); fleet.KindOf(err) != fleet.KindConflict {
			t.Errorf("a taken e-mail: %v", err)
		}
	})
}

func TestSessionsEndWithTheirUserOrPassword(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		users, sessions := store.NewUsers(db), store.NewSessions(db)
		mustCreate(t, users, testUser("ada", fleet.RoleAdmin))
		token := testSession(0, 1)
		bob, err := users.CreateUser(ctx, testUser("bob", fleet.RoleObserver), &token, nil)
		if err != nil {
			t.Fatal(err)
		}
		own, err := sessions.CreateSession(ctx, testSession(bob.ID, 2), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, user, err := sessions.SessionByToken(ctx, own.TokenSHA256)
		if err != nil || user.ID != bob.ID {
			t.Fatalf("by token: user %d, %v", user.ID, err)
		}
		if diff := cmp.Diff(own, got); diff != "" {
			t.Error(diff)
		}
		used := own.UsedAt.Add(time.Minute)
		if err := sessions.TouchSession(ctx, own.ID, used, used.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got, err := sessions.Session(ctx, own.ID); err != nil || !got.UsedAt.Equal(used) {
			t.Errorf("after a touch: %+v, %v", got, err)
		}
		changed := bob
		changed.PasswordHash, changed.UpdatedAt = "new", bob.UpdatedAt.Add(time.Second)
		if err := users.UpdateUser(ctx, changed, bob.UpdatedAt, &own.ID, nil); err != nil {
			t.Fatal(err)
		}
		if list, err := sessions.SessionsOf(ctx, bob.ID); err != nil || len(list) != 1 || list[0].ID != own.ID {
			t.Errorf("after the new password: %+v, %v", list, err)
		}
		if err := users.DeleteUser(ctx, bob.ID, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := sessions.SessionByToken(ctx, own.TokenSHA256); fleet.KindOf(err) != fleet.KindNotFound {
			t.Errorf("the session outlived its user: %v", err)
		}
	})
}

func TestExpiredSessionsAreSweptInBatchesAndTokensNever(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		users, sessions := store.NewUsers(db), store.NewSessions(db)
		ada := mustCreate(t, users, testUser("ada", fleet.RoleAdmin))
		forever := testSession(ada.ID, 0)
		forever.ExpiresAt = time.Time{}
		if _, err := sessions.CreateSession(ctx, forever, nil); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if _, err := sessions.CreateSession(ctx, testSession(ada.ID, byte(i+1)), nil); err != nil {
				t.Fatal(err)
			}
		}
		now := storetest.Clock()()
		for _, want := range []struct {
			at time.Time
			n  int
		}{{now, 0}, {now.Add(2 * time.Hour), 2}, {now.Add(2 * time.Hour), 1}, {now.Add(2 * time.Hour), 0}} {
			if n, err := sessions.DeleteExpiredSessions(ctx, want.at, 2); err != nil || n != want.n {
				t.Errorf("swept %d, want %d (%v)", n, want.n, err)
			}
		}
		list, err := sessions.SessionsOf(ctx, ada.ID)
		if err != nil || len(list) != 1 || !list[0].ExpiresAt.IsZero() {
			t.Errorf("left: %+v, %v", list, err)
		}
		if err := errors.Join(sessions.DeleteSession(ctx, list[0].ID, nil), sessions.DeleteSession(ctx, list[0].ID, nil)); err != nil {
			t.Errorf("ending a session twice: %v", err)
		}
	})
}
