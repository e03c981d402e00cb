// Package scenario plays whole stories with simulated devices against a
// running server, through its public doors only, and checks every step.
//
// Story is the one of `muster demo`: a new server is set up, gets a push
// certificate, enrolls a mixed fleet, and obeys. Each later capability adds
// its steps.
package scenario
