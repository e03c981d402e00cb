// Package fleet holds the nouns: hosts, enrollments, commands, identities,
// users, events, the filters that select them, and the one error type that
// may be shown outside.
//
// It does no I/O and carries no JSON or SQL tags; api/v1 and internal/store
// translate. Every type that crosses a port lives here. Enumerations that are
// stored say so and are append-only.
package fleet
