package appledev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"unique"
)

// ErrProtocol marks what a server must not send; Device.ProtocolErrors counts
// it.
var ErrProtocol = errors.New("the server broke the protocol of declarative management")

// declared is declarative management on one channel, from its first command
// until the enrollment ends. Fields change only while talking and mu are held.
type declared struct {
	pending  bool   // a synchronization is owed
	hint     string // the DeclarationsToken that came with the command
	token    string // of the manifest that is held
	held     map[string]*declaration
	partial  map[string]*declaration // fetched before a synchronization failed
	reported sums                    // what the server knows
	effects  effects
	greeted  bool // the first report, a full one, arrived
}

// declaration is one fetched declaration. But for the outcome it never changes.
type declaration struct {
	identifier  string
	serverToken string
	kind        string // activation, asset, configuration, management
	declType    string
	payload     unique.Handle[string] // JSON, shared with other devices
	outcome     *outcome              // of its download; nil: none yet
}

// outcome is what became of the download of an asset or of a profile.
type outcome struct {
	reason  *reason // nil: it went well
	retry   bool    // worth another try at the next connection
	profile string  // the PayloadIdentifier of what was installed
}

// contents decodes the payload; nil when it is no object.
func (x *declaration) contents() map[string]any {
	var m map[string]any
	if json.Unmarshal([]byte(x.payload.Value()), &m) != nil {
		return nil
	}
	return m
}

// ProtocolErrors counts what the server did that no device could understand:
// manifests without their four arrays, too long tokens, declarations that are
// not those of the manifest. Each was an EventError with ErrProtocol, too.
func (d *Device) ProtocolErrors() int { return int(d.defects.Load()) }

// defect reports a mistake of the server.
func (d *Device) defect(format string, args ...any) {
	d.defects.Add(1)
	d.emit(Event{Kind: EventError, Err: fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))})
}

