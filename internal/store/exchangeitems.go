package store

import (
	"slices"

	"github.com/muster-mdm/muster/internal/fleet"
)

// readItemTargets reads what answers about items may change: the item that a
// command installed or removed, or all of the channel's. The hosts' states are
// kept from others, in the order in which planning takes them.
func (s *session) readItemTargets(reports []*exchange) error {
	var hosts []int64
	var pairs [][2]int64
	var channels []any
	for _, x := range reports {
		if !x.known || !x.target.Command.Purpose.ForItems() || x.target.HostID == 0 {
			continue
		}
		hosts = append(hosts, int64(x.target.HostID))
		if x.target.Command.ItemID != 0 {
			pairs = append(pairs, [2]int64{int64(x.target.HostID), int64(x.target.Command.ItemID)})
		} else {
			channels = append(channels, int64(x.enrollment))
		}
	}
	if len(hosts) == 0 {
		return nil
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	in, args := inList(anys(hosts))
	states, err := collect(s, scanState, stateSelect+" WHERE hs.host_id IN "+in+" ORDER BY hs.host_id"+s.db.dialect.lockForUpdate(), args...)
	if err != nil {
		return err
	}
	var items []fleet.HostItem
	if len(pairs) > 0 {
		in, args := s.db.dialect.inPairs(pairs)
		if items, err = collect(s, scanHostItem, hostItemSelect+" WHERE (hi.host_id, hi.item_id) IN "+in, args...); err != nil {
			return err
		}
	}
	if len(channels) > 0 {
		inHosts, args := inList(anys(hosts))
		inChannels, more := inList(channels)
		list, err := collect(s, scanHostItem, hostItemSelect+" WHERE hi.host_id IN "+inHosts+" AND hi.enrollment_id IN "+inChannels, append(args, more...)...)
		if err != nil {
			return err
		}
		items = append(items, list...)
	}
	for _, x := range reports {
		if x.known && x.target.Command.Purpose.ForItems() {
			x.pickItems(states, items)
		}
	}
	return nil
}

func (x *exchange) pickItems(states []fleet.HostState, items []fleet.HostItem) {
	t := &x.target
	for _, v := range states {
		if v.HostID == t.HostID {
			t.State = v
		}
	}
	for _, i := range items {
		wanted := i.ItemID == t.Command.ItemID
		if t.Command.ItemID == 0 {
			wanted = i.EnrollmentID == x.enrollment
		}
		if i.HostID == t.HostID && wanted && !slices.ContainsFunc(t.Items, func(o fleet.HostItem) bool { return o.ItemID == i.ItemID }) {
			t.Items = append(t.Items, i)
		}
	}
}

// finishItems stores what answers say about items. Two channels of one host
// count into the same state.
func (s *session) finishItems(reports []*exchange) error {
	states := map[fleet.HostID]*fleet.HostState{}
	var changes []itemOutcome
	for _, x := range reports {
		if !x.known || x.out.Keep || !x.target.Command.Purpose.ForItems() {
			continue
		}
		changes = append(changes, itemOutcome{target: &x.target, items: x.out.Items, gone: x.out.Gone, listed: x.out.Listed, due: x.out.DueAt})
	}
	return s.applyItemOutcomes(states, changes)
}
