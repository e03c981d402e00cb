package store

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Tables that grow with the fleet or with time: no statement of the device's
// path may read one from end to end.
var growing = []string{"hosts", "host_seen", "label_members", "challenges", "identities", "enrollments", "pushes",
	"commands", "command_queue", "command_results", "events", "sessions",
	"host_refetches", "host_vitals", "host_lists", "software", "host_software", "host_certificates", "renewals", "setups"}

// Every statement that a device's life prepares must find its rows by an
// index. SQLite tells how it would run them.
func TestNoStatementOfADeviceReadsAWholeTable(t *testing.T) {
	ctx := context.Background()
	db, err := Open(ctx, Options{URL: "sqlite:" + filepath.Join(t.TempDir(), "plans.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := db.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	live(t, ctx, db)
	checked := 0
	for _, cache := range []*stmtCache{&db.stmts, &db.writer.stmts} {
		for text := range cache.byText {
			if !strings.Contains(text, "SELECT") && !strings.HasPrefix(text, "UPDATE") && !strings.HasPrefix(text, "DELETE") {
				continue
			}
			checked++
			for _, step := range plan(t, db, text) {
				for _, table := range growing {
					for _, alias := range aliases(text, table) {
						if step == "SCAN "+alias {
							t.Errorf("reads all of %s:\n%s", table, text)
						}
					}
				}
			}
		}
	}
	if checked < 25 {
		t.Fatalf("only %d statements were checked", checked)
	}
}

// aliases are the names under which a query reads a table.
func aliases(text, table string) []string {
	out := []string{}
	words := strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ", ",", " , ").Replace(text))
	for i, w := range words {
		if w != table {
			continue
		}
		out = append(out, table)
		if i+1 < len(words) && len(words[i+1]) <= 3 && words[i+1] != "ON" && words[i+1] != "SET" {
			out = append(out, words[i+1])
		}
	}
	return out
}

func plan(t *testing.T, db *DB, text string) []string {
	t.Helper()
	args := make([]any, strings.Count(text, "?"))
	rows, err := db.read.Query("EXPLAIN QUERY PLAN "+text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		out = append(out, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// live plays a device's life against the store.
func live(t *testing.T, ctx context.Context, db *DB) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	channels, identities, commands, pushes, hosts := NewEnrollments(db), NewIdentities(db), NewCommands(db), NewPushes(db), NewHosts(db)
	must(NewLabels(db).EnsureBuiltin(ctx, []fleet.BuiltinLabel{fleet.LabelAllHosts, fleet.LabelIOS}))
	challenge := fleet.Challenge{SecretSHA256: [32]byte{1}, Purpose: fleet.PurposeEnroll, ExpiresAt: time.Now().Add(time.Hour)}
	must(identities.AddChallenge(ctx, challenge))
	_, _, err := identities.Challenge(ctx, challenge.SecretSHA256)
	must(err)
	identity, err := identities.Issue(ctx, challenge.SecretSHA256, fleet.Identity{SHA256: [32]byte{2}, Purpose: fleet.PurposeEnroll, DER: []byte{0}})
	must(err)
	_, err = identities.Identity(ctx, identity.SHA256)
	must(err)
	key := fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: "U"}
	command := fleet.Command{UUID: "vitals", RequestType: "DeviceInformation", Purpose: fleet.CommandVitals, Body: []byte("x")}
	for _, state := range []fleet.EnrollmentState{fleet.EnrollmentPending, fleet.EnrollmentOn} {
		_, err := channels.Apply(ctx, fleet.CheckinLookup{Key: key, IdentityID: identity.ID, Serial: "S", UDID: "U"},
			func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
				e := fleet.Enrollment{Key: "U", Channel: fleet.ChannelDevice, PushToken: []byte{1}}
				if f.Enrollment != nil {
					e = *f.Enrollment
				}
				h := fleet.Host{UUID: "U", HardwareSerial: "S", Platform: fleet.PlatformIOS}
				if f.Host != nil {
					h = *f.Host
				}
				e.State = state
				c := fleet.EnrollmentChange{Enrollment: &e, Host: &h, Claim: identity.ID, Reset: true, Revoke: true, Supersede: identity.ID,
					FinishRenewal: true, ClearPush: true,
					Secrets: []fleet.SecretWrite{{Ref: fleet.SecretRef{Scope: fleet.ScopeUnlockToken, Name: "U"}, Delete: true}},
					Events:  []fleet.Event{{Kind: fleet.EventMDMEnrolled}}}
				if state == fleet.EnrollmentOn {
					c.Commands = []fleet.Command{command}
				}
				return c, nil
			})
		must(err)
	}
	caller, err := channels.Caller(ctx, identity.SHA256, "U")
	must(err)
	if !caller.BoundTo() || !caller.CommandsPending {
		t.Fatalf("caller = %+v", caller)
	}
	targets, err := channels.Targets(ctx, []string{"U"})
	must(err)
	_, err = channels.TargetsByID(ctx, []fleet.HostID{targets[0].Host.ID})
	must(err)
	for i := range 3 {
		_, err := commands.Enqueue(ctx, &fleet.Command{UUID: fmt.Sprint("c", i), RequestType: "ProfileList", Purpose: fleet.CommandCustom, Body: []byte("x")}, targets)
		must(err)
	}
	due, err := pushes.Due(ctx, time.Now().Add(time.Hour), 10)
	must(err)
	for _, p := range due {
		must(pushes.Record(ctx, []fleet.PushOutcome{{EnrollmentID: p.EnrollmentID, DueAt: p.DueAt, At: time.Now()}}))
	}
	next, err := commands.Exchange(ctx, caller.Enrollment.ID, nil, 0, nil)
	must(err)
	for _, status := range []fleet.CommandStatus{fleet.CommandNotNow, fleet.CommandAcknowledged, fleet.CommandAcknowledged, fleet.CommandAcknowledged} {
		next, err = commands.Exchange(ctx, caller.Enrollment.ID, &fleet.CommandReport{Key: key, CommandUUID: next.UUID, Status: status, Body: []byte("r"), At: time.Now()},
			0, func(c fleet.CommandTarget) fleet.ReportOutcome {
				return fleet.ReportOutcome{Keep: status == fleet.CommandNotNow, Store: !c.Command.Purpose.Ephemeral(), Status: status,
					Inventory: toldAll(), Refetched: fleet.RefetchApps, Unenrolled: false, Event: &fleet.Event{Kind: fleet.EventCommandAnswered}}
			})
		must(err)
		if next == nil {
			break
		}
	}
	must(hosts.Seen(ctx, map[fleet.HostID]time.Time{targets[0].Host.ID: time.Now()}))
	_, err = hosts.Host(ctx, targets[0].Host.ID)
	must(err)
	vitalsLive(t, ctx, db, targets[0].Host.ID)
	setups := NewSetups(db)
	_, err = setups.Open(ctx, time.Now(), 0, 10)
	must(err)
	_, err = setups.Late(ctx, 10)
	must(err)
	must(setups.Rest(ctx, []fleet.Setup{{EnrollmentID: 1, Version: 1}}))
	_, err = hosts.ByIdentifier(ctx, "S")
	must(err)
	_, _, err = commands.List(ctx, fleet.CommandFilter{CommandUUID: "c0"})
	must(err)
	_, _, err = commands.List(ctx, fleet.CommandFilter{HostIDs: []fleet.HostID{targets[0].Host.ID}})
	must(err)
	_, err = channels.DeviceChannel(ctx, targets[0].Host.ID)
	must(err)
	_, err = channels.ByKey(ctx, "U")
	must(err)
}

// toldAll is what an answer to a refetch tells.
func toldAll() *fleet.Inventory {
	return &fleet.Inventory{Vitals: &fleet.Vitals{OSVersion: "1"}, Software: &fleet.SoftwareList{SHA256: [32]byte{1}, Items: []fleet.Software{{Name: "A"}}},
		Certificates: &fleet.CertificateList{SHA256: [32]byte{1}, Items: []fleet.HostCertificate{{CommonName: "A", DER: []byte("d")}}}}
}

// vitalsLive has a host asked for vitals and its identity renewed.
func vitalsLive(t *testing.T, ctx context.Context, db *DB, host fleet.HostID) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	refetches, renewals := NewRefetches(db), NewRenewals(db)
	for n := range 2 { // the second ask supersedes the first
		facts, err := refetches.Of(ctx, host)
		must(err)
		cmd := &fleet.Command{UUID: fmt.Sprint("REFETCH-APPS-", n), RequestType: "R", Purpose: fleet.CommandVitals, Body: []byte("b")}
		must(refetches.Ask(ctx, []fleet.RefetchAsk{{Facts: *facts, Commands: []*fleet.Command{cmd}, Parts: fleet.RefetchApps, Period: time.Hour, RetryAt: time.Now()}}))
	}
	_, err := refetches.Due(ctx, time.Now(), 10)
	must(err)
	_, _, _, err = NewSoftware(db).List(ctx, fleet.SoftwareFilter{HostID: host, Page: fleet.Page{Size: 10}})
	must(err)
	_, _, _, err = NewCertificates(db).List(ctx, host, fleet.Page{Size: 10})
	must(err)
	expiring, err := renewals.Expiring(ctx, time.Now().Add(400*24*time.Hour), 10)
	must(err)
	if len(expiring) != 1 {
		t.Fatalf("%d identities expire", len(expiring))
	}
	f := expiring[0]
	cmd := &fleet.Command{UUID: "renew", RequestType: "InstallProfile", Purpose: fleet.CommandRenew, Body: []byte("b")}
	must(renewals.Apply(ctx, []fleet.RenewalStep{{Facts: f, Next: fleet.Renewal{EnrollmentID: f.Enrollment.ID, IdentityID: f.IdentityID, Waiting: true},
		Challenge: &fleet.Challenge{Purpose: fleet.PurposeRenew, EnrollmentID: f.Enrollment.ID}, Command: cmd}}))
	_, err = renewals.Due(ctx, time.Now(), 10)
	must(err)
	_, err = renewals.Expiries(ctx, time.Now(), time.Now().Add(time.Hour), 10)
	must(err)
}
