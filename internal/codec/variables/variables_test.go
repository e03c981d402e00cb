package variables

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScanFindsEachNameOnce(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       Found
	}{
		{"none", "costs $5, ${HOME}, $FLEET_VAR, $FLEET_VAR_", Found{}},
		{"plain", "a $FLEET_VAR_HOST_UUID.b", Found{Variables: []string{"HOST_UUID"}}},
		{"braces", "a${FLEET_SECRET_WIFI}b", Found{Secrets: []string{"WIFI"}}},
		{"braces that do not close", "${FLEET_SECRET_WIFI b", Found{}},
		{"sorted and once", "$FLEET_VAR_B $FLEET_VAR_A $FLEET_VAR_B", Found{Variables: []string{"A", "B"}}},
		{"a dollar before", "$$FLEET_VAR_A", Found{Variables: []string{"A"}}},
		{"lower case ends a name", "$FLEET_VAR_Ab", Found{Variables: []string{"A"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Scan([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestScanRefusesVeryMany(t *testing.T) {
	many := strings.Builder{}
	for i := range MaxNames + 1 {
		many.WriteString("$FLEET_VAR_A" + strings.Repeat("X", i) + " ")
	}
	if _, err := Scan([]byte(many.String())); err == nil {
		t.Error("accepted")
	}
}

func TestExpandEscapesForItsPlace(t *testing.T) {
	values := func(secret bool, name string) (string, error) {
		if secret {
			return `p<"&` + name, nil
		}
		return "v-" + name, nil
	}
	got, err := Expand([]byte("<s>${FLEET_SECRET_A}x $FLEET_VAR_B</s>"), XML, values)
	if err != nil || string(got) != "<s>p&lt;&#34;&amp;Ax v-B</s>" {
		t.Errorf("%s, %v", got, err)
	}
	got, err = Expand([]byte(`{"a":"$FLEET_SECRET_A"}`), JSON, values)
	if err != nil || string(got) != `{"a":"p\u003c\"\u0026A"}` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestExpandFailsWithItsValues(t *testing.T) {
	none := errors.New("none")
	_, err := Expand([]byte("$FLEET_VAR_A"), XML, func(bool, string) (string, error) { return "", none })
	if !errors.Is(err, none) {
		t.Error(err)
	}
}

func TestAValueIsNotExpandedAgain(t *testing.T) {
	got, err := Expand([]byte("$FLEET_VAR_A"), XML, func(bool, string) (string, error) { return "$FLEET_SECRET_B", nil })
	if err != nil || string(got) != "$FLEET_SECRET_B" {
		t.Errorf("%s, %v", got, err)
	}
}

func FuzzExpandTouchesOnlyVariables(f *testing.F) {
	f.Add([]byte("a $FLEET_VAR_HOST_UUID ${FLEET_SECRET_A} $"))
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := Scan(data)
		if err != nil {
			return
		}
		out, err := Expand(data, func(v string) string { return v }, func(secret bool, name string) (string, error) {
			if secret {
				return "${" + SecretPrefix + name + "}", nil
			}
			return "${" + VarPrefix + name + "}", nil
		})
		if err != nil {
			t.Fatal(err)
		}
		again, err := Scan(out)
		if err != nil || cmp.Diff(found, again) != "" {
			t.Errorf("%q: %v became %v", data, found, again)
		}
	})
}
