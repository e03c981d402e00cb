// Package reconcile makes hosts have what their scope says they should have,
// and can always say why.
//
// What a host should have is one pure function of the catalog, the host's
// facts and the time: [Rules.Desired]. The reconciler plans with it, the
// preview counts with it, and explain tells its steps.
//
// An item on a host goes through these states:
//
//	(none) --wanted--> pending --acknowledged--> verifying --seen--> verified
//	pending --error, tries left--> pending, later
//	pending --error, no tries left--> failed
//	verifying, verified --not seen--> pending
//	pending --variable missing, no user channel--> failed; recovers by itself
//	any --no longer wanted--> pending removal --acknowledged, not found--> (none)
//
// Whether a host is a member of a label may be unknown. Then nothing is
// installed and nothing removed: the item is held, and explain says why.
//
// Planning reads many hosts, decides purely, and writes what changed in one
// transaction; a host that changed meanwhile is planned again. Whoever changes
// what a plan depends on makes the host due or counts its scope's revision up.
// Losing a wake-up costs latency only.
package reconcile
