package cli

import (
	"strings"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
)

func TestVitals(t *testing.T) {
	b := loggedIn(t, "admin")
	if out := b.ok("get", "host", "C02ABC"); !strings.Contains(out, "Battery:") || !strings.Contains(out, "50 % normal") || !strings.Contains(out, "FileVault:") ||
		strings.Contains(out, "Lost mode:") || !strings.Contains(out, "125.0 of 500.0 GB free (25 %)") {
		t.Errorf("a host:\n%s", out)
	}
	if out := b.ok("get", "software", "--host", "C02ABC"); !strings.Contains(out, "| Slack | 4.45") {
		t.Errorf("of a host:\n%s", out)
	}
	if out := b.ok("get", "software", "--host", "C02ABC", "--query", "zoom", "-o", "csv"); strings.Contains(out, "Slack") {
		t.Errorf("another title:\n%s", out)
	}
	if out := b.ok("get", "software", "--query", "sla"); !strings.Contains(out, "HOSTS") || b.inventories.Filter.Query != "sla" {
		t.Errorf("of all hosts:\n%s", out)
	}
	if out := b.ok("get", "certificates", "--host", "C02ABC"); !strings.Contains(out, "| Ada ") {
		t.Errorf("certificates:\n%s", out)
	}
	b.ok("refetch", "--host", "C02ABC")
	if b.inventories.Refetched != 7 {
		t.Error("not asked")
	}
	for _, words := range [][]string{{"refetch"}, {"get", "certificates"}} {
		if _, _, code := b.run(words...); code != ExitUsage {
			t.Errorf("%v: exit %d", words, code)
		}
	}
}

func TestExpiring(t *testing.T) {
	b := loggedIn(t, "admin")
	out, errs, code := b.run("get", "expiring", "--days", "60")
	if code != ExitExpiring || errs != "" || b.guardian.Days != 60 || !strings.Contains(out, "2 days left") || !strings.Contains(out, "renewal failed 2 times: it will not") || !strings.Contains(out, "and 2 more") {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	b.guardian.None = true
	b.tokens.Tokens = []fleet.ServerToken{{Account: fleet.DEPAccount{ServerName: "Muster"}, Sync: fleet.DEPSync{TokenID: 1, Error: fleet.DEPTerms, Reason: "sign the terms"}}}
	if out, _, code := b.run("get", "expiring"); code != ExitExpiring || !strings.Contains(out, "sign the terms") {
		t.Errorf("terms to be signed: %d %s", code, out)
	}
	b.tokens.Tokens = nil
	if _, errs, code := b.run("get", "expiring"); code != ExitOK || !strings.Contains(errs, "Nothing expires within 30 days.") {
		t.Errorf("%d %s", code, errs)
	}
}
