package appledev

import (
	"math/rand/v2"
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
	idleRenewal  bool
	clockSkew    time.Duration
	noUpdate     bool
	lie          MachineLie
	lieSerial    string
	rejected     []string
	lied         []string
	declarations []string // types that are invalid
	staleReports int
	oldReport    []byte
	ruined       int
	flaky        float64
	dice         *rand.Rand
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

// IgnoreRenewal takes the InstallProfile of a renewal and does nothing about it,
// not even answer.
func (f *Faults) IgnoreRenewal(on bool) { f.mu.Lock(); f.idleRenewal = on; f.mu.Unlock() }

// ClockSkew is how far the device's own clock is ahead: in the signing time of
// MachineInfo and in the times at which profiles came. A negative one is behind,
// as after years in a drawer.
func (f *Faults) ClockSkew(d time.Duration) { f.mu.Lock(); f.clockSkew = d; f.mu.Unlock() }

// FailUpdate makes every software update of Setup Assistant fail.
func (f *Faults) FailUpdate(on bool) { f.mu.Lock(); f.noUpdate = on; f.mu.Unlock() }

// MachineLie is what is wrong with MachineInfo.
type MachineLie uint8

// Lies.
const (
	Honest        MachineLie = iota
	Unsigned                 // the bare property list
	ForeignSigner            // signed with a certificate that only names Apple's authority
	Tampered                 // another serial number than the signed one
	OtherSerial              // another serial number, signed
)

// LieAboutMachine makes MachineInfo wrong from now on; serial is for
// OtherSerial. Honest ends it.
func (f *Faults) LieAboutMachine(lie MachineLie, serial string) {
	f.mu.Lock()
	f.lie, f.lieSerial = lie, serial
	f.mu.Unlock()
}

// RejectPayload answers every profile with a payload of one of these types with
// an Error; no types: none.
func (f *Faults) RejectPayload(types ...string) { f.mu.Lock(); f.rejected = types; f.mu.Unlock() }

// LieAboutInstall reports every profile with a payload of one of these types as
// installed and does not install it; no types: none.
func (f *Faults) LieAboutInstall(types ...string) { f.mu.Lock(); f.lied = types; f.mu.Unlock() }

// RejectDeclaration makes declarations of these types invalid; no types: none.
func (f *Faults) RejectDeclaration(types ...string) {
	f.mu.Lock()
	f.declarations = types
	f.mu.Unlock()
}

// RuinPackage changes a byte of the next n parts of installer packages on their
// way.
func (f *Faults) RuinPackage(n int) { f.mu.Lock(); f.ruined = n; f.mu.Unlock() }

// StaleStatus keeps the next status report, and sends it again after each of the
// n reports that follow, as if it had been delayed on its way.
func (f *Faults) StaleStatus(n int) {
	f.mu.Lock()
	f.staleReports, f.oldReport = n, nil
	f.mu.Unlock()
}

// Flaky loses every request with the probability p: half of them before the
// server, the others' answers. Which ones, the seed decides. 0 ends it.
func (f *Faults) Flaky(p float64, seed uint64) {
	f.mu.Lock()
	f.flaky, f.dice = p, rand.New(rand.NewPCG(seed, seed)) // repeatable, not secret
	f.mu.Unlock()
}

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
func (f *Faults) ruinsPackage() bool   { return f.use(&f.ruined) }
func (f *Faults) wrongSignature() bool { return f.use(&f.badSignature) }

func (f *Faults) offline(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return now.Before(f.offlineUntil)
}

func (f *Faults) rejectedDeclarations() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.declarations
}

// staleStatus takes note of a report that was sent, and returns the one to send
// again, or nil.
func (f *Faults) staleStatus(body []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.staleReports <= 0 {
		return nil
	}
	if f.oldReport == nil {
		f.oldReport = body
		return nil
	}
	old := f.oldReport
	f.staleReports--
	if f.staleReports == 0 {
		f.oldReport = nil
	}
	return old
}

// loses draws whether a request does not arrive, or its answer.
func (f *Faults) loses() (request, answer bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flaky == 0 {
		return false, false
	}
	draw := f.dice.Float64()
	return draw < f.flaky/2, draw >= f.flaky/2 && draw < f.flaky
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

func (f *Faults) ignoresRenewal() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.idleRenewal
}

func (f *Faults) skew() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clockSkew
}

func (f *Faults) failsUpdate() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.noUpdate
}

func (f *Faults) machineLie() (lie MachineLie, serial string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lie, f.lieSerial
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
