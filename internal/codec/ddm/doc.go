// Package ddm reads and writes the JSON of Apple's declarative management:
// declarations, synchronization tokens, manifests and status reports
// (contracts/apple.md section 5). It is pure.
package ddm
