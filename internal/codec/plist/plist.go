package plist

import (
	"bytes"
	"errors"
	"fmt"

	howett "howett.net/plist"
)

// Limits of what is read.
const (
	MaxDepth = 64       // nested dictionaries and arrays
	MaxSize  = 32 << 20 // of any list; edges have lower limits
)

// Errors say what is wrong with a list; more detail is wrapped around them.
var (
	ErrBinary   = errors.New("a binary property list: send it as XML")
	ErrNotPlist = errors.New("not an XML property list")
	ErrTooDeep  = fmt.Errorf("nested deeper than %d levels", MaxDepth)
	ErrTooLarge = errors.New("too large")
	ErrRepeated = errors.New("a dictionary has a key twice")
)

// Raw is one value as it stands in the text, from its opening tag to its
// closing one. Its methods decode it.
type Raw []byte

// Dict is the top level of a list, not decoded further.
type Dict map[string]Raw

// ReadDict reads the top level of a list whose root is a dictionary. Of a
// repeated key the last one counts.
func ReadDict(data []byte) (Dict, error) {
	s, err := open(data)
	if err != nil {
		return nil, err
	}
	d := make(Dict, 16)
	if err := s.dict(0, func(key string, raw Raw) error { d[key] = raw; return nil }); err != nil {
		return nil, err
	}
	return d, s.end()
}

// Read decodes a whole list into map[string]any, []any, string, int64,
// uint64 (beyond int64), float64, bool, []byte and time.Time.
func Read(data []byte) (any, error) {
	s, err := open(data)
	if err != nil {
		return nil, err
	}
	return s.list()
}

// ReadOnce is Read of a list that others read too: a repeated key, of which
// readers take different ones, is refused.
func ReadOnce(data []byte) (any, error) {
	s, err := open(data)
	if err != nil {
		return nil, err
	}
	s.once = true
	return s.list()
}

// list decodes the root value and checks that nothing follows.
func (s *scanner) list() (any, error) {
	v, err := s.value(0)
	if err != nil {
		return nil, err
	}
	return v, s.end()
}

// Value decodes the value.
func (r Raw) Value() (any, error) {
	s := scanner{data: r}
	v, err := s.value(0)
	if err != nil {
		return nil, err
	}
	if s.space(); s.pos != len(s.data) {
		return nil, ErrNotPlist
	}
	return v, nil
}

// String returns the text of a string, or "" when the value is something else.
func (r Raw) String() string {
	v, err := r.Value()
	if err != nil {
		return ""
	}
	t, _ := v.(string)
	return t
}

// Data returns the bytes of a data value, or nil.
func (r Raw) Data() []byte {
	v, err := r.Value()
	if err != nil {
		return nil
	}
	b, _ := v.([]byte)
	return b
}

// Bool returns the truth value and whether it is one.
func (r Raw) Bool() (value, ok bool) {
	v, err := r.Value()
	if err != nil {
		return false, false
	}
	value, ok = v.(bool)
	return value, ok
}

// Text returns the string under key; "" when it is missing or no string.
func (d Dict) Text(key string) string {
	r, ok := d[key]
	if !ok {
		return ""
	}
	return r.String()
}

// Guard refuses what no decoder should be shown: too large, binary, or not
// beginning like XML.
func Guard(data []byte, limit int) error {
	if len(data) > limit || len(data) > MaxSize {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), min(limit, MaxSize))
	}
	if bytes.HasPrefix(data, []byte("bplist")) {
		return ErrBinary
	}
	if t := bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), " \t\r\n"); len(t) == 0 || t[0] != '<' {
		return ErrNotPlist
	}
	return nil
}

// Unmarshal reads a list into a struct with plist tags, after the guard and a
// full read have accepted it.
func Unmarshal(data []byte, dest any) error {
	if err := Guard(data, MaxSize); err != nil {
		return err
	}
	if _, err := Read(data); err != nil {
		return err
	}
	if _, err := howett.Unmarshal(data, dest); err != nil {
		return fmt.Errorf("%w: %w", ErrNotPlist, err)
	}
	return nil
}

// Marshal writes v as an indented XML list.
func Marshal(v any) ([]byte, error) {
	b, err := howett.MarshalIndent(v, howett.XMLFormat, "\t")
	if err != nil {
		return nil, fmt.Errorf("write property list: %w", err)
	}
	return append(b, '\n'), nil
}
