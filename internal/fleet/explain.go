package fleet

import "time"

// Explanation says why a host has an item, or why not.
type Explanation struct {
	Host HostRef
	Item *Item
	// TeamName is the item's; empty for what every team has.
	TeamName string
	// Decision: Yes, No, or Unknown: held.
	Decision Tri
	Version  int // that the host should have, with Yes
	// Answer is all of it in one sentence or two.
	Answer string
	Rules  []ExplainedRule
	State  *HostItem // nil: nothing was done about it on the host
	// Problem is what stands in the way, translated; nil: nothing.
	Problem *ExplainedProblem
	// Predicted are refusals that can be told beforehand.
	Predicted []Refusal
	Attempts  []Attempt // oldest first
	Next      NextStep
}

// ExplainedRule is one condition for the item.
type ExplainedRule struct {
	Rule   string
	Met    Tri
	Text   string
	Labels []ExplainedLabel
}

// ExplainedLabel is the host's membership in a label.
type ExplainedLabel struct {
	Name   string
	Member Tri
	Text   string
}

// ExplainedProblem is an error in plain words.
type ExplainedProblem struct {
	Said  string // by the device or by us
	Cause string
	Fix   string
}

// Attempt is one entry of what was tried.
type Attempt struct {
	At      time.Time
	Op      string
	Status  string // "": the item left the host
	Try     int
	Version int
	Text    string
	Problem *ExplainedProblem
}

// NextStep is what happens next.
type NextStep struct {
	Text string
	At   time.Time // zero: no time is set
	Who  string    // Muster, the device, an admin, the user
}

// Refusal is a reason for which a host will not take an item.
type Refusal struct {
	Code string // supervision, os_version, platform, variable, conflict, user_channel
	Text string
	Fix  string
}

// Preview is what a change would do, before it is made.
type Preview struct {
	TeamID TeamID
	// Revision of the scope that it was worked out for.
	Revision int64
	Hosts    int // looked at
	Items    []PreviewItem
}

// Changes reports whether anything would change.
func (p *Preview) Changes() bool {
	for _, i := range p.Items {
		if i.What != ItemUnchanged || i.Install+i.Change+i.Remove > 0 {
			return true
		}
	}
	return false
}

// PreviewItem is what a change would do about one item.
type PreviewItem struct {
	Item Item
	What ItemChangeKind
	// Install, Change and Remove count the hosts that would get it, get another
	// version, or lose it; Held those of which it is not known.
	Install, Change, Remove, Held int
	// Samples are names of some of these hosts.
	Samples  []string
	Refusals []PreviewRefusal
}

// PreviewRefusal counts the hosts that would refuse an item.
type PreviewRefusal struct {
	Refusal
	Hosts   int
	Samples []string
}

// WhatIf asks what a host would have in another scope or with other labels.
type WhatIf struct {
	TeamID *TeamID // nil: as it is
	Join   []LabelID
	Leave  []LabelID
}

// WhatIfItem is one item of the answer.
type WhatIfItem struct {
	Item   *Item
	Now    Tri
	Then   Tri
	Reason string // of Then
}

// History is a host at a moment.
type History struct {
	At time.Time
	// Enrolled is whether MDM was on, TeamID the team; nil: not recorded.
	Enrolled *bool
	TeamID   *TeamID
	Items    []HistoryItem
	Events   []Event // the last before that moment, oldest first
}

// HistoryItem is an item as it stood.
type HistoryItem struct {
	UUID, Name, Identifier string
	Version                int
	Op, Status, Detail     string
	Since                  time.Time
}
