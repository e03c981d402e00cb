package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

func (a *api) labelRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "~/labels", permission: labelsRead, id: "listLabels",
			summary: "List labels", bind: handle(a.listLabels)},
		{method: http.MethodPost, path: "~/labels", permission: labelsWrite, id: "createLabel", bodyBytes: hostsBytes,
			summary: "Create a label: by a query, by criteria, or with its hosts", bind: handle(a.createLabel)},
		{method: http.MethodGet, path: "~/labels/summary", permission: labelsRead, id: "listLabelNames",
			summary: "Name all labels", bind: handle(a.labelSummaries)},
		{method: http.MethodGet, path: "~/labels/{id}", permission: labelsRead, id: "getLabel",
			summary: "Show a label", bind: handle(a.getLabel)},
		{method: http.MethodPatch, path: "~/labels/{id}", permission: labelsWrite, id: "modifyLabel", bodyBytes: hostsBytes,
			summary: "Change a label's name, description or hosts", bind: handle(a.modifyLabel)},
		{method: http.MethodDelete, path: "~/labels/id/{id}", permission: labelsWrite, id: "deleteLabelByID",
			summary: "Delete a label by id", bind: handle(a.deleteLabelByID)},
		{method: http.MethodDelete, path: "~/labels/{name}", permission: labelsWrite, id: "deleteLabel",
			summary: "Delete a label by name, or by id where no label has that name", bind: handle(a.deleteLabel)},
		{method: http.MethodGet, path: "~/labels/{id}/hosts", permission: hostsList, id: "listLabelHosts", strict: true,
			summary: "List the members of a label", bind: handle(a.labelHosts)},
		{method: http.MethodGet, path: "~/spec/labels", permission: labelsRead, id: "getLabelSpecs",
			summary: "Show labels as documents", bind: handle(a.getLabelSpecs)},
		{method: http.MethodPost, path: "~/spec/labels", permission: labelsWrite, id: "applyLabelSpecs", bodyBytes: hostsBytes,
			summary: "Make labels what the specs say; others stay", bind: handle(a.applyLabelSpecs)},
		{method: http.MethodGet, path: "~/spec/labels/{name}", permission: labelsRead, id: "getLabelSpec",
			summary: "Show a label as a document, with its hosts where people name them", bind: handle(a.getLabelSpec)},
		{method: http.MethodPost, path: "~/hosts/{id}/labels", permission: labelsWrite, id: "addHostLabels",
			summary: "Make a host a member of labels whose hosts people name", bind: handle(a.addHostLabels)},
		{method: http.MethodDelete, path: "~/hosts/{id}/labels", permission: labelsWrite, id: "removeHostLabels",
			summary: "End a host's membership in labels whose hosts people name", bind: handle(a.removeHostLabels)},
	}
}

func labelType(l *fleet.Label) string {
	if l.Builtin() {
		return "builtin"
	}
	return "regular"
}

func toCriteria(c *fleet.Criteria) *apiv1.Criteria {
	if c == nil {
		return nil
	}
	return &apiv1.Criteria{Vital: c.Vital, Operator: c.Operator, Value: c.Value}
}

func fromCriteria(c *apiv1.Criteria) *fleet.Criteria {
	if c == nil {
		return nil
	}
	return &fleet.Criteria{Vital: c.Vital, Operator: c.Operator, Value: c.Value}
}

func toLabel(l *fleet.Label) apiv1.Label {
	return apiv1.Label{ID: int64(l.ID), Name: l.Name, Description: l.Description, Query: l.Query, Platform: string(l.Platform),
		LabelType: labelType(l), LabelMembershipType: l.Kind.String(), Criteria: toCriteria(l.Criteria), DisplayText: l.Name,
		Count: l.HostCount, HostCount: l.HostCount, CreatedAt: l.CreatedAt.UTC(), UpdatedAt: l.UpdatedAt.UTC()}
}

// labelPlatform refuses platforms that no host has.
func labelPlatform(name string) (fleet.Platform, error) {
	known := []fleet.Platform{"", fleet.PlatformDarwin, fleet.PlatformIOS, fleet.PlatformIPadOS, fleet.PlatformWindows}
	if !slices.Contains(known, fleet.Platform(name)) {
		return "", fleet.FieldErrorf(fleet.KindInvalid, "platform", "must be darwin, ios, ipados, windows or empty")
	}
	return fleet.Platform(name), nil
}

type listLabelsInput struct {
	PageInput
	IncludeHostCounts string `query:"include_host_counts" doc:"false: leave the members uncounted, which is faster"`
}

func (a *api) listLabels(ctx context.Context, in *listLabelsInput) (*body[apiv1.LabelsResponse], error) {
	page, err := a.page(in.PageInput)
	if err != nil {
		return nil, err
	}
	labels, meta, err := a.labels.List(ctx, page, in.IncludeHostCounts != "false")
	if err != nil {
		return nil, err
	}
	out := apiv1.LabelsResponse{Labels: make([]apiv1.Label, 0, len(labels)), Meta: toMeta(meta)}
	for i := range labels {
		out.Labels = append(out.Labels, toLabel(&labels[i]))
	}
	return reply(out), nil
}

