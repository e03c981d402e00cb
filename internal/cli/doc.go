// Package cli is the command line. Commands talk to a server only through
// package client; verbs and flags are those that users of fleetctl know.
//
// Answers go to standard output and nothing else does; progress, warnings and
// questions go to standard error, progress only on a terminal. Every listing
// takes -o table, json, yaml or csv. Hosts are named by serial number, UUID
// or host name, and an ambiguous name is an error. Exit codes: 0 ok, 1 error,
// 2 usage, 3 not logged in, 4 not found, 5 forbidden, 7 a plan has changes.
//
// Each noun has a file; commands.go lists their constructors.
package cli
