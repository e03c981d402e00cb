package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Explainer tells why hosts have what they have.
type Explainer interface {
	// Explain finds the item by UUID, identifier or name.
	Explain(ctx context.Context, host fleet.HostID, item string) (*fleet.Explanation, error)
	WhatIf(ctx context.Context, host fleet.HostID, q fleet.WhatIf) ([]fleet.WhatIfItem, error)
	// Verify asks the host what it has.
	Verify(ctx context.Context, host fleet.HostID) error
}

// Planner tells what a change would do before it is made.
type Planner interface {
	Plan(ctx context.Context, team fleet.TeamID, uploads []fleet.ProfileUpload, o fleet.ItemSetOptions) (*fleet.Preview, error)
	// PlanTeam finds a team by name; empty and "No team" are those without one.
	// One that is new must not exist yet.
	PlanTeam(ctx context.Context, name string, id *int64, isNew bool) (fleet.TeamID, string, error)
}

// Histories look back.
type Histories interface {
	At(ctx context.Context, host fleet.HostID, at time.Time) (*fleet.History, error)
}

func (a *api) explainRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "~/hosts/{id}/explain", permission: hostsRead, id: "explainHostItem", strict: true,
			summary: "Tell why a host has a profile or declaration, or why not", bind: handle(a.explainItem)},
		{method: http.MethodGet, path: "~/hosts/{id}/what_if", permission: hostsRead, id: "whatIfHost", strict: true,
			summary: "Tell what a host would have in another team or with other labels", bind: handle(a.whatIf)},
		{method: http.MethodGet, path: "~/hosts/{id}/history", permission: hostsRead, id: "getHostHistory", strict: true,
			summary: "Show a host as it was at a moment", bind: handle(a.hostHistory)},
		{method: http.MethodPost, path: "~/hosts/{id}/configuration_profiles/verify", permission: commandsRun, id: "verifyHostProfiles", status: http.StatusAccepted,
			summary: "Ask a host now which profiles it has, and repair what is missing", bind: handle(a.verifyHost)},
		{method: http.MethodPost, path: "~/plan", permission: hostsRead, id: "plan", bodyBytes: planBytes,
			summary: "Tell what a team's new set of profiles would do to its hosts, without changing anything", bind: handle(a.plan)},
	}
}

// planBytes bounds a plan: a thousand profiles of usual size.
const planBytes = 64 << 20

type explainInput struct {
	IDInput
	Item string `query:"item" required:"true" minLength:"1" maxLength:"255" doc:"UUID, identifier or name of a profile or declaration"`
}

func (a *api) explainItem(ctx context.Context, in *explainInput) (*body[apiv1.ExplainResponse], error) {
	x, err := a.explainer.Explain(ctx, fleet.HostID(in.ID), in.Item)
	if err != nil {
		return nil, err
	}
	return reply(toExplanation(x)), nil
}

func triText(t fleet.Tri) string {
	switch t {
	case fleet.Yes:
		return "yes"
	case fleet.No:
		return "no"
	case fleet.Unknown:
	}
	return "unknown"
}

func toExplanation(x *fleet.Explanation) apiv1.ExplainResponse {
	out := apiv1.ExplainResponse{HostID: int64(x.Host.ID), Host: x.Host.Hostname, ProfileUUID: x.Item.UUID, Name: x.Item.Name,
		Identifier: x.Item.Identifier, Team: x.TeamName, Decision: triText(x.Decision), Version: x.Version, Answer: x.Answer,
		Rules: []apiv1.ExplainRule{}, Attempts: []apiv1.ExplainAttempt{}, Problem: toProblem(x.Problem),
		Next: apiv1.ExplainNext{Text: x.Next.Text, At: timeOrNull(x.Next.At), Who: x.Next.Who}}
	for _, r := range x.Rules {
		rule := apiv1.ExplainRule{Rule: r.Rule, Met: triText(r.Met), Text: r.Text}
		for _, l := range r.Labels {
			rule.Labels = append(rule.Labels, apiv1.ExplainLabel{Name: l.Name, Member: triText(l.Member), Text: l.Text})
		}
		out.Rules = append(out.Rules, rule)
	}
	if s := x.State; s != nil {
		out.Status, out.Operation, out.Tries = s.Status.String(), s.Op.String(), s.Tries
		out.Since, out.VerifiedAt = timeOrNull(s.ChangedAt), timeOrNull(s.VerifiedAt)
	}
	for _, p := range x.Predicted {
		out.Predicted = append(out.Predicted, toPrediction(p))
	}
	for _, t := range x.Attempts {
		out.Attempts = append(out.Attempts, apiv1.ExplainAttempt{At: t.At.UTC(), Operation: t.Op, Status: t.Status, Try: t.Try, Version: t.Version,
			Text: t.Text, Problem: toProblem(t.Problem)})
	}
	return out
}

func toProblem(p *fleet.ExplainedProblem) *apiv1.ExplainProblem {
	if p == nil {
		return nil
	}
	return &apiv1.ExplainProblem{Said: p.Said, Cause: p.Cause, Fix: p.Fix}
}

func toPrediction(r fleet.Refusal) apiv1.ExplainPrediction {
	return apiv1.ExplainPrediction{Code: r.Code, Text: r.Text, Fix: r.Fix}
}

func (a *api) verifyHost(ctx context.Context, in *IDInput) (*struct{}, error) {
	return nil, a.explainer.Verify(ctx, fleet.HostID(in.ID))
}

type whatIfInput struct {
	IDInput
	TeamID optional[int64] `query:"team_id" doc:"0: without a team"`
	Join   []int64         `query:"join_label_id" doc:"Labels that the host would be a member of"`
	Leave  []int64         `query:"leave_label_id" doc:"Labels that it would be no member of"`
}

