// Package xarpkg reads flat installer packages of macOS, without unpacking
// them: what product is inside, and whose signature is on it.
//
// A flat package is a xar archive: a header of 28 bytes or more in big-endian
// order, a table of contents as XML behind zlib, and the heap with everything
// else (https://github.com/apple-oss-distributions/xar, xar.h.in). A package
// that MDM installs must be a product archive, which has a file Distribution at
// its top, and must be signed (Apple, "Install an enterprise application").
//
// The signature is over the checksum of the compressed table of contents, which
// has the checksum of each file in the heap: all of them are compared. It is
// checked with the key of the certificate that comes with it. Whom that certificate belongs to, and who issued it, is
// for the Mac to judge: it trusts authorities that an administrator may have
// installed on it.
package xarpkg
