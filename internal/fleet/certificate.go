package fleet

import (
	"crypto/x509"
	"errors"
	"time"
)

// Purpose says what a challenge, and the certificate issued for it, is for.
// Persisted: append only.
type Purpose uint8

// Purposes of an identity.
const (
	PurposeEnroll Purpose = 1
	PurposeRenew  Purpose = 2
	// PurposeOTAStart is of the challenge in a profile that begins enrollment
	// over the air: no identity is issued for it.
	PurposeOTAStart Purpose = 3
	// PurposeOTA is of the identity by which a device proves, once, that it is
	// the one that Apple made. It is no identity for MDM.
	PurposeOTA Purpose = 4
)

// CertificateRequest is a certificate signing request as it came out of a
// SCEP message (RFC 8894 section 3.3). The proof of possession (the CSR's own
// signature) is checked by whoever decoded it.
type CertificateRequest struct {
	CSR       *x509.CertificateRequest
	Challenge string // the challengePassword; never logged
	// Renewal is set for RenewalReq; Signer is then the certificate whose key
	// signed the message. It is not yet checked against our authority.
	Renewal bool
	Signer  *x509.Certificate
	// TransactionID is the requester's, for the log.
	TransactionID string
}

// Challenge is a one-time secret that allows one identity to be issued.
// It is bound at issuance to a purpose and, where the device is known by then,
// to its enrollment. Only the SHA-256 of the secret is kept.
type Challenge struct {
	SecretSHA256 [32]byte
	Purpose      Purpose
	// ProfileID is the enrollment profile (a manual enrollment entity) for
	// which it was minted; 0 when minted for a renewal.
	ProfileID EnrollmentProfileID
	// EnrollmentID is the enrollment it is bound to; 0 while the device is
	// not known yet (a manually installed profile).
	EnrollmentID EnrollmentID
	// Generation is that of the enrollment when a renewal was begun: of a later
	// one it renews nothing.
	Generation int64
	Admission
	// ServerURL, CheckInURL and AccessRights are what the profile carrying
	// this challenge said. They must never change for the device
	// (contracts/apple.md 3.4), so they follow the identity to the enrollment.
	ServerURL    string
	CheckInURL   string
	AccessRights int
	ExpiresAt    time.Time
}

// Admission is how the device comes in that a challenge is for.
type Admission struct {
	Kind EnrollmentKind
	// TeamID is joined by a host that is made by the enrollment.
	TeamID TeamID
	// Serial is of the only device that may come in with it; "": any.
	Serial string
}

// Identity is an issued device certificate.
type Identity struct {
	ID              IdentityID
	SerialHex       string // lower case hex of the certificate serial number
	SHA256          [32]byte
	PublicKeySHA256 [32]byte // of the SubjectPublicKeyInfo
	Purpose         Purpose
	EnrollmentID    EnrollmentID // 0 until the first Authenticate claims it
	EnrollmentKey   string       // of that enrollment; only where a Caller is looked up
	ProfileID       EnrollmentProfileID
	Generation      int64 // of the enrollment that it renews; 0: it renews none
	Admission
	ServerURL    string
	CheckInURL   string
	AccessRights int
	NotBefore    time.Time
	NotAfter     time.Time
	DER          []byte
	// UsedAt is when a request was first signed with it; zero: never.
	UsedAt time.Time
	// SupersededAt is when a renewed identity was first used instead. What was
	// signed with the old one shortly before is still taken.
	SupersededAt time.Time
	// RevokedAt is when a re-enrollment or a turn off made it useless.
	RevokedAt time.Time
}

// Errors about challenges, for whoever maps them to a protocol.
var (
	ErrNoChallenge   = errors.New("no such challenge")
	ErrChallengeUsed = errors.New("the challenge was used for another key")
)
