package httpapitest

import (
	"context"

	"github.com/muster-mdm/muster/internal/fleet"
)

// OverTheAir knows the secret "join".
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
