// Package variables finds and fills in the variables of profiles and
// declarations: $FLEET_VAR_NAME for facts of the host and $FLEET_SECRET_NAME
// for custom secrets, both also as ${...} (contracts/fleet-api.md 4.4).
//
// Names are upper-case letters, digits and underscores. A name runs as far as
// it can: text that follows directly wants the form with braces.
package variables

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// Prefixes of the two kinds.
const (
	VarPrefix    = "FLEET_VAR_"
	SecretPrefix = "FLEET_SECRET_"
)

// MaxNames bounds the different names of one content.
const MaxNames = 200

// Found are the names in a content, sorted, each once, without prefix.
type Found struct {
	Variables []string
	Secrets   []string
}

// reference is one occurrence: data[start:end] is replaced by the value of name.
type reference struct {
	start, end int
	name       string
}

// next finds the first reference at or after from.
func next(data []byte, from int) (reference, bool) {
	for i := from; i < len(data); i++ {
		at := bytes.IndexByte(data[i:], '$')
		if at < 0 {
			return reference{}, false
		}
		i += at
		rest, braces := data[i+1:], false
		if len(rest) > 0 && rest[0] == '{' {
			rest, braces = rest[1:], true
		}
		n := nameLength(rest)
		if n == 0 || !known(string(rest[:n])) {
			continue
		}
		r := reference{start: i, end: i + 1 + n, name: string(rest[:n])}
		if !braces {
			return r, true
		}
		if n < len(rest) && rest[n] == '}' {
			r.end += 2
			return r, true
		}
	}
	return reference{}, false
}

func nameLength(b []byte) int {
	n := 0
	for n < len(b) && (b[n] >= 'A' && b[n] <= 'Z' || b[n] >= '0' && b[n] <= '9' || b[n] == '_') {
		n++
	}
	return n
}

func known(name string) bool {
	return len(name) > len(VarPrefix) && strings.HasPrefix(name, VarPrefix) ||
		len(name) > len(SecretPrefix) && strings.HasPrefix(name, SecretPrefix)
}

// Scan lists the names in data.
func Scan(data []byte) (Found, error) {
	seen := map[string]bool{}
	var f Found
	for r, ok := next(data, 0); ok; r, ok = next(data, r.end) {
		if seen[r.name] {
			continue
		}
		seen[r.name] = true
		if len(seen) > MaxNames {
			return Found{}, fmt.Errorf("more than %d different variables", MaxNames)
		}
		if name, ok := strings.CutPrefix(r.name, VarPrefix); ok {
			f.Variables = append(f.Variables, name)
			continue
		}
		f.Secrets = append(f.Secrets, strings.TrimPrefix(r.name, SecretPrefix))
	}
	slices.Sort(f.Variables)
	slices.Sort(f.Secrets)
	return f, nil
}

// Values gives the value of a variable or, with secret set, of a secret.
type Values func(secret bool, name string) (string, error)

// Expand fills in every variable, its value escaped for where it stands.
func Expand(data []byte, escape func(string) string, values Values) ([]byte, error) {
	var out bytes.Buffer
	out.Grow(len(data))
	last := 0
	for r, ok := next(data, 0); ok; r, ok = next(data, r.end) {
		name, isVar := strings.CutPrefix(r.name, VarPrefix)
		if !isVar {
			name = strings.TrimPrefix(r.name, SecretPrefix)
		}
		value, err := values(!isVar, name)
		if err != nil {
			return nil, err
		}
		out.Write(data[last:r.start])
		out.WriteString(escape(value))
		last = r.end
	}
	out.Write(data[last:])
	return out.Bytes(), nil
}

// XML escapes a value for the text of an XML element.
func XML(value string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(value)); err != nil {
		return "" // writing to a Builder never fails
	}
	return b.String()
}

// JSON escapes a value for the inside of a JSON string.
func JSON(value string) string {
	b, err := json.Marshal(value)
	if err != nil {
		return "" // a string always marshals
	}
	return string(b[1 : len(b)-1])
}
