// Package bootstrap keeps installer packages: each team may have one, which its
// Macs get while they wait in Setup Assistant (package setup decides when).
//
// A package goes through in pieces, so that its size costs no memory: pieces are
// stored as they arrive, then the package is read from there by codec/xarpkg,
// and only one that Macs can install is given to its team. Until then nobody
// sees it; what does not get that far is removed. Macs fetch a manifest, which
// has the checksum of each piece (Apple, "ManifestURL"), and then the package,
// both by its token.
package bootstrap