func (a *api) whatIf(ctx context.Context, in *whatIfInput) (*body[apiv1.WhatIfResponse], error) {
	var q fleet.WhatIf
	if in.TeamID.IsSet {
		id := fleet.TeamID(in.TeamID.Value)
		q.TeamID = &id
	}
	for _, id := range in.Join {
		q.Join = append(q.Join, fleet.LabelID(id))
	}
	for _, id := range in.Leave {
		q.Leave = append(q.Leave, fleet.LabelID(id))
	}
	items, err := a.explainer.WhatIf(ctx, fleet.HostID(in.ID), q)
	if err != nil {
		return nil, err
	}
	out := apiv1.WhatIfResponse{HostID: in.ID, Items: []apiv1.WhatIfItem{}}
	for _, i := range items {
		out.Items = append(out.Items, apiv1.WhatIfItem{ProfileUUID: i.Item.UUID, Name: i.Item.Name, Identifier: i.Item.Identifier,
			Now: triText(i.Now), Then: triText(i.Then), Reason: i.Reason})
	}
	return reply(out), nil
}

type historyInput struct {
	IDInput
	At time.Time `query:"at" doc:"Moment in RFC 3339 form, with its zone; now unless given"`
}

func (a *api) hostHistory(ctx context.Context, in *historyInput) (*body[apiv1.HistoryResponse], error) {
	if _, err := a.hosts.Host(ctx, fleet.HostID(in.ID)); err != nil {
		return nil, err
	}
	at := in.At
	if at.IsZero() {
		at = a.now()
	}
	h, err := a.histories.At(ctx, fleet.HostID(in.ID), at)
	if err != nil {
		return nil, err
	}
	out := apiv1.HistoryResponse{HostID: in.ID, At: at.UTC(), Enrolled: h.Enrolled, TeamID: (*int64)(h.TeamID),
		Items: []apiv1.HistoryItem{}, Events: []apiv1.HistoryEvent{}}
	for _, i := range h.Items {
		out.Items = append(out.Items, apiv1.HistoryItem{ProfileUUID: i.UUID, Name: i.Name, Identifier: i.Identifier, Version: i.Version,
			Operation: i.Op, Status: i.Status, Detail: i.Detail, Since: i.Since.UTC()})
	}
	for _, e := range h.Events {
		out.Events = append(out.Events, toHistoryEvent(e))
	}
	return reply(out), nil
}

func toHistoryEvent(e fleet.Event) apiv1.HistoryEvent {
	out := apiv1.HistoryEvent{At: e.At.UTC(), Kind: string(e.Kind), Actor: e.Actor.Name}
	if e.Actor.Kind == fleet.ActorSystem {
		out.Actor = "Muster"
	}
	if json.Unmarshal(e.Details, &out.Details) != nil {
		out.Details = nil // an entry that is no object has nothing to show
	}
	return out
}

func (a *api) plan(ctx context.Context, in *body[apiv1.PlanRequest]) (*body[apiv1.PlanResponse], error) {
	team, name, err := a.planner.PlanTeam(ctx, in.Body.TeamName, in.Body.TeamID, in.Body.NewTeam)
	if err != nil {
		return nil, err
	}
	uploads := make([]fleet.ProfileUpload, 0, len(in.Body.Profiles))
	for _, p := range in.Body.Profiles {
		raw, err := decodeCommand(p.Profile)
		if err != nil {
			return nil, fleet.FieldErrorf(fleet.KindBadRequest, "configuration_profiles", "%s: profile must be the base64 of a file", p.DisplayName)
		}
		uploads = append(uploads, fleet.ProfileUpload{FileName: p.DisplayName, Name: p.DisplayName, Content: raw, Labels: planLabels(p)})
	}
	preview, err := a.planner.Plan(ctx, team, uploads,
		fleet.ItemSetOptions{Dry: true, NewTeam: in.Body.NewTeam, AssumeSecrets: bareNames(in.Body.AssumeSecrets), AssumeLabels: in.Body.AssumeLabels})
	if err != nil {
		return nil, err
	}
	out := toPlan(preview, name)
	out.NewTeam = in.Body.NewTeam
	return reply(out), nil
}

func planLabels(p apiv1.PlanProfile) []fleet.ItemLabel {
	out := []fleet.ItemLabel{}
	for mode, names := range map[fleet.LabelMode][]string{fleet.IncludeAll: p.LabelsIncludeAll, fleet.IncludeAny: p.LabelsIncludeAny, fleet.ExcludeAny: p.LabelsExcludeAny} {
		for _, name := range names {
			out = append(out, fleet.ItemLabel{Name: name, Mode: mode})
		}
	}
	return out
}

func toPlan(p *fleet.Preview, team string) apiv1.PlanResponse {
	out := apiv1.PlanResponse{TeamID: int64(p.TeamID), TeamName: team, Revision: p.Revision, Hosts: p.Hosts, HasChanges: p.Changes(), Items: []apiv1.PlanItem{}}
	for _, i := range p.Items {
		item := apiv1.PlanItem{ProfileUUID: i.Item.UUID, Name: i.Item.Name, Identifier: i.Item.Identifier, Change: string(i.What), Install: i.Install,
			Update: i.Change, Remove: i.Remove, Held: i.Held, Samples: i.Samples, Warnings: i.Item.Spec.Warnings}
		for _, r := range i.Refusals {
			item.Refusals = append(item.Refusals, apiv1.PlanRefusal{ExplainPrediction: toPrediction(r.Refusal), Hosts: r.Hosts, Samples: r.Samples})
		}
		out.Items = append(out.Items, item)
	}
	return out
}
