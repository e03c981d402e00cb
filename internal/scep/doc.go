// Package scep is the certificate endpoint of Apple enrollments: SCEP
// (RFC 8894) over HTTP at /mdm/apple/scep.
//
// It owns the transport: operations, methods, encodings, and the translation of
// refusals. Who gets which certificate is decided behind [Authority]. It never
// logs query strings, which repeat whole messages, nor challenges.
//
// Devices retry on HTTP errors and give up on refusals, and old clients show a
// user only what a CertRep says. So whatever can be answered is answered with
// HTTP 200 and a CertRep:
//
//	what happened                                   answer
//	not a SCEP message, or nobody to answer         HTTP 400
//	too many refusals of the same network           HTTP 429
//	message over 64 KiB                             HTTP 413
//	no authority to sign an answer with             HTTP 500
//	message signature, envelope or request damaged  badMessageCheck
//	key too small, too large or of another kind     badAlg
//	message type not offered                        badRequest
//	fleet.KindUnsupported                           badAlg
//	fleet.KindNotFound                              badCertID
//	every other fleet.Kind and every other error    badRequest
//
// badCertID answers a renewal whose certificate is not known to us; badRequest
// a challenge that is wrong, used or expired ("the transaction is not
// permitted", RFC 8894 section 3.2.1.4.2).
package scep
