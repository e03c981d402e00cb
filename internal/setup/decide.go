package setup

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/backoff"
)

// pauseRelease is the pause between tries of DeviceConfigured that a device
// answered with an error.
var pauseRelease = backoff.Policy{First: 30 * time.Second, Max: 10 * time.Minute, Factor: 2}

// Pauses between looks at a device of which nothing is new. Its answers to what
// a setup asked end them.
const (
	// restWaiting is for one that waits for its steps for longer than
	// restAfter; what it then waits for is no matter of seconds.
	restWaiting = 10 * time.Second
	restAfter   = time.Minute
	// restUnanswered is for one that waits for a person, or was told to go on
	// and is perhaps off.
	restUnanswered = time.Minute
)

// maxTries is how often DeviceConfigured is tried. A device that refuses it as
// often waits for nothing, or for a person.
const maxTries = 8

// Outcomes of a setup.
const (
	Complete = "complete"
	TimedOut = "timeout"
	Manual   = "manual"
	ByDevice = "device"
	// Refused: the device answered DeviceConfigured with errors until nobody asked
	// it any more.
	Refused = "refused"
)

// decision carries one decision out.
type decision struct {
	f        fleet.SetupFacts
	settings fleet.SetupSettings
	now      time.Time
	links    Links
	ids      func() string
	out      fleet.SetupChange
}

// Links makes the URL of a bootstrap package's manifest.
type Links func(p *fleet.BootstrapPackage) string

// Decide says what is to be done about a setup now. It is pure but for the
// UUIDs of commands.
func Decide(f fleet.SetupFacts, settings fleet.SetupSettings, links Links, newUUID func() string, now time.Time) (fleet.SetupChange, error) {
	d := &decision{f: f, settings: settings, now: now, links: links, ids: newUUID, out: fleet.SetupChange{Setup: f.Setup}}
	d.out.Setup.Steps = slices.Clone(f.Setup.Steps)
	switch f.Setup.State {
	case fleet.SetupWaiting, fleet.SetupHeld:
		err := d.wait()
		d.rest()
		return d.out, err
	case fleet.SetupReleasing:
		return d.out, d.releasing()
	case fleet.SetupDone:
		d.late()
	}
	return d.out, nil
}

// late hears of the package from a device that went on without it.
func (d *decision) late() {
	if d.f.Setup.PackageStatus == fleet.PackagePending {
		d.bootstrapAnswer()
	}
}

// Release says what is to be done when a person releases a device.
func Release(f fleet.SetupFacts, actor fleet.Actor, newUUID func() string, now time.Time) (fleet.SetupChange, error) {
	d := &decision{f: f, now: now, ids: newUUID, out: fleet.SetupChange{Setup: f.Setup}}
	d.out.Setup.Steps = slices.Clone(f.Setup.Steps)
	switch f.Setup.State {
	case fleet.SetupWaiting, fleet.SetupHeld:
		return d.out, d.release(Manual, actor)
	case fleet.SetupReleasing:
		if d.lost() || f.ReleaseStatus.Final() && f.ReleaseStatus != fleet.CommandAcknowledged {
			return d.out, d.release(Manual, actor)
		}
		return d.out, fleet.Errorf(fleet.KindConflict, "%s is being released already", f.Host.DisplayName())
	case fleet.SetupDone:
	}
	return d.out, fleet.Errorf(fleet.KindConflict, "%s does not wait in Setup Assistant", f.Host.DisplayName())
}

// rest puts the next look off, unless something was just begun.
func (d *decision) rest() {
	s := &d.out.Setup
	s.NextAt = time.Time{}
	switch {
	case s.State == fleet.SetupHeld, s.State == fleet.SetupReleasing && d.out.Release == nil:
		s.NextAt = d.now.Add(restUnanswered)
	case s.State == fleet.SetupWaiting && d.now.Sub(s.StartedAt) >= restAfter && d.out.Bootstrap == nil:
		s.NextAt = d.now.Add(restWaiting)
	}
}

func (d *decision) wait() error {
	if !d.f.Awaiting {
		d.end(ByDevice)
		return nil
	}
	if d.f.Setup.Outcome == Refused {
		return nil // a person looks at it, or the device goes on
	}
	ready := d.items()
	bootstrapped, err := d.bootstrap()
	if err != nil {
		return err
	}
	late := d.now.Sub(d.f.Setup.StartedAt) >= d.settings.Wait()
	switch {
	case d.settings.ManualRelease:
		d.step(fleet.SetupStepRelease, fleet.SetupStepWaiting, "a person releases devices of this team")
		d.hold(ready && bootstrapped)
	case ready && bootstrapped:
		return d.release(Complete, fleet.Actor{})
	case late && d.settings.HoldOnTimeout:
		d.step(fleet.SetupStepRelease, fleet.SetupStepWaiting, "it took longer than "+d.settings.Wait().String()+": a person must release it")
		d.hold(true)
	case late:
		return d.release(TimedOut, fleet.Actor{})
	}
	return nil
}

