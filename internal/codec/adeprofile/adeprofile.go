package adeprofile

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Limits.
const (
	MaxSize  = 512 << 10 // bytes of a profile
	maxItems = 200       // of one list
)

// kind is the type of a key's value.
type kind uint8

const (
	text kind = iota + 1
	truth
	texts
	certificates // base64 DER
)

func (k kind) String() string {
	switch k {
	case text:
		return "a string"
	case truth:
		return "true or false"
	case texts:
		return "a list of strings"
	case certificates:
		return "a list of base64 DER certificates"
	}
	return "unknown"
}

// rule is what a key may hold. The longest texts are Apple's.
type rule struct {
	kind    kind
	longest int // characters; 0: not bounded
	// reserved keys are the server's to set; it says why.
	reserved string
}

const setByServer = "is set by the server"

// ruleOf returns the rule of a key, and whether there is one.
func ruleOf(key string) (rule, bool) {
	i := slices.IndexFunc(known, func(k knownKey) bool { return k.name == key })
	if i < 0 {
		return rule{}, false
	}
	return known[i].rule, true
}

type knownKey struct {
	name string
	rule
}

var known = []knownKey{
	{"profile_name", rule{kind: text, longest: 125}},
	{"url", rule{kind: text, reserved: setByServer}},
	{"configuration_web_url", rule{kind: text}}, // reserved while people sign in
	{"org_magic", rule{kind: text, longest: 256}},
	{"department", rule{kind: text, longest: 125}},
	{"support_phone_number", rule{kind: text, longest: 50}},
	{"support_email_address", rule{kind: text, longest: 250}},
	{"is_supervised", rule{kind: truth}},
	{"is_mandatory", rule{kind: truth}},
	{"is_mdm_removable", rule{kind: truth}},
	{"is_multi_user", rule{kind: truth}},
	{"await_device_configured", rule{kind: truth, reserved: setByServer}},
	{"auto_advance_setup", rule{kind: truth}},
	{"language", rule{kind: text, longest: 3}},
	{"region", rule{kind: text, longest: 2}},
	{"allow_pairing", rule{kind: truth}},
	{"supervising_host_certs", rule{kind: certificates}},
	{"anchor_certs", rule{kind: certificates}},
	{"skip_setup_items", rule{kind: texts}},
	{"devices", rule{kind: texts, reserved: "is set by the server: devices are assigned by their team"}},
	{"is_return_to_service", rule{kind: truth}},
	{"do_not_use_profile_from_backup", rule{kind: truth}},
}

// Options change what is allowed.
type Options struct {
	// SignIn: people sign in before they enroll, so that the server sets
	// configuration_web_url.
	SignIn bool
}

// Profile is a checked profile.
type Profile struct{ values map[string]any }

// Parse reads a profile as people write it. Its error is a *fleet.Error with
// every fault it has, by key; the warnings are for people.
func Parse(data []byte, o Options) (Profile, []string, error) {
	if len(data) > MaxSize {
		return Profile{}, nil, fleet.Errorf(fleet.KindTooLarge, "the enrollment profile has more than %d bytes", MaxSize)
	}
	raw, err := object(data)
	if err != nil {
		return Profile{}, nil, fleet.Errorf(fleet.KindInvalid, "the enrollment profile is not a JSON object: %v", err)
	}
	c := checker{values: map[string]any{}}
	for _, f := range raw {
		c.key(f.key, f.value, o)
	}
	c.contradictions()
	if len(c.faults) > 0 {
		return Profile{}, c.warnings, &fleet.Error{Kind: fleet.KindInvalid, Fields: c.faults}
	}
	return Profile{values: c.values}, c.warnings, nil
}

type field struct {
	key   string
	value json.RawMessage
}

// object reads the keys of the outermost object in their order and refuses a
// key that comes twice: the usual reader keeps the last one silently.
func object(data []byte) ([]field, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	open, err := d.Token()
	if err != nil {
		return nil, err
	}
	if open != json.Delim('{') {
		return nil, errors.New("it begins with something else")
	}
	var fields []field
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, ok := token.(string)
		if !ok || len(fields) == maxItems {
			return nil, errors.New("too many keys")
		}
		f := field{key: key}
		if err := d.Decode(&f.value); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(fields, func(g field) bool { return g.key == key }) {
			return nil, fmt.Errorf("%q is there twice", key)
		}
		fields = append(fields, f)
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows after its end")
	}
	return fields, nil
}

type checker struct {
	values   map[string]any
	faults   []fleet.FieldError
	warnings []string
}

func (c *checker) fault(key, format string, args ...any) {
	c.faults = append(c.faults, fleet.FieldError{Name: key, Reason: fmt.Sprintf(format, args...)})
}

func (c *checker) warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

func (c *checker) key(key string, raw json.RawMessage, o Options) {
	r, ok := ruleOf(key)
	switch {
	case !ok:
		if near := nearest(key); near != "" {
			c.fault(key, "is not a key of an enrollment profile; did you mean %s?", near)
			return
		}
		c.fault(key, "is not a key of an enrollment profile")
	case r.reserved != "":
		c.fault(key, "%s; leave it out", r.reserved)
	case key == "configuration_web_url" && o.SignIn:
		c.fault(key, "is set by the server while end users sign in; leave it out")
	default:
		c.value(key, r, raw)
	}
}

