// Package cms reads and writes Cryptographic Message Syntax (RFC 5652): the
// detached signatures of Apple's Mdm-Signature header, signed configuration
// profiles, and the envelopes of SCEP and of server tokens.
//
// It owns every call into smallstep/pkcs7: each runs under recover, behind a
// size limit and a walk that bounds depth and number of elements, because the
// library panics on hostile padding and is quadratic on hostile nesting.
//
// Mdm-Signature arrives with every request of every device, so [Verifier] has a
// reader of its own for the one shape devices send: DER, no content, one
// signer, RSA PKCS#1 v1.5 or ECDSA on P-256 and P-384. Whatever that reader
// does not know it hands to the library; what it knows to be wrong it refuses.
// It accepts three things that the library refuses, on purpose:
//
//   - a signingTime outside the certificate's validity: devices keep presenting
//     expired identities, and the caller decides what those may still do;
//   - a signer named by subject key identifier (RFC 5652 section 5.3, version 3);
//   - id-ecPublicKey as signature algorithm, which says "ECDSA with the digest
//     algorithm named beside it".
//
// The package refuses to decide about trust beyond "this certificate was signed
// by one of these authorities, for client authentication": validity, revocation
// and which device it belongs to are the caller's. It never caches a verified
// signature, only parsed certificates and their issuer's verdict.
package cms
