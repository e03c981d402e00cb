// Package appleserver simulates the services that Apple runs, as seen by an MDM
// server and by devices: at present the push notification service (APNs) for
// the push type "mdm".
//
// [Push] speaks real HTTP/2 over TLS on loopback and demands a client
// certificate from its own throw-away authority, whose topic is the UID of the
// subject. It checks what Apple checks and answers in Apple's words (status and
// reason), coalesces notifications, holds the last one for a device that is
// away, and can be told to fail: dead tokens, refusals, rate limits, outages,
// GOAWAY and latency.
//
// Simulated devices learn of a notification through [Push.Subscribe], or from
// another process through [Push.WakeURL] and [Dial].
//
// It does not model: Apple's public hosts and certificates, token (p8)
// authentication, expiry of held notifications by apns-expiration (it is only
// recorded), delivery order and delay between data centers, feedback of
// disabled tokens on its own accord, the size of the device population, and any
// push type but mdm. A token nobody ever subscribed is accepted, as Apple does
// for a device it has not seen lately.
package appleserver
