// Package gitops reads and writes what a repository says about a server: the
// documents of `muster apply` and the layout of `muster gitops`
// (contracts/fleet-api.md 3). It knows files and YAML, and no server.
//
// A section that is missing is left as it is on the server; an explicit empty
// list deletes. What Muster does not have yet is accepted only where it says
// nothing. Everything that is wrong is told at once, with file and line.
package gitops
