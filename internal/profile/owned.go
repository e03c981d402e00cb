package profile

import (
	"context"
	"fmt"

	"github.com/muster-mdm/muster/internal/codec/ddm"
	"github.com/muster-mdm/muster/internal/codec/mobileconfig"
	"github.com/muster-mdm/muster/internal/fleet"
)

// What Muster itself installs.
const (
	identifierCA = musterPrefix + "ca"
	nameCA       = "Muster certificate authority"
	deadlineHour = "T12:00:00"
)

func nameUpdates(p fleet.Platform) string { return "Muster " + p.Title() + " updates" }

func identifierUpdates(p fleet.Platform) string {
	return musterPrefix + "updates." + string(p)
}

// Scopes lists the scopes with their settings.
type Scopes interface {
	Scopes(ctx context.Context) (map[fleet.TeamID]fleet.TeamSettings, error)
}

// Owned keeps the items that follow from settings: level-triggered, so that a
// lost wake-up costs a moment.
type Owned struct {
	service *Service
	scopes  Scopes
	caDER   []byte
}

// NewOwned returns the keeper. caDER is the device authority's certificate.
func NewOwned(s *Service, scopes Scopes, caDER []byte) *Owned {
	return &Owned{service: s, scopes: scopes, caDER: caDER}
}

// Sync makes every scope's own items what the settings say.
func (o *Owned) Sync(ctx context.Context) error {
	scopes, err := o.scopes.Scopes(ctx)
	if err != nil {
		return err
	}
	root, err := mobileconfig.RootCertificates(identifierCA, nameCA, o.caDER)
	if err != nil {
		return err
	}
	ca, err := finishOwned(fleet.Item{Kind: fleet.ItemProfile, Identifier: identifierCA, Name: nameCA, Platforms: fleet.OnApple}, root)
	if err != nil {
		return err
	}
	if err := o.set(ctx, fleet.EveryTeam, []fleet.ItemUpload{ca}); err != nil {
		return err
	}
	for team, settings := range scopes {
		items, err := updateItems(settings)
		if err != nil {
			return err
		}
		if err := o.set(ctx, team, items); err != nil {
			return fmt.Errorf("items that follow from the settings of team %d: %w", team, err)
		}
	}
	return nil
}

// set replaces what Muster owns in a scope, if it is not so already.
func (o *Owned) set(ctx context.Context, team fleet.TeamID, uploads []fleet.ItemUpload) error {
	changed := false
	for n := range uploads {
		uploads[n].Item.TeamID = team
	}
	decide := func(live []*fleet.Item) (fleet.ItemEdits, error) {
		var changes []fleet.ItemChange
		edits := o.service.diff(live, uploads, fleet.OwnedByMuster, &changes)
		for _, c := range changes {
			if kind := eventOf(c.What); kind != "" {
				edits.Events = append(edits.Events, o.service.event(kind, fleet.Actor{}, &c.Item))
			}
		}
		changed = !edits.Empty()
		return edits, nil
	}
	if err := o.service.items.Edit(ctx, team, true, decide); err != nil || !changed {
		return err
	}
	err := o.service.items.Edit(ctx, team, false, decide)
	if fleet.KindOf(err) == fleet.KindNotFound {
		return nil // the team was deleted meanwhile
	}
	if err == nil {
		o.service.plan.Ring()
	}
	return err
}

// updateItems are the declarations that enforce system versions.
func updateItems(s fleet.TeamSettings) ([]fleet.ItemUpload, error) {
	var out []fleet.ItemUpload
	for _, p := range []fleet.Platform{fleet.PlatformDarwin, fleet.PlatformIOS, fleet.PlatformIPadOS} {
		u := s.Updates(p)
		if u.MinimumVersion == "" {
			continue
		}
		body, err := ddm.Make(ddm.TypeSoftwareUpdate, identifierUpdates(p), map[string]any{
			"TargetOSVersion": u.MinimumVersion, "TargetLocalDateTime": u.Deadline + deadlineHour})
		if err != nil {
			return nil, err
		}
		item, err := finishOwned(fleet.Item{Kind: fleet.ItemDeclaration, Identifier: identifierUpdates(p), Name: nameUpdates(p),
			Platforms: fleet.SetOf(p)}, body)
		if err != nil {
			return nil, err
		}
		item.Item.Spec.DeclarationType = ddm.TypeSoftwareUpdate
		out = append(out, item)
	}
	return out, nil
}

func finishOwned(i fleet.Item, content []byte) (fleet.ItemUpload, error) {
	i.Owner = fleet.OwnedByMuster
	i.Spec.Size = len(content)
	if i.Kind == fleet.ItemProfile {
		p, err := mobileconfig.Parse(content)
		if err != nil {
			return fleet.ItemUpload{}, err
		}
		i.Spec.PayloadUUID = p.UUID
		for _, payload := range p.Payloads {
			add(&i.Spec.PayloadTypes, payload.Type)
		}
	}
	return finish(i, content)
}