func (a *api) labelSummaries(ctx context.Context, _ *noInput) (*body[apiv1.LabelSummariesResponse], error) {
	labels, _, err := a.labels.List(ctx, fleet.Page{Size: a.pageSize}, false)
	if err != nil {
		return nil, err
	}
	out := apiv1.LabelSummariesResponse{Labels: make([]apiv1.LabelSummary, 0, len(labels))}
	for i := range labels {
		l := &labels[i]
		out.Labels = append(out.Labels, apiv1.LabelSummary{ID: int64(l.ID), Name: l.Name, Description: l.Description, LabelType: labelType(l)})
	}
	return reply(out), nil
}

type createLabelInput struct {
	RawBody []byte
	Body    apiv1.CreateLabelRequest
}

func (a *api) createLabel(ctx context.Context, in *createLabelInput) (*body[apiv1.LabelResponse], error) {
	req := in.Body
	if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.CreateLabelRequest]()); err != nil {
		return nil, err
	}
	platform, err := labelPlatform(req.Platform)
	if err != nil {
		return nil, err
	}
	members, err := a.members(ctx, req.Hosts, req.HostIDs)
	if err != nil {
		return nil, err
	}
	label, err := a.labels.Create(ctx, actorOf(ctx), fleet.Label{Name: req.Name, Description: req.Description, Query: req.Query,
		Platform: platform, Criteria: fromCriteria(req.Criteria)}, members)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.LabelResponse{Label: toLabel(label)}), nil
}

// members are hosts by name or by id.
func (a *api) members(ctx context.Context, names []string, ids []int64) ([]fleet.HostID, error) {
	if len(names) > 0 && len(ids) > 0 {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "host_ids", "must not be given together with hosts")
	}
	if len(names) > 0 {
		return a.labels.Resolve(ctx, names)
	}
	return hostIDs(ids), nil
}

func (a *api) getLabel(ctx context.Context, in *IDInput) (*body[apiv1.LabelResponse], error) {
	label, err := a.labels.Label(ctx, fleet.LabelID(in.ID))
	if err != nil {
		return nil, err
	}
	return reply(apiv1.LabelResponse{Label: toLabel(label)}), nil
}

type modifyLabelInput struct {
	IDInput
	RawBody []byte
	Body    apiv1.ModifyLabelRequest
}

func (a *api) modifyLabel(ctx context.Context, in *modifyLabelInput) (*body[apiv1.LabelResponse], error) {
	req := in.Body
	if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.ModifyLabelRequest]()); err != nil {
		return nil, err
	}
	var members *[]fleet.HostID
	if req.Hosts != nil || req.HostIDs != nil {
		var names []string
		var ids []int64
		if req.Hosts != nil {
			names = *req.Hosts
		}
		if req.HostIDs != nil {
			ids = *req.HostIDs
		}
		list, err := a.members(ctx, names, ids)
		if err != nil {
			return nil, err
		}
		members = &list
	}
	label, err := a.labels.Update(ctx, actorOf(ctx), fleet.LabelID(in.ID), func(l *fleet.Label) error {
		if req.Name != nil {
			l.Name = *req.Name
		}
		if req.Description != nil {
			l.Description = *req.Description
		}
		return nil
	}, members)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.LabelResponse{Label: toLabel(label)}), nil
}

