package ddm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Limits.
const (
	MaxDeclaration = 1 << 20
	// MaxIdentifier is Apple's limit for identifiers and server tokens.
	MaxIdentifier = 64
	maxDepth      = 64
	maxReferences = 200
)

// Kinds of declarations, as they stand in paths and manifests.
const (
	KindActivation    = "activation"
	KindAsset         = "asset"
	KindConfiguration = "configuration"
	KindManagement    = "management"
)

// Types that Muster itself makes.
const (
	TypeActivation      = "com.apple.activation.simple"
	TypeSubscriptions   = "com.apple.configuration.management.status-subscriptions"
	TypeSoftwareUpdate  = "com.apple.configuration.softwareupdate.enforcement.specific"
	activationPrefix    = "com.apple.activation."
	assetPrefix         = "com.apple.asset."
	configurationPrefix = "com.apple.configuration."
	managementPrefix    = "com.apple.management."
)

// Declaration is one declaration that somebody wrote.
type Declaration struct {
	Type       string
	Identifier string
	Payload    map[string]any
	// References are the identifiers of other declarations that it names:
	// configurations of an activation, assets of anything.
	References []string
	// Predicate of an activation.
	Predicate string
	Content   []byte
}

// KindOf tells a declaration's kind from its type; "" for others.
func KindOf(declarationType string) string {
	for prefix, kind := range map[string]string{activationPrefix: KindActivation, assetPrefix: KindAsset,
		configurationPrefix: KindConfiguration, managementPrefix: KindManagement} {
		if strings.HasPrefix(declarationType, prefix) && len(declarationType) > len(prefix) {
			return kind
		}
	}
	return ""
}

// Parse reads a declaration. Errors say what a person has to change.
func Parse(data []byte) (*Declaration, error) {
	if len(data) > MaxDeclaration {
		return nil, fmt.Errorf("the declaration has %d bytes, at most %d are taken", len(data), MaxDeclaration)
	}
	if err := shallow(data); err != nil {
		return nil, err
	}
	var raw struct {
		Type        string
		Identifier  string
		ServerToken *string
		Payload     map[string]any
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&raw); err != nil {
		return nil, fmt.Errorf("not a declaration: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is text after the declaration")
	}
	switch {
	case raw.Type == "":
		return nil, errors.New("Type is missing") //nolint:staticcheck // the key's own spelling
	case raw.Identifier == "":
		return nil, errors.New("Identifier is missing") //nolint:staticcheck // the key's own spelling
	case len(raw.Identifier) > MaxIdentifier:
		return nil, fmt.Errorf("the Identifier has %d bytes, at most %d are allowed", len(raw.Identifier), MaxIdentifier)
	case strings.ContainsAny(raw.Identifier, "/?#%\x00\n\r"):
		return nil, errors.New("the Identifier may not contain / ? # % or line breaks: it is part of a path")
	case raw.Payload == nil:
		return nil, errors.New("Payload is missing") //nolint:staticcheck // the key's own spelling
	case KindOf(raw.Type) == "":
		return nil, fmt.Errorf("the Type %.100q is none of com.apple.activation.*, .asset.*, .configuration.*, .management.*", raw.Type)
	}
	out := &Declaration{Type: raw.Type, Identifier: raw.Identifier, Payload: raw.Payload, Content: data}
	return out, out.readReferences()
}

