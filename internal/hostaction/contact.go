package hostaction

import (
	"context"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

const (
	// lockSettles is how long a Mac that took a lock may still be heard of: it
	// ends its connection and restarts.
	lockSettles  = 5 * time.Minute
	contactBatch = 200 // Macs that one round finds unlocked
)

// NoteUnlocked marks Macs as unlocked that were heard of after their lock: a
// locked Mac runs nothing, so somebody entered the PIN.
func (s *Service) NoteUnlocked(ctx context.Context) error {
	ids, err := s.o.Store.LockedButHeardOf(ctx, lockSettles, contactBatch)
	if err != nil || len(ids) == 0 {
		return err
	}
	now := s.o.Clock()
	return s.o.Store.Act(ctx, fleet.ActionLookup{Hosts: ids}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
		c := fleet.ActionChange{}
		for i := range f.Hosts {
			h := &f.Hosts[i]
			if !heardOfSinceLock(h) {
				continue // another action came between
			}
			state := h.Action
			state.Status = fleet.DeviceUnlocked
			c.States = append(c.States, state)
			c.Events = append(c.Events, fleet.Event{Kind: fleet.EventActionAnswered, At: now, HostID: h.Host.ID, EnrollmentID: h.EnrollmentID,
				Actor:   fleet.Actor{Kind: fleet.ActorDevice, Name: nameOf(h)},
				Details: details(map[string]any{"device_status": state.Status.String(), "why": "it was heard of after its lock: its PIN was entered"})})
		}
		return c, nil
	})
}

func heardOfSinceLock(h *fleet.ActionHost) bool {
	return h.Host.Platform == fleet.PlatformDarwin && h.Action.Status == fleet.DeviceLocked && h.Action.Pending == fleet.PendingNone &&
		h.SeenAt.After(h.Action.UpdatedAt.Add(lockSettles))
}
