package settings

import (
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
)

func TestURLsAreCheckedAndBroughtIntoForm(t *testing.T) {
	v := fleet.Settings{ServerURL: " https://mdm.example.com/ "}
	if err := Check(&v); err != nil || v.ServerURL != "https://mdm.example.com" {
		t.Fatalf("%q, %v", v.ServerURL, err)
	}
	for _, bad := range []string{"mdm.example.com", "ftp://x", "https://", "https://u:p@x", "javascript:alert(1)"} {
		v := fleet.Settings{ServerURL: bad, OrgLogoURL: bad}
		err := Check(&v)
		if fleet.KindOf(err) != fleet.KindInvalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
