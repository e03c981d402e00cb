package appledev

import (
	"fmt"

	"howett.net/plist"
)

// dict is a property list dictionary.
type dict map[string]any

// parseDict reads a property list whose root is a dictionary.
func parseDict(data []byte) (dict, error) {
	var d map[string]any
	_, err := plist.Unmarshal(data, &d)
	if err != nil {
		return nil, fmt.Errorf("property list: %w", err)
	}
	return d, nil
}

// encode writes an XML property list.
func (d dict) encode() ([]byte, error) {
	data, err := plist.Marshal(map[string]any(d), plist.XMLFormat)
	if err != nil {
		return nil, fmt.Errorf("property list: %w", err)
	}
	return data, nil
}

// text, data, flag, number, dict and list read a value, or the zero one when it
// is missing or of another type.
func (d dict) text(key string) string { s, _ := d[key].(string); return s }
func (d dict) data(key string) []byte { b, _ := d[key].([]byte); return b }
func (d dict) flag(key string) bool   { b, _ := d[key].(bool); return b }
func (d dict) list(key string) []any  { l, _ := d[key].([]any); return l }
func (d dict) dict(key string) dict   { m, _ := d[key].(map[string]any); return m }

func (d dict) number(key string) int {
	switch n := d[key].(type) {
	case uint64:
		return int(n)
	case int64:
		return int(n)
	default:
		return 0
	}
}

// dicts reads an array of dictionaries, leaving out what is none.
func (d dict) dicts(key string) []dict {
	var out []dict
	for _, v := range d.list(key) {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// texts reads an array of strings, leaving out what is none.
func (d dict) texts(key string) []string {
	var out []string
	for _, v := range d.list(key) {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
