package gitops

import (
	"fmt"
	"strings"
)

// maxFaults bounds the faults that one error tells.
const maxFaults = 30

// Fault is one thing that is wrong.
type Fault struct {
	Place Place
	Item  string // such as controls.macos_updates; may be empty
	Text  string
}

func (f Fault) String() string {
	if f.Item == "" {
		return fmt.Sprintf("%s: %s", f.Place, f.Text)
	}
	return fmt.Sprintf("%s: %s: %s", f.Place, f.Item, f.Text)
}

// Faults is everything that is wrong with the files.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, 0, len(f))
	for _, fault := range f[:min(len(f), maxFaults)] {
		lines = append(lines, fault.String())
	}
	if more := len(f) - maxFaults; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}
