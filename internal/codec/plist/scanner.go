package plist

import (
	"bytes"
	"fmt"
	"strconv"
)

// scanner walks the text once.
type scanner struct {
	data []byte
	pos  int
	once bool // a repeated key is an error
}

func open(data []byte) (*scanner, error) {
	if err := Guard(data, MaxSize); err != nil {
		return nil, err
	}
	s := &scanner{data: bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))}
	s.space()
	if tag, empty, err := s.tag(); err != nil || tag != "plist" || empty {
		return nil, ErrNotPlist
	}
	return s, nil
}

// end checks that nothing but the root's closing tag and space follows.
func (s *scanner) end() error {
	tag, _, err := s.tag()
	if err != nil {
		return err
	}
	if tag != "/plist" {
		return fmt.Errorf("%w: <%s> after the root value", ErrNotPlist, tag)
	}
	if s.space(); s.pos != len(s.data) {
		return fmt.Errorf("%w: text after </plist>", ErrNotPlist)
	}
	return nil
}

// space skips white space, comments, processing instructions and a document
// type without definitions of its own.
func (s *scanner) space() {
	for s.pos < len(s.data) {
		rest := s.data[s.pos:]
		switch {
		case rest[0] == ' ' || rest[0] == '\n' || rest[0] == '\t' || rest[0] == '\r':
			s.pos++
		case bytes.HasPrefix(rest, []byte("<!--")):
			if !s.skipPast(rest, 4, "-->") {
				return
			}
		case bytes.HasPrefix(rest, []byte("<?")):
			if !s.skipPast(rest, 2, "?>") {
				return
			}
		case bytes.HasPrefix(rest, []byte("<!DOCTYPE")):
			end := bytes.IndexByte(rest, '>')
			if end < 0 || bytes.IndexByte(rest[:end], '[') >= 0 {
				return // what follows is then no tag we know
			}
			s.pos += end + 1
		default:
			return
		}
	}
}

func (s *scanner) skipPast(rest []byte, from int, mark string) bool {
	i := bytes.Index(rest[from:], []byte(mark))
	if i < 0 {
		return false
	}
	s.pos += from + i + len(mark)
	return true
}

// tag reads one tag and returns its name; attributes are skipped.
func (s *scanner) tag() (name string, empty bool, err error) {
	s.space()
	if s.pos >= len(s.data) || s.data[s.pos] != '<' {
		return "", false, fmt.Errorf("%w: a tag is missing at byte %d", ErrNotPlist, s.pos)
	}
	end := bytes.IndexByte(s.data[s.pos:], '>')
	if end < 0 {
		return "", false, fmt.Errorf("%w: cut off inside a tag", ErrNotPlist)
	}
	inner := s.data[s.pos+1 : s.pos+end]
	s.pos += end + 1
	if n := len(inner); n > 0 && inner[n-1] == '/' {
		inner, empty = inner[:n-1], true
	}
	if i := bytes.IndexAny(inner, " \t\r\n"); i >= 0 {
		inner = inner[:i]
	}
	return tagName(inner), empty, nil
}

// tagName avoids an allocation for the names that occur.
func tagName(b []byte) string {
	switch string(b) {
	case "key":
		return "key"
	case "string":
		return "string"
	case "dict":
		return "dict"
	case "array":
		return "array"
	case "data":
		return "data"
	case "integer":
		return "integer"
	case "true":
		return "true"
	case "false":
		return "false"
	case "/dict":
		return "/dict"
	case "/array":
		return "/array"
	case "plist":
		return "plist"
	}
	return string(b)
}

// text reads up to the closing tag of name.
func (s *scanner) text(name string) ([]byte, error) {
	rest := s.data[s.pos:]
	lt := bytes.IndexByte(rest, '<')
	if lt < 0 {
		return nil, fmt.Errorf("%w: <%s> is not closed", ErrNotPlist, name)
	}
	if closes(rest[lt:], name) {
		s.pos += lt + len(name) + 3
		return unescape(rest[:lt])
	}
	return s.slowText(name)
}

func closes(b []byte, name string) bool {
	return len(b) >= len(name)+3 && b[1] == '/' && string(b[2:2+len(name)]) == name && b[2+len(name)] == '>'
}

// slowText handles comments and CDATA sections inside a text.
func (s *scanner) slowText(name string) ([]byte, error) {
	var out []byte
	for {
		rest := s.data[s.pos:]
		lt := bytes.IndexByte(rest, '<')
		if lt < 0 {
			return nil, fmt.Errorf("%w: <%s> is not closed", ErrNotPlist, name)
		}
		t, err := unescape(rest[:lt])
		if err != nil {
			return nil, err
		}
		out = append(out, t...)
		s.pos += lt
		rest = rest[lt:]
		switch {
		case closes(rest, name):
			s.pos += len(name) + 3
			return out, nil
		case bytes.HasPrefix(rest, []byte("<!--")):
			if !s.skipPast(rest, 4, "-->") {
				return nil, fmt.Errorf("%w: a comment is not closed", ErrNotPlist)
			}
		case bytes.HasPrefix(rest, []byte("<![CDATA[")):
			end := bytes.Index(rest, []byte("]]>"))
			if end < 0 {
				return nil, fmt.Errorf("%w: CDATA is not closed", ErrNotPlist)
			}
			out = append(out, rest[9:end]...)
			s.pos += end + 3
		default:
			return nil, fmt.Errorf("%w: a tag inside <%s>", ErrNotPlist, name)
		}
	}
}