// shallow refuses deep nesting before anything recursive reads it.
func shallow(data []byte) error {
	depth, inText := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("nested deeper than %d levels", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// readReferences collects what the declaration names: StandardConfigurations
// of an activation, and every key that ends in AssetReference.
func (d *Declaration) readReferences() error {
	if d.Type == TypeActivation {
		list, ok := d.Payload["StandardConfigurations"].([]any)
		if !ok || len(list) == 0 {
			return errors.New("an activation needs StandardConfigurations, an array of identifiers")
		}
		for _, e := range list {
			id, ok := e.(string)
			if !ok || id == "" {
				return errors.New("StandardConfigurations must hold identifiers")
			}
			d.References = append(d.References, id)
		}
		if p, has := d.Payload["Predicate"]; has {
			text, ok := p.(string)
			if !ok {
				return errors.New("the Predicate must be a text")
			}
			if err := CheckPredicate(text); err != nil {
				return fmt.Errorf("the Predicate: %w", err)
			}
			d.Predicate = text
		}
	}
	d.collectAssets(d.Payload)
	slices.Sort(d.References)
	d.References = slices.Compact(d.References)
	if len(d.References) > maxReferences {
		return fmt.Errorf("names %d other declarations, at most %d are allowed", len(d.References), maxReferences)
	}
	return nil
}

func (d *Declaration) collectAssets(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, e := range v {
			if id, ok := e.(string); ok && strings.HasSuffix(key, "AssetReference") {
				d.References = append(d.References, id)
				continue
			}
			d.collectAssets(e)
		}
	case []any:
		for _, e := range v {
			d.collectAssets(e)
		}
	}
}

// CheckPredicate finds what no predicate may have: unbalanced brackets or
// quotes, an @ that is neither @status(...) nor @property(...), nothing at all.
// Whether the status item exists only the device knows.
func CheckPredicate(text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("is empty")
	}
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"', '\'':
			end := i + 1
			for end < len(text) && text[end] != c {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			if end >= len(text) {
				return fmt.Errorf("a quote at character %d does not end", i+1)
			}
			i = end
		case '(', '{', '[':
			depth++
		case ')', '}', ']':
			if depth--; depth < 0 {
				return fmt.Errorf("a bracket at character %d closes nothing", i+1)
			}
		case '@':
			rest := text[i+1:]
			if i > 0 && text[i-1] == '.' {
				continue // an operator on a collection, as .@count
			}
			if !strings.HasPrefix(rest, "status(") && !strings.HasPrefix(rest, "property(") && !strings.HasPrefix(rest, "key(") {
				return fmt.Errorf("at character %d: after @ comes status(...), property(...) or key(...)", i+1)
			}
		}
	}
	if depth != 0 {
		return errors.New("a bracket is not closed")
	}
	return nil
}

// Token is a token for content: 64 hexadecimal digits, which is the most that
// Apple allows.
func Token(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		for i, l := 0, len(p); i < len(n); i++ {
			n[i] = byte(l >> (8 * i))
		}
		_, _ = h.Write(n[:]) // a hash never fails
		_, _ = h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Serve is a declaration as it goes to a device, with its server token.
func Serve(content []byte, serverToken string) ([]byte, error) {
	var raw struct {
		Type        string
		Identifier  string
		ServerToken string
		Payload     json.RawMessage
	}
	if err := json.Unmarshal(content, &raw); err != nil {
		return nil, fmt.Errorf("declaration: %w", err)
	}
	raw.ServerToken = serverToken
	return json.Marshal(raw)
}

// Make builds a declaration without a server token.
func Make(declarationType, identifier string, payload map[string]any) ([]byte, error) {
	return json.Marshal(struct {
		Type       string
		Identifier string
		Payload    map[string]any
	}{declarationType, identifier, payload})
}

// manifestToken stands for a whole manifest, whatever the order of its entries.
func manifestToken(entries []fleet.DDMEntry) string {
	parts := make([][]byte, 0, 3*len(entries))
	for _, e := range entries {
		parts = append(parts, []byte(e.Kind), []byte(e.Identifier), []byte(e.ServerToken))
	}
	return Token(parts...)
}

// NewManifest sorts the entries and computes the token that stands for them
// (contracts/apple.md 5.1: over type, identifier and server token, sorted).
func NewManifest(entries []fleet.DDMEntry) fleet.DDMManifest {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b fleet.DDMEntry) int {
		if c := strings.Compare(a.Kind, b.Kind); c != 0 {
			return c
		}
		return strings.Compare(a.Identifier, b.Identifier)
	})
	return fleet.DDMManifest{Token: manifestToken(entries), Entries: entries}
}