// hold waits for a person.
func (d *decision) hold(over bool) {
	if !over || d.f.Setup.State == fleet.SetupHeld {
		return
	}
	d.out.Setup.State = fleet.SetupHeld
	d.event(fleet.EventSetupHeld, fleet.Actor{}, map[string]any{"unfinished": d.unfinished()})
}

// items looks at what the team wants on the device. What failed is not waited
// for.
func (d *decision) items() bool {
	switch {
	case !d.f.Planned:
		d.step(fleet.SetupStepItems, fleet.SetupStepWaiting, "being planned")
		return false
	case d.f.Pending > 0:
		d.step(fleet.SetupStepItems, fleet.SetupStepWaiting, fmt.Sprintf("%d on their way", d.f.Pending))
		return false
	case d.f.Failed > 0:
		d.step(fleet.SetupStepItems, fleet.SetupStepFailed, fmt.Sprintf("%d failed", d.f.Failed))
		return true
	}
	d.step(fleet.SetupStepItems, fleet.SetupStepDone, "")
	return true
}

// bootstrap installs the team's package on a Mac, once.
func (d *decision) bootstrap() (over bool, err error) {
	p := d.f.Bootstrap
	switch {
	case d.f.Setup.BootstrapCommand != 0 && !d.lostPackage():
		return d.bootstrapAnswer(), nil
	case p == nil || d.f.Host.Platform != fleet.PlatformDarwin:
		return true, nil
	case d.f.Migrating:
		d.step(fleet.SetupStepBootstrap, fleet.SetupStepSkipped, "the device migrates from another server")
		return true, nil
	case d.links == nil:
		return true, nil
	}
	cmd, err := mdmcmd.New(d.ids(), "InstallEnterpriseApplication", map[string]any{"ManifestURL": d.links(p)})
	if err != nil {
		return false, err
	}
	d.out.Bootstrap = &fleet.Command{UUID: cmd.UUID, RequestType: cmd.RequestType, Purpose: fleet.CommandSetup, Platform: fleet.PlatformDarwin, Body: cmd.Raw, CreatedAt: d.now}
	d.out.Setup.PackageName, d.out.Setup.PackageStatus = p.Name, fleet.PackagePending
	d.step(fleet.SetupStepBootstrap, fleet.SetupStepWaiting, p.Name)
	return false, nil
}

// lostPackage tells that the command for the package is nowhere any more, and
// that nobody knows an answer.
func (d *decision) lostPackage() bool {
	return d.f.Setup.PackageStatus == fleet.PackagePending && d.f.BootstrapStatus == 0 && !d.f.BootstrapQueued
}

func (d *decision) bootstrapAnswer() (over bool) {
	switch {
	case d.f.BootstrapStatus == fleet.CommandAcknowledged:
		d.out.Setup.PackageStatus = fleet.PackageInstalled
		d.step(fleet.SetupStepBootstrap, fleet.SetupStepDone, d.f.Setup.PackageName)
	case d.f.BootstrapStatus.Final():
		d.out.Setup.PackageStatus = fleet.PackageFailed
		d.step(fleet.SetupStepBootstrap, fleet.SetupStepFailed, firstError(d.f.BootstrapAnswer, d.f.BootstrapStatus))
	default: // an answer that was noted stays so when it is dropped
		return d.f.Setup.PackageStatus == fleet.PackageInstalled || d.f.Setup.PackageStatus == fleet.PackageFailed
	}
	return true
}

// firstError is what a device said is wrong.
func firstError(answer []byte, status fleet.CommandStatus) string {
	chain := errorChain(answer)
	if len(chain) == 0 {
		return "the device answered " + status.String()
	}
	text := chain[0].USEnglish
	if text == "" {
		text = chain[0].Localized
	}
	return fmt.Sprintf("%s (%s %d)", text, chain[0].Domain, chain[0].Code)
}

func errorChain(answer []byte) []fleet.ErrorChainItem {
	d, err := plist.ReadDict(answer)
	if err != nil {
		return nil
	}
	return mdmcmd.ErrorChain(d)
}