// unescape resolves the five named entities and character references.
func unescape(b []byte) ([]byte, error) {
	amp := bytes.IndexByte(b, '&')
	if amp < 0 {
		return b, nil
	}
	out := make([]byte, 0, len(b))
	for amp >= 0 {
		out = append(out, b[:amp]...)
		semi := bytes.IndexByte(b[amp:], ';')
		if semi < 0 {
			return nil, fmt.Errorf("%w: & without ;", ErrNotPlist)
		}
		r, err := entity(b[amp+1 : amp+semi])
		if err != nil {
			return nil, err
		}
		out = append(out, string(r)...)
		b = b[amp+semi+1:]
		amp = bytes.IndexByte(b, '&')
	}
	return append(out, b...), nil
}

func entity(name []byte) (rune, error) {
	switch string(name) {
	case "lt":
		return '<', nil
	case "gt":
		return '>', nil
	case "amp":
		return '&', nil
	case "quot":
		return '"', nil
	case "apos":
		return '\'', nil
	}
	if len(name) < 2 || name[0] != '#' {
		return 0, fmt.Errorf("%w: entity &%s;", ErrNotPlist, name)
	}
	digits, base := string(name[1:]), 10
	if digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n == 0 || n > 0x10ffff || (n >= 0xd800 && n <= 0xdfff) {
		return 0, fmt.Errorf("%w: character reference &%s;", ErrNotPlist, name)
	}
	return rune(n), nil
}

// dict reads the root dictionary or, at depth > 0, is called after <dict>.
func (s *scanner) dict(depth int, each func(string, Raw) error) error {
	tag, empty, err := s.tag()
	if err != nil {
		return err
	}
	if tag != "dict" {
		return fmt.Errorf("%w: the root is <%s>, not a dictionary", ErrNotPlist, tag)
	}
	if empty {
		return nil
	}
	for {
		key, done, err := s.key()
		if err != nil || done {
			return err
		}
		s.space()
		from := s.pos
		if err := s.skip(depth + 1); err != nil {
			return err
		}
		if err := each(key, Raw(s.data[from:s.pos])); err != nil {
			return err
		}
	}
}

// key reads the next key of a dictionary, or its end.
func (s *scanner) key() (key string, done bool, err error) {
	tag, empty, err := s.tag()
	if err != nil {
		return "", false, err
	}
	switch {
	case tag == "/dict":
		return "", true, nil
	case tag == "key" && empty:
		return "", false, nil
	case tag == "key":
		t, err := s.text("key")
		return string(t), false, err
	}
	return "", false, fmt.Errorf("%w: <%s> where a key should be", ErrNotPlist, tag)
}

// skip passes over one value, checking its structure only.
func (s *scanner) skip(depth int) error {
	if depth > MaxDepth {
		return ErrTooDeep
	}
	tag, empty, err := s.tag()
	if err != nil {
		return err
	}
	if empty {
		return s.known(tag)
	}
	switch tag {
	case "dict":
		for {
			_, done, err := s.key()
			if err != nil || done {
				return err
			}
			if err := s.skip(depth + 1); err != nil {
				return err
			}
		}
	case "array":
		for {
			if s.closing("/array") {
				return nil
			}
			if err := s.skip(depth + 1); err != nil {
				return err
			}
		}
	}
	if err := s.known(tag); err != nil {
		return err
	}
	_, err = s.text(tag)
	return err
}

func (s *scanner) known(tag string) error {
	switch tag {
	case "string", "integer", "real", "true", "false", "data", "date", "dict", "array":
		return nil
	}
	return fmt.Errorf("%w: unknown tag <%s>", ErrNotPlist, tag)
}

// closing consumes the closing tag if it is next.
func (s *scanner) closing(name string) bool {
	s.space()
	rest := s.data[s.pos:]
	if len(rest) < len(name)+2 || rest[0] != '<' || string(rest[1:1+len(name)]) != name || rest[1+len(name)] != '>' {
		return false
	}
	s.pos += len(name) + 2
	return true
}

// value decodes one value.
func (s *scanner) value(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, ErrTooDeep
	}
	tag, empty, err := s.tag()
	if err != nil {
		return nil, err
	}
	switch tag {
	case "dict":
		return s.dictValue(depth, empty)
	case "array":
		return s.arrayValue(depth, empty)
	}
	if err := s.known(tag); err != nil {
		return nil, err
	}
	var t []byte
	if !empty {
		if t, err = s.text(tag); err != nil {
			return nil, err
		}
	}
	return scalar(tag, t)
}

func (s *scanner) dictValue(depth int, empty bool) (any, error) {
	d := map[string]any{}
	for !empty {
		key, done, err := s.key()
		if err != nil {
			return nil, err
		}
		if done {
			break
		}
		if _, again := d[key]; again && s.once {
			return nil, fmt.Errorf("%w: %.64q", ErrRepeated, key)
		}
		if d[key], err = s.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (s *scanner) arrayValue(depth int, empty bool) (any, error) {
	list := []any{}
	for !empty && !s.closing("/array") {
		v, err := s.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}
