package profile

import (
	"context"
	"fmt"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Summary counts a scope's hosts by their worst item.
func (s *Service) Summary(ctx context.Context, team fleet.TeamID) (fleet.ItemStatusCounts, error) {
	return s.statuses.Summary(ctx, team)
}

// ItemStatus counts the hosts of an item by status.
func (s *Service) ItemStatus(ctx context.Context, uuid string) (fleet.ItemStatusCounts, error) {
	i, err := s.Item(ctx, uuid)
	if err != nil {
		return fleet.ItemStatusCounts{}, err
	}
	return s.statuses.ItemCounts(ctx, i.ID)
}

// HostsOf lists the hosts of an item.
func (s *Service) HostsOf(ctx context.Context, uuid string, f fleet.ItemHostFilter) ([]fleet.ItemHost, fleet.PageMeta, error) {
	i, err := s.Item(ctx, uuid)
	if err != nil {
		return nil, fleet.PageMeta{}, err
	}
	f.ItemID = i.ID
	return s.statuses.HostsOf(ctx, f)
}

// HostItems lists the items of a host.
func (s *Service) HostItems(ctx context.Context, host fleet.HostID) ([]fleet.HostItemDetail, error) {
	return s.statuses.HostItems(ctx, host)
}

// Resend sends an item to a host again, whatever its state.
func (s *Service) Resend(ctx context.Context, actor fleet.Actor, host fleet.HostID, uuid string) error {
	i, err := s.Item(ctx, uuid)
	if err != nil {
		return err
	}
	e := s.event(fleet.EventItemResent, actor, i)
	e.HostID = host
	if err := s.statuses.Resend(ctx, host, i.ID, e); err != nil {
		return err
	}
	s.plan.Ring()
	return nil
}

// ResendFailed sends an item again to all hosts on which it failed, or only
// to those whose reason contains match. It is one change, whatever their number.
func (s *Service) ResendFailed(ctx context.Context, actor fleet.Actor, uuid, match string) error {
	old, err := s.Item(ctx, uuid)
	if err != nil {
		return err
	}
	err = s.items.Edit(ctx, old.TeamID, false, func(live []*fleet.Item) (fleet.ItemEdits, error) {
		for _, i := range live {
			if i.UUID == uuid {
				next := *i
				next.ResendAt, next.ResendMatch = s.clock(), match
				e := s.event(fleet.EventItemsResent, actor, &next)
				e.Details = fmt.Appendf(nil, `{"profile_uuid":%q,"name":%q,"status":"failed","match":%q}`, next.UUID, next.Name, match)
				return fleet.ItemEdits{Edit: []fleet.ItemUpload{{Item: next}}, Events: []fleet.Event{e}}, nil
			}
		}
		return fleet.ItemEdits{}, fleet.Errorf(fleet.KindNotFound, "the profile is gone")
	})
	if err == nil {
		s.plan.Ring()
	}
	return err
}
