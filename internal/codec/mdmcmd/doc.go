// Package mdmcmd turns the messages of Apple's check-in and command protocol
// into structs and back. It is pure: no I/O, no decisions. Facts:
// contracts/apple.md sections 1 and 6.
package mdmcmd
