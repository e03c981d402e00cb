package appledev

import (
	"slices"
	"sync"
	"time"
)

// Faults are the ways in which a device misbehaves. They may be set at any
// time; counts are used up.
type Faults struct {
	mu sync.Mutex

	notNow       int
	notNowTypes  []string
	loseAnswers  int
	dropResults  int
	duplicates   int
	badSignature int
	offlineUntil time.Time
	muteRenewal  bool
	rejected     []string
	lied         []string
}

// NotNow answers the next n commands with NotNow: any of them, but for those an
// iPhone or iPad never refuses (contracts/apple.md 1.5), or only commands of
// these types.
func (f *Faults) NotNow(n int, types ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notNow, f.notNowTypes = n, types
}

// LoseAnswers drops the server's answers to the next n results: the device
// takes them for undelivered and sends them again at its next connection.
func (f *Faults) LoseAnswers(n int) { f.mu.Lock(); f.loseAnswers = n; f.mu.Unlock() }

// DropResults never sends the results of the next n commands it executes, and
// ends the connection.
func (f *Faults) DropResults(n int) { f.mu.Lock(); f.dropResults = n; f.mu.Unlock() }

// Duplicate sends the next n results twice.
func (f *Faults) Duplicate(n int) { f.mu.Lock(); f.duplicates = n; f.mu.Unlock() }

// WrongSignature signs something else in the next n messages.
func (f *Faults) WrongSignature(n int) { f.mu.Lock(); f.badSignature = n; f.mu.Unlock() }

// Offline makes every request fail with ErrOffline until then.
func (f *Faults) Offline(until time.Time) { f.mu.Lock(); f.offlineUntil = until; f.mu.Unlock() }

// MuteRenewal never acknowledges the InstallProfile of a renewal, which the
// device nevertheless performs.
func (f *Faults) MuteRenewal(on bool) { f.mu.Lock(); f.muteRenewal = on; f.mu.Unlock() }

// RejectPayload answers every profile with a payload of one of these types with
// an Error; no types: none.
func (f *Faults) RejectPayload(types ...string) { f.mu.Lock(); f.rejected = types; f.mu.Unlock() }

// LieAboutInstall reports every profile with a payload of one of these types as
// installed and does not install it; no types: none.
func (f *Faults) LieAboutInstall(types ...string) { f.mu.Lock(); f.lied = types; f.mu.Unlock() }

// use takes one of a count.
func (f *Faults) use(count *int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *count <= 0 {
		return false
	}
	*count--
	return true
}

func (f *Faults) loseAnswer() bool     { return f.use(&f.loseAnswers) }
func (f *Faults) dropResult() bool     { return f.use(&f.dropResults) }
func (f *Faults) duplicate() bool      { return f.use(&f.duplicates) }
func (f *Faults) wrongSignature() bool { return f.use(&f.badSignature) }

func (f *Faults) offline(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return now.Before(f.offlineUntil)
}

func (f *Faults) rejectsPayload(p *profile) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return p.holds(f.rejected)
}

func (f *Faults) lies(p *profile) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return p.holds(f.lied)
}

func (f *Faults) mutesRenewal() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.muteRenewal
}

// refuses reports whether this command gets a NotNow.
func (f *Faults) refuses(family Family, requestType string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.notNow <= 0 {
		return false
	}
	if len(f.notNowTypes) > 0 && !slices.Contains(f.notNowTypes, requestType) {
		return false
	}
	if len(f.notNowTypes) == 0 && family != Mac && neverRefused(requestType) {
		return false
	}
	f.notNow--
	return true
}

// neverRefused reports the commands that iOS does not answer with NotNow.
func neverRefused(requestType string) bool {
	switch requestType {
	case "DeviceInformation", "ProfileList", "DeviceLock", "EraseDevice", "ClearPasscode",
		"ProvisioningProfileList", "InstalledApplicationList", "Restrictions":
		return true
	}
	return false
}
