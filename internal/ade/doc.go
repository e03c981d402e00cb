// Package ade keeps step with Apple's device enrollment service: which devices
// belong to a server token, and which enrollment profile Apple hands them
// (contracts/apple.md 4.4).
//
// Reading a token's devices is one state machine, kept as pure functions in
// phase.go:
//
//	fetch --end of list, EXHAUSTED--> sweep --nothing left--> follow
//	  ^                                                          |
//	  +---- cursor expired, invalid or stuck; once a day --------+
//
// A full fetch numbers its round, every device that Apple speaks of carries it,
// and the sweep forgets those with a lower one: the set difference, without
// holding the set. A page and its cursor are written in one transaction, so a
// crash between them reads the page again; reading a page twice changes
// nothing. No error leads to another call at once, except the first restart
// after changes could be read: everything else waits and waits longer.
//
// Assigning is level-triggered: a device is due while Apple has another profile
// for it than its team asks for. What Apple answered is remembered per device
// with the time of the next try.
//
// It refuses to replace a server token by one of another server unless told to:
// cursors and profiles belong to one.
package ade
