package mdmcmd

// Meaning is what an error of a device means and what to do about it.
type Meaning struct {
	Cause string
	Fix   string
}

// Explain translates an error of a device's ErrorChain; ok is false for
// domains that are not known. Codes are unstable between system versions
// (contracts/apple.md 1.5): they are hints for people, nothing branches on them.
func Explain(domain string, code int64) (m Meaning, ok bool) {
	codes, known := errorCodes[domain]
	if m, exact := codes[code]; exact {
		return m, true
	}
	if known {
		return errorDomains[domain], true
	}
	return Meaning{}, false
}

// errorDomains are what errors of a domain have in common.
var errorDomains = map[string]Meaning{
	"MCProfileErrorDomain":       {"the profile itself is not valid", "check the profile's payloads against Apple's documentation and upload it again"},
	"MCPayloadErrorDomain":       {"a payload of the profile is not valid", "check the payload that the device names"},
	"MCInstallationErrorDomain":  {"the device could not install the profile", "read the device's words; the profile may conflict with another one"},
	"MCRestrictionsErrorDomain":  {"a restriction could not be applied", "check that the keys exist on this system version"},
	"MCMDMErrorDomain":           {"the device refused the command", "read the device's words"},
	"MDMErrorDomain":             {"the device refused the command", "read the device's words"},
	"MDMClientError":             {"the Mac's MDM client refused the command", "read the device's words"},
	"CPProfileManager":           {"the Mac could not install the profile", "read the device's words"},
	"CPDomain":                   {"the Mac could not install the profile", "read the device's words"},
	"ConfigProfilePluginDomain":  {"the part of macOS that handles a payload refused it", "check the payload against Apple's documentation"},
	"MCPasscodeErrorDomain":      {"the passcode policy could not be applied", "check the policy for values out of range"},
	"MCWiFiErrorDomain":          {"the Wi-Fi payload could not be applied", "check SSID, security type and certificates"},
	"MCCertificateErrorDomain":   {"a certificate could not be installed", "check that the file is a certificate in DER or PEM form and that its password fits"},
	"MCSCEPErrorDomain":          {"the device got no certificate by SCEP", "check the SCEP server's address, challenge and key size, and that the device reaches it"},
	"MCVPNErrorDomain":           {"the VPN payload could not be applied", "check the payload against Apple's documentation"},
	"MCSettingsErrorDomain":      {"a setting could not be applied", "read the device's words"},
	"NSURLErrorDomain":           {"the device could not reach an address", "check the device's network and the address"},
	"RMErrorDomain":              {"declarative management failed on the device", "read the device's words"},
	"Muster":                     {"this server could not make the command for the host", "read the reason; it is tried again when what is missing appears"},
	"NSPOSIXErrorDomain":         {"the device's system reported a failure", "try again; if it stays, restart the device"},
	"ODMErrorDomain":             {"the Mac's directory services refused", "read the device's words"},
	"FileVaultErrorDomain":       {"FileVault could not be set up", "check that a user with a secure token has logged in"},
	"MCEASErrorDomain":           {"the Exchange account could not be set up", "check server, user name and certificate"},
	"MCEmailAccountErrorDomain":  {"the mail account could not be set up", "check server names and ports"},
	"MCWebClipErrorDomain":       {"the web clip could not be set up", "check its address and icon"},
	"MCAPNErrorDomain":           {"the cellular payload could not be applied", "a device has one such payload only, and needs a SIM"},
	"MCSingleAppModeErrorDomain": {"Single App Mode could not be entered", "the device must be supervised and have the app"},
}

