package cli

import (
	"regexp"
	"strings"
	"testing"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/httpapi/httpapitest"
)

func TestThePageOnLocksIsTrue(t *testing.T) {
	e := newEstate(t)
	cert, key, err := e.push.NewPushCertificate("com.apple.mgmt.External.story")
	e.must(err)
	e.story.run("", "apns", "upload", "--cert", e.file("push.pem", cert), "--key", e.file("push.key", key))
	created, err := e.connection.CreateEnrollment(t.Context(), "Macs", "manual")
	e.must(err)
	// It does not run: the page goes step by step.
	e.must(e.mac.Enroll(t.Context(), created.EnrollURL))
	poll := func() {
		t.Helper()
		_, err := e.mac.Poll(t.Context())
		e.must(err)
	}
	poll()
	serial, command, request := e.mac.Spec().Serial, "", ""
	second, err := e.connection.CreateUser(t.Context(), apiv1.CreateUserRequest{Name: "Bob", Email: "bob@example.com", GlobalRole: "admin", APIOnly: true})
	e.must(err)

	pin := func(text string) string { return regexp.MustCompile(`PIN:\s+(\d{6})`).FindStringSubmatch(text)[1] }
	word := func(text, label string) string {
		return regexp.MustCompile(label + `:\s+(\S+)`).FindStringSubmatch(text)[1]
	}
	// What each command of the page says, and what happens then.
	told := []struct {
		command string
		says    string
		then    func(text string)
	}{
		{"mdm lock", "lock pending", func(string) { poll() }},
		{"mdm unlock", "unlock pending", func(text string) {
			if !e.mac.EnterPIN(pin(text)) {
				t.Error("the PIN does not open the Mac")
			}
			poll()
		}},
		{"mdm wipe", "wipe pending", func(text string) { command = word(text, "Command") }},
		{"get host", "wipe pending", nil},
		{"mdm cancel", "taken back", nil},
		{"mdm archived-secrets", "Nothing is archived", nil},
		{"brake show", "Wipes an hour and person:  10", nil},
		{"brake set", "unenroll", nil},
		{"mdm unenroll", "another admin must approve", func(text string) { request = regexp.MustCompile(`request (\S+) before`).FindStringSubmatch(text)[1] }},
		{"approvals list", "waiting", nil},
		{"approvals approve", "done", nil},
		{"approvals list", "unenroll", nil},
	}
	blocks, _ := fenced(pages(t)["docs/lock-and-wipe.md"])
	ran := 0
	for _, b := range blocks {
		for _, x := range commandsOf("docs/lock-and-wipe.md", b.text) {
			if ran >= len(told) || strings.Join(x.words[1:3], " ") != told[ran].command {
				t.Fatalf("docs/lock-and-wipe.md:%d: this test does not know %v", b.line, x.words)
			}
			line := strings.NewReplacer("C02XK1ABJGH5", serial, "COMMAND", command, "REQUEST", request).Replace(strings.Join(x.words[1:], " "))
			if told[ran].command == "approvals approve" {
				e.wants(ExitForbidden, line, "second person")
				// The other admin has a token of their own.
				e.story.run("", "config", "set", "--token", *second.Token)
			}
			text := e.wants(ExitOK, line, told[ran].says)
			if told[ran].then != nil {
				told[ran].then(text)
			}
			ran++
		}
	}
	poll()
	if ran != len(told) || e.mac.Enrolled() {
		t.Errorf("%d commands, and the Mac is enrolled: %v", ran, e.mac.Enrolled())
	}
}

func TestAWipeIsConfirmedByTyping(t *testing.T) {
	b := loggedIn(t, "admin")
	if _, errs, code := b.run("mdm", "wipe", "--host", "C02ABC"); code != ExitUsage || !strings.Contains(errs, "--yes") || len(b.actions.Asked.Hosts) > 0 {
		t.Errorf("without a terminal: %d %s", code, errs)
	}
	b.terminal = true
	b.input = "y\n"
	if _, errs, code := b.run("mdm", "wipe", "--host", "C02ABC"); code != ExitError || !strings.Contains(errs, "nothing was changed") || len(b.actions.Asked.Hosts) > 0 {
		t.Errorf("a y: %d %s", code, errs)
	}
	b.input = "c02abc\n"
	b.ok("mdm", "wipe", "--host", "C02ABC", "--behavior", "DoNotObliterate")
	if a := b.actions.Asked; a.Kind != fleet.ActionWipe || a.Hosts[0] != 7 || a.Options.Behavior != "DoNotObliterate" || a.Expected >= 0 {
		t.Errorf("%+v", a)
	}
	if _, errs, code := b.run("mdm", "lock", "--hosts", "C02ABC,C02ABC", "--count", "3", "--yes"); code != ExitUsage || !strings.Contains(errs, "--count is 3") {
		t.Errorf("another count: %d %s", code, errs)
	}
	if _, _, code := b.run("mdm", "lock", "--yes"); code != ExitUsage {
		t.Errorf("no host: %d", code)
	}
	b.ok("mdm", "lock", "--hosts", "C02ABC", "--count", "1", "--yes", "--message", "Ours")
	if a := b.actions.Asked; a.Kind != fleet.ActionLock || a.Expected != 1 || a.Options.Message != "Ours" {
		t.Errorf("%+v", a)
	}
	if _, _, code := b.run("mdm", "wipe", "--host", "C02ABC", "--wifi-profile", "x", "--yes"); code != ExitUsage {
		t.Errorf("a network for nothing: %d", code)
	}
	if _, errs, code := b.run("mdm", "wipe", "--host", "C02ABC", "--return-to-service", "--wifi-profile", b.file("none.mobileconfig", ""), "--yes"); code != ExitUsage || !strings.Contains(errs, "is empty") {
		t.Errorf("an empty network: %d %s", code, errs)
	}
}

