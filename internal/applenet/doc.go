// Package applenet speaks to Apple: the push notification service over
// HTTP/2 (contracts/apple.md 2).
package applenet
