package reconcile

import (
	"iter"
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
	modes          uint8    // bits of the LabelModes that it has live labels of
	broken         []string // names of labels that were deleted
	// What most items need of theirs, kept at hand.
	on               fleet.PlatformSet
	scoped, rollsOut bool
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
	out := rule{item: i, all: r.newSet(), any: r.newSet(), none: r.newSet(), on: i.Platforms,
		scoped: len(i.Labels) > 0, rollsOut: i.Rollout != nil && i.Rollout.State != fleet.RolloutDone}
	for _, l := range i.Labels {
		bit, has := r.bits[l.LabelID]
		if !has {
			out.broken = append(out.broken, l.Name)
			continue
		}
		out.modes |= 1 << l.Mode
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

// member is what is known of a host's labels, and its platform.
type member struct {
	yes, known bitset
	on         fleet.PlatformSet
}

func (r *Rules) membership(f *fleet.HostFacts) member {
	words := (len(r.labels) + 63) / 64
	both := make(bitset, 2*words)
	m := member{yes: both[:words], known: both[words:], on: fleet.SetOf(f.Host.Platform)}
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
func (r *Rules) Desired(f *fleet.HostFacts) iter.Seq[Want] {
	m := r.membership(f)
	return func(yield func(Want) bool) {
		for _, rules := range [2][]rule{r.none, r.scopes[f.Host.TeamID]} {
			for i := range rules {
				if w, _ := rules[i].decide(f, &m); !yield(w) {
					return
				}
			}
		}
	}
}

// conditions are what was found of each condition for an item; those that the
// item does not have are Yes.
type conditions struct {
	platform, labels, all, any, none, rollout fleet.Tri
	shard                                     int // with a rollout that runs
}

func (c *conditions) decision() fleet.Tri {
	switch {
	case c.platform == fleet.No || c.labels == fleet.No || c.all == fleet.No || c.any == fleet.No || c.none == fleet.No || c.rollout == fleet.No:
		return fleet.No
	case c.labels == fleet.Unknown || c.all == fleet.Unknown || c.any == fleet.Unknown || c.none == fleet.Unknown:
		return fleet.Unknown
	}
	return fleet.Yes
}

// decide is the one place where it is decided who gets an item. One No
// decides; without one, one Unknown holds.
func (u *rule) decide(f *fleet.HostFacts, m *member) (Want, conditions) {
	w := Want{Item: u.item, Version: &u.item.ItemVersion}
	c := conditions{fleet.Yes, fleet.Yes, fleet.Yes, fleet.Yes, fleet.Yes, fleet.Yes, 0}
	if u.on&m.on == 0 {
		c.platform = fleet.No
	}
	if u.scoped {
		u.decideLabels(m, &c)
	}
	if u.rollsOut {
		u.decideRollout(f, &w, &c)
	}
	w.Decision = c.decision()
	return w, c
}

func (u *rule) decideLabels(m *member, c *conditions) {
	if len(u.broken) > 0 {
		c.labels = fleet.Unknown
	}
	if u.modes&(1<<fleet.IncludeAll) != 0 && !u.all.within(m.yes) {
		c.all = fleet.Unknown
		for i, w := range u.all {
			if w&m.known[i]&^m.yes[i] != 0 {
				c.all = fleet.No
			}
		}
	}
	if u.modes&(1<<fleet.IncludeAny) != 0 && !u.any.meets(m.yes) {
		c.any = fleet.Unknown
		if u.any.within(m.known) {
			c.any = fleet.No
		}
	}
	if u.modes&(1<<fleet.ExcludeAny) != 0 {
		switch {
		case u.none.meets(m.yes):
			c.none = fleet.No
		case !u.none.within(m.known):
			c.none = fleet.Unknown
		}
	}
}

// decideRollout chooses the version: hosts outside of the open rings keep the
// previous one, or have none.
func (u *rule) decideRollout(f *fleet.HostFacts, w *Want, c *conditions) {
	c.shard = fleet.Shard(u.item.UUID, f.Host.UUID)
	switch {
	case float64(c.shard) < u.item.Rollout.Open()*fleet.ShardBits:
	case u.item.Previous == nil:
		c.rollout = fleet.No
	default:
		w.Version = u.item.Previous
	}
}
