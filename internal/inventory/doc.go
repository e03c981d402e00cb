// Package inventory answers questions about hosts, keeps their last contact,
// and asks them what they are.
//
// Last contact is kept in memory and written in batches: a poll never writes.
// What a crash loses is at most one flush interval of "last seen".
//
// A refetch asks a host for its vitals, software and certificates. A host is
// due, or asked until it has answered every part, or silent when that takes
// longer than a day; then it is asked anew in the place of the old commands.
package inventory
