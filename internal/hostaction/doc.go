// Package hostaction is what people do to a host as a whole: lock and unlock
// it, wipe it, clear its passcode, set its recovery lock, see the secrets that
// open it. It also holds the brake on whatever cannot be taken back.
//
// A host has a status and at most one pending action:
//
//	unlocked --lock--> pending lock --acknowledged--> locked
//	locked --unlock--> pending unlock --the device is heard of--> unlocked
//	unlocked --wipe--> pending wipe --acknowledged--> wiped
//	anything --a new enrollment--> unlocked
//
// An error, a cancelled command or the end of the enrollment ends what is
// pending and leaves the status. A Mac locked by DeviceLock runs nothing until
// its PIN was entered (contracts/apple.md 6), so that unlocking it shows the
// PIN and queues a question; whatever it answers, it is unlocked. An iPhone or
// iPad is put into Lost Mode, in which it goes on to obey, also a wipe.
//
// Secrets (PINs, passwords, unlock tokens, Wi-Fi profiles) are never in a
// command's stored body: they are sealed by the command's UUID and put in when
// the device fetches it.
//
// # The brake
//
// Lock, wipe, unenroll and delete pass [Service.Admit]: so many hosts an hour
// and person, a second admin where the policy asks for one, a delay in which
// it can be undone. A request that passed is a row in the same transaction as
// what it does, so that two at once cannot both take the last place.
//
//	new --> done
//	new --> waiting --approved--> delayed or done
//	waiting --> denied, undone, expired
//	delayed --its time comes--> done, failed
//	delayed --its time comes, and it is another package's to do--> running --> done, failed
//	delayed --> undone
//
// Whoever carries a running request out holds a lease on it, and moves its end
// on from host to host. A request whose lease ended is taken up by the next
// round of any replica.
package hostaction