// release queues DeviceConfigured.
func (d *decision) release(why string, actor fleet.Actor) error {
	cmd, err := mdmcmd.New(d.ids(), "DeviceConfigured", nil)
	if err != nil {
		return err
	}
	d.out.Release = &fleet.Command{UUID: cmd.UUID, RequestType: cmd.RequestType, Purpose: fleet.CommandSetup, Platform: fleet.PlatformDarwin, Body: cmd.Raw,
		CreatedAt: d.now, CreatedBy: actor}
	s := &d.out.Setup
	s.State, s.Outcome, s.NextAt = fleet.SetupReleasing, why, time.Time{}
	s.Tries++
	d.step(fleet.SetupStepRelease, fleet.SetupStepWaiting, "the device is told to go on")
	if s.Tries > 1 && actor == (fleet.Actor{}) {
		return nil
	}
	kind := fleet.EventSetupReleased
	if why == TimedOut {
		kind = fleet.EventSetupTimedOut
	}
	d.event(kind, actor, map[string]any{"outcome": why, "after_seconds": int(d.now.Sub(s.StartedAt).Seconds()), "unfinished": d.unfinished()})
	return nil
}

// lost tells that DeviceConfigured is nowhere any more: its queue went with a
// host that was deleted, and whose device brought it back.
func (d *decision) lost() bool { return d.f.ReleaseStatus == 0 && !d.f.ReleaseQueued }

// refused tells that the device's last answer was noted as a refusal.
func (d *decision) refused() bool {
	return slices.ContainsFunc(d.out.Setup.Steps, func(s fleet.SetupStep) bool {
		return s.Name == fleet.SetupStepRelease && s.State == fleet.SetupStepFailed
	})
}

// releasing looks for the answer to DeviceConfigured.
func (d *decision) releasing() error {
	switch {
	case d.f.ReleaseStatus == fleet.CommandAcknowledged, !d.f.Awaiting:
		d.end(d.f.Setup.Outcome)
		return nil
	case d.lost():
		return d.release(d.f.Setup.Outcome, fleet.Actor{})
	case !d.f.ReleaseStatus.Final():
		d.rest()
		return nil
	}
	why := firstError(d.f.ReleaseAnswer, d.f.ReleaseStatus)
	s := &d.out.Setup
	switch {
	case !d.refused():
		d.step(fleet.SetupStepRelease, fleet.SetupStepFailed, why)
		s.NextAt = d.now.Add(pauseRelease.Wait(s.Tries))
		return nil
	case d.now.Before(s.NextAt):
		return nil
	case s.Tries >= maxTries:
		s.State, s.Outcome = fleet.SetupHeld, Refused
		s.ReleaseCommand, s.Tries, s.NextAt = 0, 0, time.Time{}
		d.event(fleet.EventSetupHeld, fleet.Actor{}, map[string]any{"reason": why})
		return nil
	}
	return d.release(s.Outcome, fleet.Actor{})
}

// end is the end of a setup.
func (d *decision) end(why string) {
	d.out.Setup.State, d.out.Setup.Outcome, d.out.Setup.EndedAt, d.out.Setup.NextAt = fleet.SetupDone, why, d.now, time.Time{}
	d.step(fleet.SetupStepRelease, fleet.SetupStepDone, "")
	d.event(fleet.EventSetupDone, fleet.Actor{}, map[string]any{"outcome": why})
}

// step notes where a step is.
func (d *decision) step(name string, state fleet.SetupStepState, detail string) {
	steps := &d.out.Setup.Steps
	i := slices.IndexFunc(*steps, func(s fleet.SetupStep) bool { return s.Name == name })
	if i < 0 {
		*steps = append(*steps, fleet.SetupStep{Name: name, State: state, Since: d.now, Detail: detail})
		return
	}
	s := &(*steps)[i]
	if s.State != state {
		s.Since = d.now
	}
	s.State, s.Detail = state, detail
}

// unfinished names the steps that are not done, with where they are.
func (d *decision) unfinished() map[string]string {
	out := map[string]string{}
	for _, s := range d.out.Setup.Steps {
		if s.Name != fleet.SetupStepRelease && (s.State == fleet.SetupStepWaiting || s.State == fleet.SetupStepFailed) {
			out[s.Name] = s.Detail
		}
	}
	return out
}

func (d *decision) event(kind fleet.EventKind, actor fleet.Actor, details map[string]any) {
	details["serial"] = d.f.Host.HardwareSerial
	body, err := json.Marshal(details)
	if err != nil {
		return // plain values always marshal
	}
	d.out.Events = append(d.out.Events, fleet.Event{Kind: kind, At: d.now, Actor: actor, HostID: d.f.Setup.HostID, EnrollmentID: d.f.Setup.EnrollmentID, Details: body})
}
