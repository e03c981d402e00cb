// Package apple is the check-in and command endpoint of Apple devices,
// /mdm/apple/mdm (contracts/apple.md sections 1 and 8).
//
// One request: read a bounded body; find the certificate (Mdm-Signature, TLS,
// or a trusted proxy's header) and verify it; decode; look the sender up
// (identity and enrollment, one indexed read); refuse what does not belong
// together; then call the service. A poll with nothing pending ends there
// without a write.
//
// The service stands at NanoMDM's seam: it is called through the interface
// CheckinAndCommandService with NanoMDM's message types, so that decorators
// written for it (webhook, dump) work here. Decoding, verification, storage
// and policy are ours.
//
// A device is never answered 401, which would unenroll it: 400 is for what
// cannot be read or verified, 403 for what does not belong together.
package apple
