package appledev

import (
	"bytes"
	"context"
	"fmt"
)

// LostMode is what a lost iPhone or iPad shows.
type LostMode struct{ Message, PhoneNumber, Footnote string }

// Locked reports whether the device is a Mac that asks for a PIN.
func (d *Device) Locked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pin != ""
}

// EnterPIN is a person at a locked Mac. It reports whether the PIN was right;
// then the Mac starts and connects.
func (d *Device) EnterPIN(pin string) bool {
	d.mu.Lock()
	right := d.pin != "" && d.pin == pin
	if right {
		d.pin = ""
	}
	d.mu.Unlock()
	if right {
		d.nudge()
	}
	return right
}

// Lost returns what the device shows in Lost Mode; nil when it is not in it.
func (d *Device) Lost() *LostMode {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lost
}

// HasPasscode reports whether the device has a passcode.
func (d *Device) HasPasscode() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passcode
}

// RecoveryLock returns the password of the recovery lock; "" when there is none.
func (d *Device) RecoveryLock() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.recovery
}

// deviceLock locks; Macs need a PIN of six digits, and restart.
func (d *Device) deviceLock(cmd *command) *report {
	if d.spec.Model.Family == Mac {
		pin := cmd.body.text("PIN")
		if !isPIN(pin) {
			return &report{status: statusFormatError}
		}
		r := acknowledged(nil)
		r.after = func(context.Context) error {
			d.mu.Lock()
			d.pin = pin
			d.mu.Unlock()
			return nil
		}
		return r
	}
	if cmd.body.text("Message") == "" && cmd.body.text("PhoneNumber") == "" {
		return acknowledged(nil)
	}
	return acknowledged(dict{"MessageResult": "Success"})
}

// lostMode is the table of commands about Lost Mode. Codes are those of Apple's
// pages on them.
func (d *Device) lostMode(cmd *command) *report {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spec.Model.Family == Mac || !d.supervised() {
		return refused(link{domainMDM, codeNotSupported, "Lost Mode needs a supervised iPhone or iPad"})
	}
	if cmd.requestType == "EnableLostMode" {
		shown := LostMode{cmd.body.text("Message"), cmd.body.text("PhoneNumber"), cmd.body.text("Footnote")}
		if shown.Message == "" && shown.PhoneNumber == "" {
			return &report{status: statusFormatError}
		}
		d.lost = &shown
		return acknowledged(nil)
	}
	if d.lost == nil {
		return refused(link{domainMDM, codeNotLost, "The device is not in Lost Mode."})
	}
	switch cmd.requestType {
	case "DisableLostMode":
		d.lost = nil
	case "DeviceLocation":
		return acknowledged(dict{"Latitude": 52.5 + float64(d.spec.Seed%1000)/10_000, "Longitude": 13.4, "HorizontalAccuracy": 65.0,
			"Timestamp": d.o.Clock().UTC().Format("2006-01-02T15:04:05Z")})
	}
	return acknowledged(nil)
}

// clearPasscode is the command that a device with an unlock token obeys.
func (d *Device) clearPasscode(e *enrollment, cmd *command) *report {
	if d.spec.Model.Family == Mac {
		return refused(link{domainMDM, codeNotSupported, "A Mac has no passcode to clear"})
	}
	token := cmd.body.data("UnlockToken")
	if len(token) == 0 {
		return &report{status: statusFormatError}
	}
	if !bytes.Equal(token, e.device.unlock) {
		return refused(link{domainMDM, codeNotAuthorized, "The unlock token is not that of this device."})
	}
	r := acknowledged(nil)
	r.after = func(context.Context) error { d.SetPasscode(false); return nil }
	return r
}

// setRecoveryLock sets, changes or clears the password for recoveryOS. Changing
// it wants the one that is set.
func (d *Device) setRecoveryLock(cmd *command) *report {
	if d.spec.Model.Family != Mac {
		return refused(link{domainMDM, codeNotSupported, "Only a Mac has a recovery lock"})
	}
	if _, ok := cmd.body["NewPassword"].(string); !ok {
		return &report{status: statusFormatError}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.recovery != "" && cmd.body.text("CurrentPassword") != d.recovery {
		return refused(link{domainMDM, codeNotAuthorized, "The current password is wrong."})
	}
	d.recovery = cmd.body.text("NewPassword")
	return acknowledged(nil)
}

// verifyRecoveryLock compares a password.
func (d *Device) verifyRecoveryLock(cmd *command) *report {
	if d.spec.Model.Family != Mac {
		return refused(link{domainMDM, codeNotSupported, "Only a Mac has a recovery lock"})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return acknowledged(dict{"PasswordVerified": d.recovery != "" && cmd.body.text("Password") == d.recovery})
}

// BypassCode is the code that a supervised device tells.
func (d *Device) BypassCode() string {
	return fmt.Sprintf("%05X-%05X-%04X-%04X-%04X-%04X", d.spec.Seed&0xfffff, d.spec.Seed>>3&0xfffff, d.spec.Seed&0xffff, d.spec.Seed>>5&0xffff,
		d.spec.Seed>>7&0xffff, d.spec.Seed>>9&0xffff)
}

// activationLockBypassCode tells the code, as if supervision were not older than
// 15 days.
func (d *Device) activationLockBypassCode() *report {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.supervised() {
		return refused(link{domainMDM, codeNotSupported, "Only supervised devices have a bypass code"})
	}
	return acknowledged(dict{"ActivationLockBypassCode": d.BypassCode()})
}
