package appledev

import "context"

// UpdateOS makes the device run another version; an empty build makes one up.
// Whoever subscribed to it is told at the next connection, which Run makes at
// once.
func (d *Device) UpdateOS(version, build string) {
	if build == "" {
		build = "B" + version
	}
	d.mu.Lock()
	d.osVersion, d.build = version, build
	d.mu.Unlock()
	d.nudge()
}

// OSVersion returns the version that the device runs now; its Spec says which
// one it came with.
func (d *Device) OSVersion() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.osVersion
}

// SetPasscode says whether the device has a passcode; it comes with one. It is
// reported like UpdateOS.
func (d *Device) SetPasscode(present bool) {
	d.mu.Lock()
	d.passcode = present
	d.mu.Unlock()
	d.nudge()
}

// nudge makes Run connect soon.
func (d *Device) nudge() {
	select {
	case d.nudged <- struct{}{}:
	default: // it will already
	}
}

// OpenUserChannel is a user logging in on a Mac that had nobody: the Mac asks
// for a user channel. It does nothing where there is one, or none may be.
func (d *Device) OpenUserChannel(ctx context.Context) error {
	d.talking.Lock()
	defer d.talking.Unlock()
	e := d.current()
	if e == nil {
		return ErrNotEnrolled
	}
	if e.user != nil || d.spec.Model.Family != Mac || !e.profile.mdm.has(capabilityUsers) {
		return nil
	}
	err := d.openUserChannel(ctx, e)
	d.nudge()
	return err
}
