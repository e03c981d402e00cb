package near

import (
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	known := []string{"is_mdm_removable", "url", "Siri", "AppleID"}
	for name, want := range map[string]string{"is_mdm_removabel": "is_mdm_removable", "uri": "url", "siri": "Siri", "appleid": "AppleID", "AppelID": "AppleID",
		"Zoo": "", "": "", "something else": "", strings.Repeat("x", 1<<20): ""} {
		if got := Of(name, known); got != want {
			t.Errorf("%.40q: %q, want %q", name, got, want)
		}
	}
	if Of("x", nil) != "" || Nearest("x", nil) != "" {
		t.Error("something is near in nothing")
	}
	if got := Nearest("Zoo", known); got != "url" && got != "Siri" {
		t.Errorf("nearest to Zoo is %q", got)
	}
}

func TestDistance(t *testing.T) {
	for pair, want := range map[[2]string]int{{"", ""}: 0, {"abc", ""}: 3, {"kitten", "sitting"}: 3, {"ABC", "abc"}: 0, {"ab", "ba"}: 2} {
		if got := Distance(pair[0], pair[1]); got != want || Distance(pair[1], pair[0]) != want {
			t.Errorf("%v: %d, want %d", pair, got, want)
		}
	}
}
