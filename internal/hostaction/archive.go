package hostaction

import (
	"context"

	"github.com/muster-mdm/muster/internal/fleet"
)

// maxArchived bounds the archived secrets that are shown of one device.
const maxArchived = 100

// Archived shows the secrets of devices with a serial number whose host was
// deleted or enrolled anew, the newest first, after recording who asked.
func (s *Service) Archived(ctx context.Context, actor fleet.Actor, serial string) ([]fleet.ArchivedSecret, error) {
	if serial == "" {
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "serial_number", "say of which device: secrets are archived by serial number")
	}
	list, err := s.o.Store.Archived(ctx, serial, maxArchived)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	names := make([]string, 0, len(list))
	for _, v := range list {
		names = append(names, v.Kind.String())
	}
	o := order{actor: actor, now: s.o.Clock()}
	err = s.o.Store.Act(ctx, fleet.ActionLookup{}, func(fleet.ActionFacts) (fleet.ActionChange, error) {
		return fleet.ActionChange{Events: []fleet.Event{o.event(fleet.EventHostSecretViewed, nil, map[string]any{"archived": names, "serial": serial})}}, nil
	})
	if err != nil {
		return nil, err
	}
	out := list[:0]
	for _, v := range list {
		switch v.Kind {
		case fleet.ArchivedBypassCode:
			v.Value, _, err = s.bypassCode(ctx, v.CommandUUID)
		case fleet.ArchivedPIN:
			v.Value, err = s.commandSecret(ctx, v.CommandUUID, "PIN")
		default:
			v.Value, err = s.commandSecret(ctx, v.CommandUUID, "NewPassword")
		}
		switch {
		case fleet.KindOf(err) == fleet.KindNotFound:
			continue // it was swept meanwhile
		case err != nil:
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
