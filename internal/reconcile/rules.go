package reconcile

import (
	"slices"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Rules are a catalog made ready to decide for many hosts. They are not
// changed once made.
type Rules struct {
	catalog *fleet.Catalog
	scopes  map[fleet.TeamID][]rule
	none    []rule // what every scope has
	// Labels that scope an item have a bit each.
	bits   map[fleet.LabelID]int
	labels []*fleet.Label
	vitals []*fleet.Label // labels that follow from vitals
	// absent holds, by platform, the bits of labels whose hosts are no members
	// unless the store says so.
	absent map[fleet.Platform]bitset
}

// rule is one item with its labels as bits.
type rule struct {
	item           *fleet.Item
	all, any, none bitset
	broken         []string // names of labels that were deleted
}

type bitset []uint64

func (b bitset) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

// within reports that all of b is in other.
func (b bitset) within(other bitset) bool {
	for i, w := range b {
		if w&^other[i] != 0 {
			return false
		}
	}
	return true
}

// meets reports that some of b is in other.
func (b bitset) meets(other bitset) bool {
	for i, w := range b {
		if w&other[i] != 0 {
			return true
		}
	}
	return false
}

// NewRules compiles a catalog.
func NewRules(c *fleet.Catalog) *Rules {
	r := &Rules{catalog: c, scopes: map[fleet.TeamID][]rule{}, bits: map[fleet.LabelID]int{}, absent: map[fleet.Platform]bitset{}}
	for _, items := range c.ByTeam {
		for _, i := range items {
			for _, l := range i.Labels {
				label := c.Labels[l.LabelID]
				if label == nil {
					continue
				}
				if _, has := r.bits[l.LabelID]; !has {
					r.bits[l.LabelID] = len(r.labels)
					r.labels = append(r.labels, label)
				}
			}
		}
	}
	for _, l := range c.Labels {
		if l.Kind == fleet.LabelVitals && l.Criteria != nil {
			r.vitals = append(r.vitals, l)
		}
	}
	slices.SortFunc(r.vitals, func(a, b *fleet.Label) int { return int(a.ID - b.ID) })
	for _, p := range []fleet.Platform{fleet.PlatformDarwin, fleet.PlatformIOS, fleet.PlatformIPadOS, fleet.PlatformWindows} {
		r.absent[p] = r.newSet()
		for bit, l := range r.labels {
			if l.Absent(p) == fleet.No {
				r.absent[p].set(bit)
			}
		}
	}
	for team, items := range c.ByTeam {
		rules := make([]rule, 0, len(items))
		for _, i := range items {
			rules = append(rules, r.compile(i))
		}
		if team == fleet.EveryTeam {
			r.none = rules
			continue
		}
		r.scopes[team] = rules
	}
	return r
}

func (r *Rules) newSet() bitset { return make(bitset, (len(r.labels)+63)/64) }

func (r *Rules) compile(i *fleet.Item) rule {
	out := rule{item: i, all: r.newSet(), any: r.newSet(), none: r.newSet()}
	for _, l := range i.Labels {
		bit, has := r.bits[l.LabelID]
		if !has {
			out.broken = append(out.broken, l.Name)
			continue
		}
		switch l.Mode {
		case fleet.IncludeAll:
			out.all.set(bit)
		case fleet.IncludeAny:
			out.any.set(bit)
		case fleet.ExcludeAny:
			out.none.set(bit)
		}
	}
	return out
}

// member is what is known of a host's labels.
type member struct{ yes, known bitset }

func (r *Rules) membership(f *fleet.HostFacts) member {
	m := member{yes: r.newSet(), known: r.newSet()}
	copy(m.known, r.absent[f.Host.Platform])
	for _, l := range f.Labels {
		bit, has := r.bits[l.LabelID]
		if !has {
			continue
		}
		switch l.Member {
		case fleet.Yes:
			m.yes.set(bit)
			m.known.set(bit)
		case fleet.No:
			m.known.set(bit)
		case fleet.Unknown:
		}
	}
	return m
}

// Want is what one host should have of one item.
type Want struct {
	Item *fleet.Item
	// Decision: Yes, No, or Unknown: what is there stays as it is.
	Decision fleet.Tri
	// Version that the host should have, with Yes.
	Version *fleet.ItemVersion
}

// Desired decides about every item of the host's scope, in the order of their
// keys, those of every scope first. It is pure.
func (r *Rules) Desired(f *fleet.HostFacts) []Want {
	m := r.membership(f)
	team := r.scopes[f.Host.TeamID]
	out := make([]Want, 0, len(r.none)+len(team))
	for _, rules := range [][]rule{r.none, team} {
		for i := range rules {
			out = append(out, r.decide(&rules[i], f, m, nil))
		}
	}
	return out
}

// decide is the one place where it is decided who gets an item. With steps
// set it tells every condition that it looked at.
func (r *Rules) decide(u *rule, f *fleet.HostFacts, m member, steps *[]Step) Want {
	w := Want{Item: u.item, Decision: fleet.Yes, Version: &u.item.ItemVersion}
	note := func(d fleet.Tri, step func() Step) {
		if d == fleet.No || (d == fleet.Unknown && w.Decision == fleet.Yes) {
			w.Decision = d
		}
		if steps != nil {
			s := step()
			s.Met = d
			*steps = append(*steps, s)
		}
	}
	note(fleet.TriOf(u.item.Platforms&fleet.SetOf(f.Host.Platform) != 0), func() Step { return platformStep(u.item, f) })
	if len(u.broken) > 0 {
		note(fleet.Unknown, func() Step { return brokenStep(u.broken) })
	}
	if modes := u.item.Labels; len(modes) > 0 {
		r.decideLabels(u, m, note)
	}
	r.decideRollout(u, f, &w, note)
	return w
}

func (r *Rules) decideLabels(u *rule, m member, note func(fleet.Tri, func() Step)) {
	empty := r.newSet()
	if !u.all.within(empty) {
		d := fleet.Yes
		if !u.all.within(m.yes) {
			d = fleet.Unknown
			for i, w := range u.all {
				if w&m.known[i]&^m.yes[i] != 0 {
					d = fleet.No
				}
			}
		}
		note(d, func() Step { return r.labelStep(fleet.IncludeAll, u.all, m) })
	}
	if !u.any.within(empty) {
		d := fleet.Yes
		if !u.any.meets(m.yes) {
			d = fleet.Unknown
			if u.any.within(m.known) {
				d = fleet.No
			}
		}
		note(d, func() Step { return r.labelStep(fleet.IncludeAny, u.any, m) })
	}
	if !u.none.within(empty) {
		d := fleet.Yes
		if u.none.meets(m.yes) {
			d = fleet.No
		} else if !u.none.within(m.known) {
			d = fleet.Unknown
		}
		note(d, func() Step { return r.labelStep(fleet.ExcludeAny, u.none, m) })
	}
}

// decideRollout chooses the version: hosts outside of the open rings keep the
// previous one, or have none.
func (r *Rules) decideRollout(u *rule, f *fleet.HostFacts, w *Want, note func(fleet.Tri, func() Step)) {
	roll := u.item.Rollout
	if roll == nil || roll.State == fleet.RolloutDone {
		return
	}
	shard := fleet.Shard(u.item.UUID, f.Host.UUID)
	if float64(shard) < roll.Open()*fleet.ShardBits {
		note(fleet.Yes, func() Step { return rolloutStep(u.item, shard, true) })
		return
	}
	if u.item.Previous == nil {
		note(fleet.No, func() Step { return rolloutStep(u.item, shard, false) })
		return
	}
	w.Version = u.item.Previous
	note(fleet.Yes, func() Step { return rolloutStep(u.item, shard, false) })
}
