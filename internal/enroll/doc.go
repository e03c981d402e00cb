// Package enroll is the life of an enrollment: turn on, turn off, reset, and
// the profiles that devices enroll with.
//
// Every message that matters is an event of one state machine, kept as a pure
// table in lifecycle.go:
//
//	         Authenticate        TokenUpdate       CheckOut, turned off
//	none ------------> pending ------------> on -------------------------> off
//	                      ^                   |  turned off by a person     ^
//	                      |                   +-----------> leaving --------+
//	                      +---- Authenticate, from every state: reset
//
// Servers are not always told that a device left, so a new Authenticate
// always cleans up first, unless the identity that signed it was issued to
// renew this very enrollment: then nothing is reset (contracts/apple.md 3.4).
// Whether it is one or the other is looked up, never guessed: the purpose was
// bound to the identity when its challenge was minted.
//
// It refuses messages whose identity belongs to another enrollment, and a
// TokenUpdate that no Authenticate came before.
package enroll
