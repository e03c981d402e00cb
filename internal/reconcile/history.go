package reconcile

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// History tells what a host had at a moment, from the event log.
type History struct {
	events Events
}

// NewHistory returns the history.
func NewHistory(events Events) *History { return &History{events: events} }

// maxShownEvents bounds the entries that a history shows.
const maxShownEvents = 50

// At folds the host's log up to a moment.
func (h *History) At(ctx context.Context, host fleet.HostID, at time.Time) (*fleet.History, error) {
	events, err := h.events.OfHost(ctx, host, at, nil, maxHostEvents)
	if err != nil {
		return nil, err
	}
	slices.Reverse(events)
	out := &fleet.History{At: at}
	state := map[string]fleet.HistoryItem{}
	for _, e := range events {
		fold(out, state, e)
	}
	for _, key := range slices.Sorted(maps.Keys(state)) {
		out.Items = append(out.Items, state[key])
	}
	slices.SortFunc(out.Items, func(a, b fleet.HistoryItem) int { return strings.Compare(a.Name, b.Name) })
	out.Events = events[max(0, len(events)-maxShownEvents):]
	return out, nil
}

// fold puts one entry of the log into what is known of the host.
func fold(h *fleet.History, state map[string]fleet.HistoryItem, e fleet.Event) {
	on := func(v bool) { h.Enrolled = &v }
	switch e.Kind {
	case fleet.EventMDMEnrolled:
		on(true)
	case fleet.EventMDMUnenrolled:
		on(false)
		clear(state)
	case fleet.EventMDMReset, fleet.EventMDMAuthenticated:
		clear(state)
	case fleet.EventHostTransferred:
		var d struct {
			TeamID fleet.TeamID `json:"team_id"`
		}
		if json.Unmarshal(e.Details, &d) == nil {
			h.TeamID = &d.TeamID
		}
	case fleet.EventHostItems:
		var entry Entry
		if json.Unmarshal(e.Details, &entry) != nil {
			return
		}
		for _, c := range entry.Changes {
			if c.Status == "" {
				delete(state, c.Item)
				continue
			}
			state[c.Item] = fleet.HistoryItem{UUID: c.Item, Name: c.Name, Identifier: c.Identifier, Version: c.Version, Op: c.Op,
				Status: c.Status, Detail: c.Detail, Since: e.At}
		}
	default: // changes nothing of these
	}
}
