package hostaction

import "github.com/muster-mdm/muster/internal/fleet"

// step is what is to be done to one host.
type step uint8

const (
	stepNone       step = iota // what is asked for is somebody else's to do
	stepLock                   // DeviceLock with a new PIN
	stepWakeAgain              // the lock waits already: wake the Mac again
	stepLostMode               // EnableLostMode
	stepAsk                    // the Mac opens by its PIN: ask it something
	stepAskedAgain             // it was asked already
	stepFound                  // DisableLostMode
	stepWipe                   // EraseDevice
	stepPasscode               // ClearPasscode
	stepLocate
	stepSound
	stepRecoveryLock
	stepBypassCode
)

// decide is the whole table: what a request does to a host, or why not.
func decide(kind fleet.ActionKind, h *fleet.ActionHost) (step, *fleet.Error) {
	if kind == fleet.ActionDelete {
		return stepNone, deletable(h)
	}
	if kind == fleet.ActionUnenroll {
		return stepNone, leavable(h)
	}
	if err := reachable(h); err != nil {
		return 0, err
	}
	switch kind {
	case fleet.ActionLock:
		return decideLock(h)
	case fleet.ActionUnlock:
		return decideUnlock(h)
	case fleet.ActionWipe:
		return decideWipe(h)
	case fleet.ActionClearPasscode:
		return decidePasscode(h)
	case fleet.ActionLocate, fleet.ActionPlaySound:
		return decideLost(kind, h)
	case fleet.ActionRecoveryLock:
		return decideRecovery(h)
	case fleet.ActionBypassCode:
		if h.Supervised == fleet.No {
			return 0, fault(h, fleet.KindInvalid, "is not supervised, and only supervised devices have a bypass code")
		}
		return stepBypassCode, nil
	case fleet.ActionUnenroll, fleet.ActionDelete:
	}
	return stepNone, nil
}

// leavable refuses hosts that would not hear of it. What is pending ends with
// the enrollment: a device that never answers could not be let go otherwise.
func leavable(h *fleet.ActionHost) *fleet.Error {
	switch {
	case h.State != fleet.EnrollmentOn && h.State != fleet.EnrollmentPending:
		return fault(h, fleet.KindConflict, "is not enrolled in MDM")
	case h.Action.Status == fleet.DeviceLocked:
		return fault(h, fleet.KindConflict, "is locked: unlock it first, it obeys nobody any more once it is unenrolled")
	}
	return nil
}

// deletable refuses hosts whose device only opens by what is kept here. Whoever
// forces it is not asked.
func deletable(h *fleet.ActionHost) *fleet.Error {
	const next = ": unlock it first, or look at its PIN and delete it with --force, which keeps the PIN among the archived secrets for 180 days"
	switch {
	case h.Action.Pending == fleet.PendingWipe:
		return fault(h, fleet.KindConflict, "has a pending wipe, which a deletion takes back: cancel it first, or delete the host with --force")
	case h.Action.Pending == fleet.PendingLock:
		return fault(h, fleet.KindConflict, "has a pending lock"+next)
	case h.Action.Status == fleet.DeviceLocked:
		return fault(h, fleet.KindConflict, "is locked"+next)
	}
	return nil
}

// reachable refuses hosts that take no such commands at all.
func reachable(h *fleet.ActionHost) *fleet.Error {
	switch {
	case !h.Host.Platform.Apple():
		return fault(h, fleet.KindBadRequest, "is no Apple device")
	case h.Action.Status == fleet.DeviceWiped:
		return fault(h, fleet.KindConflict, "is wiped already; it is as new when it enrolls again")
	case h.Host.MDM == fleet.MDMPersonal:
		return fault(h, fleet.KindBadRequest, "belongs to a person: only the organization's own devices can be locked or wiped; unenroll it instead")
	case h.EnrollmentID == 0 || h.State != fleet.EnrollmentOn:
		return fault(h, fleet.KindPrecondition, "is not enrolled in MDM: it obeys nobody here until it enrolls")
	}
	return nil
}

