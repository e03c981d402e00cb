// Package apiv1 holds the JSON types of the REST API and nothing else. Names
// and shapes are those that clients of Fleet know; what Muster adds is said
// where it stands.
//
// Times are RFC 3339 in UTC. Where Fleet's clients expect a time that is not
// known, it is Never. Sizes of disks are gigabytes of 10^9 bytes.
package apiv1
