// Package profile keeps the items that people and settings define:
// configuration profiles and declarations. It reads and checks what is
// uploaded, scopes it by team and labels, keeps custom secrets, and fills
// variables in when an item goes to a host.
//
// An upload is one insert and one revision, whatever the number of hosts;
// internal/reconcile brings it to them.
package profile
