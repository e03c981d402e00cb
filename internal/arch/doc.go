// Package arch holds no code. Its test executes the table of rooms: which
// package may import which other of ours, and which libraries and guarded
// parts of the standard library it alone may use.
//
// docs/ARCHITECTURE.md explains the rooms, rooms_test.go is the table. A
// package that has no room fails the test, and so does a door that nobody
// uses, so that the table stays what the tree is.
package arch
