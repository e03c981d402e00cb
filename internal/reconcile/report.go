package reconcile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/codec/ddm"
	"github.com/muster-mdm/muster/internal/fleet"
)

// maxKeptReport bounds the part of a status report that the event log keeps.
const maxKeptReport = 16 << 10

// Fetched decides what follows when a device fetched its manifest: what is
// pending there is under way now. It is pure. ErrStaleRules: see [Rules.Reported].
func (r *Rules) Fetched(f fleet.DDMFacts, at time.Time) (fleet.DDMOutcome, error) {
	c := f.Channel
	if c.Fetched == c.Manifest.Token {
		return fleet.DDMOutcome{}, nil
	}
	if r.behind(f.Items) {
		return fleet.DDMOutcome{}, fleet.ErrStaleRules
	}
	c.Fetched = c.Manifest.Token
	out := fleet.DDMOutcome{Channel: &c, DueAt: at.Add(reportWait)}
	var changes []Change
	for _, row := range f.Items {
		i := r.catalog.Items[row.ItemID]
		if i == nil || i.Kind != fleet.ItemDeclaration || row.Op != fleet.OpInstall || row.Status != fleet.ItemPending || entryOf(c.Manifest, row.ItemID) == nil {
			continue
		}
		row.Status, row.ChangedAt, row.NextAt = fleet.ItemVerifying, at, at.Add(reportWait)
		out.Items = append(out.Items, row)
		changes = append(changes, changeOf(i, row))
	}
	if len(changes) > 0 {
		out.Events = append(out.Events, fleet.Event{Kind: fleet.EventHostItems, At: at, HostID: c.HostID, EnrollmentID: c.EnrollmentID,
			Details: Details(changes, nil)})
	}
	return out, nil
}

func entryOf(m fleet.DDMManifest, id fleet.ItemID) *fleet.DDMEntry {
	for i := range m.Entries {
		if m.Entries[i].ItemID == id {
			return &m.Entries[i]
		}
	}
	return nil
}

// Reported decides what follows from a status report. It is pure.
// ErrStaleRules: the channel has items that were planned with newer rules.
func (r *Rules) Reported(f fleet.DDMFacts, raw []byte, at time.Time) (fleet.DDMOutcome, error) {
	if r.behind(f.Items) {
		return fleet.DDMOutcome{}, fleet.ErrStaleRules
	}
	report, err := ddm.DecodeReport(raw)
	if err != nil {
		return fleet.DDMOutcome{}, fleet.Errorf(fleet.KindBadRequest, "%s", err.Error()).WithCause(err)
	}
	var held map[string]any
	if len(f.Status) > 0 {
		if err := json.Unmarshal(f.Status, &held); err != nil {
			held = nil // a damaged status is built up anew
		}
	}
	merged := ddm.Merge(held, report)
	status, err := json.Marshal(merged)
	if err != nil {
		return fleet.DDMOutcome{}, fmt.Errorf("encode status: %w", err)
	}
	if len(status) > ddm.MaxStatus {
		return fleet.DDMOutcome{}, fleet.Errorf(fleet.KindTooLarge, "the device's status has %d bytes, at most %d are kept", len(status), ddm.MaxStatus)
	}
	c := f.Channel
	c.ReportedAt = at
	o := reported{r: r, f: f, at: at, out: fleet.DDMOutcome{Channel: &c, Status: status, DueAt: time.Time{}}}
	o.judge(ddm.Verdicts(merged))
	if report.TellsVitals() {
		o.out.Vitals = ddm.Vitals(report.Touched(merged))
	}
	o.log(report, raw)
	return o.out, nil
}

type reported struct {
	r       *Rules
	f       fleet.DDMFacts
	at      time.Time
	out     fleet.DDMOutcome
	changes []Change
}

