// Package inventory answers questions about hosts and keeps their last
// contact.
//
// Last contact is kept in memory and written in batches: a poll never writes.
// What a crash loses is at most one flush interval of "last seen".
package inventory
