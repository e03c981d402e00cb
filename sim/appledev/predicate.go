package appledev

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// errPredicate: the predicate uses more than evaluate understands.
var errPredicate = errors.New("not a predicate of the modeled subset")

// maxPredicate bounds a predicate, in octets, and with it the recursion.
const maxPredicate = 4096

// evaluate computes a small subset of NSPredicate: comparisons by ==, =, !=,
// <>, <, <=, >, >= of @status(item), @property(name), strings, numbers and
// booleans; TRUEPREDICATE and FALSEPREDICATE; AND, OR, NOT, && and ||; and
// parentheses. Strings compare like NSString does, character by character, so
// that "9" comes after "17".
func evaluate(text string, resolve func(function, name string) any) (bool, error) {
	if len(text) > maxPredicate {
		return false, errPredicate
	}
	tokens, err := tokenize(text)
	if err != nil {
		return false, err
	}
	p := &predicate{tokens: tokens, resolve: resolve}
	v := p.or()
	if p.err != nil || len(p.tokens) > 0 {
		return false, errPredicate
	}
	return v, nil
}

// tokenize splits a predicate into words, quoted strings and operators.
func tokenize(text string) ([]string, error) {
	const operators = "=!<>&|"
	var tokens []string
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		end := 1
		switch c := text[0]; {
		case c == '"' || c == '\'':
			i := strings.IndexByte(text[1:], c)
			if i < 0 {
				return nil, errPredicate
			}
			end = i + 2
		case strings.IndexByte("()", c) >= 0:
		case strings.IndexByte(operators, c) >= 0:
			end = len(text) - len(strings.TrimLeft(text, operators))
		case c == '@':
			i := strings.IndexByte(text, ')')
			if i < 0 {
				return nil, errPredicate
			}
			end = i + 1
		default:
			if i := strings.IndexAny(text, " \t\r\n()\"'@"+operators); i > 0 {
				end = i
			} else {
				end = len(text)
			}
		}
		tokens, text = append(tokens, text[:end]), text[end:]
	}
	return tokens, nil
}

// predicate is the rest of one being evaluated. The first error stays.
type predicate struct {
	tokens  []string
	resolve func(function, name string) any
	err     error
}

// next takes a token; "" at the end.
func (p *predicate) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

// accept takes the next token if it is one of these words.
func (p *predicate) accept(words ...string) bool {
	if len(p.tokens) == 0 {
		return false
	}
	for _, w := range words {
		if strings.EqualFold(p.tokens[0], w) {
			p.next()
			return true
		}
	}
	return false
}

// or and and evaluate both sides, so that the whole text is read.
func (p *predicate) or() bool {
	v := p.and()
	for p.accept("OR", "||") {
		right := p.and()
		v = v || right
	}
	return v
}

func (p *predicate) and() bool {
	v := p.not()
	for p.accept("AND", "&&") {
		right := p.not()
		v = v && right
	}
	return v
}

func (p *predicate) not() bool {
	if p.accept("NOT", "!") {
		return !p.not()
	}
	if p.accept("(") {
		v := p.or()
		if !p.accept(")") {
			p.err = errPredicate
		}
		return v
	}
	switch {
	case p.accept("TRUEPREDICATE"):
		return true
	case p.accept("FALSEPREDICATE"):
		return false
	}
	return p.comparison()
}

// comparison is value operator value. Nothing is equal to nothing only, and is
// neither less nor greater than anything.
func (p *predicate) comparison() bool {
	left := p.value()
	operator := p.next()
	right := p.value()
	switch operator {
	case "==", "=":
		return left == right
	case "!=", "<>":
		return left != right
	case "<", "<=", ">", ">=":
	default:
		p.err = errPredicate
		return false
	}
	order, alike := 0, false
	switch l := left.(type) {
	case string:
		var r string
		r, alike = right.(string)
		order = strings.Compare(l, r)
	case float64:
		var r float64
		r, alike = right.(float64)
		order = int(sign(l - r))
	}
	return alike && (order == 0 && len(operator) == 2 || order < 0 && operator[0] == '<' || order > 0 && operator[0] == '>')
}

func sign(f float64) float64 {
	switch {
	case f < 0:
		return -1
	case f > 0:
		return 1
	}
	return 0
}

// value reads a literal, or what a function like @status(device.model.family)
// stands for.
func (p *predicate) value() any {
	t := p.next()
	switch {
	case t == "":
		p.err = errPredicate
	case t[0] == '"' || t[0] == '\'':
		return t[1 : len(t)-1]
	case t[0] == '@':
		function, name, _ := strings.Cut(strings.TrimSuffix(t[1:], ")"), "(")
		if function != "status" && function != "property" {
			p.err = errPredicate
			return nil
		}
		return scalar(p.resolve(function, strings.TrimSpace(name)))
	case strings.EqualFold(t, "TRUE"), strings.EqualFold(t, "YES"):
		return true
	case strings.EqualFold(t, "FALSE"), strings.EqualFold(t, "NO"):
		return false
	}
	n, err := strconv.ParseFloat(t, 64)
	if err != nil {
		p.err = errPredicate
	}
	return n
}

// scalar keeps what can be compared; lists and dictionaries by their text.
func scalar(v any) any {
	switch v := v.(type) {
	case nil, string, bool, float64:
		return v
	case int:
		return float64(v)
	default:
		return fmt.Sprint(v)
	}
}
