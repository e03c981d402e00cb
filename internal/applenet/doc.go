// Package applenet speaks to Apple: the push notification service over HTTP/2
// (contracts/apple.md 2), and the device enrollment service, with a session for
// each server token (contracts/apple.md 4). It says what Apple answered and
// decides nothing: no call is repeated here except once with a new session.
package applenet
