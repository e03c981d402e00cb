// Package machineinfo verifies and reads the signed machine information with
// which a device asks for its enrollment profile in Setup Assistant
// (contracts/apple.md 4.6).
//
// It owns the verdict that a device of Apple's signed it: exactly one signer,
// whose certificate was signed by one of the pinned authorities. Apple's
// authority is RSA-1024 with SHA-1 and expired in 2014, so the certificate's
// signature is checked directly with the authority's key; dates play no part,
// neither the authority's nor the device's, whose clock may not be set yet.
// The property list is parsed after that and never before.
//
// Whether the serial may enroll is the caller's question.
package machineinfo
