package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Limits of a preview.
const (
	previewBatch  = 500
	maxSamples    = 3
	previewMargin = 1 << 40 // keys of items that do not exist yet begin here
)

// HostPages walks over hosts in the order of their keys.
type HostPages interface {
	// After returns up to limit hosts of a scope with keys above the given one.
	After(ctx context.Context, team fleet.TeamID, after fleet.HostID, limit int) ([]fleet.HostID, error)
	Facts(ctx context.Context, ids []fleet.HostID) ([]fleet.HostFacts, error)
}

// Previewer tells what a change of a scope's items would do, host by host,
// with the function that planning uses.
type Previewer struct {
	reconciler *Reconciler
	hosts      HostPages
}

// NewPreviewer returns the previewer.
func NewPreviewer(r *Reconciler, hosts HostPages) *Previewer {
	return &Previewer{reconciler: r, hosts: hosts}
}

// Preview works out what the changes would do to the hosts of a scope. Items
// are those of the scope that people own, as they would be afterwards. secrets
// are names of those that will have a value by then.
func (p *Previewer) Preview(ctx context.Context, team fleet.TeamID, changes []fleet.ItemChange, secrets ...string) (*fleet.Preview, error) {
	if err := p.reconciler.Refresh(ctx); err != nil {
		return nil, err
	}
	now := p.reconciler.Rules()
	then, added := now.with(team, changes, secrets)
	c := &counting{now: now, then: then, byUUID: map[string]*fleet.PreviewItem{}}
	out := &fleet.Preview{TeamID: team, Revision: now.catalog.Revisions[team]}
	for i := range changes {
		item := &fleet.PreviewItem{Item: changes[i].Item, What: changes[i].What}
		c.items = append(c.items, item)
		c.byUUID[changes[i].Item.UUID] = item
	}
	c.added = added
	after := fleet.HostID(0)
	for {
		hosts, err := p.hosts.After(ctx, team, after, previewBatch)
		if err != nil {
			return nil, err
		}
		if len(hosts) == 0 {
			break
		}
		after = hosts[len(hosts)-1]
		facts, err := p.hosts.Facts(ctx, hosts)
		if err != nil {
			return nil, err
		}
		for i := range facts {
			if facts[i].Device.State == fleet.EnrollmentOn {
				out.Hosts++
				c.host(&facts[i])
			}
		}
	}
	for _, i := range c.items {
		out.Items = append(out.Items, *i)
	}
	return out, nil
}

// Revision is that of a scope now.
func (p *Previewer) Revision(ctx context.Context, team fleet.TeamID) (int64, error) {
	if err := p.reconciler.Refresh(ctx); err != nil {
		return 0, err
	}
	return p.reconciler.Rules().catalog.Revisions[team], nil
}

// with returns the rules as they would be after the changes. New items get
// keys that no stored one has.
func (r *Rules) with(team fleet.TeamID, changes []fleet.ItemChange, secrets []string) (*Rules, map[string]fleet.ItemID) {
	c := *r.catalog
	c.ByTeam = maps.Clone(c.ByTeam)
	c.Items = maps.Clone(c.Items)
	c.Secrets = map[string]int64{}
	for _, name := range secrets {
		c.Secrets[name] = 0
	}
	maps.Copy(c.Secrets, r.catalog.Secrets)
	c.Labels = maps.Clone(c.Labels)
	for n := range changes {
		for _, l := range changes[n].Item.Labels {
			if l.LabelID < 0 {
				// It does not exist yet: nobody's membership is known.
				c.Labels[l.LabelID] = &fleet.Label{ID: l.LabelID, Name: l.Name, Kind: fleet.LabelDynamic}
			}
		}
	}
	added := map[string]fleet.ItemID{}
	live := slices.Clone(c.ByTeam[team])
	for n := range changes {
		item := changes[n].Item
		at := slices.IndexFunc(live, func(i *fleet.Item) bool { return i.UUID == item.UUID })
		switch changes[n].What {
		case fleet.ItemAdded:
			item.ID = fleet.ItemID(previewMargin + n)
			added[item.UUID] = item.ID
			live = append(live, &item)
			c.Items[item.ID] = &item
		case fleet.ItemEdited, fleet.ItemRescoped:
			if at >= 0 {
				live[at] = &item
				c.Items[item.ID] = &item
			}
		case fleet.ItemRemoved:
			if at >= 0 {
				live = slices.Delete(live, at, at+1)
			}
		case fleet.ItemUnchanged:
		}
	}
	c.ByTeam[team] = live
	return NewRules(&c), added
}

// counting adds up what changes host by host.
type counting struct {
	now, then *Rules
	added     map[string]fleet.ItemID
	items     []*fleet.PreviewItem
	byUUID    map[string]*fleet.PreviewItem
}

func (c *counting) host(f *fleet.HostFacts) {
	before := map[string]Want{}
	for w := range c.now.Desired(f) {
		before[w.Item.UUID] = w
	}
	after := slices.Collect(c.then.Desired(f))
	seen := map[string]bool{}
	for _, w := range after {
		item := c.byUUID[w.Item.UUID]
		seen[w.Item.UUID] = true
		if item == nil {
			continue
		}
		was, had := before[w.Item.UUID]
		c.count(item, f, was, had, w)
		if w.Decision == fleet.Yes && item.What != fleet.ItemUnchanged {
			for _, refusal := range c.then.predict(f, w, after) {
				refuse(item, f, refusal)
			}
		}
	}
	for uuid, was := range before {
		if item := c.byUUID[uuid]; item != nil && !seen[uuid] && was.Decision == fleet.Yes {
			item.Remove++
			sample(item, f)
		}
	}
}

func (c *counting) count(item *fleet.PreviewItem, f *fleet.HostFacts, was Want, had bool, w Want) {
	installed := had && was.Decision == fleet.Yes
	switch {
	case w.Decision == fleet.Unknown:
		item.Held++
	case w.Decision == fleet.Yes && !installed:
		item.Install++
		sample(item, f)
	case w.Decision == fleet.Yes && was.Version.SHA256 != w.Version.SHA256:
		item.Change++
		sample(item, f)
	case w.Decision == fleet.No && installed:
		item.Remove++
		sample(item, f)
	}
}

// sampleName is how a sample names a host.
func sampleName(f *fleet.HostFacts) string {
	return fmt.Sprintf("%s (%s)", f.Host.DisplayName(), f.Host.HardwareSerial)
}

func sample(i *fleet.PreviewItem, f *fleet.HostFacts) {
	if len(i.Samples) < maxSamples {
		i.Samples = append(i.Samples, sampleName(f))
	}
}

func refuse(i *fleet.PreviewItem, f *fleet.HostFacts, refusal fleet.Refusal) {
	for n := range i.Refusals {
		r := &i.Refusals[n]
		if r.Refusal == refusal {
			r.Hosts++
			if len(r.Samples) < maxSamples {
				r.Samples = append(r.Samples, sampleName(f))
			}
			return
		}
	}
	i.Refusals = append(i.Refusals, fleet.PreviewRefusal{Refusal: refusal, Hosts: 1, Samples: []string{sampleName(f)}})
}
