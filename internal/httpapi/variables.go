package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"strings"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

func (a *api) variableRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "~/custom_variables", permission: variablesRead, id: "listCustomVariables", strict: true,
			summary: "List custom variables; values are never shown", bind: handle(a.listVariables)},
		{method: http.MethodPost, path: "~/custom_variables", permission: variablesWrite, id: "createCustomVariable",
			summary: "Create a custom variable", bind: handle(a.createVariable)},
		{method: http.MethodDelete, path: "~/custom_variables/{name}", permission: variablesWrite, id: "deleteCustomVariable",
			summary: "Delete a custom variable that no profile uses", bind: handle(a.deleteVariable)},
		{method: http.MethodPut, path: "~/spec/secret_variables", permission: variablesWrite, id: "setCustomVariables", bodyBytes: profileBytes,
			summary: "Create or change custom variables; profiles that use a changed one are sent again", bind: handle(a.setVariables)},
	}
}

func (a *api) listVariables(ctx context.Context, _ *noInput) (*body[apiv1.CustomVariablesResponse], error) {
	list, err := a.profiles.Variables(ctx)
	if err != nil {
		return nil, err
	}
	out := apiv1.CustomVariablesResponse{CustomVariables: make([]apiv1.CustomVariable, 0, len(list)), Count: len(list)}
	for _, v := range list {
		out.CustomVariables = append(out.CustomVariables, apiv1.CustomVariable{Name: v.Name, UpdatedAt: v.UpdatedAt.UTC()})
	}
	return reply(out), nil
}

// secretPrefix may stand before a variable's name, as in a profile.
const secretPrefix = "FLEET_SECRET_"

func (a *api) createVariable(ctx context.Context, in *body[apiv1.SetVariable]) (*body[apiv1.SetVariableResponse], error) {
	name := strings.TrimPrefix(in.Body.Name, secretPrefix)
	list, err := a.profiles.Variables(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range list {
		if v.Name == name {
			return nil, fleet.FieldErrorf(fleet.KindConflict, "name", "there is a variable of that name: change it by PUT to spec/secret_variables")
		}
	}
	if _, err := a.profiles.SetVariables(ctx, actorOf(ctx), map[string]string{name: in.Body.Value}, false); err != nil {
		return nil, err
	}
	return reply(apiv1.SetVariableResponse{Name: name}), nil
}

type variableInput struct {
	Name string `path:"name" maxLength:"255" doc:"What follows FLEET_SECRET_"`
}

func (a *api) deleteVariable(ctx context.Context, in *variableInput) (*body[apiv1.Empty], error) {
	if err := a.profiles.DeleteVariable(ctx, actorOf(ctx), strings.TrimPrefix(in.Name, secretPrefix)); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

type setVariablesInput struct {
	DryRun  bool `query:"dry_run" doc:"Check, change nothing"`
	RawBody []byte
	Body    apiv1.SetVariablesRequest
}

func (a *api) setVariables(ctx context.Context, in *setVariablesInput) (*body[apiv1.SetVariablesResponse], error) {
	if err := refuseUnknownKeys(in.RawBody, reflect.TypeFor[apiv1.SetVariablesRequest]()); err != nil {
		return nil, err
	}
	values := make(map[string]string, len(in.Body.Secrets))
	for _, s := range in.Body.Secrets {
		name := strings.TrimPrefix(s.Name, secretPrefix)
		if _, twice := values[name]; twice {
			return nil, fleet.FieldErrorf(fleet.KindInvalid, "secrets", "%.60q is there twice: nothing was changed", name)
		}
		values[name] = s.Value
	}
	changed, err := a.profiles.SetVariables(ctx, actorOf(ctx), values, in.DryRun)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.SetVariablesResponse{Changed: changed}), nil
}
