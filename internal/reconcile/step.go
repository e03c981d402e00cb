package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Step is one condition that was looked at to decide whether a host gets an
// item.
type Step struct {
	Rule string // team, platform, labels_include_all, ..., rollout
	Met  fleet.Tri
	Text string // in words
	// Labels are the memberships that the condition is about.
	Labels []LabelFact
}

// LabelFact is a host's membership with where it comes from.
type LabelFact struct {
	Name   string
	Member fleet.Tri
	Text   string
}

// steps tells every condition that an item has, as it was decided.
func (r *Rules) steps(u *rule, f *fleet.HostFacts, m member, w Want, c conditions) []Step {
	var out []Step
	add := func(met fleet.Tri, s Step) {
		s.Met = met
		out = append(out, s)
	}
	add(c.platform, platformStep(u.item, f))
	if len(u.broken) > 0 {
		add(c.labels, brokenStep(u.broken))
	}
	for mode, met := range map[fleet.LabelMode]fleet.Tri{fleet.IncludeAll: c.all, fleet.IncludeAny: c.any, fleet.ExcludeAny: c.none} {
		if u.modes&(1<<mode) != 0 {
			add(met, r.labelStep(mode, u.set(mode), m))
		}
	}
	if roll := u.item.Rollout; roll != nil && roll.State != fleet.RolloutDone {
		add(c.rollout, rolloutStep(u.item, c.shard, w.Version == &u.item.ItemVersion && c.rollout == fleet.Yes))
	}
	slices.SortStableFunc(out, func(a, b Step) int { return strings.Compare(a.Rule, b.Rule) })
	return out
}

func (u *rule) set(mode fleet.LabelMode) bitset {
	switch mode {
	case fleet.IncludeAll:
		return u.all
	case fleet.IncludeAny:
		return u.any
	case fleet.ExcludeAny:
	}
	return u.none
}

func platformStep(i *fleet.Item, f *fleet.HostFacts) Step {
	names := []string{}
	for _, p := range []fleet.Platform{fleet.PlatformDarwin, fleet.PlatformIOS, fleet.PlatformIPadOS} {
		if i.Platforms&fleet.SetOf(p) != 0 {
			names = append(names, p.Title())
		}
	}
	return Step{Rule: "platform", Text: fmt.Sprintf("it is for %s, and the host runs %s", strings.Join(names, ", "), f.Host.Platform.Title())}
}

func brokenStep(names []string) Step {
	return Step{Rule: "labels", Text: fmt.Sprintf("the label %s was deleted: the item goes to no further hosts and stays where it is until its labels are changed",
		strings.Join(names, ", "))}
}

func (r *Rules) labelStep(mode fleet.LabelMode, set bitset, m member) Step {
	s := Step{Rule: mode.String()}
	var names []string
	for bit, l := range r.labels {
		if !set.has(bit) {
			continue
		}
		names = append(names, l.Name)
		f := LabelFact{Name: l.Name, Member: fleet.Unknown}
		switch {
		case m.yes.has(bit):
			f.Member, f.Text = fleet.Yes, "the host is a member"
		case m.known.has(bit):
			f.Member, f.Text = fleet.No, "the host is no member"
		default:
			f.Text = unknownLabel(l)
		}
		s.Labels = append(s.Labels, f)
	}
	slices.Sort(names)
	list := strings.Join(names, ", ")
	switch mode {
	case fleet.IncludeAll:
		s.Text = "hosts must be members of all of: " + list
	case fleet.IncludeAny:
		s.Text = "hosts must be members of one of: " + list
	case fleet.ExcludeAny:
		s.Text = "hosts must be members of none of: " + list
	}
	return s
}

// unknownLabel says why nothing is known of a membership.
func unknownLabel(l *fleet.Label) string {
	if l.Kind == fleet.LabelVitals && l.Criteria != nil {
		return fmt.Sprintf("not known: the host has not reported %s yet", l.Criteria.Vital)
	}
	return "not known: no agent on the host has answered the label's query yet"
}

func rolloutStep(i *fleet.Item, shard int, open bool) Step {
	roll := i.Rollout
	s := Step{Rule: "rollout"}
	place := float64(shard) * 100 / fleet.ShardBits
	if open {
		s.Text = fmt.Sprintf("version %d is open to the first %.4g %% of hosts, and this one is at %.4g %%", i.Version, roll.Open()*100, place)
		return s
	}
	s.Text = fmt.Sprintf("version %d is open to the first %.4g %% of hosts only (%s), and this one is at %.4g %%", i.Version, roll.Open()*100, roll.State, place)
	if i.Previous != nil {
		s.Text += fmt.Sprintf("; it keeps version %d", i.Previous.Version)
	}
	return s
}
