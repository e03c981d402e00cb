// Package scepmsg encodes and decodes the messages of the Simple Certificate
// Enrollment Protocol (RFC 8894), for the server and for the client.
//
// A server reads a request in two steps: [Parse] opens the signed outside,
// [Request.Open] the encrypted inside. A [*Failure] from either is to be sent
// back with [Request.Fail]; any other error means that there is nobody to
// answer. A client builds a request with [NewRequest] and reads the answer with
// [Pending.ParseReply].
//
// It is lenient in what it reads (SHA-1 digests, single DES, UpdateReq) and
// strict in what it writes: SHA-256 or better, and the cipher of the request
// where that is AES or 3DES, else AES-128.
//
// It refuses to decide who gets a certificate: challenges, renewal bindings,
// subjects and validity are the authority's. All CMS goes through codec/cms,
// which is also where panics of the libraries end.
package scepmsg
