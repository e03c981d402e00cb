package appledev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
)

// SendFullReport sends what devices send about once a day: a report of every
// status item, on each channel where declarative management is on.
func (d *Device) SendFullReport(ctx context.Context) error {
	d.talking.Lock()
	defer d.talking.Unlock()
	e := d.current()
	if e == nil {
		return ErrNotEnrolled
	}
	err := error(nil)
	for _, c := range e.channels() {
		if c.ddm != nil {
			err = errors.Join(err, d.report(ctx, e, c, true))
		}
	}
	return err
}

// report sends a status report: a full one, or what changed since the last that
// arrived, which may be nothing (contracts/apple.md 5.3).
func (d *Device) report(ctx context.Context, e *enrollment, c *channel, full bool) error {
	d.mu.Lock()
	items, problems := d.status(c)
	changed, sums, err := changes(items, problems, c.ddm.reported, full)
	d.mu.Unlock()
	if err != nil || len(changed) == 0 && !full && !sums.problemsChanged(c.ddm.reported) {
		return err
	}
	body, err := json.Marshal(map[string]any{"StatusItems": nest(changed), "Errors": problems, "FullReport": full})
	if err != nil {
		return fmt.Errorf("status report: %w", err)
	}
	_, err = d.declare(ctx, e, c, "status", body)
	if err != nil {
		return err
	}
	d.mu.Lock()
	c.ddm.reported, c.ddm.greeted = sums, true
	d.mu.Unlock()
	if old := d.faults.staleStatus(body); old != nil {
		_, err = d.declare(ctx, e, c, "status", old)
	}
	return err
}

// status returns the value of every item that is to be reported, and Errors for
// those that cannot be. Call it with mu held.
func (d *Device) status(c *channel) (items map[string]any, problems []any) {
	verdicts := d.judge(c)
	now := d.observe(c)
	items = map[string]any{
		itemDeclarations: declarationLists(c.ddm.held, verdicts), itemCapabilities: now.capabilities(c.which),
	}
	problems = []any{}
	for _, name := range subscriptions(c.ddm.held, verdicts) {
		if items[name] != nil {
			continue
		}
		value := now.item(name, c.which)
		if value == nil {
			problems = append(problems, map[string]any{"StatusItem": name, "Reasons": []any{map[string]any{
				"Code": "Error.UnknownStatusItem", "Description": "The status item is not supported", "Details": map[string]any{},
			}}})
			continue
		}
		items[name] = value
	}
	return items, problems
}

// subscriptions are the items that active configurations ask for.
func subscriptions(held map[string]*declaration, verdicts map[string]verdict) []string {
	names := make(map[string]bool)
	for id, x := range held {
		if x.declType != typeSubscriptions || !verdicts[id].active {
			continue
		}
		for _, item := range dict(x.contents()).dicts("StatusItems") {
			names[item.text("Name")] = true
		}
	}
	return sortedKeys(names)
}

// declarationLists is management.declarations, always complete.
func declarationLists(held map[string]*declaration, verdicts map[string]verdict) any {
	lists := map[string][]any{"activations": {}, "assets": {}, "configurations": {}, "management": {}}
	for _, x := range sorted(held) {
		v := verdicts[x.identifier]
		reasons := []any{}
		for _, r := range v.reasons {
			entry := map[string]any{"code": r.code, "description": r.description}
			if r.details != nil {
				entry["details"] = r.details
			}
			reasons = append(reasons, entry)
		}
		lists[listOf(x.kind)] = append(lists[listOf(x.kind)], map[string]any{
			"identifier": x.identifier, "server-token": x.serverToken, "active": v.active, "valid": v.valid, "reasons": reasons,
		})
	}
	return lists
}

// listOf names the list of a kind of declarations.
func listOf(kind string) string {
	if kind == "management" {
		return kind
	}
	return kind + "s"
}

// kindOf is the kind of a declaration type: com.apple.KIND.rest.
func kindOf(declType string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(declType, "com.apple."), ".")
	return kind
}

// sums are hashes of what the server was told: by item, and where an item is a
// list by item and identifier.
type sums map[string]uint64

// Separators that no item's name holds.
const (
	inList      = "\x00"
	allProblems = "\x00errors"
)

func (s sums) problemsChanged(before sums) bool { return s[allProblems] != before[allProblems] }

// changes compares items with what the server knows. Entries of lists are
// compared and sent one by one, the vanished as _removed.
func changes(items map[string]any, problems []any, before sums, full bool) (changed map[string]any, after sums, err error) {
	changed, after = make(map[string]any), make(sums)
	after[allProblems], err = sum(problems)
	for name, value := range items {
		list, isList := value.([]any)
		if !isList {
			h, e := sum(value)
			err = errors.Join(err, e)
			after[name] = h
			if full || before[name] != h {
				changed[name] = value
			}
			continue
		}
		after[name] = 1 // that the list was told of at all
		entries, e := listChanges(name, list, before, after, full || before[name] == 0)
		err = errors.Join(err, e)
		if len(entries) > 0 || full || before[name] == 0 {
			changed[name] = entries
		}
	}
	return changed, after, err
}

// listChanges compares a list, and adds its entries' sums to after.
func listChanges(name string, list []any, before, after sums, whole bool) ([]any, error) {
	out := []any{}
	var failed error
	for _, entry := range list {
		m, _ := entry.(map[string]any)
		key := name + inList + dict(m).text("identifier")
		h, err := sum(entry)
		failed = errors.Join(failed, err)
		after[key] = h
		if whole || before[key] != h {
			out = append(out, entry)
		}
	}
	for _, key := range sortedKeys(before) {
		identifier, is := strings.CutPrefix(key, name+inList)
		if _, still := after[key]; is && !still && !whole {
			out = append(out, map[string]any{"identifier": identifier, "_removed": true})
		}
	}
	return out, failed
}

// sum hashes a value's JSON.
func sum(v any) (uint64, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("status item: %w", err)
	}
	h := fnv.New64a()
	_, _ = h.Write(raw) // a hash takes all
	return h.Sum64(), nil
}

// nest turns a.b.c into objects in objects.
func nest(items map[string]any) map[string]any {
	root := make(map[string]any)
	for name, value := range items {
		at := root
		parts := strings.Split(name, ".")
		for _, part := range parts[:len(parts)-1] {
			inner, _ := at[part].(map[string]any)
			if inner == nil {
				inner = make(map[string]any)
				at[part] = inner
			}
			at = inner
		}
		at[parts[len(parts)-1]] = value
	}
	return root
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
