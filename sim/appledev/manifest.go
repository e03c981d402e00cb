package appledev

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unique"
)

// Limits of contracts/apple.md 5.1, in octets.
const (
	maxDeclarationsToken = 256
	maxIdentifier        = 64 // of a declaration; its server token's, too
)

// manifest is the answer to declaration-items.
type manifest struct {
	token string
	items []manifestItem
}

type manifestItem struct{ kind, identifier, token string }

// parseTokens reads SyncTokens, which come as the answer to tokens and as the
// Data of a command.
func parseTokens(raw []byte) (string, error) {
	var t struct {
		SyncTokens struct{ DeclarationsToken string }
	}
	err := json.Unmarshal(raw, &t)
	if err != nil {
		return "", fmt.Errorf("SyncTokens: %w", err)
	}
	return t.SyncTokens.DeclarationsToken, checkToken(t.SyncTokens.DeclarationsToken)
}

// checkToken looks at a DeclarationsToken.
func checkToken(token string) error {
	if token == "" || len(token) > maxDeclarationsToken {
		return fmt.Errorf("a DeclarationsToken of %d octets", len(token))
	}
	return nil
}

// parseManifest reads a manifest. Its four arrays must be there and not null.
func parseManifest(raw []byte) (manifest, error) {
	var m struct {
		Declarations      map[string]*[]struct{ Identifier, ServerToken string }
		DeclarationsToken string
	}
	err := json.Unmarshal(raw, &m)
	if err != nil {
		return manifest{}, fmt.Errorf("manifest: %w", err)
	}
	out := manifest{token: m.DeclarationsToken}
	for _, k := range [][2]string{
		{"Activations", "activation"}, {"Assets", "asset"}, {"Configurations", "configuration"}, {"Management", "management"},
	} {
		list := m.Declarations[k[0]]
		if list == nil {
			return manifest{}, fmt.Errorf("the manifest lacks the array %s", k[0])
		}
		for _, item := range *list {
			out.items = append(out.items, manifestItem{kind: k[1], identifier: item.Identifier, token: item.ServerToken})
		}
	}
	return out, checkToken(out.token)
}

// problem says what is wrong with an item, given those before it; "": nothing.
func (i manifestItem) problem(before map[string]*declaration) string {
	switch {
	case i.identifier == "" || len(i.identifier) > maxIdentifier:
		return fmt.Sprintf("an identifier of %d octets", len(i.identifier))
	case i.token == "" || len(i.token) > maxIdentifier:
		return fmt.Sprintf("%s has a server token of %d octets", i.identifier, len(i.token))
	case before[i.identifier] != nil:
		return i.identifier + " is there twice"
	}
	return ""
}

// parseDeclaration reads a declaration, which must be the manifest's.
func parseDeclaration(raw []byte, item manifestItem) (*declaration, error) {
	var body struct {
		Type, Identifier, ServerToken string
		Payload                       json.RawMessage
	}
	err := json.Unmarshal(raw, &body)
	if err != nil {
		return nil, fmt.Errorf("declaration: %w", err)
	}
	switch {
	case body.Identifier != item.identifier:
		return nil, fmt.Errorf("has the identifier %q", body.Identifier)
	case body.ServerToken != item.token:
		return nil, fmt.Errorf("has the server token %q and not %q", body.ServerToken, item.token)
	case !strings.HasPrefix(body.Type, "com.apple."+item.kind):
		return nil, fmt.Errorf("of type %q came as %s", body.Type, item.kind)
	case body.Payload == nil:
		return nil, errors.New("has no Payload")
	}
	return &declaration{
		identifier: item.identifier, serverToken: item.token, kind: item.kind, declType: body.Type,
		payload: unique.Make(string(body.Payload)),
	}, nil
}

// sorted returns declarations by identifier.
func sorted(held map[string]*declaration) []*declaration {
	out := make([]*declaration, 0, len(held))
	for _, x := range held {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b *declaration) int { return cmp.Compare(a.identifier, b.identifier) })
	return out
}
