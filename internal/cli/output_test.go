package cli

import (
	"slices"
	"strings"
	"testing"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

func TestATableOfValuesHasNoDashes(t *testing.T) {
	var out strings.Builder
	if err := writeCSV(&out, []string{"NAME", "LAST SEEN"}, [][]string{{"-x", notYet}}); err != nil || out.String() != "name,last_seen\n'-x,\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestAMacIsNotSaidToBeInNoLostMode(t *testing.T) {
	no := false
	for platform, said := range map[string]bool{"darwin": false, "ios": true} {
		h := apiv1.HostDetail{}
		h.Platform, h.Vitals.LostMode, h.Vitals.Supervised = platform, &no, &no
		facts := (&cli{}).vitalFacts(&h)
		if slices.ContainsFunc(facts, func(f []string) bool { return f[0] == "Lost mode" }) != said {
			t.Errorf("%s: %q", platform, facts)
		}
	}
}
