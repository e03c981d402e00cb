package hostaction

import (
	"slices"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

const (
	// brakeWindow is the hour of the limits.
	brakeWindow = time.Hour
	// approvalLife is how long a request waits for a second admin.
	approvalLife = 24 * time.Hour
)

// verdict is the brake's: the phase of the request, or a refusal.
type verdict struct {
	phase  fleet.ActionPhase
	due    time.Time // of a delayed one; of a waiting one, when it expires
	refuse *fleet.Error
}

// judge is the brake: what a person's request comes to. used hosts were acted
// on by the same person within brakeWindow, the first of them at oldest.
func judge(p fleet.BrakePolicy, kind fleet.ActionKind, hosts, used int, oldest, now time.Time) verdict {
	limit := p.Limit(kind)
	if limit >= 0 && used+hosts > limit {
		err := fleet.Errorf(fleet.KindTooMany, "the brake: %d more would make %d hosts within an hour for %q, and one person may do %d."+
			" Nothing was done. Wait, let another person do it, or have an admin raise mdm.brake.%ss_per_hour", hosts, used+hosts, kind, limit, kind)
		if hosts <= limit && !oldest.IsZero() {
			err.RetryAfter = max(oldest.Add(brakeWindow).Sub(now), time.Second)
		}
		return verdict{refuse: err}
	}
	if slices.Contains(p.ApprovalFor, kind) {
		return verdict{phase: fleet.ActionWaiting, due: now.Add(approvalLife)}
	}
	return delayed(p, kind, now)
}

// delayed is what becomes of a request that nobody else has to approve.
func delayed(p fleet.BrakePolicy, kind fleet.ActionKind, now time.Time) verdict {
	if p.DelayMinutes > 0 && slices.Contains(p.DelayFor, kind) {
		return verdict{phase: fleet.ActionDelayed, due: now.Add(time.Duration(p.DelayMinutes) * time.Minute)}
	}
	return verdict{phase: fleet.ActionDone, due: now}
}

// decideApproval is what an approval, a denial or taking back does to a
// request.
func decideApproval(p fleet.BrakePolicy, r *fleet.ActionRequest, what fleet.ActionPhase, by fleet.Actor, admin bool, now time.Time) (verdict, *fleet.Error) {
	waits := r.Phase == fleet.ActionWaiting || r.Phase == fleet.ActionDelayed
	switch {
	case !waits:
		return verdict{}, fleet.Errorf(fleet.KindConflict, "the request is %s: nothing is left to decide", r.Phase)
	case what == fleet.ActionUndone:
		if !admin && by.UserID != r.Actor.UserID {
			return verdict{}, fleet.FieldErrorf(fleet.KindForbidden, "request", "only %s, who asked, or an admin can take the request back", r.Actor.Name)
		}
	case r.Phase != fleet.ActionWaiting:
		return verdict{}, fleet.Errorf(fleet.KindConflict, "the request is approved already and waits for its time: undo it instead")
	case what == fleet.ActionDenied:
	case !now.Before(r.DueAt):
		return verdict{}, fleet.Errorf(fleet.KindConflict, "nobody approved the request within %s: it must be made again", approvalLife)
	case by.UserID == r.Actor.UserID:
		return verdict{}, fleet.FieldErrorf(fleet.KindForbidden, "request", "a second person must approve: nobody approves their own request")
	default:
		return delayed(p, r.Kind, now), nil
	}
	return verdict{phase: what, due: now}, nil
}
