package fleet

import "time"

// AccountToken lets the person of a managed Apple account enroll one device of
// their own. Only the SHA-256 of the token is kept.
type AccountToken struct {
	SHA256         [32]byte
	ManagedAppleID string
	TeamID         TeamID // that the device joins
	ExpiresAt      time.Time
	UsedAt         time.Time // for an enrollment profile; zero: not yet
}