func (c *checker) value(key string, r rule, raw json.RawMessage) {
	wrong := func() { c.fault(key, "must be %s", r.kind) }
	if string(bytes.TrimSpace(raw)) == "null" {
		wrong()
		return
	}
	switch r.kind {
	case text:
		var s string
		if json.Unmarshal(raw, &s) != nil {
			wrong()
			return
		}
		if n := utf8.RuneCountInString(s); r.longest > 0 && n > r.longest {
			c.fault(key, "has %d characters, at most %d are allowed", n, r.longest)
		}
		c.values[key] = s
	case truth:
		var b bool
		if json.Unmarshal(raw, &b) != nil {
			wrong()
			return
		}
		c.values[key] = b
	case texts, certificates:
		var list []*string
		if json.Unmarshal(raw, &list) != nil || slices.Contains(list, nil) {
			wrong()
			return
		}
		if len(list) > maxItems {
			c.fault(key, "has %d entries, at most %d are allowed", len(list), maxItems)
			return
		}
		c.list(key, r.kind, list)
	}
}

func (c *checker) list(key string, k kind, list []*string) {
	values := make([]string, 0, len(list))
	for i, s := range list {
		if k == certificates {
			der, err := base64.StdEncoding.DecodeString(*s)
			if err != nil || len(der) < 2 || der[0] != 0x30 {
				c.fault(key, "entry %d is not a certificate in base64 DER", i+1)
				continue
			}
		}
		values = append(values, *s)
	}
	if key == "skip_setup_items" {
		slices.Sort(values)
		values = slices.Compact(values)
		for _, s := range values {
			if !slices.Contains(skipItems, s) {
				c.warn("skip_setup_items: %q is not known to Muster; it is passed on%s", s, hint(s, skipItems))
			}
		}
	}
	c.values[key] = values
}

func (c *checker) is(key string) bool { b, _ := c.values[key].(bool); return b }

func (c *checker) isFalse(key string) bool {
	b, ok := c.values[key].(bool)
	return ok && !b
}

func (c *checker) faulty(key string) bool {
	return slices.ContainsFunc(c.faults, func(f fleet.FieldError) bool { return f.Name == key })
}

// contradictions are the rules between keys.
func (c *checker) contradictions() {
	if s, _ := c.values["profile_name"].(string); s == "" && !c.faulty("profile_name") {
		c.fault("profile_name", "is missing")
	}
	if c.isFalse("is_mdm_removable") && !c.is("is_supervised") && !c.faulty("is_supervised") {
		c.fault("is_mdm_removable", "can be false only where is_supervised is true")
	}
	if c.is("auto_advance_setup") {
		for _, key := range []string{"language", "region"} {
			if s, _ := c.values[key].(string); s == "" && !c.faulty(key) {
				c.fault(key, "is missing: auto_advance_setup needs language and region")
			}
		}
	}
	if c.is("is_multi_user") {
		if c.isFalse("is_supervised") {
			c.fault("is_multi_user", "needs is_supervised: a shared iPad is always supervised")
		}
		if c.is("auto_advance_setup") {
			c.fault("is_multi_user", "is for iPads, and auto_advance_setup for Macs and Apple TVs: make two profiles")
		}
		if c.is("is_return_to_service") {
			c.fault("is_multi_user", "cannot be together with is_return_to_service")
		}
	}
	if s, ok := c.values["configuration_web_url"].(string); ok && !strings.HasPrefix(s, "https://") {
		c.fault("configuration_web_url", "must begin with https://")
	}
	for _, key := range []string{"is_supervised", "is_mandatory"} {
		if c.isFalse(key) {
			c.warn("%s: false has had no effect since iOS 13", key)
		}
	}
	if hosts, _ := c.values["supervising_host_certs"].([]string); len(hosts) > 0 && !c.isFalse("allow_pairing") {
		c.warn("supervising_host_certs: has an effect only where allow_pairing is false")
	}
}

// Name is the profile_name.
func (p Profile) Name() string { s, _ := p.values["profile_name"].(string); return s }

// Canonical is the JSON with sorted keys and without space: the same for
// profiles that say the same.
func (p Profile) Canonical() ([]byte, error) { return marshal(p.values) }

// Hash names the content of the profile.
func (p Profile) Hash() ([32]byte, error) {
	canonical, err := p.Canonical()
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(canonical), nil
}

// Server is what the server sets.
type Server struct {
	URL string // where the device asks for its enrollment profile
	// WebURL is the page where people sign in; "": none, and what the profile
	// says stands, or URL.
	WebURL string
	Await  bool // the device waits for DeviceConfigured
}

// Definition is the JSON to define at Apple, and its hash: profiles at Apple
// cannot be changed, so another hash needs another one.
func (p Profile) Definition(s Server) ([]byte, [32]byte, error) {
	values := map[string]any{"url": s.URL, "configuration_web_url": s.URL, "await_device_configured": s.Await}
	for key, value := range p.values {
		values[key] = value
	}
	if s.WebURL != "" {
		values["configuration_web_url"] = s.WebURL
	}
	data, err := marshal(values)
	if err != nil {
		return nil, [32]byte{}, err
	}
	return data, sha256.Sum256(data), nil
}

// marshal leaves <, > and & as they are.
func marshal(values map[string]any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(values); err != nil { // sorts the keys
		return nil, fmt.Errorf("write enrollment profile: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Default is the profile of devices whose team has none of its own
// (contracts/fleet-api.md 1, "DEP profile").
func Default(name string) Profile {
	return Profile{values: map[string]any{
		"profile_name": name, "language": "en", "region": "US", "allow_pairing": true, "is_mdm_removable": true,
		"skip_setup_items": []string{"Accessibility", "AppStore", "Appearance", "AppleID", "Biometric", "Diagnostics", "FileVault", "Location",
			"Payment", "Privacy", "Restore", "ScreenTime", "Siri", "TOS", "TermsOfAddress", "UnlockWithWatch", "iCloudDiagnostics", "iCloudStorage"},
	}}
}
