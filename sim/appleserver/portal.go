package appleserver

import (
	"fmt"
	"strings"
	"time"
)

// Bought is a device as the company got it.
type Bought struct {
	Serial      string `json:"serial_number"`
	Family      string `json:"device_family"` // iPhone, iPad, Mac, AppleTV
	Product     string `json:"product"`       // ProductName: "iPad14,8"
	Model       string `json:"model"`
	Description string `json:"description"`
	Color       string `json:"color"`
	AssetTag    string `json:"asset_tag,omitempty"`
	IMEI        string `json:"imei,omitempty"`
	WiFi        string `json:"wifi_mac_address,omitempty"`
}

// shelf is what a shop sells under a name.
func shelf(name string) (Bought, bool) {
	products := map[string]Bought{
		"iphone":  {Family: "iPhone", Product: "iPhone17,1", Model: "iPhone 16 Pro", Description: "IPHONE 16 PRO 256GB-USA", Color: "BLACK"},
		"ipad":    {Family: "iPad", Product: "iPad14,8", Model: "iPad Air 11-inch (M2)", Description: "IPAD AIR 11 WI-FI 128GB-USA", Color: "SPACE GRAY"},
		"mac":     {Family: "Mac", Product: "Mac14,2", Model: "MacBook Air", Description: "MBA 13.6 M2 8C/8G/512GB-USA", Color: "MIDNIGHT"},
		"appletv": {Family: "AppleTV", Product: "AppleTV14,1", Model: "Apple TV 4K", Description: "APPLE TV 4K 64GB-USA", Color: "BLACK"},
	}
	p, ok := products[strings.ToLower(name)]
	return p, ok
}

// Shelf lists what Buy sells.
func Shelf() []string { return []string{"appletv", "ipad", "iphone", "mac"} }

// maxPurchase bounds one purchase.
const maxPurchase = 100_000

// Buy buys count devices of a model of Shelf and, unless server is "-", assigns
// them to that MDM server; "" is the only one.
func (e *Enrollment) Buy(server, model string, count int) ([]Bought, error) {
	kind, ok := shelf(model)
	if !ok {
		return nil, fmt.Errorf("no model %q: there are %s", model, strings.Join(Shelf(), ", "))
	}
	if count < 1 || count > maxPurchase {
		return nil, fmt.Errorf("count %d is not between 1 and %d", count, maxPurchase)
	}
	e.mu.Lock()
	bought := make([]Bought, 0, count)
	for range count {
		e.next++
		b := kind
		b.Serial = fmt.Sprintf("%s%09s", map[string]string{"iPhone": "F2L", "iPad": "DMP", "Mac": "C02", "AppleTV": "DY3"}[kind.Family], base34(e.next))
		b.WiFi = fmt.Sprintf("f0:18:98:%02x:%02x:%02x", byte(e.next>>16), byte(e.next>>8), byte(e.next))
		if kind.Family == "iPhone" {
			b.IMEI = fmt.Sprintf("35%013d", e.next)
		}
		bought = append(bought, b)
	}
	e.mu.Unlock()
	return bought, e.Add(server, bought...)
}

// base34 writes n in the symbols of serial numbers, without I and O.
func base34(n int) string {
	const symbols = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
	var out []byte
	for ; n > 0; n /= len(symbols) {
		out = append([]byte{symbols[n%len(symbols)]}, out...)
	}
	return string(out)
}

// Add is Buy for devices whose particulars are known.
func (e *Enrollment) Add(server string, bought ...Bought) error {
	err := e.add(server, bought)
	if err == nil && e.onBuy != nil {
		e.onBuy(server, bought)
	}
	return err
}

func (e *Enrollment) add(server string, bought []Bought) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var s *mdmServer
	if server != "-" {
		var err error
		s, err = e.server(server)
		if err != nil {
			return err
		}
	}
	for _, b := range bought {
		if b.Serial == "" || e.records[b.Serial] != nil {
			return fmt.Errorf("serial number %q is not new", b.Serial)
		}
	}
	for _, b := range bought {
		r := &record{Bought: b, status: profileEmpty}
		e.records[b.Serial] = r
		if s != nil {
			s.add(r, e.clock())
		}
	}
	return nil
}

// each carries f out for devices of the company, for all or for none.
func (e *Enrollment) each(serials []string, f func(*record, time.Time)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	records := make([]*record, 0, len(serials))
	for _, serial := range serials {
		r := e.records[serial]
		if r == nil {
			return fmt.Errorf("%w: %q", ErrNoDevice, serial)
		}
		records = append(records, r)
	}
	now := e.clock()
	for _, r := range records {
		f(r, now)
	}
	return nil
}

