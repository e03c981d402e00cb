package appledev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// declarations are what the device fetched last.
type declarations struct {
	token string
	byID  map[string]declaration
}

// declaration is one fetched declaration.
type declaration struct {
	kind        string // activation, asset, configuration, management
	serverToken string
	body        json.RawMessage
}

// manifest is the answer to declaration-items (contracts/apple.md 5.1).
type manifest struct {
	Declarations struct {
		Activations    []manifestItem
		Assets         []manifestItem
		Configurations []manifestItem
		Management     []manifestItem
	}
	DeclarationsToken string
}

type manifestItem struct {
	Identifier  string
	ServerToken string
}

// Declarations returns the identifiers and server tokens the device holds.
func (d *Device) Declarations() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[string]string, len(d.declarations.byID))
	for id, decl := range d.declarations.byID {
		out[id] = decl.serverToken
	}
	return out
}

// synchronize asks for the tokens, and when they changed fetches the manifest
// and what is new in it, drops what is gone, and reports (contracts/apple.md
// 5.1). An equal token ends it.
func (d *Device) synchronize(ctx context.Context, e *enrollment, c *channel) error {
	var tokens struct {
		SyncTokens struct{ DeclarationsToken string }
	}
	err := d.declare(ctx, e, c, "tokens", nil, &tokens)
	if isStatus(err) {
		return nil // declarative management is not offered
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	old := d.declarations
	d.mu.Unlock()
	if tokens.SyncTokens.DeclarationsToken == old.token {
		return nil
	}
	var m manifest
	err = d.declare(ctx, e, c, "declaration-items", nil, &m)
	if err != nil {
		return err
	}
	next, err := d.fetch(ctx, e, c, old, m)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.declarations = next
	d.mu.Unlock()
	status, err := json.Marshal(statusReport(next, d.spec.Model))
	if err != nil {
		return fmt.Errorf("status report: %w", err)
	}
	return d.declare(ctx, e, c, "status", status, nil)
}

// fetch gets the declarations of a manifest that are not there in that version.
func (d *Device) fetch(ctx context.Context, e *enrollment, c *channel, old declarations, m manifest) (declarations, error) {
	next := declarations{token: m.DeclarationsToken, byID: make(map[string]declaration)}
	for kind, items := range map[string][]manifestItem{
		"activation": m.Declarations.Activations, "asset": m.Declarations.Assets,
		"configuration": m.Declarations.Configurations, "management": m.Declarations.Management,
	} {
		for _, item := range items {
			have, ok := old.byID[item.Identifier]
			if ok && have.serverToken == item.ServerToken {
				next.byID[item.Identifier] = have
				continue
			}
			var body json.RawMessage
			err := d.declare(ctx, e, c, "declaration/"+kind+"/"+item.Identifier, nil, &body)
			var refused *StatusError
			if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
				continue // a declaration that is answered 404 is removed
			}
			if err != nil {
				return next, err
			}
			next.byID[item.Identifier] = declaration{kind: kind, serverToken: item.ServerToken, body: body}
		}
	}
	return next, nil
}

// declare sends a DeclarativeManagement check-in and decodes the JSON answer.
func (d *Device) declare(ctx context.Context, e *enrollment, c *channel, endpoint string, data []byte, out any) error {
	fields := dict{"Endpoint": endpoint}
	if data != nil {
		fields["Data"] = data
	}
	answer, err := d.checkIn(ctx, e, c, "DeclarativeManagement", fields)
	if err != nil {
		return fmt.Errorf("%s: %w", endpoint, err)
	}
	if out == nil {
		return nil
	}
	err = json.Unmarshal(answer.body, out)
	if err != nil {
		return fmt.Errorf("%s: %w", endpoint, err)
	}
	return nil
}

// statusReport says that everything is active and valid
// (contracts/apple.md 5.3).
func statusReport(held declarations, m Model) map[string]any {
	lists := map[string][]any{"activations": {}, "assets": {}, "configurations": {}, "management": {}}
	for id, decl := range held.byID {
		key := decl.kind + "s"
		if decl.kind == "management" {
			key = decl.kind
		}
		lists[key] = append(lists[key], map[string]any{
			"identifier": id, "server-token": decl.serverToken, "active": true, "valid": "valid", "reasons": []any{},
		})
	}
	return map[string]any{
		"StatusItems": map[string]any{
			"management": map[string]any{"declarations": lists},
			"device": map[string]any{
				"model":            map[string]any{"family": m.Family.String(), "identifier": m.Product, "marketing-name": m.Name},
				"operating-system": map[string]any{"version": m.OSVersion, "build-version": m.Build},
			},
		},
		"Errors": []any{},
	}
}
