package appledev

import (
	"slices"
	"strings"
)

// deviceInformation answers the queries it knows; others are silently missing
// (contracts/apple.md 6).
func (d *Device) deviceInformation(cmd *command) *report {
	known := d.facts()
	answers := map[string]any{}
	for _, q := range cmd.body.texts("Queries") {
		if v, ok := known[q]; ok {
			answers[q] = v
		}
	}
	return acknowledged(dict{"QueryResponses": answers})
}

// facts is all a device knows about itself.
func (d *Device) facts() map[string]any {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.spec.Model
	free := m.CapacityG * (0.2 + 0.6*float64(d.spec.Seed%1000)/1000)
	facts := map[string]any{
		"UDID": d.spec.UDID, "DeviceName": d.name, "OSVersion": d.osVersion, "BuildVersion": d.build,
		"SupplementalBuildVersion": d.build, "ModelName": m.Family.String(), "Model": m.Number, "ModelNumber": m.Number + "LL/A",
		"ProductName": m.Product, "SerialNumber": d.spec.Serial,
		"DeviceCapacity": m.CapacityG, "AvailableDeviceCapacity": free,
		"BatteryLevel": float64(20+d.spec.Seed%80) / 100, "IsSupervised": d.spec.Supervised, "IsMultiUser": false,
		"IsDeviceLocatorServiceEnabled": false, "IsActivationLockEnabled": false, "AwaitingConfiguration": d.awaiting,
		"WiFiMAC": d.spec.WiFi, "BluetoothMAC": d.spec.WiFi[:15] + "ff", "TimeZone": "Europe/Berlin",
		"iTunesStoreAccountIsActive": false, "IsCloudBackupEnabled": false, "IsNetworkTethered": false,
		"MDMOptions": map[string]any{}, "OrganizationInfo": map[string]any{},
	}
	switch m.Family {
	case Mac:
		facts["ModelName"] = m.Name
		facts["HostName"], facts["LocalHostName"] = d.spec.Serial+".local", d.spec.Serial
		facts["IsAppleSilicon"], facts["SystemIntegrityProtectionEnabled"] = true, true
		facts["PINRequiredForDeviceLock"], facts["PINRequiredForEraseDevice"] = true, false
		facts["EthernetMAC"] = d.spec.WiFi[:15] + "ee"
		facts["SupportsLOMDevice"], facts["SupportsiOSAppInstalls"] = false, true
	case IPhone:
		facts["IMEI"] = d.spec.IMEI
		facts["ModemFirmwareVersion"], facts["CellularTechnology"] = "2.60.02", 3
		facts["ServiceSubscriptions"] = []any{map[string]any{
			"Slot": "CTSubscriptionSlotOne", "IMEI": d.spec.IMEI, "IsDataPreferred": true, "IsVoicePreferred": true,
		}}
		facts["IsMDMLostModeEnabled"] = d.lost != nil
	case IPad:
		facts["CellularTechnology"], facts["IsMDMLostModeEnabled"] = 0, d.lost != nil
	}
	if d.enrolled != nil && d.enrolled.personal() {
		for _, name := range []string{"UDID", "SerialNumber", "IMEI", "ServiceSubscriptions", "WiFiMAC", "BluetoothMAC", "EthernetMAC"} {
			delete(facts, name)
		}
	}
	return facts
}

// application is an installed application.
type application struct {
	identifier, name, version string
	size                      int
}

// applications returns what is installed on a family.
func applications(f Family) []application {
	if f == Mac {
		return []application{
			{"com.apple.Safari", "Safari", "18.6", 14_000_000},
			{"com.google.Chrome", "Google Chrome", "139.0.7258.67", 1_300_000_000},
			{"com.tinyspeck.slackmacgap", "Slack", "4.45.64", 480_000_000},
			{"org.mozilla.firefox", "Firefox", "141.0.3", 420_000_000},
		}
	}
	return []application{
		{"com.apple.Pages", "Pages", "14.4", 540_000_000},
		{"com.google.chrome.ios", "Chrome", "139.0.7258.76", 260_000_000},
		{"com.microsoft.Office.Outlook", "Outlook", "5.2530.0", 380_000_000},
		{"us.zoom.videomeetings", "Zoom", "6.5.5", 290_000_000},
	}
}

// applicationList lists applications, only those asked for.
func (d *Device) applicationList(cmd *command) *report {
	wanted := cmd.body.texts("Identifiers")
	list := []any{}
	for _, a := range applications(d.spec.Model.Family) {
		if len(wanted) > 0 && !slices.Contains(wanted, a.identifier) {
			continue
		}
		if cmd.body.flag("ManagedAppsOnly") {
			continue
		}
		short, _, _ := strings.Cut(a.version, "-")
		list = append(list, map[string]any{
			"Identifier": a.identifier, "Name": a.name, "Version": a.version, "ShortVersion": short,
			"BundleSize": a.size, "DynamicSize": a.size / 10, "Installing": false, "IsValidated": true,
			"HasUpdateAvailable": false,
		})
	}
	return acknowledged(dict{"InstalledApplicationList": list})
}

// securityInfo tells how the device is protected.
func (d *Device) securityInfo(c *channel) *report {
	d.mu.Lock()
	now, recovery := d.observe(c), d.recovery != ""
	d.mu.Unlock()
	info := map[string]any{
		"HardwareEncryptionCaps": 3, "PasscodePresent": now.passcode, "PasscodeCompliant": now.compliant(),
		"PasscodeCompliantWithProfiles": now.compliant(),
		"ManagementStatus": map[string]any{
			"EnrolledViaDEP": d.spec.AwaitingConfiguration, "UserApprovedEnrollment": true, "IsUserEnrollment": false,
		},
	}
	if d.spec.Model.Family == Mac {
		info = map[string]any{
			"FDE_Enabled": true, "FDE_HasPersonalRecoveryKey": true, "FDE_HasInstitutionalRecoveryKey": false,
			"SystemIntegrityProtectionEnabled": true, "IsRecoveryLockEnabled": recovery,
			"BootstrapTokenAllowedForAuthentication": "not supported", "BootstrapTokenRequiredForSoftwareUpdate": true,
			"FirewallSettings": map[string]any{"FirewallEnabled": true, "BlockAllIncoming": false, "StealthMode": false},
			"SecureBoot":       map[string]any{"SecureBootLevel": "full", "ExternalBootLevel": "not supported"},
			"ManagementStatus": info["ManagementStatus"],
		}
	}
	return acknowledged(dict{"SecurityInfo": info})
}
