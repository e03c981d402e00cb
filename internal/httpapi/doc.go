// Package httpapi is the REST API: paths, permissions and JSON shapes that
// clients of Fleet know, over ports that the capabilities satisfy.
//
// One table (routes.go) holds every route with its permission; a test walks
// it. Each resource has a file with its handlers, which translate between
// api/v1 and fleet types and decide nothing. Every path below /api/v1/fleet is
// also served below /api/2022-04/fleet and /api/latest/fleet, and older paths
// where Fleet had them.
//
// Errors are Fleet's: {message, errors:[{name, reason}], uuid}. An offending
// value is never repeated, because it may be a password. What is not a
// *fleet.Error is answered as 500 without detail and told to the log under the
// uuid.
package httpapi

//go:generate go test -run TestTheOpenAPIDocumentIsCommitted -update .
