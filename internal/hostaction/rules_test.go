package hostaction

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// on is an enrolled, supervised host that came by automated enrollment.
func on(p fleet.Platform) fleet.ActionHost {
	return fleet.ActionHost{Host: fleet.HostRef{ID: 1, Hostname: "it", Platform: p, MDM: fleet.MDMAutomatic}, Supervised: fleet.Yes,
		EnrollmentID: 1, State: fleet.EnrollmentOn, HasUnlockTok: true}
}

func with(h fleet.ActionHost, change func(*fleet.ActionHost)) fleet.ActionHost {
	change(&h)
	return h
}

func TestWhatAnActionDoesToAHost(t *testing.T) {
	mac, phone, pad, pc := on(fleet.PlatformDarwin), on(fleet.PlatformIOS), on(fleet.PlatformIPadOS), on(fleet.PlatformWindows)
	status := func(h fleet.ActionHost, s fleet.DeviceStatus, p fleet.PendingAction) fleet.ActionHost {
		h.Action.Status, h.Action.Pending = s, p
		return h
	}
	locked := func(h fleet.ActionHost) fleet.ActionHost { return status(h, fleet.DeviceLocked, 0) }
	manual := func(h *fleet.ActionHost) { h.Host.MDM = fleet.MDMManual }
	const ok = fleet.KindInternal
	for _, tt := range []struct {
		name string
		kind fleet.ActionKind
		host fleet.ActionHost
		step step
		err  fleet.Kind
	}{
		{"a Mac is locked with a PIN", fleet.ActionLock, mac, stepLock, ok},
		{"also one that was enrolled by hand", fleet.ActionLock, with(mac, manual), stepLock, ok},
		{"a phone is lost", fleet.ActionLock, phone, stepLostMode, ok},
		{"and a tablet", fleet.ActionLock, pad, stepLostMode, ok},
		{"a phone that was enrolled by hand is not", fleet.ActionLock, with(phone, manual), 0, fleet.KindBadRequest},
		{"nor one without supervision", fleet.ActionLock, with(phone, func(h *fleet.ActionHost) { h.Supervised = fleet.No }), 0, fleet.KindInvalid},
		{"not to know of the supervision is no reason", fleet.ActionLock, with(phone, func(h *fleet.ActionHost) { h.Supervised = fleet.Unknown }), stepLostMode, ok},
		{"a locked one is not locked again", fleet.ActionLock, locked(mac), 0, fleet.KindConflict},
		{"a lock that waits is sent again", fleet.ActionLock, status(mac, 0, fleet.PendingLock), stepWakeAgain, ok},
		{"but not to a phone", fleet.ActionLock, status(phone, 0, fleet.PendingLock), 0, fleet.KindInvalid},
		{"a lock waits for an unlock", fleet.ActionLock, status(mac, fleet.DeviceLocked, fleet.PendingUnlock), 0, fleet.KindInvalid},
		{"and for a wipe", fleet.ActionLock, status(mac, 0, fleet.PendingWipe), 0, fleet.KindInvalid},

		{"a locked Mac is asked", fleet.ActionUnlock, locked(mac), stepAsk, ok},
		{"once", fleet.ActionUnlock, status(mac, fleet.DeviceLocked, fleet.PendingUnlock), stepAskedAgain, ok},
		{"a lost phone is found", fleet.ActionUnlock, locked(phone), stepFound, ok},
		{"a phone is found once", fleet.ActionUnlock, status(phone, fleet.DeviceLocked, fleet.PendingUnlock), 0, fleet.KindInvalid},
		{"what is open is not unlocked", fleet.ActionUnlock, mac, 0, fleet.KindConflict},
		{"nor what is about to be locked", fleet.ActionUnlock, status(mac, 0, fleet.PendingLock), 0, fleet.KindInvalid},

		{"a Mac is wiped", fleet.ActionWipe, mac, stepWipe, ok},
		{"a phone is wiped", fleet.ActionWipe, phone, stepWipe, ok},
		{"also one that was enrolled by hand", fleet.ActionWipe, with(phone, manual), stepWipe, ok},
		{"also a lost one, which obeys", fleet.ActionWipe, locked(phone), stepWipe, ok},
		{"but no locked Mac, which does not", fleet.ActionWipe, locked(mac), 0, fleet.KindInvalid},
		{"nothing is wiped twice", fleet.ActionWipe, status(mac, fleet.DeviceWiped, 0), 0, fleet.KindConflict},
		{"nor while it waits", fleet.ActionWipe, status(mac, 0, fleet.PendingWipe), 0, fleet.KindInvalid},

		{"a passcode is cleared", fleet.ActionClearPasscode, phone, stepPasscode, ok},
		{"with a token only", fleet.ActionClearPasscode, with(phone, func(h *fleet.ActionHost) { h.HasUnlockTok = false }), 0, fleet.KindInvalid},
		{"of no Mac", fleet.ActionClearPasscode, mac, 0, fleet.KindBadRequest},
		{"nor before a wipe", fleet.ActionClearPasscode, status(phone, 0, fleet.PendingWipe), 0, fleet.KindInvalid},

		{"a lost phone rings", fleet.ActionPlaySound, locked(phone), stepSound, ok},
		{"and says where it is", fleet.ActionLocate, locked(phone), stepLocate, ok},
		{"no other phone does", fleet.ActionLocate, phone, 0, fleet.KindInvalid},
		{"and no Mac", fleet.ActionPlaySound, locked(mac), 0, fleet.KindBadRequest},

		{"a Mac has a recovery lock", fleet.ActionRecoveryLock, mac, stepRecoveryLock, ok},
		{"one at a time", fleet.ActionRecoveryLock, with(mac, func(h *fleet.ActionHost) { h.Action.RecoveryNext = "U" }), 0, fleet.KindConflict},
		{"without supervision it has none", fleet.ActionRecoveryLock, with(mac, func(h *fleet.ActionHost) { h.Supervised = fleet.No }), 0, fleet.KindInvalid},
		{"a phone has none", fleet.ActionRecoveryLock, phone, 0, fleet.KindBadRequest},
		{"nor a Mac that is about to be wiped", fleet.ActionRecoveryLock, status(mac, 0, fleet.PendingWipe), 0, fleet.KindInvalid},
		{"a supervised device has a bypass code", fleet.ActionBypassCode, phone, stepBypassCode, ok},
		{"another has none", fleet.ActionBypassCode, with(phone, func(h *fleet.ActionHost) { h.Supervised = fleet.No }), 0, fleet.KindInvalid},

		{"turning off is done elsewhere", fleet.ActionUnenroll, mac, stepNone, ok},
		{"also for personal hosts", fleet.ActionUnenroll, with(mac, func(h *fleet.ActionHost) { h.Host.MDM = fleet.MDMPersonal }), stepNone, ok},
		{"once", fleet.ActionUnenroll, with(mac, func(h *fleet.ActionHost) { h.State = fleet.EnrollmentLeaving }), 0, fleet.KindConflict},
		{"not of a locked Mac, which would not hear of it", fleet.ActionUnenroll, locked(mac), 0, fleet.KindConflict},
		{"nor of a lost phone", fleet.ActionUnenroll, locked(phone), 0, fleet.KindConflict},
		{"what is pending ends with it", fleet.ActionUnenroll, status(phone, 0, fleet.PendingWipe), stepNone, ok},
		{"deleting is done elsewhere", fleet.ActionDelete, with(mac, func(h *fleet.ActionHost) { h.State = fleet.EnrollmentOff }), stepNone, ok},
		{"but not of a locked Mac", fleet.ActionDelete, locked(mac), 0, fleet.KindConflict},
		{"nor of one that is to be locked", fleet.ActionDelete, status(mac, 0, fleet.PendingLock), 0, fleet.KindConflict},
		{"nor of one that is to be wiped", fleet.ActionDelete, status(mac, 0, fleet.PendingWipe), 0, fleet.KindConflict},
		{"a wiped one goes", fleet.ActionDelete, status(mac, fleet.DeviceWiped, 0), stepNone, ok},
		{"a PC is not known how to be wiped", fleet.ActionWipe, pc, 0, fleet.KindBadRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decide(tt.kind, &tt.host)
			kind := ok
			if err != nil {
				kind = err.Kind
			}
			if got != tt.step || kind != tt.err {
				t.Errorf("step %d, %v; want %d, %v", got, err, tt.step, tt.err)
			}
		})
	}
}