func TestHeldActionsSaySo(t *testing.T) {
	b := loggedIn(t, "admin")
	r := httpapitest.Request()
	b.actions.Hold = &r
	if _, errs, code := b.run("mdm", "unenroll", "--host", "C02ABC", "--yes"); code != ExitOK || b.enrollments.TurnedOff != 0 || !strings.Contains(errs, "request-1") {
		t.Errorf("%d %s", code, errs)
	}
	if out := b.ok("mdm", "wipe", "--host", "C02ABC", "--yes"); !strings.Contains(out, "request-1") {
		t.Errorf("%s", out)
	}
	if out := b.ok("approvals", "list"); !strings.Contains(out, "grace@example.com") || !strings.Contains(out, "Ada's Mac") {
		t.Errorf("%s", out)
	}
	for what, phase := range map[string]fleet.ActionPhase{"approve": fleet.ActionDone, "deny": fleet.ActionDenied, "undo": fleet.ActionUndone} {
		b.ok("approvals", what, "request-1")
		if b.actions.Decided != phase {
			t.Errorf("%s is %s", what, b.actions.Decided)
		}
	}
	b.actions.Fail = "Ada's Mac is wiped already"
	if out, errs, code := b.run("approvals", "approve", "request-1"); code != ExitError || !strings.Contains(out, "failed") || !strings.Contains(errs, "wiped already") {
		t.Errorf("what failed: %d %s %s", code, out, errs)
	}
	b.actions.Refuse = fleet.FieldErrorf(fleet.KindForbidden, "request", "a second person must approve")
	if _, errs, code := b.run("approvals", "approve", "request-1"); code != ExitForbidden || !strings.Contains(errs, "a second person") || strings.Contains(errs, "role") {
		t.Errorf("one's own: %d %s", code, errs)
	}
	b.actions.Refuse = fleet.Errorf(fleet.KindForbidden, "The role observer lacks the permission.")
	if _, errs, code := b.run("approvals", "approve", "request-1"); code != ExitForbidden || !strings.Contains(errs, "Ask an admin for a role") {
		t.Errorf("another role: %d %s", code, errs)
	}
	if _, errs, code := b.run("host", "delete", "--host", "C02ABC", "--yes"); code != ExitOK || b.hosts.Deleted != 0 || !strings.Contains(errs, "request-1") {
		t.Errorf("%d %s", code, errs)
	}
	for _, line := range []string{"mdm unlock-pin", "mdm recovery-lock", "mdm bypass-code"} {
		if out := b.ok(append(strings.Fields(line), "--host", "C02ABC")...); !strings.Contains(out, "the-secret") {
			t.Errorf("%s: %s", line, out)
		}
	}
	for line, kind := range map[string]fleet.ActionKind{"mdm clear-passcode --yes": fleet.ActionClearPasscode, "mdm locate --yes": fleet.ActionLocate,
		"mdm play-sound --yes": fleet.ActionPlaySound, "mdm recovery-lock --rotate": fleet.ActionRecoveryLock, "mdm bypass-code --fetch": fleet.ActionBypassCode} {
		b.ok(append(strings.Fields(line), "--host", "C02ABC")...)
		if b.actions.Asked.Kind != kind {
			t.Errorf("%s is %s", line, b.actions.Asked.Kind)
		}
	}
}

func TestALockedHostIsDeletedByForceOnly(t *testing.T) {
	b := loggedIn(t, "admin")
	b.actions.Locked = true
	if _, errs, code := b.run("host", "delete", "--host", "C02ABC", "--yes"); code == ExitOK || b.hosts.Deleted != 0 || !strings.Contains(errs, "unlock it first") {
		t.Errorf("%d %s", code, errs)
	}
	b.ok("host", "delete", "--host", "C02ABC", "--yes", "--force")
	if b.hosts.Deleted != 7 {
		t.Errorf("host %d was deleted", b.hosts.Deleted)
	}
	if out := b.ok("mdm", "archived-secrets", "--serial", "C02ABC"); !strings.Contains(out, "unlock_pin") || !strings.Contains(out, "123456") {
		t.Errorf("%s", out)
	}
	if _, errs, code := b.run("mdm", "archived-secrets"); code != ExitUsage || !strings.Contains(errs, "--serial") {
		t.Errorf("%d %s", code, errs)
	}
}
