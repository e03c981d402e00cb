package httpapitest

import (
	"context"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Explainer answers every question with what it holds; nil is KindNotFound.
type Explainer struct {
	Explanation *fleet.Explanation
	Items       []fleet.WhatIfItem
	Preview     *fleet.Preview
	History     *fleet.History
	// Asked is what was asked last.
	Asked any
}

func (e *Explainer) Explain(_ context.Context, _ fleet.HostID, item string) (*fleet.Explanation, error) {
	e.Asked = item
	if e.Explanation == nil {
		return nil, fleet.Errorf(fleet.KindNotFound, "there is no such item")
	}
	return e.Explanation, nil
}

func (e *Explainer) WhatIf(_ context.Context, _ fleet.HostID, q fleet.WhatIf) ([]fleet.WhatIfItem, error) {
	e.Asked = q
	return e.Items, nil
}

func (e *Explainer) Plan(_ context.Context, team fleet.TeamID, uploads []fleet.ProfileUpload, _ fleet.ItemSetOptions) (*fleet.Preview, error) {
	e.Asked = uploads
	if e.Preview == nil {
		return &fleet.Preview{TeamID: team}, nil
	}
	return e.Preview, nil
}

func (e *Explainer) PlanTeam(_ context.Context, name string, _ *int64, _ bool) (fleet.TeamID, string, error) {
	return fleet.NoTeam, name, nil
}

func (e *Explainer) At(_ context.Context, _ fleet.HostID, at time.Time) (*fleet.History, error) {
	e.Asked = at
	if e.History == nil {
		return &fleet.History{At: at}, nil
	}
	return e.History, nil
}

func (e *Explainer) Verify(_ context.Context, host fleet.HostID) error {
	e.Asked = host
	return nil
}
