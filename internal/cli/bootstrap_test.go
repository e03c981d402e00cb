package cli

import (
	"strings"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/httpapi/httpapitest"
)

// TestTheExamplesOfBootstrapPackages runs those of docs/enrollment.md.
func TestTheExamplesOfBootstrapPackages(t *testing.T) {
	b := loggedIn(t, "admin")
	path := b.file("tools.pkg", "xar!")
	told := map[string]string{"upload": "Signed by", "get": "3 have it, 2 are to get it, 1 failed", "install": "", "delete": ""}
	blocks, _ := fenced(pages(t)["docs/enrollment.md"])
	ran := 0
	for _, block := range blocks {
		for _, x := range commandsOf("docs/enrollment.md", block.text) {
			if x.words[1] != "bootstrap" {
				continue
			}
			words := x.words[1:]
			for i := range words {
				words[i] = strings.NewReplacer("tools.pkg", path, "C02XK1ABJGH5", httpapitest.Host().HardwareSerial, "Office", httpapitest.Team().Name).Replace(words[i])
			}
			if out := b.ok(words...); !strings.Contains(out, told[words[1]]) {
				t.Errorf("muster %v: %s", words, out)
			}
			if there := b.packages.Current != nil; there != (words[1] != "delete") {
				t.Errorf("after muster %v: %v", words, there)
			}
			ran++
		}
	}
	if ran != len(told) {
		t.Errorf("%d examples", ran)
	}
}

func TestAPackageIsReplacedOnlyOnDemand(t *testing.T) {
	b := loggedIn(t, "gitops")
	path := b.file("tools.pkg", "xar!")
	b.packages.Current = &fleet.BootstrapPackage{Name: "old.pkg"}
	if _, errs, code := b.run("bootstrap", "upload", path); code != ExitError || !strings.Contains(errs, "--replace") || b.packages.Current.Name != "old.pkg" {
		t.Errorf("%d %s", code, errs)
	}
	b.packages.Refuse = fleet.FieldErrorf(fleet.KindInvalid, "package", "not signed")
	if _, errs, code := b.run("bootstrap", "upload", path, "--replace"); code != ExitError || !strings.Contains(errs, "not signed") || b.packages.Current == nil {
		t.Errorf("the old package is gone, and the new one was refused: %d %s", code, errs)
	}
	b.packages.Refuse = nil
	b.ok("bootstrap", "upload", path, "--replace")
	if b.packages.Current.Name != "tools.pkg" || string(b.packages.Bytes) != "xar!" {
		t.Errorf("%+v", b.packages.Current)
	}
}