func decideLock(h *fleet.ActionHost) (step, *fleet.Error) {
	mac := h.Host.Platform == fleet.PlatformDarwin
	switch {
	case h.Action.Pending == fleet.PendingLock && mac:
		return stepWakeAgain, nil
	case h.Action.Pending != fleet.PendingNone:
		return 0, pending(h)
	case h.Action.Status == fleet.DeviceLocked:
		return 0, fault(h, fleet.KindConflict, "is locked already")
	case mac:
		return stepLock, nil
	case h.Host.MDM != fleet.MDMAutomatic:
		return 0, fault(h, fleet.KindBadRequest, "was enrolled by hand: an iPhone or iPad can be locked only when it came by automated enrollment")
	case h.Supervised == fleet.No:
		return 0, fault(h, fleet.KindInvalid, "is not supervised, and only supervised devices have Lost Mode")
	}
	// Not to know of the supervision is no reason: the device says.
	return stepLostMode, nil
}

func decideUnlock(h *fleet.ActionHost) (step, *fleet.Error) {
	mac := h.Host.Platform == fleet.PlatformDarwin
	switch {
	case h.Action.Pending == fleet.PendingUnlock && mac:
		return stepAskedAgain, nil
	case h.Action.Pending != fleet.PendingNone:
		return 0, pending(h)
	case h.Action.Status != fleet.DeviceLocked:
		return 0, fault(h, fleet.KindConflict, "is not locked")
	case mac:
		return stepAsk, nil
	}
	return stepFound, nil
}

func decideWipe(h *fleet.ActionHost) (step, *fleet.Error) {
	switch {
	case h.Action.Pending != fleet.PendingNone:
		return 0, pending(h)
	case h.Action.Status == fleet.DeviceLocked && h.Host.Platform == fleet.PlatformDarwin:
		return 0, fault(h, fleet.KindInvalid, "is locked: a Mac obeys nothing until its PIN was entered; unlock it first")
	}
	return stepWipe, nil
}

func decidePasscode(h *fleet.ActionHost) (step, *fleet.Error) {
	switch {
	case h.Host.Platform == fleet.PlatformDarwin:
		return 0, fault(h, fleet.KindBadRequest, "is a Mac: only an iPhone or iPad has a passcode that can be cleared")
	case h.Action.Pending == fleet.PendingWipe:
		return 0, pending(h)
	case !h.HasUnlockTok:
		return 0, fault(h, fleet.KindInvalid, "has escrowed no unlock token: it sends one when it enrolls, so enroll it again")
	}
	return stepPasscode, nil
}

func decideLost(kind fleet.ActionKind, h *fleet.ActionHost) (step, *fleet.Error) {
	if h.Host.Platform == fleet.PlatformDarwin {
		return 0, fault(h, fleet.KindBadRequest, "is a Mac: only an iPhone or iPad in Lost Mode does this")
	}
	if h.Action.Status != fleet.DeviceLocked {
		return 0, fault(h, fleet.KindInvalid, "is not in Lost Mode: lock it first")
	}
	if kind == fleet.ActionLocate {
		return stepLocate, nil
	}
	return stepSound, nil
}

func decideRecovery(h *fleet.ActionHost) (step, *fleet.Error) {
	switch {
	case h.Host.Platform != fleet.PlatformDarwin:
		return 0, fault(h, fleet.KindBadRequest, "is no Mac: only Macs have a recovery lock")
	case h.Supervised == fleet.No:
		return 0, fault(h, fleet.KindInvalid, "is not supervised, and only supervised Macs have a recovery lock")
	case h.Action.RecoveryNext != "":
		return 0, fault(h, fleet.KindConflict, "is being given a new recovery lock password already")
	case h.Action.Pending == fleet.PendingWipe:
		return 0, pending(h)
	}
	return stepRecoveryLock, nil
}

func fault(h *fleet.ActionHost, kind fleet.Kind, what string) *fleet.Error {
	return fleet.FieldErrorf(kind, "host", "%s %s", nameOf(h), what)
}

func pending(h *fleet.ActionHost) *fleet.Error {
	return fault(h, fleet.KindInvalid, "has a pending "+h.Action.Pending.String()+
		": it ends when the device connects and answers; until the device fetched it, its command can be cancelled")
}

func nameOf(h *fleet.ActionHost) string {
	for _, name := range []string{h.Host.Hostname, h.Host.Serial, h.Host.UUID} {
		if name != "" {
			return name
		}
	}
	return "the host"
}
