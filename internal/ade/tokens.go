package ade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/muster-mdm/muster/internal/codec/deptoken"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// TokenStore keeps server tokens.
type TokenStore interface {
	List(ctx context.Context) ([]fleet.ServerToken, error)
	Create(ctx context.Context, v *fleet.ServerToken, profile *fleet.EnrollmentProfile,
		seal func(fleet.SecretRef) (fleet.SecretWrite, error), events ...fleet.Event) error
	Replace(ctx context.Context, id fleet.ServerTokenID, decide func(fleet.ServerToken) (fleet.ServerToken, error),
		seal func(fleet.SecretRef) (fleet.SecretWrite, error), events ...fleet.Event) error
	SetTeams(ctx context.Context, id fleet.ServerTokenID, teams map[fleet.Platform]fleet.TeamID, events ...fleet.Event) error
	Delete(ctx context.Context, id fleet.ServerTokenID, events ...fleet.Event) (found bool, err error)
}

// DeviceStore keeps what syncing found.
type DeviceStore interface {
	Change(ctx context.Context, token fleet.ServerTokenID, serials []string, decide func(fleet.DEPFacts) (fleet.DEPChange, error)) error
	Devices(ctx context.Context, f fleet.DEPFilter) ([]fleet.DEPRecord, fleet.PageMeta, error)
	Assigned(ctx context.Context, hosts []fleet.HostID) (map[fleet.HostID]bool, error)
}

// Secrets keeps sealed values.
type Secrets interface {
	Secret(ctx context.Context, ref fleet.SecretRef) (*fleet.StoredSecret, error)
	// Create stores values only if none of them exists yet.
	Create(ctx context.Context, writes []fleet.SecretWrite, events ...fleet.Event) (bool, error)
}

// Sealer seals and opens secrets.
type Sealer interface {
	Seal(ref fleet.SecretRef, secret []byte) (fleet.Sealed, error)
	Open(ref fleet.SecretRef, sealed fleet.Sealed) ([]byte, error)
}

// Accounts asks Apple who a token belongs to. Errors of the service are
// *fleet.DEPError.
type Accounts interface {
	Try(ctx context.Context, c fleet.DEPCredentials) (fleet.DEPAccount, error)
}

// Tokens keeps server tokens: their key pair, their credentials, whom their
// devices join.
type Tokens struct {
	store   TokenStore
	devices DeviceStore
	secrets Secrets
	sealer  Sealer
	apple   Accounts
	clock   func() time.Time
	syncs   *wake.Bell // rung when there is something to sync
}

// NewTokens returns the server tokens over a store. Ask must be called before
// tokens are uploaded. syncs may be nil.
func NewTokens(store TokenStore, devices DeviceStore, secrets Secrets, sealer Sealer, clock func() time.Time, syncs *wake.Bell) *Tokens {
	return &Tokens{store: store, devices: devices, secrets: secrets, sealer: sealer, clock: clock, syncs: syncs}
}

// Ask says whom to ask about accounts: the client of Apple's service, which
// itself asks Tokens for credentials.
func (t *Tokens) Ask(apple Accounts) { t.apple = apple }

func assetRef(name fleet.AssetName) fleet.SecretRef {
	return fleet.SecretRef{Scope: fleet.ScopeAsset, Name: string(name)}
}

// PublicKey returns the certificate to upload at Apple, in PEM form. The key
// pair is made when it is first asked for.
func (t *Tokens) PublicKey(ctx context.Context) ([]byte, error) {
	for range 2 {
		certPEM, err := t.asset(ctx, fleet.AssetDEPCert)
		if err != nil || certPEM != nil {
			return certPEM, err
		}
		if err := t.makePair(ctx); err != nil {
			return nil, fmt.Errorf("make the key pair of server tokens: %w", err)
		}
	}
	return nil, errors.New("the key pair of server tokens vanished while it was made")
}

