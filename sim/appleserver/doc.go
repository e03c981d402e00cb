// Package appleserver simulates the services that Apple runs, as seen by an MDM
// server, by devices and by the company that buys them: the push notification
// service (APNs) for the push type "mdm", automated device enrollment (DEP), and
// the authority behind the certificates that devices are built with.
//
// # Pushes
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
//
// # Enrollment
//
// [Enrollment] is one company's account and has three faces. MDM servers talk to
// [Enrollment.URL] as contracts/apple.md 4.2 to 4.5 says: OAuth 1.0a for a
// session, sessions that expire and roll, cursors, profiles and their
// assignment. Devices talk to [Enrollment.DeviceURL]: they ask for their profile
// and get the certificate they are built with. What people do at Apple's portal
// are methods, and [EnrollmentAdmin] calls them from another process through
// [Enrollment.AdminURL].
//
// A device of the company is in one of these states towards an MDM server:
//
//	not assigned --Assign--> empty --/profile/devices--> assigned
//	assigned --the device activates--> pushed
//	assigned, pushed --DELETE /profile/devices--> removed
//	any --Unassign, Release, disown, Assign to another server--> not assigned
//
// Every arrow is an operation in the log that /devices/sync reads, so that a
// page of it can hold added, modified and deleted of one serial number.
//
// Choices where Apple's documentation is silent: error bodies are the bare code;
// limits above the maximum and lists longer than it are MALFORMED_REQUEST_BODY;
// a sync with the cursor of an unfinished fetch is INVALID_CURSOR; a sync that
// has nothing new answers 200 with no devices; dates are to the second, and of
// operations within one the later stands later in the page; retry_after_seconds stands beside
// "devices"; before protocol version 9 THROTTLED reads FAILED; a session that
// expired is 401 UNAUTHORIZED and one never issued 403 FORBIDDEN; a new session
// value leaves the old one valid for the rest of its time; a server token that
// expired or was replaced is answered 401, and replacing one ends its sessions.
//
// It does not model: TLS, several companies, resellers and orders, who may do
// what at the portal, rate limits but those that are planned, beta enrollment
// tokens, account-driven enrollment, details of replacements, default
// assignments, devices added by Configurator and their thirty days, the effect
// of a migration deadline on devices, proof that who activates is the device,
// and the RSA 1024 key of the real device authority.
package appleserver
