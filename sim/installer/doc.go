// Package installer makes flat installer packages of macOS, as productbuild and
// productsign do: xar archives that hold a distribution and are signed, or not.
//
// What it makes has the form of a package and cannot be installed: the payload
// is filler.
package installer