func (t *Tokens) makePair(ctx context.Context) error {
	certPEM, keyPEM, err := deptoken.NewPair(t.clock())
	if err != nil {
		return err
	}
	var writes []fleet.SecretWrite
	for name, value := range map[fleet.AssetName][]byte{fleet.AssetDEPCert: certPEM, fleet.AssetDEPKey: keyPEM} {
		sealed, err := t.sealer.Seal(assetRef(name), value)
		if err != nil {
			return err
		}
		writes = append(writes, fleet.SecretWrite{Ref: assetRef(name), Value: sealed})
	}
	_, err = t.secrets.Create(ctx, writes)
	return err
}

func (t *Tokens) asset(ctx context.Context, name fleet.AssetName) ([]byte, error) {
	stored, err := t.secrets.Secret(ctx, assetRef(name))
	if err != nil || stored == nil {
		return nil, err
	}
	return t.sealer.Open(stored.Ref, stored.Value)
}

// sealedToken is a server token as it lies in its sealed value. Fields are
// only ever added.
type sealedToken struct {
	ConsumerKey, ConsumerSecret string
	AccessToken, AccessSecret   string
	Expiry                      time.Time
	// CertPEM and KeyPEM are the pair that the token was encrypted to, where
	// it is not the server's.
	CertPEM, KeyPEM string `json:",omitempty"`
}

// opened is an upload that was opened, with what Apple says about it.
type opened struct {
	sealed  sealedToken
	account fleet.DEPAccount
}

func (t *Tokens) open(ctx context.Context, u fleet.ServerTokenUpload) (*opened, error) {
	given := len(u.CertPEM) > 0 || len(u.KeyPEM) > 0
	if !given {
		var err error
		if u.CertPEM, err = t.asset(ctx, fleet.AssetDEPCert); err == nil && u.CertPEM != nil {
			u.KeyPEM, err = t.asset(ctx, fleet.AssetDEPKey)
		}
		if err != nil {
			return nil, err
		}
		if u.CertPEM == nil {
			return nil, fleet.FieldErrorf(fleet.KindPrecondition, "token", "this server has no key pair for server tokens yet, so the token was made for another key:"+
				" run `muster generate mdm-apple-bm`, upload the public key at Apple, and download a new token")
		}
	}
	cert, key, err := deptoken.ParsePair(u.CertPEM, u.KeyPEM)
	if err != nil {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "private_key", "%v", err)
	}
	c, err := deptoken.Decode(u.File, cert, key, t.clock())
	if err != nil {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "token", "%v", err)
	}
	out := &opened{sealed: sealedToken{ConsumerKey: c.ConsumerKey, ConsumerSecret: c.ConsumerSecret, AccessToken: c.AccessToken,
		AccessSecret: c.AccessSecret, Expiry: c.Expiry}}
	if given {
		out.sealed.CertPEM, out.sealed.KeyPEM = string(u.CertPEM), string(u.KeyPEM)
	}
	if out.account, err = t.apple.Try(ctx, c); err != nil {
		return nil, refusedByApple(err)
	}
	if out.account.ServerUUID == "" {
		return nil, fleet.FieldErrorf(fleet.KindUpstream, "token", "Apple does not say which server the token belongs to: try again later")
	}
	return out, nil
}

// refusedByApple says what to do about a token that Apple does not take.
func refusedByApple(err error) error {
	e := depError(err)
	if e == nil {
		return err
	}
	kind := fleet.KindUpstream
	switch e.Kind {
	case fleet.DEPTokenExpired, fleet.DEPTokenRejected, fleet.DEPTerms, fleet.DEPRefused:
		kind = fleet.KindInvalid
	case fleet.DEPOK, fleet.DEPTemporary, fleet.DEPCursorExhausted, fleet.DEPCursorExpired, fleet.DEPCursorInvalid, fleet.DEPCursorRequired, fleet.DEPTooMany:
	}
	return fleet.FieldErrorf(kind, "token", "%v; nothing was changed", e).WithCause(err)
}