func (a *api) deleteLabelByID(ctx context.Context, in *IDInput) (*body[apiv1.Empty], error) {
	if err := a.labels.Delete(ctx, actorOf(ctx), fleet.LabelID(in.ID)); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

type labelNameInput struct {
	Name string `path:"name" maxLength:"255" doc:"Name of a label"`
}

func (a *api) deleteLabel(ctx context.Context, in *labelNameInput) (*body[apiv1.Empty], error) {
	label, err := a.labels.LabelByName(ctx, in.Name)
	if fleet.KindOf(err) == fleet.KindNotFound && err != nil {
		id, notNumber := strconv.ParseInt(in.Name, 10, 64)
		if notNumber != nil {
			return nil, err
		}
		return a.deleteLabelByID(ctx, &IDInput{ID: id})
	}
	if err != nil {
		return nil, err
	}
	return a.deleteLabelByID(ctx, &IDInput{ID: int64(label.ID)})
}

type labelHostsInput struct {
	IDInput
	ListHostsFields
}

// ListHostsFields are what a list of hosts takes.
type ListHostsFields struct {
	PageInput
	HostFilterInput
	IgnoredHostInput
}

func (a *api) labelHosts(ctx context.Context, in *labelHostsInput) (*body[apiv1.HostsResponse], error) {
	if _, err := a.labels.Label(ctx, fleet.LabelID(in.ID)); err != nil {
		return nil, err
	}
	list := listHostsInput{PageInput: in.PageInput, HostFilterInput: in.HostFilterInput}
	list.LabelID = in.ID
	return a.listHosts(ctx, &list)
}

func toLabelSpec(l *fleet.Label) apiv1.LabelSpec {
	return apiv1.LabelSpec{ID: int64(l.ID), Name: l.Name, Description: l.Description, Query: l.Query, Platform: string(l.Platform),
		LabelType: labelType(l), LabelMembershipType: l.Kind.String(), Criteria: toCriteria(l.Criteria)}
}

func (a *api) getLabelSpecs(ctx context.Context, _ *noInput) (*body[apiv1.LabelSpecsResponse], error) {
	labels, _, err := a.labels.List(ctx, fleet.Page{Size: a.pageSize}, false)
	if err != nil {
		return nil, err
	}
	out := apiv1.LabelSpecsResponse{Specs: make([]apiv1.LabelSpec, 0, len(labels))}
	for i := range labels {
		out.Specs = append(out.Specs, toLabelSpec(&labels[i]))
	}
	return reply(out), nil
}

func (a *api) getLabelSpec(ctx context.Context, in *labelNameInput) (*body[apiv1.LabelSpecResponse], error) {
	label, err := a.labels.LabelByName(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	out := apiv1.LabelSpecResponse{Specs: toLabelSpec(label)}
	if label.Kind == fleet.LabelManual {
		hosts, err := a.membersOf(ctx, label.ID)
		if err != nil {
			return nil, err
		}
		out.Specs.Hosts = &hosts
	}
	return reply(out), nil
}

// membersOf names all members of a label by serial number, or by UUID where
// there is none.
func (a *api) membersOf(ctx context.Context, label fleet.LabelID) ([]string, error) {
	out := []string{}
	for page := 0; ; page++ {
		hosts, meta, err := a.hosts.List(ctx, fleet.HostFilter{LabelID: label, Page: fleet.Page{Number: page, Size: a.pageSize, OrderKey: "id"}})
		if err != nil {
			return nil, err
		}
		for i := range hosts {
			name := hosts[i].HardwareSerial
			if name == "" {
				name = hosts[i].UUID
			}
			out = append(out, name)
		}
		if !meta.HasNext || page >= maxPageNumber {
			return out, nil
		}
	}
}

type labelSpecsInput struct {
	DryRun  bool `query:"dry_run" doc:"Check, change nothing"`
	RawBody []byte
	Body    apiv1.LabelSpecsRequest
}

func (a *api) applyLabelSpecs(ctx context.Context, in *labelSpecsInput) (*body[apiv1.Empty], error) {
	if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.LabelSpecsRequest]()); err != nil {
		return nil, err
	}
	specs := make([]fleet.LabelSpec, 0, len(in.Body.Specs))
	for _, s := range in.Body.Specs {
		if s.LabelType == "builtin" {
			continue // an export that is sent back
		}
		platform, err := labelPlatform(s.Platform)
		if err != nil {
			return nil, err
		}
		label := fleet.Label{Name: s.Name, Description: s.Description, Query: s.Query, Platform: platform, Criteria: fromCriteria(s.Criteria)}
		if err := checkMembership(s); err != nil {
			return nil, err
		}
		specs = append(specs, fleet.LabelSpec{Label: label, Hosts: s.Hosts})
	}
	if err := a.labels.Apply(ctx, actorOf(ctx), specs, in.DryRun); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

// checkMembership compares the kind that a spec names with what it holds: a
// dynamic label whose query was forgotten would be one without hosts.
func checkMembership(s apiv1.LabelSpec) error {
	is := "manual"
	switch {
	case s.Query != "":
		is = "dynamic"
	case s.Criteria != nil:
		is = "host_vitals"
	}
	if s.LabelMembershipType != "" && s.LabelMembershipType != is {
		return fleet.FieldErrorf(fleet.KindInvalid, "label_membership_type",
			"the label %.100q is %s by what it holds: dynamic ones have a query, host_vitals ones criteria, manual ones neither", s.Name, is)
	}
	return nil
}

type hostLabelsInput struct {
	IDInput
	Body apiv1.HostLabelsRequest
}

func (a *api) addHostLabels(ctx context.Context, in *hostLabelsInput) (*body[apiv1.Empty], error) {
	return a.setHostLabels(ctx, in, true)
}

func (a *api) removeHostLabels(ctx context.Context, in *hostLabelsInput) (*body[apiv1.Empty], error) {
	return a.setHostLabels(ctx, in, false)
}

func (a *api) setHostLabels(ctx context.Context, in *hostLabelsInput, member bool) (*body[apiv1.Empty], error) {
	if _, err := a.hosts.Host(ctx, fleet.HostID(in.ID)); err != nil {
		return nil, err
	}
	if err := a.labels.SetHostLabels(ctx, actorOf(ctx), fleet.HostID(in.ID), in.Body.Labels, member); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}
