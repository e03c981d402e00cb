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
//	not enrolled --Enroll, Boot--> enrolled
//	enrolled --EraseDevice, RemoveProfile of the enrollment profile,
//	           401 or 403 com.apple.unrecognized.device--> not enrolled
//
// While enrolled, [Device.Poll] is one connection per channel: Idle, then
// commands and results until the server has nothing more, then declarations.
// [Device.Run] polls when woken by a push (only the channel it is for), at an
// interval, when a fact changed that the server subscribed to, after errors, and
// when NotNow was the last thing it said. A result that the server does not
// answer with 2xx is kept and sent again, as Apple's devices do.
//
// # Locks
//
// DeviceLock makes a Mac restart and ask for the PIN: it answers nothing more,
// pushes and [Device.Poll] ([ErrLocked]) included, until [Device.EnterPIN] got
// it. An iPhone or iPad only shows the lock screen. Lost Mode needs supervision,
// shows what EnableLostMode said and goes on to obey everything; it ends with
// DisableLostMode, an erasure or the enrollment. A recovery lock ends in the same
// ways. ClearPasscode wants the unlock token of the last TokenUpdate. Which error
// a wrong token or password is answered with is a choice: Apple documents none.
//
// # Automated enrollment
//
// With a Service, [Device.Boot] is Setup Assistant: it asks Apple for the profile
// that is assigned to its serial number, sends its MachineInfo, signed with the
// certificate it was built with, to the profile's url or, in a header, to its
// configuration_web_url, updates its software when the server wants that first
// and the device can, and enrolls. [Device.Run] boots what is out of its box and
// what was erased:
//
//	boxed --Boot--> enrolled --DeviceConfigured--> configured
//	boxed --Boot--> configured, when the profile does not say await_device_configured
//	enrolled, configured --EraseDevice, Wipe--> boxed
//
// While it awaits configuration, every TokenUpdate says so. A DeviceConfigured
// that comes at another time is an Error.
//
// # Profiles
//
// A Mac keeps two stores, its own and its user's; others keep one. A profile
// replaces the one with its PayloadIdentifier, wholly or not at all. Refused are
// broken texts, types of the other platform or that want supervision, the wrong
// scope on a Mac, payloads that another profile has, profiles in place of those
// that somebody installed by hand, and what the planned faults say. Variables
// that the server forgot to expand are taken as they are:
// [Device.InstalledProfiles] shows the bytes that came.
//
// # Declarations
//
// A channel's declarative management is in one of two states:
//
//	off --DeclarativeManagement--> on --the enrollment ends, tokens answered 404--> off
//
// While on, a command makes it compare tokens and fetch what is new. Then, and
// at the end of every connection, it makes true what active configurations say
// and reports what changed since the last report that arrived; the first is a
// full one, [Device.SendFullReport] is the daily one. Verdicts and reasons are
// Apple's, of which three are choices where its documentation is silent: a
// configuration whose activation's predicate is false is
// Info.NotReferencedByActivation like one without activation; a subscribed item
// that does not exist is Error.UnknownStatusItem; and a predicate beyond the
// subset of evaluate counts as true. What the server must not send is counted by
// [Device.ProtocolErrors] and left out.
//
// # What is modeled
//
// Facts that change: OS version, passcode, device name, profiles, certificates of
// profiles, managed apps and pending updates as declarations make them.
// Facts that do not: everything else, FileVault among it.
//
// Of automated enrollment not modeled: anchor_certs and supervising_host_certs,
// supervision by the profile (the Spec says it), skip_setup_items,
// auto_advance_setup, Shared iPad, the web page behind configuration_web_url
// (an answer in HTML ends the enrollment with [ErrWebLogin]), Platform SSO,
// whether an update is offered at gdmf.apple.com, Activation Lock, migration,
// and a clock that the network sets right: [Faults.ClockSkew] lasts. Other
// messages, SCEP's among them, are signed at the system's time.
//
// Not modeled: TLS client certificates (profiles must say SignMessage), trust in
// a profile's signature, ACME, Shared iPad, access
// rights other than their comparison at renewal, Power Nap, and a person in
// front of the screen (legacy.interactive stays uninstalled). Profiles and
// configurations have no effect on the device but for those above: of most
// payload types only type, scope and supervision are checked, of most
// configurations the references to assets; single keys that need supervision are
// ignored as a device would, silently. Updates never happen by themselves when
// their time comes; applications are there at once. Downloads that failed are
// tried again at the next connection and not in between. Encrypted profiles are
// stored and not opened.
package appledev
