package profile

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/muster-mdm/muster/internal/codec/ddm"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
)

// Set replaces all items of people in a scope, all together or not at all,
// and says what it does to each. KindConflict: its revision is another one.
func (s *Service) Set(ctx context.Context, actor fleet.Actor, team fleet.TeamID, uploads []Upload, o fleet.ItemSetOptions) ([]fleet.ItemChange, error) {
	if len(uploads) > maxItems {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "profiles", "%d profiles, at most %d are taken", len(uploads), maxItems)
	}
	prepared, err := s.prepare(ctx, team, uploads, o)
	if err != nil {
		return nil, err
	}
	if err := twins(uploads, prepared); err != nil {
		return nil, err
	}
	var changes []fleet.ItemChange
	decide := func(live []*fleet.Item) (fleet.ItemEdits, error) {
		edits := s.diff(live, prepared, fleet.OwnedByAdmin, &changes)
		edits.Revision = o.Revision
		for _, c := range changes {
			if kind := eventOf(c.What); kind != "" {
				edits.Events = append(edits.Events, s.event(kind, actor, &c.Item))
			}
		}
		return edits, check(live, &edits)
	}
	if o.NewTeam {
		_, err = decide(nil)
		return changes, err
	}
	err = s.items.Edit(ctx, team, o.Dry, decide)
	if err == nil && !o.Dry {
		s.plan.Ring()
	}
	return changes, err
}

func eventOf(what fleet.ItemChangeKind) fleet.EventKind {
	switch what {
	case fleet.ItemAdded:
		return fleet.EventItemCreated
	case fleet.ItemEdited, fleet.ItemRescoped:
		return fleet.EventItemChanged
	case fleet.ItemRemoved:
		return fleet.EventItemDeleted
	case fleet.ItemUnchanged:
	}
	return ""
}

// twins refuses two files of one call with one identifier or name.
func twins(uploads []Upload, prepared []fleet.ItemUpload) error {
	for i := range prepared {
		for j := range i {
			if same := clash(&prepared[i].Item, &prepared[j].Item); same != "" {
				return fleet.FieldErrorf(fleet.KindInvalid, "profiles", "%s and %s have the same %s (%s): nothing was changed",
					fileOf(uploads[j], j), fileOf(uploads[i], i), same, prepared[i].Item.Identifier)
			}
		}
	}
	return nil
}

func fileOf(u Upload, n int) string {
	if u.FileName != "" {
		return u.FileName
	}
	return fmt.Sprintf("profile %d", n+1)
}

// diff finds what makes the owner's live items like the uploads: matched by
// kind and identifier, so that a changed one stays the same item.
func (s *Service) diff(live []*fleet.Item, uploads []fleet.ItemUpload, owner fleet.ItemOwner, changes *[]fleet.ItemChange) fleet.ItemEdits {
	*changes = nil
	var edits fleet.ItemEdits
	matched := map[fleet.ItemID]bool{}
	for n := range uploads {
		u := uploads[n]
		u.Item.Owner = owner
		at := slices.IndexFunc(live, func(i *fleet.Item) bool {
			return i.Owner == owner && i.Kind == u.Item.Kind && i.Identifier == u.Item.Identifier
		})
		if at < 0 {
			u.Item.UUID = u.Item.Kind.Letter() + ids.UUID()
			s.open(&u.Item, nil)
			edits.Add = append(edits.Add, u)
			*changes = append(*changes, fleet.ItemChange{Item: u.Item, What: fleet.ItemAdded})
			continue
		}
		matched[live[at].ID] = true
		next := s.change(live[at], u)
		switch {
		case next == nil:
			*changes = append(*changes, fleet.ItemChange{Item: *live[at], What: fleet.ItemUnchanged})
		case next.Content == nil:
			edits.Edit = append(edits.Edit, *next)
			*changes = append(*changes, fleet.ItemChange{Item: next.Item, What: fleet.ItemRescoped})
		default:
			edits.Edit = append(edits.Edit, *next)
			*changes = append(*changes, fleet.ItemChange{Item: next.Item, What: fleet.ItemEdited})
		}
	}
	for _, i := range live {
		if i.Owner == owner && !matched[i.ID] {
			edits.Remove = append(edits.Remove, i.ID)
			*changes = append(*changes, fleet.ItemChange{Item: *i, What: fleet.ItemRemoved})
		}
	}
	return edits
}

// check looks at a scope as it will be: how many items, and whether every
// declaration that another one names is there.
func check(live []*fleet.Item, edits *fleet.ItemEdits) error {
	after := map[fleet.ItemID]*fleet.Item{}
	var all []*fleet.Item
	for _, i := range live {
		after[i.ID] = i
	}
	for _, id := range edits.Remove {
		delete(after, id)
	}
	for n := range edits.Edit {
		after[edits.Edit[n].Item.ID] = &edits.Edit[n].Item
	}
	for _, i := range after {
		all = append(all, i)
	}
	for n := range edits.Add {
		all = append(all, &edits.Add[n].Item)
	}
	if len(all) > maxItems {
		return fleet.FieldErrorf(fleet.KindInvalid, "profile", "the team would have %d profiles and declarations, at most %d are allowed", len(all), maxItems)
	}
	return checkReferences(all)
}

func checkReferences(all []*fleet.Item) error {
	kinds := map[string]string{}
	for _, i := range all {
		if i.Kind == fleet.ItemDeclaration {
			kinds[i.Identifier] = ddm.KindOf(i.Spec.DeclarationType)
		}
	}
	for _, i := range all {
		wants := ddm.KindAsset
		if ddm.KindOf(i.Spec.DeclarationType) == ddm.KindActivation {
			wants = ddm.KindConfiguration
		}
		var missing []string
		for _, id := range i.Spec.References {
			switch kind, there := kinds[id]; {
			case !there:
				missing = append(missing, id)
			case kind != wants && wants == ddm.KindConfiguration:
				return fleet.FieldErrorf(fleet.KindBadRequest, "profile", "the declaration %s names %s, which is of the kind %s: it needs a %s", i.Identifier, id, kind, wants)
			}
		}
		if len(missing) > 0 {
			missing = missing[:min(len(missing), maxNamed)]
			return fleet.FieldErrorf(fleet.KindBadRequest, "profile", "the declaration %s (%q) names %s, which the team does not have: upload what it needs first, and delete it last",
				i.Identifier, i.Name, strings.Join(missing, ", "))
		}
	}
	return nil
}