// errorCodes are codes that are seen often.
var errorCodes = map[string]map[int64]Meaning{
	"MCProfileErrorDomain": {
		1000: {"the profile is malformed", "make the profile anew; its property list or a required key is broken"},
		1001: {"the profile's version is not supported", "PayloadVersion must be 1"},
		1002: {"a required key of the profile is missing", "add the key that the device names"},
		1003: {"a key of the profile has a value of the wrong type", "correct the value that the device names"},
		1005: {"the profile has the same payload UUID twice", "give each payload a UUID of its own"},
		1006: {"another profile on the device has a payload with that UUID", "give the payload a new PayloadUUID"},
		1009: {"the profile has no content that the device can use", "check its payload types"},
		1010: {"the profile cannot be removed by a person", "remove it through MDM"},
	},
	"MCPayloadErrorDomain": {
		2002: {"a required key of a payload is missing", "add the key that the device names"},
		2003: {"a key of a payload has a value that is not allowed", "correct the value that the device names"},
		2004: {"a payload has a type that is not supported on this device", "scope the profile to the platform that knows the payload, with a label"},
	},
	"MCInstallationErrorDomain": {
		4000: {"the profile could not be parsed", "make the profile anew"},
		4001: {"the profile could not be installed", "read the next error of the chain"},
		4002: {"an identical profile is installed already", "nothing; if it is not managed by MDM, remove it by hand"},
		4003: {"the device already has a payload of which there may be one only", "remove the other profile with that payload, or scope them apart with labels"},
		4004: {"the device could not install the profile while it is locked", "nothing; it is tried again"},
		4009: {"the device must be supervised for a payload of the profile", "supervise the device (automatic enrollment or Apple Configurator), or scope the profile to supervised devices with a label of vitals"},
		4013: {"the profile could not replace the one that is installed", "remove the installed one first"},
		4023: {"the profile can only be installed through MDM", "nothing; report the case with the profile"},
		4035: {"the profile is for another kind of device", "scope it with a label"},
	},
	"MCMDMErrorDomain": {
		12002: {"the command is malformed", "check the command's keys"},
		12004: {"the command is not allowed by the access rights of the enrollment", "enroll the device with all access rights"},
		12008: {"the device does not know the command", "its system is too old, or the command is for another platform"},
		12021: {"the command is not known to the device", "its system is too old, or the command is for another platform"},
		12026: {"the device must be supervised for that", "supervise the device"},
		12064: {"the profile is not managed by this server", "it was installed by a person: remove it by hand"},
		12075: {"there is no such profile on the device", "nothing: it is gone already"},
		12078: {"the profile cannot be changed while the device is locked", "nothing; it is tried again"},
	},
	"MDMErrorDomain": {
		12002: {"the command is malformed", "check the command's keys"},
		12021: {"the command is not known to the device", "its system is too old, or the command is for another platform"},
		12026: {"the device must be supervised for that", "supervise the device"},
	},
	"MDMClientError": {
		89: {"there is no such profile on the Mac", "nothing: it is gone already"},
		91: {"the profile belongs to another user or channel", "send it through the channel that its PayloadScope names"},
	},
	"CPProfileManager":          {100: {"a payload type is not supported on the Mac", "scope the profile to iPhones and iPads with a label"}},
	"CPDomain":                  {-319: {"the profile is not valid on a Mac", "check its payload types and scope"}},
	"ConfigProfilePluginDomain": {-319: {"the payload's content could not be applied", "check the payload against Apple's documentation"}},
	"MCSCEPErrorDomain":         {22013: {"the SCEP server refused the request", "check the challenge: it may be used up or expired, so send the profile again"}},
	"NSURLErrorDomain": {
		-1001: {"an address did not answer in time", "check the device's network and firewall"},
		-1003: {"a host name could not be resolved", "check the name and the device's DNS"},
		-1009: {"the device is offline", "nothing; it is tried again"},
		-1200: {"a secure connection could not be made", "check the server's certificate and that the device trusts its authority"},
	},
	"MCPasscodeErrorDomain": {}, "MCWiFiErrorDomain": {}, "MCCertificateErrorDomain": {}, "MCVPNErrorDomain": {}, "MCSettingsErrorDomain": {},
	"MCRestrictionsErrorDomain": {}, "RMErrorDomain": {}, "Muster": {}, "NSPOSIXErrorDomain": {}, "ODMErrorDomain": {}, "FileVaultErrorDomain": {},
	"MCEASErrorDomain": {}, "MCEmailAccountErrorDomain": {}, "MCWebClipErrorDomain": {}, "MCAPNErrorDomain": {}, "MCSingleAppModeErrorDomain": {},
}
