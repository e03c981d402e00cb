package appledev

import "strings"

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
	at := d.now()
	facts := map[string]any{
		"UDID": d.spec.UDID, "DeviceName": d.name, "OSVersion": d.osVersion, "BuildVersion": d.build,
		"SupplementalBuildVersion": d.build, "ModelName": m.Family.String(), "Model": m.Number, "ModelNumber": m.Number + "LL/A",
		"ProductName": m.Product, "SerialNumber": d.spec.Serial,
		"DeviceCapacity": m.CapacityG, "AvailableDeviceCapacity": d.spec.freeSpace(at),
		"BatteryLevel": d.spec.battery(at), "IsSupervised": d.supervised(), "IsMultiUser": false,
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
		if !strings.HasPrefix(m.Name, "MacBook") {
			facts["BatteryLevel"] = -1.0 // it has none
		}
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
