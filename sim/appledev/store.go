package appledev

import (
	"fmt"
	"slices"
	"time"
)

// Channel tells a Mac's two channels apart; iPhones and iPads have the first.
type Channel uint8

// Channels.
const (
	DeviceChannel Channel = iota
	UserChannel
	channels // how many there are
)

// InstalledProfile is a profile as it reached the device.
type InstalledProfile struct {
	Identifier  string
	UUID        string
	Name        string
	Scope       string // PayloadScope, whatever the device made of it
	Raw         []byte // as it came; devices share it: do not change it
	Managed     bool   // by the MDM, not by hand; false for the enrollment profile
	Declaration string // the declaration that brought it; "" for InstallProfile
	InstalledAt time.Time
	Times       int // how often it was installed without being removed
}

// installed is a profile in a store.
type installed struct {
	profile     *profile
	managed     bool
	declaration string
	identity    *identity // of its SCEP payload
	at          time.Time
	times       int
}

// store holds the profiles of a channel, oldest first.
type store []installed

// index finds a profile; -1: it is not there.
func (s store) index(identifier string) int {
	return slices.IndexFunc(s, func(p installed) bool { return p.profile.identifier == identifier })
}

// put stores a profile in place of one with the same identifier.
func (s *store) put(p installed) {
	p.times = 1
	i := s.index(p.profile.identifier)
	if i < 0 {
		*s = append(*s, p)
		return
	}
	p.times += (*s)[i].times
	(*s)[i] = p
}

// remove takes profiles out and returns how many.
func (s *store) remove(which func(installed) bool) int {
	before := len(*s)
	*s = slices.DeleteFunc(*s, which)
	return before - len(*s)
}

// collision says whether a payload of p is in another profile already. Apple
// asks for payload identifiers and UUIDs that are unique in the world; devices
// differ in what they do otherwise, and here they refuse.
func (s store) collision(p *profile) error {
	for _, other := range s {
		if other.profile.identifier == p.identifier {
			continue
		}
		for _, have := range other.profile.payloads {
			for _, wants := range p.payloads {
				if have.uuid == wants.uuid || have.identifier == wants.identifier {
					return invalid(codeDuplicate, fmt.Sprintf("profile: payload %q is in profile %q already", wants.identifier, other.profile.identifier))
				}
			}
		}
	}
	return nil
}

// Profiles returns the identifiers of the device channel's profiles, oldest
// first.
func (d *Device) Profiles() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := make([]string, 0, len(d.stores[DeviceChannel]))
	for _, p := range d.stores[DeviceChannel] {
		ids = append(ids, p.profile.identifier)
	}
	return ids
}

// InstalledProfiles returns a channel's profiles, oldest first, with the bytes
// that reached the device.
func (d *Device) InstalledProfiles(c Channel) []InstalledProfile {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]InstalledProfile, 0, len(d.stores[c]))
	for _, p := range d.stores[c] {
		out = append(out, InstalledProfile{
			Identifier: p.profile.identifier, UUID: p.profile.uuid, Name: p.profile.name, Scope: p.profile.scope, Raw: p.profile.raw,
			Managed: p.managed, Declaration: p.declaration, InstalledAt: p.at, Times: p.times,
		})
	}
	return out
}

// RemoveByHand removes a managed profile from every channel without a word to
// the server, as somebody with administrator's rights can. It reports whether
// there was one.
func (d *Device) RemoveByHand(identifier string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	removed := 0
	for c := range d.stores {
		removed += d.stores[c].remove(func(p installed) bool { return p.managed && p.profile.identifier == identifier })
	}
	return removed > 0
}

// InstallByHand installs a profile that the server knows nothing of. On a Mac
// it becomes the user's unless its PayloadScope is System. A managed profile
// cannot be replaced this way.
func (d *Device) InstallByHand(raw []byte) error {
	p, err := d.o.Library.parse(raw)
	if err != nil {
		return err
	}
	c := DeviceChannel
	if d.spec.Model.Family == Mac && p.scope != scopeSystem {
		c = UserChannel
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := d.stores[c].index(p.identifier); i >= 0 && (d.stores[c][i].managed || d.stores[c][i].profile.mdm != nil) {
		return invalid(codeProfileInvalid, fmt.Sprintf("profile %q is managed", p.identifier))
	}
	d.stores[c].put(installed{profile: p, at: d.now()})
	return nil
}
