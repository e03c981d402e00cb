package httpapitest

import (
	"context"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// OverTheAir knows the secret "join", and accounts.
type OverTheAir struct{ Signed []byte }

func (f *OverTheAir) profile(secret, text string) ([]byte, error) {
	if secret != "join" {
		return nil, fleet.Errorf(fleet.KindForbidden, "there is no such enroll secret")
	}
	return []byte(text), nil
}

// Begin returns a text.
func (f *OverTheAir) Begin(_ context.Context, secret string) ([]byte, error) {
	return f.profile(secret, "begin")
}

// Answer remembers what was signed.
func (f *OverTheAir) Answer(_ context.Context, secret string, der []byte, _ string) ([]byte, error) {
	f.Signed = der
	return f.profile(secret, "answer")
}

// Invite makes a token for accounts of example.com.
func (f *OverTheAir) Invite(_ context.Context, _ fleet.Actor, account string, _ fleet.TeamID) (string, time.Time, error) {
	if !strings.HasSuffix(account, "@example.com") {
		return "", time.Time{}, fleet.FieldErrorf(fleet.KindInvalid, "managed_apple_id", "must be one")
	}
	return "secret-account-token", Now().Add(time.Hour), nil
}
