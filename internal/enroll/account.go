package enroll

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/codec/machineinfo"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
)

// Paths of account-driven enrollment (contracts/apple.md 4.7).
const (
	PathDiscovery = "/mdm/apple/service_discovery"
	PathWellKnown = "/.well-known/com.apple.remotemanagement"
	PathAccount   = "/api/mdm/apple/account_driven_enroll"
	PathSignIn    = "/mdm/apple/account_driven_enroll/sso"
)

// accountTokenLife is how long somebody has to enroll with a token.
const accountTokenLife = 24 * time.Hour

// maxAccount bounds a managed Apple account, an e-mail address.
const maxAccount = 254

// AccountTokens keeps the tokens that stand for people who signed in.
type AccountTokens interface {
	Add(ctx context.Context, t fleet.AccountToken, events ...fleet.Event) error
	// Token is nil when there is none of that hash.
	Token(ctx context.Context, sha256 [32]byte) (*fleet.AccountToken, error)
	// Use uses a token up for a challenge; false: it was used or has expired.
	Use(ctx context.Context, sha256 [32]byte, now time.Time, minted fleet.Challenge, events ...fleet.Event) (bool, error)
}

// Drawer makes the secret of a challenge that somebody else stores.
type Drawer interface {
	Draw(c *fleet.Challenge) (secret string)
}

// Accounts enrolls devices of people who have a managed Apple account.
type Accounts struct {
	issuer  *Issuer
	tokens  AccountTokens
	drawer  Drawer
	trusted machineinfo.Authorities
	clock   func() time.Time
}

// NewAccounts returns what enrolls with accounts. trusted are the authorities of
// devices.
func NewAccounts(issuer *Issuer, tokens AccountTokens, drawer Drawer, trusted machineinfo.Authorities, clock func() time.Time) *Accounts {
	return &Accounts{issuer: issuer, tokens: tokens, drawer: drawer, trusted: trusted, clock: clock}
}

// Invite makes a token with which the person of an account enrolls one device,
// once. The token itself is kept nowhere.
func (a *Accounts) Invite(ctx context.Context, actor fleet.Actor, account string, team fleet.TeamID) (token string, expires time.Time, err error) {
	account = strings.TrimSpace(account)
	name, domain, ok := strings.Cut(account, "@")
	if !ok || name == "" || !strings.Contains(domain, ".") || strings.ContainsAny(account, " \t\r\n<>\"") || len(account) > maxAccount {
		return "", time.Time{}, fleet.FieldErrorf(fleet.KindInvalid, "managed_apple_id", "must be a managed Apple account, as ada@example.com")
	}
	token, expires = ids.Token(), a.clock().Add(accountTokenLife)
	err = a.tokens.Add(ctx, fleet.AccountToken{SHA256: sha256.Sum256([]byte(token)), ManagedAppleID: account, TeamID: team, ExpiresAt: expires},
		fleet.Event{Kind: fleet.EventAccountInvited, At: a.clock(), Actor: actor, Details: details(map[string]string{"managed_apple_id": account})})
	return token, expires, err
}

// Base is the URL that Apple devices reach the server by.
func (a *Accounts) Base(ctx context.Context) (string, error) {
	s, err := a.issuer.settings.Settings(ctx)
	if err == nil && s.AppleBase() == "" {
		err = noURL()
	}
	return s.AppleBase(), err
}

// Profile returns the signed enrollment profile for a device of a person who
// signed in, by what the device signed. Errors: KindUnauthenticated: the token
// is good no more, sign in again; KindBadRequest; KindForbidden: not such a
// device.
func (a *Accounts) Profile(ctx context.Context, token string, der []byte, address string) ([]byte, error) {
	again := fleet.Errorf(fleet.KindUnauthenticated, "sign in again: the token is unknown, was used already, or has expired")
	hash := sha256.Sum256([]byte(token))
	t, err := a.tokens.Token(ctx, hash)
	if err != nil {
		return nil, err
	}
	if t == nil || !t.UsedAt.IsZero() || !a.clock().Before(t.ExpiresAt) {
		return nil, again
	}
	info, err := machineinfo.Verify(der, a.trusted)
	if err != nil {
		return nil, fleet.Errorf(fleet.KindBadRequest, "%v: only Apple devices can enroll with an account", err).WithCause(err)
	}
	if fleet.PlatformOfModel(info.Product) == fleet.PlatformDarwin {
		return nil, fleet.Errorf(fleet.KindForbidden, "a %.40q cannot enroll with an account here: iPhones and iPads can", info.Product)
	}
	event := fleet.Event{Kind: fleet.EventProfileDownloaded, At: a.clock(), Actor: fleet.Actor{Kind: fleet.ActorDevice, Name: t.ManagedAppleID, Address: address},
		Details: details(map[string]string{"enrollment": "account", "managed_apple_id": t.ManagedAppleID})}
	way := fleet.Admission{Kind: fleet.EnrollmentAccount, TeamID: t.TeamID}
	return a.issuer.compose(ctx, composition{challenge: fleet.Challenge{Purpose: fleet.PurposeEnroll, Admission: way}, managedAppleID: t.ManagedAppleID, signed: true,
		mint: func(c fleet.Challenge) (string, error) {
			secret := a.drawer.Draw(&c)
			done, err := a.tokens.Use(ctx, hash, a.clock(), c, event)
			if err == nil && !done {
				err = again
			}
			return secret, err
		}})
}
