package fleet

import "time"

// Kinds of dated things, in the API's words.
const (
	DatedPushCertificate = "push_certificate"
	DatedAuthority       = "certificate_authority"
	DatedServerToken     = "server_token"
)

// DatedThing is something of the server's own that expires.
type DatedThing struct {
	Kind     string
	Name     string
	NotAfter time.Time
}

// Expiry is what expires before a time.
type Expiry struct {
	Things     []DatedThing // the nearest first
	Identities IdentityExpiry
}

// ExpiryWarning says that a thing has come within so many days of its end.
type ExpiryWarning struct {
	Thing DatedThing
	Days  int // the threshold; 0: it has expired
	Event Event
}