func TestNobodyActsOnWhatIsNotOurs(t *testing.T) {
	for _, p := range []fleet.Platform{fleet.PlatformDarwin, fleet.PlatformIOS} {
		for kind := fleet.ActionLock; kind <= fleet.ActionBypassCode; kind++ {
			if kind == fleet.ActionUnenroll || kind == fleet.ActionDelete {
				continue
			}
			for want, h := range map[fleet.Kind]fleet.ActionHost{
				fleet.KindBadRequest:   with(on(p), func(h *fleet.ActionHost) { h.Host.MDM = fleet.MDMPersonal }),
				fleet.KindPrecondition: with(on(p), func(h *fleet.ActionHost) { h.State = fleet.EnrollmentLeaving }),
				fleet.KindConflict:     with(on(p), func(h *fleet.ActionHost) { h.Action.Status = fleet.DeviceWiped }),
			} {
				if _, err := decide(kind, &h); err == nil || err.Kind != want || !strings.HasPrefix(err.Fields[0].Reason, "it ") {
					t.Errorf("%s on %s: %v, want %v", kind, p, err, want)
				}
			}
		}
	}
}

func TestAnswersMoveWhatIsPending(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		pending fleet.PendingAction
		command string
		ok      bool
		status  fleet.DeviceStatus // before
		after   fleet.DeviceStatus
		failed  bool
	}{
		{fleet.PendingLock, "DeviceLock", true, fleet.DeviceUnlocked, fleet.DeviceLocked, false},
		{fleet.PendingLock, "DeviceLock", false, fleet.DeviceUnlocked, fleet.DeviceUnlocked, true},
		{fleet.PendingLock, "EnableLostMode", true, fleet.DeviceUnlocked, fleet.DeviceLocked, false},
		{fleet.PendingUnlock, "DisableLostMode", true, fleet.DeviceLocked, fleet.DeviceUnlocked, false},
		{fleet.PendingUnlock, "DisableLostMode", false, fleet.DeviceLocked, fleet.DeviceLocked, true},
		{fleet.PendingUnlock, "DeviceInformation", true, fleet.DeviceLocked, fleet.DeviceUnlocked, false},
		{fleet.PendingUnlock, "DeviceInformation", false, fleet.DeviceLocked, fleet.DeviceUnlocked, false},
		{fleet.PendingWipe, "EraseDevice", true, fleet.DeviceUnlocked, fleet.DeviceWiped, false},
		{fleet.PendingWipe, "EraseDevice", false, fleet.DeviceLocked, fleet.DeviceLocked, true},
	} {
		v := fleet.HostActionState{HostID: 1, Status: tt.status, Pending: tt.pending, CommandUUID: "U", PINUUID: "P"}
		got, changed := answered(v, &fleet.Command{UUID: "U", RequestType: tt.command}, tt.ok, "why", at)
		if !changed || got.Pending != fleet.PendingNone || got.CommandUUID != "" || got.Status != tt.after || (got.Error != "") != tt.failed || got.PINUUID != "P" {
			t.Errorf("%s %v: %+v", tt.command, tt.ok, got)
		}
		if other, changed := answered(v, &fleet.Command{UUID: "V", RequestType: tt.command}, tt.ok, "why", at); changed || other != v {
			t.Errorf("another %s moves it: %+v", tt.command, other)
		}
	}
	v := fleet.HostActionState{HostID: 1, RecoveryUUID: "A", RecoveryNext: "B", RecoveryAt: at.Add(-time.Hour)}
	set := fleet.Command{UUID: "B", RequestType: "SetRecoveryLock"}
	if got, _ := answered(v, &set, true, "", at); got.RecoveryUUID != "B" || got.RecoveryNext != "" || !got.RecoveryAt.Equal(at) || !got.RotateAt.IsZero() {
		t.Errorf("a new password: %+v", got)
	}
	if got, _ := answered(v, &set, false, "why", at); got.RecoveryUUID != "A" || got.RecoveryNext != "" || got.Error == "" || got.RotateAt.IsZero() {
		t.Errorf("a refused password: %+v", got)
	}
	v.RecoveryAt = time.Time{}
	if got, _ := answered(v, &set, false, "why", at); got.RecoveryUUID != "" || !got.RotateAt.Equal(at) {
		t.Errorf("refused with the password of an earlier enrollment: %+v", got)
	}
}

