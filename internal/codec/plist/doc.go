// Package plist reads XML property lists from strangers: one pass, bounded
// depth, no reflection. Binary and OpenStep lists are refused (a short
// self-referential binary list kills the usual decoder, and devices send
// XML). Writing, and reading what people upload, goes through
// howett.net/plist behind the same guard.
package plist
