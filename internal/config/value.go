package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Value is one setting of one Config, as text. It has the shape of
// pflag.Value.
type Value interface {
	Set(text string) error
	String() string // secrets print as ***
	Type() string
	zero() bool
}

type textValue struct{ p *string }

func (v textValue) Set(s string) error { *v.p = strings.TrimSpace(s); return nil }
func (v textValue) String() string     { return *v.p }
func (v textValue) Type() string       { return "string" }
func (v textValue) zero() bool         { return *v.p == "" }

// urlValue drops trailing slashes, so that paths can be appended.
type urlValue struct{ p *string }

func (v urlValue) Set(s string) error {
	*v.p = strings.TrimRight(strings.TrimSpace(s), "/")
	return nil
}
func (v urlValue) String() string { return *v.p }
func (v urlValue) Type() string   { return "url" }
func (v urlValue) zero() bool     { return *v.p == "" }

type choiceValue struct {
	p       *string
	choices []string
}

func (v choiceValue) Set(s string) error {
	s = strings.TrimSpace(s)
	for _, c := range v.choices {
		if s == c {
			*v.p = s
			return nil
		}
	}
	return fmt.Errorf("must be one of %s", strings.Join(v.choices, ", "))
}
func (v choiceValue) String() string { return *v.p }
func (v choiceValue) Type() string   { return strings.Join(v.choices, "|") }
func (v choiceValue) zero() bool     { return *v.p == "" }

type boolValue struct{ p *bool }

func (v boolValue) Set(s string) error {
	b, err := strconv.ParseBool(strings.TrimSpace(s))
	if err != nil {
		return fmt.Errorf("must be true or false")
	}
	*v.p = b
	return nil
}
func (v boolValue) String() string { return strconv.FormatBool(*v.p) }
func (v boolValue) Type() string   { return "bool" }
func (v boolValue) zero() bool     { return !*v.p }

type intValue struct {
	p        *int
	min, max int
}

func (v intValue) Set(s string) error {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < v.min || n > v.max {
		return fmt.Errorf("must be a whole number from %d to %d", v.min, v.max)
	}
	*v.p = n
	return nil
}
func (v intValue) String() string { return strconv.Itoa(*v.p) }
func (v intValue) Type() string   { return "int" }
func (v intValue) zero() bool     { return *v.p == 0 }

type durationValue struct {
	p        *time.Duration
	min, max time.Duration
}

func (v durationValue) Set(s string) error {
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil || d < v.min || d > v.max {
		return fmt.Errorf("must be a duration such as 90s or 24h, from %v to %v", v.min, v.max)
	}
	*v.p = d
	return nil
}
func (v durationValue) String() string { return v.p.String() }
func (v durationValue) Type() string   { return "duration" }
func (v durationValue) zero() bool     { return *v.p == 0 }

type listValue struct{ p *[]string }

func (v listValue) Set(s string) error { *v.p = splitList(s); return nil }
func (v listValue) String() string     { return strings.Join(*v.p, ",") }
func (v listValue) Type() string       { return "list" }
func (v listValue) zero() bool         { return len(*v.p) == 0 }

type prefixesValue struct{ p *[]netip.Prefix }

// Set takes networks in CIDR form and single addresses, separated by commas.
func (v prefixesValue) Set(s string) error {
	var out []netip.Prefix
	for _, item := range splitList(s) {
		prefix, err := netip.ParsePrefix(item)
		if err != nil {
			addr, addrErr := netip.ParseAddr(item)
			if addrErr != nil {
				return fmt.Errorf("%q is not a network such as 10.0.0.0/8 or an address", item)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		out = append(out, prefix.Masked())
	}
	*v.p = out
	return nil
}

func (v prefixesValue) String() string {
	parts := make([]string, 0, len(*v.p))
	for _, prefix := range *v.p {
		parts = append(parts, prefix.String())
	}
	return strings.Join(parts, ",")
}
func (v prefixesValue) Type() string { return "networks" }
func (v prefixesValue) zero() bool   { return len(*v.p) == 0 }

type secretValue struct{ p *Secret }

func (v secretValue) Set(s string) error { *v.p = Secret(strings.TrimSpace(s)); return nil }
func (v secretValue) String() string     { return v.p.String() }
func (v secretValue) Type() string       { return "secret" }
func (v secretValue) zero() bool         { return *v.p == "" }

type secretsValue struct{ p *Secrets }

func (v secretsValue) Set(s string) error {
	var out Secrets
	// A file lists one per line, a variable separates by commas.
	for _, item := range splitList(strings.ReplaceAll(s, "\n", ",")) {
		out = append(out, Secret(item))
	}
	*v.p = out
	return nil
}
func (v secretsValue) String() string {
	if len(*v.p) == 0 {
		return ""
	}
	return redacted
}
func (v secretsValue) Type() string { return "secrets" }
func (v secretsValue) zero() bool   { return len(*v.p) == 0 }

func splitList(s string) []string {
	var out []string
	for _, item := range strings.Split(s, ",") {
		item = strings.TrimSpace(item)
		if item != "" {
			out = append(out, item)
		}
	}
	return out
}
