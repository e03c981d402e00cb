package scepmsg

import (
	"encoding/asn1"
	"errors"
	"fmt"
)

// MaxMessage is the largest message read, in bytes. A request with a 4096 bit
// key and its certificate is under 8 KiB.
const MaxMessage = 64 << 10

// MaxTransactionID and the nonce's bounds limit what a reply repeats, in bytes.
// RFC 8894 section 3.2.1.5 asks for nonces of 16; some clients send others.
const (
	MaxTransactionID = 256
	maxNonce         = 64
	nonceSize        = 16
)

// Key sizes of a request, in bits. Above the upper bound checking the
// request's own signature costs more than a stranger may spend.
const (
	MinRSABits = 2048
	MaxRSABits = 8192
)

// ErrMalformed says that the bytes are not a SCEP message that could be answered.
var ErrMalformed = errors.New("scep: malformed message")

// MessageType is the messageType attribute (RFC 8894 section 3.2.1.2).
type MessageType string

// Message types. UpdateReq is of older drafts: a renewal under the current
// authority's certificate.
const (
	CertRep    MessageType = "3"
	RenewalReq MessageType = "17"
	UpdateReq  MessageType = "18"
	PKCSReq    MessageType = "19"
)

// Status is the pkiStatus attribute (RFC 8894 section 3.2.1.3).
type Status string

// Statuses of a reply.
const (
	StatusSuccess Status = "0"
	StatusFailure Status = "2"
	StatusPending Status = "3"
)

// FailInfo is the failInfo attribute (RFC 8894 section 3.2.1.4).
type FailInfo string

// Reasons of a failure.
const (
	BadAlg          FailInfo = "0" // an algorithm or key that is not supported
	BadMessageCheck FailInfo = "1" // the integrity check failed
	BadRequest      FailInfo = "2" // the transaction is not permitted
	BadTime         FailInfo = "3" // the signing time is too far off
	BadCertID       FailInfo = "4" // no certificate matches
)

// String names the reason as RFC 8894 does.
func (f FailInfo) String() string {
	switch f {
	case BadAlg:
		return "badAlg"
	case BadMessageCheck:
		return "badMessageCheck"
	case BadRequest:
		return "badRequest"
	case BadTime:
		return "badTime"
	case BadCertID:
		return "badCertId"
	default:
		return "failInfo " + string(f)
	}
}

// Failure is a refusal that goes back to the requester as a CertRep. Reason is
// for the log; only Info is sent.
type Failure struct {
	Info   FailInfo
	Reason string
	Cause  error
}

// Error implements error.
func (f *Failure) Error() string { return fmt.Sprintf("scep: %s: %s", f.Info, f.Reason) }

// Unwrap gives the cause to errors.Is and errors.As.
func (f *Failure) Unwrap() error { return f.Cause }

// Attribute identifiers (RFC 8894 section 3.2.1); functions, because a slice
// cannot be a constant.
func oidMessageType() asn1.ObjectIdentifier    { return verisign(2) }
func oidStatus() asn1.ObjectIdentifier         { return verisign(3) }
func oidFailInfo() asn1.ObjectIdentifier       { return verisign(4) }
func oidSenderNonce() asn1.ObjectIdentifier    { return verisign(5) }
func oidRecipientNonce() asn1.ObjectIdentifier { return verisign(6) }
func oidTransactionID() asn1.ObjectIdentifier  { return verisign(7) }

// verisign is id-attributes {2 16 840 1 113733 1 9} with a last arc.
func verisign(last int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{2, 16, 840, 1, 113733, 1, 9, last}
}