func TestThePhoneThatIsNotLostIsFound(t *testing.T) {
	r := fleet.CommandReport{Status: fleet.CommandError, ErrorChain: []fleet.ErrorChainItem{{Domain: "MCMDMErrorDomain", Code: codeNotLost}}}
	if !found("DisableLostMode", r) || found("EraseDevice", r) {
		t.Error("12067 counts for another command than DisableLostMode, or not for that")
	}
}

func TestTheBrake(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name        string
		policy      fleet.BrakePolicy
		kind        fleet.ActionKind
		hosts, used int
		phase       fleet.ActionPhase // 0: refused
		due         time.Duration
		retry       time.Duration
	}{
		{"a default is enough for one", fleet.BrakePolicy{}, fleet.ActionWipe, 1, 0, fleet.ActionDone, 0, 0},
		{"the tenth passes", fleet.BrakePolicy{}, fleet.ActionWipe, 1, 9, fleet.ActionDone, 0, 0},
		{"the eleventh waits until the first is an hour old", fleet.BrakePolicy{}, fleet.ActionWipe, 1, 10, 0, 0, 20 * time.Minute},
		{"eleven at once never pass", fleet.BrakePolicy{}, fleet.ActionWipe, 11, 0, 0, 0, 0},
		{"locks have a limit of their own", fleet.BrakePolicy{WipesPerHour: 1}, fleet.ActionLock, 2, 0, fleet.ActionDone, 0, 0},
		{"no limit", fleet.BrakePolicy{WipesPerHour: -1}, fleet.ActionWipe, 5000, 5000, fleet.ActionDone, 0, 0},
		{"a second admin", fleet.BrakePolicy{ApprovalFor: []fleet.ActionKind{fleet.ActionWipe}}, fleet.ActionWipe, 1, 0, fleet.ActionWaiting, approvalLife, 0},
		{"no second admin beyond the limit", fleet.BrakePolicy{ApprovalFor: []fleet.ActionKind{fleet.ActionWipe}}, fleet.ActionWipe, 1, 10, 0, 0, 20 * time.Minute},
		{"a second admin comes before the delay", fleet.BrakePolicy{ApprovalFor: []fleet.ActionKind{fleet.ActionWipe},
			DelayFor: []fleet.ActionKind{fleet.ActionWipe}, DelayMinutes: 5}, fleet.ActionWipe, 1, 0, fleet.ActionWaiting, approvalLife, 0},
		{"a delay", fleet.BrakePolicy{DelayFor: []fleet.ActionKind{fleet.ActionDelete}, DelayMinutes: 5}, fleet.ActionDelete, 1, 0, fleet.ActionDelayed, 5 * time.Minute, 0},
		{"a delay of nothing", fleet.BrakePolicy{DelayFor: []fleet.ActionKind{fleet.ActionDelete}}, fleet.ActionDelete, 1, 0, fleet.ActionDone, 0, 0},
		{"a delay of something else", fleet.BrakePolicy{DelayFor: []fleet.ActionKind{fleet.ActionDelete}, DelayMinutes: 5}, fleet.ActionWipe, 1, 0, fleet.ActionDone, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := judge(tt.policy, tt.kind, tt.hosts, tt.used, now.Add(-40*time.Minute), now)
			if tt.phase == 0 {
				if v.refuse == nil || v.refuse.Kind != fleet.KindTooMany || v.refuse.RetryAfter != tt.retry {
					t.Errorf("%+v", v.refuse)
				}
				return
			}
			if v.refuse != nil || v.phase != tt.phase || !v.due.Equal(now.Add(tt.due)) {
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestWhoDecidesAboutARequest(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	asker, other := fleet.Actor{UserID: 1, Name: "Ada"}, fleet.Actor{UserID: 2}
	delaying := fleet.BrakePolicy{DelayFor: []fleet.ActionKind{fleet.ActionWipe}, DelayMinutes: 5}
	for _, tt := range []struct {
		phase, what fleet.ActionPhase
		by          fleet.Actor
		admin       bool
		age         time.Duration
		policy      fleet.BrakePolicy
		then        fleet.ActionPhase // 0: refused with kind
		kind        fleet.Kind
	}{
		{fleet.ActionWaiting, fleet.ActionDone, other, true, 0, fleet.BrakePolicy{}, fleet.ActionDone, 0},
		{fleet.ActionWaiting, fleet.ActionDone, other, true, 0, delaying, fleet.ActionDelayed, 0},
		{fleet.ActionWaiting, fleet.ActionDone, asker, true, 0, fleet.BrakePolicy{}, 0, fleet.KindForbidden},
		{fleet.ActionWaiting, fleet.ActionDone, other, true, approvalLife, fleet.BrakePolicy{}, 0, fleet.KindConflict},
		{fleet.ActionWaiting, fleet.ActionDenied, other, true, 0, fleet.BrakePolicy{}, fleet.ActionDenied, 0},
		{fleet.ActionWaiting, fleet.ActionUndone, asker, false, 0, fleet.BrakePolicy{}, fleet.ActionUndone, 0},
		{fleet.ActionDelayed, fleet.ActionUndone, asker, false, 0, fleet.BrakePolicy{}, fleet.ActionUndone, 0},
		{fleet.ActionDelayed, fleet.ActionUndone, other, false, 0, fleet.BrakePolicy{}, 0, fleet.KindForbidden},
		{fleet.ActionDelayed, fleet.ActionUndone, other, true, 0, fleet.BrakePolicy{}, fleet.ActionUndone, 0},
		{fleet.ActionDelayed, fleet.ActionDone, other, true, 0, fleet.BrakePolicy{}, 0, fleet.KindConflict},
		{fleet.ActionDone, fleet.ActionUndone, asker, true, 0, fleet.BrakePolicy{}, 0, fleet.KindConflict},
		{fleet.ActionDenied, fleet.ActionDone, other, true, 0, fleet.BrakePolicy{}, 0, fleet.KindConflict},
		{fleet.ActionExpired, fleet.ActionDone, other, true, 0, fleet.BrakePolicy{}, 0, fleet.KindConflict},
	} {
		name := fmt.Sprintf("%s of what is %s by %d", tt.what, tt.phase, tt.by.UserID)
		r := fleet.ActionRequest{Kind: fleet.ActionWipe, Phase: tt.phase, Actor: asker, DueAt: now.Add(approvalLife)}
		v, err := decideApproval(tt.policy, &r, tt.what, tt.by, tt.admin, now.Add(tt.age))
		switch {
		case tt.then == 0 && (err == nil || err.Kind != tt.kind):
			t.Errorf("%s: %+v, %v", name, v, err)
		case tt.then != 0 && (err != nil || v.phase != tt.then):
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}

func TestWhatMayBeTakenBack(t *testing.T) {
	h := on(fleet.PlatformDarwin)
	for name, tt := range map[string]struct {
		facts fleet.ActionFacts
		kind  fleet.Kind
	}{
		"nothing of that name": {fleet.ActionFacts{}, fleet.KindNotFound},
		"it was answered":      {fleet.ActionFacts{Answered: fleet.CommandError}, fleet.KindConflict},
		"it was fetched":       {fleet.ActionFacts{Command: &fleet.WaitingCommand{Purpose: fleet.CommandAction, Sends: 1}}, fleet.KindConflict},
		"fetched again after it was put off": {fleet.ActionFacts{Command: &fleet.WaitingCommand{Purpose: fleet.CommandAction, Sends: 2, NotNow: 1}},
			fleet.KindConflict},
		"it was put off":       {fleet.ActionFacts{Command: &fleet.WaitingCommand{Purpose: fleet.CommandAction, Sends: 1, NotNow: 1}}, 0},
		"it waits":             {fleet.ActionFacts{Command: &fleet.WaitingCommand{Purpose: fleet.CommandAction}}, 0},
		"somebody's plain one": {fleet.ActionFacts{Command: &fleet.WaitingCommand{Purpose: fleet.CommandCustom}}, 0},
		"Muster's own":         {fleet.ActionFacts{Command: &fleet.WaitingCommand{Purpose: fleet.CommandRenew}}, fleet.KindInvalid},
	} {
		if err := cancellable(&h, tt.facts, "U"); fleet.KindOf(err) != tt.kind || (err == nil) != (tt.kind == 0) {
			t.Errorf("%s: %v", name, err)
		}
	}
	v := fleet.HostActionState{Pending: fleet.PendingUnlock, CommandUUID: "U", PINUUID: "P", Status: fleet.DeviceLocked}
	if got, _ := cancelled(v, "U"); got.Pending != 0 || got.PINUUID != "P" || got.Status != fleet.DeviceLocked {
		t.Errorf("an unlock that was taken back: %+v", got)
	}
	v = fleet.HostActionState{Pending: fleet.PendingLock, CommandUUID: "U", PINUUID: "U"}
	if got, _ := cancelled(v, "U"); got.Pending != 0 || got.PINUUID != "" {
		t.Errorf("a lock that was taken back: %+v", got)
	}
	if _, changed := cancelled(fleet.HostActionState{}, "U"); changed {
		t.Error("another command changed what is pending")
	}
}
