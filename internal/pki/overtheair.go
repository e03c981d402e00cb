package pki

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// otaLife is how long a device has to come back with the identity of
// enrollment over the air. It does so at once.
const otaLife = time.Hour

// Draw fills in the hash and the expiry of a challenge and returns its secret.
func (a *Authority) Draw(c *fleet.Challenge) (secret string) {
	*c, secret = a.NewChallenge(*c, challengeTTL)
	return secret
}

// Trade uses up the secret of a challenge of used's purpose and team, and mints
// a challenge for what minted says, at once. KindForbidden: there is no such
// challenge, or it was used.
func (a *Authority) Trade(ctx context.Context, secret string, used, minted fleet.Challenge, events ...fleet.Event) (string, error) {
	used.SecretSHA256 = sha256.Sum256([]byte(secret))
	out := a.Draw(&minted)
	done, err := a.identities.Trade(ctx, used, minted, a.clock(), events...)
	if err != nil {
		return "", fmt.Errorf("trade a challenge: %w", err)
	}
	if !done {
		return "", fleet.Errorf(fleet.KindForbidden, "the profile was used already, has expired, or is of another team: download it again")
	}
	return out, nil
}

// Proof returns the identity of enrollment over the air whose certificate this
// is. KindForbidden: it is none, or is good no more.
func (a *Authority) Proof(ctx context.Context, cert *x509.Certificate) (*fleet.Identity, error) {
	i, err := a.identities.Identity(ctx, sha256.Sum256(cert.Raw))
	if err != nil {
		return nil, fmt.Errorf("look up identity: %w", err)
	}
	if i == nil || i.Purpose != fleet.PurposeOTA || !i.RevokedAt.IsZero() || !i.UsedAt.IsZero() || a.clock().After(i.NotAfter) {
		return nil, fleet.Errorf(fleet.KindForbidden, "the certificate is not one to enroll over the air with, was used already, or has expired: download the profile again")
	}
	return i, nil
}

// Spend uses an identity up and mints a challenge, at once. KindForbidden: it
// was used.
func (a *Authority) Spend(ctx context.Context, i *fleet.Identity, minted fleet.Challenge, events ...fleet.Event) (string, error) {
	out := a.Draw(&minted)
	done, err := a.identities.Spend(ctx, i.ID, minted, events...)
	if err != nil {
		return "", fmt.Errorf("spend an identity: %w", err)
	}
	if !done {
		return "", fleet.Errorf(fleet.KindForbidden, "the device got its enrollment profile already: download the first profile again")
	}
	return out, nil
}