// judge matches verdicts with what the channel should have, by identifier and
// server token.
func (o *reported) judge(verdicts []ddm.Verdict) {
	type key struct{ kind, identifier string }
	byKey := make(map[key]ddm.Verdict, len(verdicts))
	for _, v := range verdicts {
		byKey[key{v.Kind, v.Identifier}] = v
	}
	for _, row := range o.f.Items {
		i := o.r.catalog.Items[row.ItemID]
		if i == nil || i.Kind != fleet.ItemDeclaration {
			continue
		}
		v, said := byKey[key{ddm.KindOf(i.Spec.DeclarationType), i.Identifier}]
		e := entryOf(o.f.Channel.Manifest, row.ItemID)
		switch {
		case row.Op == fleet.OpRemove:
			if !said && o.f.Channel.Fetched == o.f.Channel.Manifest.Token && e == nil {
				o.out.Gone = append(o.out.Gone, row.ItemID)
				c := changeOf(i, row)
				c.Status = ""
				o.changes = append(o.changes, c)
				o.out.DueAt = o.at
			}
		case said && e != nil && v.ServerToken == e.ServerToken:
			if off := o.switchedOff(i, func(id string) ddm.Verdict { return byKey[key{ddm.KindActivation, id}] }); off != "" && !v.Active && v.Valid != "invalid" {
				v.Valid, v.Reasons = "valid", []ddm.Reason{{Code: "Info.Predicate", Description: off}}
			}
			o.verdict(i, row, v)
		}
	}
}

// switchedOff names the activation whose predicate keeps a configuration from
// this device; "" when there is none. The device itself then says only that no
// activation names the configuration.
func (o *reported) switchedOff(i *fleet.Item, verdict func(string) ddm.Verdict) string {
	for _, row := range o.f.Items {
		a := o.r.catalog.Items[row.ItemID]
		if a == nil || ddm.KindOf(a.Spec.DeclarationType) != ddm.KindActivation || !slices.Contains(a.Spec.References, i.Identifier) {
			continue
		}
		if slices.ContainsFunc(verdict(a.Identifier).Reasons, func(r ddm.Reason) bool { return r.Code == "Info.Predicate" }) {
			return "activation " + a.Identifier
		}
	}
	return ""
}

// verdict says in the host's row what the device says of a declaration
// (contracts/apple.md 5.3).
func (o *reported) verdict(i *fleet.Item, row fleet.HostItem, v ddm.Verdict) {
	before := row
	row.NextAt, row.Detail, row.Fault = time.Time{}, "", fleet.FaultNone
	says := func(prefix string) bool {
		return slices.ContainsFunc(v.Reasons, func(r ddm.Reason) bool { return strings.HasPrefix(r.Code, prefix) })
	}
	needsActive := v.Kind == ddm.KindConfiguration || v.Kind == ddm.KindActivation
	switch {
	case v.Valid == "invalid" || says("Error."):
		row.Status, row.Fault, row.Detail = fleet.ItemFailed, fleet.FaultInvalid, v.Words()
		if row.Detail == "" {
			row.Detail = "the device calls the declaration invalid, without a reason"
		}
	case v.Valid == "valid" && (v.Active || !needsActive):
		row.Status, row.VerifiedAt, row.Tries = fleet.ItemVerified, o.at, 0
	case v.Valid == "valid" && says("Info.Predicate"):
		row.Status, row.VerifiedAt, row.Tries, row.Detail = fleet.ItemVerified, o.at, 0, v.Words()
	default:
		row.Status, row.Detail, row.NextAt = fleet.ItemVerifying, v.Words(), o.at.Add(reportWait)
		o.out.DueAt = row.NextAt
	}
	changed := row.Status != before.Status || row.Detail != before.Detail
	if changed {
		row.ChangedAt = o.at
		o.changes = append(o.changes, changeOf(i, row))
	}
	o.out.Items = append(o.out.Items, row)
}

// log keeps the report, and what it changed.
func (o *reported) log(report *ddm.Report, raw []byte) {
	kept := json.RawMessage(raw)
	if len(raw) > maxKeptReport {
		kept = nil
	}
	details, err := json.Marshal(struct {
		Full   bool            `json:"full_report"`
		Bytes  int             `json:"bytes"`
		Errors []any           `json:"errors,omitempty"`
		Report json.RawMessage `json:"report,omitempty"`
	}{report.FullReport, len(raw), report.Errors, kept})
	if err != nil {
		details = nil // it was JSON when it came
	}
	device := fleet.Actor{Kind: fleet.ActorDevice}
	o.out.Events = append(o.out.Events, fleet.Event{Kind: fleet.EventDeclarationStatus, At: o.at, Actor: device, HostID: o.f.Channel.HostID,
		EnrollmentID: o.f.Channel.EnrollmentID, Details: details})
	if len(o.changes) > 0 {
		o.out.Events = append(o.out.Events, fleet.Event{Kind: fleet.EventHostItems, At: o.at, Actor: device, HostID: o.f.Channel.HostID,
			EnrollmentID: o.f.Channel.EnrollmentID, Details: Details(o.changes, &Answer{RequestType: "StatusReport", Status: "Acknowledged"})})
	}
}
