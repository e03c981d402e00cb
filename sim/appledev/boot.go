package appledev

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Errors of Boot.
var (
	// ErrUnassigned: Apple has no enrollment profile for the device.
	ErrUnassigned = errors.New("no enrollment profile is assigned to the device")
	// ErrUpdate: the server wants another version than the device can get.
	ErrUpdate = errors.New("the required software update is impossible")
	// ErrWebLogin: the server answered with a page for a person.
	ErrWebLogin = errors.New("the server wants somebody to log in")
	// ErrNotRemovable: the enrollment profile says that it stays.
	ErrNotRemovable = errors.New("the management cannot be removed")
)

// Content types of contracts/apple.md 4.6.
const (
	typeMachineInfo = "application/pkcs7-signature"
	typeConfig      = "application/x-apple-aspen-config"
)

// headerDeviceInfo carries MachineInfo to configuration_web_url.
const headerDeviceInfo = "X-Apple-Aspen-Deviceinfo"

// codeUpdateRequired is the code of a 403 that wants another version first.
const codeUpdateRequired = "com.apple.softwareupdate.required"

// maxUpdates bounds the software updates of one enrollment.
const maxUpdates = 3

// assignment is what Apple says about a device: the profile that its MDM server
// assigned (contracts/apple.md 4.5).
type assignment struct {
	URL       string `json:"url"`
	WebURL    string `json:"configuration_web_url"`
	Await     bool   `json:"await_device_configured"`
	Removable *bool  `json:"is_mdm_removable"` // true when it is not said
}

// Boot is Setup Assistant of a device out of its box: it asks Apple's service of
// the Options for the profile assigned to it, tells the server what it is,
// updates its software when the server wants that first, and enrolls. A device
// that was erased to return to service enrolls with the profile that came with
// the erasure instead.
func (d *Device) Boot(ctx context.Context) error {
	d.talking.Lock()
	defer d.talking.Unlock()
	err := d.boot(ctx)
	if err != nil {
		return d.failed(fmt.Errorf("setup: %w", err))
	}
	d.emit(Event{Kind: EventEnrolled})
	return nil
}

// boot is Boot with talking held.
func (d *Device) boot(ctx context.Context) error {
	d.mu.Lock()
	returning := d.returning
	d.mu.Unlock()
	if returning != nil {
		return d.enroll(ctx, returning)
	}
	a, err := d.activate(ctx)
	if err != nil {
		return err
	}
	raw, err := d.requestProfile(ctx, a)
	if err != nil {
		return err
	}
	d.setAwaiting(a.Await || d.spec.AwaitingConfiguration)
	err = d.enroll(ctx, raw)
	if err != nil {
		d.setAwaiting(d.spec.AwaitingConfiguration)
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bought = true
	d.enrolled.fixed = a.Removable != nil && !*a.Removable
	return nil
}

func (d *Device) setAwaiting(on bool) { d.mu.Lock(); d.awaiting = on; d.mu.Unlock() }

// AwaitingConfiguration reports that the device is enrolled and held in Setup
// Assistant until DeviceConfigured.
func (d *Device) AwaitingConfiguration() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.enrolled != nil && d.awaiting
}

// activate asks Apple for the assigned profile.
func (d *Device) activate(ctx context.Context) (assignment, error) {
	var a assignment
	if d.o.Service == "" {
		return a, errors.New("no service to ask")
	}
	body, err := json.Marshal(map[string]string{"serial_number": d.spec.Serial})
	if err != nil {
		return a, fmt.Errorf("activate: %w", err)
	}
	answer, err := d.send(ctx, call{
		op: "activate", method: http.MethodPost, url: d.o.Service + "/device/activate", contentType: "application/json", body: body,
	})
	if err == nil && answer.status == http.StatusNotFound {
		return a, ErrUnassigned
	}
	answer, err = d.must(answer, err)
	if err != nil {
		return a, fmt.Errorf("activate: %w", err)
	}
	err = json.Unmarshal(answer.body, &a)
	if err != nil {
		return a, fmt.Errorf("activate: %w", err)
	}
	return a, nil
}

// requestProfile asks the server for an enrollment profile, and again after each
// software update that it wants.
func (d *Device) requestProfile(ctx context.Context, a assignment) ([]byte, error) {
	for range maxUpdates + 1 {
		request, err := d.profileCall(ctx, a)
		if err != nil {
			return nil, err
		}
		answer, err := d.send(ctx, request)
		if err != nil {
			return nil, fmt.Errorf("request enrollment profile: %w", err)
		}
		version, build, wanted := updateWanted(answer)
		switch {
		case wanted:
			err = d.updateTo(version, build)
		case !answer.ok():
			err = answer.problem()
		case answer.contentType == "text/html":
			err = ErrWebLogin
		case answer.contentType != typeConfig:
			err = fmt.Errorf("answered with %q", answer.contentType)
		default:
			return answer.body, nil
		}
		if err != nil {
			return nil, fmt.Errorf("request enrollment profile: %w", err)
		}
	}
	return nil, fmt.Errorf("request enrollment profile: %w: the server wants one after another", ErrUpdate)
}

// profileCall is the request of contracts/apple.md 4.6: MachineInfo as the body,
// or in a header when the profile names a page.
func (d *Device) profileCall(ctx context.Context, a assignment) (call, error) {
	info, err := d.machineInfo(ctx)
	if err != nil {
		return call{}, err
	}
	if a.WebURL != "" {
		return call{
			op: opEnroll, method: http.MethodGet, url: a.WebURL,
			header: [2]string{headerDeviceInfo, base64.StdEncoding.EncodeToString(info)},
		}, nil
	}
	return call{op: opEnroll, method: http.MethodPost, url: a.URL, contentType: typeMachineInfo, body: info}, nil
}

// updateWanted reads the 403 of a server that wants another version first.
func updateWanted(r *response) (version, build string, wanted bool) {
	var refusal struct {
		Code    string `json:"code"`
		Details struct {
			OSVersion    string
			BuildVersion string
		} `json:"details"`
	}
	if r.status != http.StatusForbidden || r.contentType != "application/json" || !bytes.Contains(r.body, []byte(codeUpdateRequired)) {
		return "", "", false
	}
	err := json.Unmarshal(r.body, &refusal)
	return refusal.Details.OSVersion, refusal.Details.BuildVersion, err == nil && refusal.Code == codeUpdateRequired
}

// updateTo installs a version, which must be newer than the one that runs.
func (d *Device) updateTo(version, build string) error {
	switch {
	case version == "":
		return fmt.Errorf("%w: without OSVersion", ErrUpdate)
	case !d.canUpdate():
		return fmt.Errorf("%w: the device cannot request one", ErrUpdate)
	case compareVersions(version, d.OSVersion()) <= 0:
		return fmt.Errorf("%w: %s runs already", ErrUpdate, d.OSVersion())
	case d.faults.failsUpdate():
		return fmt.Errorf("%w: as planned", ErrUpdate)
	}
	d.UpdateOS(version, build)
	return nil
}

// canUpdate is MDM_CAN_REQUEST_SOFTWARE_UPDATE: iOS 17 and macOS 14 brought it.
func (d *Device) canUpdate() bool {
	return support{ios: "17", mac: "14"}.on(d.spec.Model.Family, d.OSVersion(), DeviceChannel)
}