func (t *Tokens) seal(v sealedToken) func(fleet.SecretRef) (fleet.SecretWrite, error) {
	return func(ref fleet.SecretRef) (fleet.SecretWrite, error) {
		plain, err := json.Marshal(v)
		if err != nil {
			return fleet.SecretWrite{}, err
		}
		sealed, err := t.sealer.Seal(ref, plain)
		return fleet.SecretWrite{Ref: ref, Value: sealed}, err
	}
}

// DEPCredentials returns the secrets of a token, with a version that changes
// when they do. KindNotFound: there is no such token.
func (t *Tokens) DEPCredentials(ctx context.Context, token fleet.ServerTokenID) (fleet.DEPCredentials, int64, error) {
	ref := fleet.SecretRef{Scope: fleet.ScopeServerToken, Name: strconv.FormatInt(int64(token), 10)}
	stored, err := t.secrets.Secret(ctx, ref)
	if err != nil {
		return fleet.DEPCredentials{}, 0, err
	}
	if stored == nil {
		return fleet.DEPCredentials{}, 0, fleet.Errorf(fleet.KindNotFound, "there is no server token %d", token)
	}
	plain, err := t.sealer.Open(ref, stored.Value)
	if err != nil {
		return fleet.DEPCredentials{}, 0, fmt.Errorf("server token %d: %w", token, err)
	}
	var v sealedToken
	if err := json.Unmarshal(plain, &v); err != nil {
		return fleet.DEPCredentials{}, 0, fmt.Errorf("server token %d: what was sealed cannot be read", token)
	}
	return fleet.DEPCredentials{ConsumerKey: v.ConsumerKey, ConsumerSecret: v.ConsumerSecret, AccessToken: v.AccessToken,
		AccessSecret: v.AccessSecret, Expiry: v.Expiry}, stored.Version, nil
}

// List returns the tokens, oldest first.
func (t *Tokens) List(ctx context.Context) ([]fleet.ServerToken, error) { return t.store.List(ctx) }

// Token returns one. KindNotFound: there is none.
func (t *Tokens) Token(ctx context.Context, id fleet.ServerTokenID) (fleet.ServerToken, error) {
	list, err := t.store.List(ctx)
	if err != nil {
		return fleet.ServerToken{}, err
	}
	for _, v := range list {
		if v.Sync.TokenID == id {
			return v, nil
		}
	}
	return fleet.ServerToken{}, fleet.Errorf(fleet.KindNotFound, "there is no server token %d", id)
}

// Add stores a token after Apple took it. Its devices come in through the
// automatic enrollment; 0: one that is made for it.
func (t *Tokens) Add(ctx context.Context, actor fleet.Actor, u fleet.ServerTokenUpload, enrollment fleet.EnrollmentProfileID) (fleet.ServerToken, error) {
	o, err := t.open(ctx, u)
	if err != nil {
		return fleet.ServerToken{}, err
	}
	list, err := t.store.List(ctx)
	if err != nil {
		return fleet.ServerToken{}, err
	}
	servers := make([]string, 0, len(list))
	for _, v := range list {
		servers = append(servers, v.Account.ServerUUID)
	}
	if err := Duplicate(o.account, servers); err != nil {
		return fleet.ServerToken{}, err
	}
	v := fleet.ServerToken{Account: o.account, Sync: Restarted(fleet.DEPSync{Expiry: o.sealed.Expiry})}
	p := &fleet.EnrollmentProfile{ID: enrollment, Kind: fleet.EnrollmentADE, Token: ids.Token(), CreatedBy: actor.UserID,
		Name: fmt.Sprintf("Automatic enrollment of %.100s (%.8s)", o.account.ServerName, o.account.ServerUUID)}
	if err := t.store.Create(ctx, &v, p, t.seal(o.sealed), t.event(actor, "added", o.account)); err != nil {
		return fleet.ServerToken{}, err
	}
	t.syncs.Ring()
	return v, nil
}

