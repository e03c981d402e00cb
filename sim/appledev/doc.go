// Package appledev simulates Apple devices as an MDM server sees them: iPhones,
// iPads and Macs that enroll from a profile, get an identity by SCEP, check in,
// take commands, and misbehave in the ways the field does.
//
// It shares no rules with the server. What a device does was written from
// Apple's documentation as collected in contracts/apple.md; only encodings
// (CMS, SCEP) come from internal/codec. So a server that misreads the protocol
// cannot be confirmed by its own mistake.
//
// A [Device] is in one of two states:
//
//	not enrolled --Enroll--> enrolled
//	enrolled --EraseDevice, RemoveProfile of the enrollment profile,
//	           401 or 403 com.apple.unrecognized.device--> not enrolled
//
// While enrolled, [Device.Poll] is one connection: Idle, then commands and
// results until the server has nothing more. [Device.Run] polls when woken by a
// push, at an interval, or when an earlier result is still to be delivered.
// A result that the server does not answer with 2xx is kept and sent again, as
// Apple's devices do.
//
// It does not model: TLS client certificates (profiles must say SignMessage),
// trust in a profile's signature, ACME, account-driven enrollment, Shared iPad,
// access rights other than their comparison at renewal, the effect of profiles,
// applications and settings beyond their being listed, Power Nap, and a
// person in front of the screen. Declarations are fetched and reported as
// active and valid whatever they say.
package appledev