// declarativeManagement turns declarative management on for the channel, which
// cannot be undone, and lets the end of the connection synchronize it.
func (d *Device) declarativeManagement(c *channel, cmd *command) *report {
	hint := ""
	if raw := cmd.body.data("Data"); raw != nil {
		var err error
		hint, err = parseTokens(raw)
		if err != nil {
			d.defect("the command's Data: %v", err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.ddm == nil {
		c.ddm = &declared{}
	}
	c.ddm.pending, c.ddm.hint = true, hint
	return acknowledged(nil)
}

// settle ends a connection: it synchronizes if that is owed, makes true what is
// declared, and reports what changed (contracts/apple.md 5).
func (d *Device) settle(ctx context.Context, e *enrollment, c *channel) error {
	if c.ddm == nil {
		return nil
	}
	if c.ddm.pending {
		err := d.synchronize(ctx, e, c)
		if err != nil || c.ddm == nil {
			return err
		}
	}
	failed := d.realize(ctx, e, c)
	return errors.Join(failed, d.report(ctx, e, c, !c.ddm.greeted))
}

// synchronize asks for the tokens, and when they changed fetches the manifest
// and what is new in it, and drops what is gone (contracts/apple.md 5.1). After
// a mistake of the server's the device stays as it is until the next command.
func (d *Device) synchronize(ctx context.Context, e *enrollment, c *channel) error {
	m := c.ddm
	news, err := d.askTokens(ctx, e, c)
	if err != nil || c.ddm == nil {
		return err
	}
	if !news {
		d.settled(c, m.token, m.held)
		return nil
	}
	raw, err := d.declare(ctx, e, c, "declaration-items", nil)
	if err != nil {
		return err
	}
	list, err := parseManifest(raw)
	if err != nil {
		d.defect("declaration-items: %v", err)
		d.settled(c, m.token, m.held)
		return nil
	}
	next, err := d.fetch(ctx, e, c, list)
	if err != nil {
		d.mu.Lock()
		m.partial = next
		d.mu.Unlock()
		return err
	}
	d.settled(c, list.token, next)
	return nil
}

// askTokens reports whether there is another manifest than the one that is held;
// the command may have said so already. A server that has no declarative
// management answers 404, and it is off again.
func (d *Device) askTokens(ctx context.Context, e *enrollment, c *channel) (news bool, err error) {
	m := c.ddm
	if m.held != nil && m.hint == m.token {
		return false, nil
	}
	raw, err := d.declare(ctx, e, c, "tokens", nil)
	if notFound(err) {
		d.mu.Lock()
		c.ddm = nil
		d.mu.Unlock()
		return false, nil
	}
	if err != nil {
		return false, err
	}
	token, err := parseTokens(raw)
	if err != nil {
		d.defect("tokens: %v", err)
		return false, nil
	}
	return m.held == nil || token != m.token, nil
}

// settled ends a synchronization.
func (d *Device) settled(c *channel, token string, held map[string]*declaration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.ddm.pending, c.ddm.partial = false, nil
	c.ddm.token, c.ddm.held = token, held
}

// fetch gets the declarations of a manifest that are not there in that version.
// When it fails it returns what it has.
func (d *Device) fetch(ctx context.Context, e *enrollment, c *channel, list manifest) (map[string]*declaration, error) {
	next := make(map[string]*declaration, len(list.items))
	for _, item := range list.items {
		if problem := item.problem(next); problem != "" {
			d.defect("declaration-items: %s", problem)
			continue
		}
		have := c.ddm.held[item.identifier]
		if early := c.ddm.partial[item.identifier]; early != nil && early.serverToken == item.token {
			have = early
		}
		if have != nil && have.kind == item.kind && have.serverToken == item.token {
			next[item.identifier] = have
			continue
		}
		raw, err := d.declare(ctx, e, c, "declaration/"+item.kind+"/"+item.identifier, nil)
		if notFound(err) {
			continue // a declaration that is answered 404 is removed
		}
		if err != nil {
			return next, err
		}
		got, err := parseDeclaration(raw, item)
		if err != nil {
			d.defect("declaration %s: %v", item.identifier, err)
			if have != nil {
				next[item.identifier] = have
			}
			continue
		}
		next[item.identifier] = got
	}
	return next, nil
}

// notFound reports an answer of 404.
func notFound(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Status == http.StatusNotFound
}

// declare sends a DeclarativeManagement check-in and returns the answer's body.
func (d *Device) declare(ctx context.Context, e *enrollment, c *channel, endpoint string, data []byte) ([]byte, error) {
	fields := dict{"Endpoint": endpoint}
	if data != nil {
		fields["Data"] = data
	}
	answer, err := d.checkIn(ctx, e, c, "DeclarativeManagement", fields)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", endpoint, err)
	}
	return answer.body, nil
}

// Declaration is what a device holds and thinks of a declaration.
type Declaration struct {
	Identifier  string
	ServerToken string
	Kind        string // activation, asset, configuration, management
	Type        string
	Active      bool
	Valid       string   // unknown, invalid, valid
	Reasons     []string // codes
}

// Declarations returns what a channel holds, sorted by identifier.
func (d *Device) Declarations(c Channel) []Declaration {
	d.mu.Lock()
	defer d.mu.Unlock()
	ch := d.channel(c)
	if ch == nil || ch.ddm == nil {
		return nil
	}
	verdicts := d.judge(ch)
	out := make([]Declaration, 0, len(ch.ddm.held))
	for _, x := range sorted(ch.ddm.held) {
		v := verdicts[x.identifier]
		entry := Declaration{
			Identifier: x.identifier, ServerToken: x.serverToken, Kind: x.kind, Type: x.declType, Active: v.active, Valid: v.valid,
		}
		for _, r := range v.reasons {
			entry.Reasons = append(entry.Reasons, r.code)
		}
		out = append(out, entry)
	}
	return out
}

// channel returns a channel of the enrollment, or nil. Call it with mu held.
func (d *Device) channel(c Channel) *channel {
	switch {
	case d.enrolled == nil:
		return nil
	case c == UserChannel:
		return d.enrolled.user
	default:
		return &d.enrolled.device
	}
}