// Assign gives devices to an MDM server; "" is the only one. From another one
// they go with their profile left behind.
func (e *Enrollment) Assign(server string, serials ...string) error {
	e.mu.Lock()
	s, err := e.server(server)
	e.mu.Unlock()
	if err != nil {
		return err
	}
	return e.each(serials, func(r *record, now time.Time) {
		if r.server == s {
			return
		}
		r.remove(now)
		s.add(r, now)
	})
}

// Unassign takes devices from their MDM server; they stay the company's.
func (e *Enrollment) Unassign(serials ...string) error {
	return e.each(serials, func(r *record, now time.Time) { r.remove(now) })
}

// Release gives devices up: they are the company's no more.
func (e *Enrollment) Release(serials ...string) error {
	return e.each(serials, func(r *record, now time.Time) {
		r.remove(now)
		delete(e.records, r.Serial)
	})
}

// Replace is a repair: a new device of the same kind takes the old one's place
// with the server, and the old one is released.
func (e *Enrollment) Replace(serial, fresh string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.records[serial]
	if old == nil {
		return fmt.Errorf("%w: %q", ErrNoDevice, serial)
	}
	if fresh == "" || e.records[fresh] != nil {
		return fmt.Errorf("serial number %q is not new", fresh)
	}
	r := &record{Bought: old.Bought, status: profileEmpty, replacement: true}
	r.Serial = fresh
	e.records[fresh] = r
	s, now := old.server, e.clock()
	old.replacedBy = true
	old.remove(now)
	delete(e.records, serial)
	if s != nil {
		s.add(r, now)
	}
	return nil
}

// Modify changes the asset tag, which servers hear of as a modification.
func (e *Enrollment) Modify(assetTag string, serials ...string) error {
	return e.each(serials, func(r *record, now time.Time) {
		r.AssetTag = assetTag
		r.changed(now)
	})
}

// Migrate sets the deadline until which devices are to move to the server they
// are assigned to (contracts/apple.md 4.8); the zero time lifts it.
func (e *Enrollment) Migrate(deadline time.Time, serials ...string) error {
	return e.each(serials, func(r *record, now time.Time) {
		r.deadline = deadline
		r.changed(now)
	})
}

// changed logs a modification where somebody may see it.
func (r *record) changed(now time.Time) {
	if r.server != nil {
		r.server.log(r, opModified, now)
	}
}

// SignTerms signs Apple's terms, or has new ones that are not signed:
// everything is then answered 403 T_C_NOT_SIGNED.
func (e *Enrollment) SignTerms(signed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.terms = signed
}

// State is a device as the company sees it at Apple.
type State struct {
	Bought
	Server        string `json:"server_uuid"` // "" when it is not assigned
	ProfileStatus string `json:"profile_status"`
	ProfileUUID   string `json:"profile_uuid"`
	// ActivationLocked, EscrowKey and LostMessage are what
	// /device/activationlock left.
	ActivationLocked bool   `json:"activation_locked"`
	EscrowKey        string `json:"escrow_key,omitempty"`
	LostMessage      string `json:"lost_message,omitempty"`
}

// Device returns a device of the company.
func (e *Enrollment) Device(serial string) (State, error) {
	var out State
	err := e.each([]string{serial}, func(r *record, _ time.Time) {
		out = State{Bought: r.Bought, ProfileStatus: string(r.status), ActivationLocked: r.lost, EscrowKey: r.escrowKey, LostMessage: r.message}
		if r.server != nil {
			out.Server = r.server.uuid
		}
		if r.profile != nil {
			out.ProfileUUID = r.profile.uuid
		}
	})
	return out, err
}

// Server is an MDM server as the portal lists it.
type Server struct {
	UUID        string    `json:"server_uuid"`
	Name        string    `json:"server_name"`
	Devices     int       `json:"devices"`
	TokenExpiry time.Time `json:"token_expiry"`
}

// Servers lists the MDM servers in the order of their creation.
func (e *Enrollment) Servers() []Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]Server, 0, len(e.order))
	for _, s := range e.order {
		out = append(out, Server{UUID: s.uuid, Name: s.name, Devices: len(s.devices) - s.gone, TokenExpiry: s.token.expiry})
	}
	return out
}