// Renew puts another token in the place of one, after Apple took it. A token
// of another server is KindConflict unless forced.
func (t *Tokens) Renew(ctx context.Context, actor fleet.Actor, id fleet.ServerTokenID, u fleet.ServerTokenUpload, force bool) (fleet.ServerToken, error) {
	before, err := t.Token(ctx, id)
	if err != nil {
		return before, err
	}
	o, err := t.open(ctx, u)
	if err != nil {
		return before, err
	}
	after := before
	err = t.store.Replace(ctx, id, func(v fleet.ServerToken) (fleet.ServerToken, error) {
		var err error
		v.Sync, err = Replaced(v.Sync, v.Account.ServerUUID, o.account, o.sealed.Expiry, force)
		v.Account = o.account
		after = v
		return v, err
	}, t.seal(o.sealed), t.event(actor, "renewed", o.account))
	if err == nil {
		t.syncs.Ring()
	}
	return after, err
}

// SetTeams says which teams new devices join.
func (t *Tokens) SetTeams(ctx context.Context, actor fleet.Actor, id fleet.ServerTokenID, teams map[fleet.Platform]fleet.TeamID) (fleet.ServerToken, error) {
	v, err := t.Token(ctx, id)
	if err != nil {
		return v, err
	}
	e := fleet.Event{Kind: fleet.EventServerToken, Actor: actor, Details: details(map[string]any{"server_token": id, "change": "teams",
		"server": v.Account.ServerName, "teams": teams, "before": v.Sync.Teams})}
	if err := t.store.SetTeams(ctx, id, teams, e); err != nil {
		return v, err
	}
	v.Sync.Teams = teams
	return v, nil
}

// Delete forgets a token with its devices; hosts stay.
func (t *Tokens) Delete(ctx context.Context, actor fleet.Actor, id fleet.ServerTokenID) error {
	v, err := t.Token(ctx, id)
	if err != nil {
		return err
	}
	found, err := t.store.Delete(ctx, id, t.event(actor, "deleted", v.Account))
	if err == nil && !found {
		err = fleet.Errorf(fleet.KindNotFound, "there is no server token %d", id)
	}
	return err
}

// Resync reads the full list of a token's devices anew, at once and whatever
// pause it is in.
func (t *Tokens) Resync(ctx context.Context, actor fleet.Actor, id fleet.ServerTokenID) error {
	err := t.devices.Change(ctx, id, nil, func(f fleet.DEPFacts) (fleet.DEPChange, error) {
		next := Restarted(f.Sync)
		next.Restarts = 0
		return fleet.DEPChange{Sync: next, Events: []fleet.Event{{Kind: fleet.EventServerToken, Actor: actor, At: t.clock(),
			Details: details(map[string]any{"server_token": id, "change": "resync"})}}}, nil
	})
	if err == nil {
		t.syncs.Ring()
	}
	return err
}

// Devices lists what is known of devices.
func (t *Tokens) Devices(ctx context.Context, f fleet.DEPFilter) ([]fleet.DEPRecord, fleet.PageMeta, error) {
	return t.devices.Devices(ctx, f)
}

// Assigned tells which of the hosts Apple assigns to this server; true: their
// enrollment profile could not be assigned.
func (t *Tokens) Assigned(ctx context.Context, hosts []fleet.HostID) (map[fleet.HostID]bool, error) {
	return t.devices.Assigned(ctx, hosts)
}

func (t *Tokens) event(actor fleet.Actor, change string, a fleet.DEPAccount) fleet.Event {
	return fleet.Event{Kind: fleet.EventServerToken, Actor: actor, At: t.clock(), Details: details(map[string]string{
		"change": change, "server": a.ServerName, "server_uuid": a.ServerUUID, "organization": a.OrgName})}
}
