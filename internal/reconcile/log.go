package reconcile

import (
	"encoding/json"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Entry is the details of an EventHostItems.
type Entry struct {
	Changes []Change `json:"changes"`
	// Answer is the device's answer that they follow from.
	Answer *Answer `json:"answer,omitempty"`
}

// Answer is what a device said to a command or in a report.
type Answer struct {
	CommandUUID string `json:"command_uuid,omitempty"`
	RequestType string `json:"request_type,omitempty"`
	Status      string `json:"status,omitempty"`
	Errors      []Link `json:"error_chain,omitempty"`
}

// Link is one entry of an error chain.
type Link struct {
	Code   int64  `json:"code"`
	Domain string `json:"domain"`
	Text   string `json:"text,omitempty"`
}

// Details encodes an Entry.
func Details(changes []Change, a *Answer) []byte {
	if changes == nil {
		changes = []Change{}
	}
	b, err := json.Marshal(Entry{Changes: changes, Answer: a})
	if err != nil {
		return nil // texts and numbers always marshal
	}
	return b
}

// answerOf is a report as the log keeps it.
func answerOf(t fleet.CommandTarget, r fleet.CommandReport) *Answer {
	a := &Answer{CommandUUID: t.Command.UUID, RequestType: t.Command.RequestType, Status: r.Status.String()}
	for _, e := range r.ErrorChain {
		text := e.USEnglish
		if text == "" {
			text = e.Localized
		}
		a.Errors = append(a.Errors, Link{e.Code, e.Domain, text})
	}
	return a
}
