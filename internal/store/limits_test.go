package store

import (
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
)

func TestAListHoldsBodiesUpToItsBudgetAndOneCommandOnce(t *testing.T) {
	var b bodyBudget
	payload := func() []byte { return make([]byte, maxBodies/4) }
	results := []fleet.CommandResult{
		{CommandUUID: "a", Payload: payload(), Result: make([]byte, 10)},
		{CommandUUID: "a", Payload: payload(), Result: make([]byte, maxBodies/2)},
		{CommandUUID: "a", Payload: payload(), Result: make([]byte, maxBodies/2)},
	}
	for i := range results {
		b.charge(&results[i])
	}
	if results[1].Result == nil || &results[0].Payload[0] != &results[1].Payload[0] {
		t.Error("the second entry should be whole and share the command")
	}
	if results[2].Payload != nil || results[2].Result != nil {
		t.Error("the third entry is beyond the budget and came with bodies")
	}
}
