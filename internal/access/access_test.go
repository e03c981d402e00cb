package access_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/access"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

const (
	goodPassword  = "correct horse 1!"
	otherPassword = "battery staple 2?"
	address       = "192.0.2.7"
)

// bench is the capability over a real store with a clock that tests move.
type bench struct {
	*access.Service
	db  *store.DB
	now time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{db: storetest.Open(t, store.SQLite), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	users := store.NewUsers(b.db)
	b.Service = access.New(access.Options{
		Users: users, Changes: users, Sessions: store.NewSessions(b.db), Events: store.NewEvents(b.db),
		Now: func() time.Time { return b.now },
	})
	return b
}

func (b *bench) setUp(t *testing.T) (fleet.Viewer, string) {
	t.Helper()
	viewer, token, err := b.Setup(context.Background(), fleet.User{Name: "Ada", Email: "Ada@Example.com"}, goodPassword,
		fleet.Settings{OrgName: "Acme"}, address)
	if err != nil {
		t.Fatal(err)
	}
	return viewer, token
}

func wantKind(t *testing.T, what string, err error, want fleet.Kind) {
	t.Helper()
	if fleet.KindOf(err) != want || (err == nil) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func TestSetupIsTheWayInAndWorksOnce(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	if needs, err := b.NeedsSetup(ctx); err != nil || !needs {
		t.Fatalf("needs=%v err=%v", needs, err)
	}
	_, _, err := b.Login(ctx, "ada@example.com", goodPassword, address)
	wantKind(t, "a login before setup", err, fleet.KindNotFound)

	_, _, err = b.Setup(ctx, fleet.User{Name: "", Email: "nobody"}, "short", fleet.Settings{}, address)
	wantKind(t, "a bad setup", err, fleet.KindInvalid)
	var faults *fleet.Error
	if !errors.As(err, &faults) || len(faults.Fields) != 3 {
		t.Errorf("not every fault is listed: %v", err)
	}

	viewer, token := b.setUp(t)
	if viewer.User.Role != fleet.RoleAdmin || viewer.User.Email != "ada@example.com" {
		t.Errorf("first user: %+v", viewer.User)
	}
	if got, err := b.Authenticate(ctx, token, address); err != nil || got.User.ID != viewer.User.ID {
		t.Errorf("the token of setup: %+v, %v", got, err)
	}
	_, _, err = b.Setup(ctx, fleet.User{Name: "Eve", Email: "eve@example.com"}, goodPassword, fleet.Settings{}, address)
	wantKind(t, "a second setup", err, fleet.KindConflict)
}

func TestAnUnknownEmailAndAWrongPasswordLookAlike(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	b.setUp(t)
	_, _, unknown := b.Login(ctx, "eve@example.com", goodPassword, address)
	_, _, wrong := b.Login(ctx, "ada@example.com", otherPassword, address)
	_, _, long := b.Login(ctx, "ada@example.com", goodPassword+strings.Repeat("x", access.MaxPassword), address)
	for _, err := range []error{unknown, wrong, long} {
		wantKind(t, "a bad login", err, fleet.KindUnauthenticated)
		if err.Error() != unknown.Error() {
			t.Errorf("answers differ: %q and %q", err, unknown)
		}
	}
	events, err := store.NewEvents(b.db).Since(ctx, 0, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, e := range events {
		if e.Kind == fleet.EventUserLoginFailed {
			failed++
		}
		if bytes.Contains(e.Details, []byte(goodPassword)) {
			t.Errorf("a password is in the log: %s", e.Details)
		}
	}
	if failed != 3 {
		t.Errorf("%d failed logins in the log, want 3", failed)
	}
}

func TestGuessingIsSlowedDownPerAccount(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	b.setUp(t)
	for range access.DefaultLoginRate {
		_, _, err := b.Login(ctx, "eve@example.com", "x", address)
		wantKind(t, "a guess", err, fleet.KindUnauthenticated)
	}
	_, _, err := b.Login(ctx, "EVE@example.com ", "x", address)
	wantKind(t, "one guess too many", err, fleet.KindTooMany)
	var e *fleet.Error
	if !errors.As(err, &e) || e.RetryAfter <= 0 {
		t.Errorf("no time to retry after: %v", err)
	}
	if _, _, err := b.Login(ctx, "ada@example.com", goodPassword, address); err != nil {
		t.Errorf("another account at the same address: %v", err)
	}
	b.now = b.now.Add(e.RetryAfter)
	_, _, err = b.Login(ctx, "eve@example.com", "x", address)
	wantKind(t, "after the wait", err, fleet.KindUnauthenticated)
}

func TestASessionLivesWhileItIsUsedButNotForEver(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	b.setUp(t)
	_, token, err := b.Login(ctx, "ada@example.com", goodPassword, address)
	if err != nil {
		t.Fatal(err)
	}
	step := access.DefaultSession - time.Hour
	uses := 0
	for ; uses < 100; uses++ {
		b.now = b.now.Add(step)
		if _, err := b.Authenticate(ctx, token, address); err != nil {
			wantKind(t, "the end", err, fleet.KindUnauthenticated)
			break
		}
	}
	if want := int(access.MaxSession / step); uses != want {
		t.Errorf("used %d times every %v, want %d", uses, step, want)
	}
	_, idle, err := b.Login(ctx, "ada@example.com", goodPassword, address)
	if err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(access.DefaultSession)
	_, err = b.Authenticate(ctx, idle, address)
	wantKind(t, "an idle session", err, fleet.KindUnauthenticated)
	if n, err := b.Sweep(ctx); err != nil || n == 0 {
		t.Errorf("swept %d, %v", n, err)
	}
	for _, bad := range []string{"", "nonsense", token + "x"} {
		_, err = b.Authenticate(ctx, bad, address)
		wantKind(t, "token "+bad, err, fleet.KindUnauthenticated)
	}
}

func TestAnAPIOnlyUserHasATokenThatDoesNotEnd(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	admin, _ := b.setUp(t)
	user, token, err := b.CreateUser(ctx, admin.Actor(), fleet.User{Name: "CI", Email: "ci@example.com", Role: fleet.RoleGitOps, APIOnly: true, ForceReset: true}, "")
	if err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(10 * 365 * 24 * time.Hour)
	viewer, err := b.Authenticate(ctx, token, address)
	if err != nil || viewer.User.ID != user.ID || viewer.User.ForceReset {
		t.Fatalf("%+v, %v", viewer, err)
	}
	if viewer.Actor().Kind != fleet.ActorToken {
		t.Errorf("the actor is %+v", viewer.Actor())
	}
	_, _, err = b.Login(ctx, "ci@example.com", "", address)
	wantKind(t, "a login without a password", err, fleet.KindUnauthenticated)
	if err := b.DeleteSession(ctx, admin.Actor(), viewer.Session.ID); err != nil {
		t.Fatal(err)
	}
	_, err = b.Authenticate(ctx, token, address)
	wantKind(t, "a deleted token", err, fleet.KindUnauthenticated)
}

func TestPasswordsChangeAndOtherSessionsEnd(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	admin, first := b.setUp(t)
	second, other, err := b.Login(ctx, "ada@example.com", goodPassword, address)
	if err != nil {
		t.Fatal(err)
	}
	_ = second
	wantKind(t, "a wrong old password", b.ChangePassword(ctx, admin, otherPassword, otherPassword), fleet.KindInvalid)
	wantKind(t, "a weak new password", b.ChangePassword(ctx, admin, goodPassword, "alllettersonly"), fleet.KindInvalid)
	if err := b.ChangePassword(ctx, admin, goodPassword, otherPassword); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Authenticate(ctx, first, address); err != nil {
		t.Errorf("the session that changed it: %v", err)
	}
	_, err = b.Authenticate(ctx, other, address)
	wantKind(t, "the other session", err, fleet.KindUnauthenticated)
	_, _, err = b.Login(ctx, "ada@example.com", goodPassword, address)
	wantKind(t, "the old password", err, fleet.KindUnauthenticated)
}

func TestARequiredResetComesBeforeEverythingElse(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	admin, _ := b.setUp(t)
	if _, _, err := b.CreateUser(ctx, admin.Actor(), fleet.User{Name: "Bob", Email: "bob@example.com", Role: fleet.RoleMaintainer, ForceReset: true}, goodPassword); err != nil {
		t.Fatal(err)
	}
	viewer, _, err := b.Login(ctx, "bob@example.com", goodPassword, address)
	if err != nil {
		t.Fatal(err)
	}
	if b.Can(viewer, string(access.HostsList)) || !b.Can(viewer, string(access.SelfWrite)) {
		t.Error("the wrong doors are open")
	}
	_, err = b.ResetRequiredPassword(ctx, viewer, goodPassword)
	wantKind(t, "the same password again", err, fleet.KindInvalid)
	user, err := b.ResetRequiredPassword(ctx, viewer, otherPassword)
	if err != nil || user.ForceReset {
		t.Fatalf("%+v, %v", user, err)
	}
	viewer.User = user
	if !b.Can(viewer, string(access.HostsList)) {
		t.Error("still locked out")
	}
	_, err = b.ResetRequiredPassword(ctx, viewer, goodPassword)
	wantKind(t, "a reset nobody required", err, fleet.KindForbidden)
}

func TestUsersAreChangedWithinTheRules(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	admin, _ := b.setUp(t)
	_, err := b.UpdateUser(ctx, admin.Actor(), admin.User.ID, func(u *fleet.User) error { u.Role = fleet.RoleObserver; return nil }, "")
	wantKind(t, "demoting the last admin", err, fleet.KindConflict)
	wantKind(t, "removing the last admin", b.DeleteUser(ctx, admin.Actor(), admin.User.ID), fleet.KindConflict)
	_, _, err = b.CreateUser(ctx, admin.Actor(), fleet.User{Name: "Ada", Email: "ADA@example.com", Role: fleet.RoleAdmin}, goodPassword)
	wantKind(t, "a taken e-mail", err, fleet.KindConflict)
	_, _, err = b.CreateUser(ctx, admin.Actor(), fleet.User{Name: "Eve", Email: "eve@example.com", Role: "root"}, goodPassword)
	wantKind(t, "an unknown role", err, fleet.KindInvalid)
	bob, _, err := b.CreateUser(ctx, admin.Actor(), fleet.User{Name: "Bob", Email: "bob@example.com", Role: fleet.RoleAdmin}, goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := b.UpdateUser(ctx, admin.Actor(), bob.ID, func(u *fleet.User) error {
		u.Name, u.APIOnly, u.PasswordHash = "Robert", true, "stolen"
		return nil
	}, "")
	if err != nil || changed.Name != "Robert" || changed.APIOnly {
		t.Errorf("%+v, %v", changed, err)
	}
	if _, _, err := b.Login(ctx, "bob@example.com", goodPassword, address); err != nil {
		t.Errorf("the password changed by the way: %v", err)
	}
	if err := b.DeleteUser(ctx, admin.Actor(), bob.ID); err != nil {
		t.Error(err)
	}
	wantKind(t, "removing twice", b.DeleteUser(ctx, admin.Actor(), bob.ID), fleet.KindNotFound)
}

func TestWhoMayDoWhat(t *testing.T) {
	for _, tt := range []struct {
		permission access.Permission
		roles      string // of admin, maintainer, observer, observer_plus, gitops, technician
	}{
		{access.SelfRead, "amopgt"}, {access.SelfWrite, "amopgt"}, {access.VersionRead, "amopgt"},
		{access.ConfigRead, "amopgt"}, {access.ConfigWrite, "ag"},
		{access.UsersRead, "a"}, {access.UsersWrite, "a"},
		{access.HostsList, "amopt"}, {access.HostsRead, "amopgt"}, {access.HostsWrite, "am"},
		{access.CommandsRead, "amopt"}, {access.CommandsRun, "amg"},
		{access.EnrollmentsRead, "amgt"}, {access.EnrollmentsWrite, "amg"},
		{access.BrakeWrite, "a"}, {access.ApprovalsWrite, "a"}, {access.ActionsRun, "am"}, {access.ActionsReveal, "am"},
		{access.PushRead, "a"}, {access.PushWrite, "a"},
		{access.TeamsRead, "amopgt"}, {access.TeamsWrite, "amg"}, {access.HostsTransfer, "am"},
		{access.SecretsRead, "amg"}, {access.SecretsWrite, "amg"},
		{access.LabelsRead, "amopgt"}, {access.LabelsWrite, "amg"},
		{access.PackagesRead, "amg"}, {access.PackagesWrite, "amg"},
		{access.ProfilesRead, "amopgt"}, {access.ProfilesWrite, "amg"}, {access.ProfilesResend, "amt"},
		{access.VariablesRead, "amopgt"}, {access.VariablesWrite, "amg"},
		{"hosts:unheard-of", ""}, {"", ""},
	} {
		t.Run(string(tt.permission), func(t *testing.T) {
			for letter, role := range map[string]fleet.Role{"a": fleet.RoleAdmin, "m": fleet.RoleMaintainer, "o": fleet.RoleObserver,
				"p": fleet.RoleObserverPlus, "g": fleet.RoleGitOps, "t": fleet.RoleTechnician, "?": "unknown"} {
				if got, want := access.Can(role, tt.permission), strings.Contains(tt.roles, letter); got != want {
					t.Errorf("%s: got %v, want %v", role, got, want)
				}
			}
		})
	}
}

func TestTheLogNamesUsersThatWereCreatedByTheirId(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	admin, _ := b.setUp(t)
	bob, _, err := b.CreateUser(ctx, admin.Actor(), fleet.User{Name: "Bob", Email: "bob@example.com", Role: fleet.RoleMaintainer}, goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	events, err := store.NewEvents(b.db).Since(ctx, 0, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var told []fleet.UserID
	for _, e := range events {
		if e.Kind != fleet.EventUserCreated {
			continue
		}
		var facts struct {
			UserID fleet.UserID `json:"user_id"`
		}
		if err := json.Unmarshal(e.Details, &facts); err != nil {
			t.Fatal(err)
		}
		told = append(told, facts.UserID)
		if e.Actor.UserID != admin.User.ID {
			t.Errorf("created by %+v", e.Actor)
		}
	}
	if !slices.Equal(told, []fleet.UserID{admin.User.ID, bob.ID}) {
		t.Errorf("users %v, want %d and %d", told, admin.User.ID, bob.ID)
	}
}
