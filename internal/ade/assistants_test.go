package ade

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// desk has server tokens, and is Apple, which counts what it checked.
type desk struct {
	AssistantStore
	TokenStore
	tokens  []fleet.ServerToken
	checked int
}

func (d *desk) PutAssistant(context.Context, *fleet.SetupAssistant, ...fleet.Event) error { return nil }
func (d *desk) List(context.Context) ([]fleet.ServerToken, error)                         { return d.tokens, nil }
func (d *desk) DEPEnrollURL(context.Context, fleet.ServerTokenID) (string, error) {
	return "https://mdm.example.com/enroll", nil
}

func (d *desk) DefineProfile(context.Context, fleet.ServerTokenID, []byte) (string, error) {
	d.checked++
	return "profile-1", nil
}

func TestAWarningSaysThatAppleDidNotCheckAProfile(t *testing.T) {
	now := time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)
	token := func(left time.Duration, kind fleet.DEPErrorKind, reason string) fleet.ServerToken {
		return fleet.ServerToken{Sync: fleet.DEPSync{TokenID: 3, Expiry: now.Add(left), Error: kind, Reason: reason}}
	}
	good, expired := token(time.Hour, fleet.DEPOK, ""), token(-time.Hour, fleet.DEPOK, "")
	for _, c := range []struct {
		name   string
		tokens []fleet.ServerToken
		want   string // in the warning; empty: Apple checked it
	}{
		{"no token", nil, "there is no server token"},
		{"an expired one", []fleet.ServerToken{expired}, "server token 3 has expired"},
		{"terms to be signed", []fleet.ServerToken{token(time.Hour, fleet.DEPTerms, "sign the terms")}, "sign the terms"},
		{"one that works", []fleet.ServerToken{good}, ""},
		{"one that works among others", []fleet.ServerToken{expired, good}, ""},
	} {
		d := &desk{tokens: c.tokens}
		a := NewAssistants(d, d, d, d, func() time.Time { return now }, nil)
		_, warnings, err := a.Set(t.Context(), fleet.Actor{}, fleet.NoTeam, "", []byte(`{"profile_name":"Classroom"}`))
		warned := slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, "Apple did not check") && strings.Contains(w, c.want) })
		if err != nil || warned != (c.want != "") || (d.checked == 1) == warned {
			t.Errorf("%s: %q, %v, checked %d times", c.name, warnings, err, d.checked)
		}
	}
}
