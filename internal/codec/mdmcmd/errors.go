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
	if m, exact := errorCodes[domain][code]; exact {
		return m, true
	}
	m, ok = errorDomains[domain]
	return m, ok
}

// errorDomains are what errors of a domain have in common.
var errorDomains = map[string]Meaning{
	"MCProfileErrorDomain":      {"the profile itself is not valid", "check the profile's payloads against Apple's documentation and upload it again"},
	"MCPayloadErrorDomain":      {"a payload of the profile is not valid", "check the payload that the device names"},
	"MCInstallationErrorDomain": {"the device could not install the profile", "read the device's words; the profile may conflict with another one"},
	"MCRestrictionsErrorDomain": {"a restriction could not be applied", "check that the keys exist on this system version"},
	"MCMDMErrorDomain":          {"the device refused the command", "read the device's words"},
	"MDMErrorDomain":            {"the device refused the command", "read the device's words"},
	"MDMClientError":            {"the Mac's MDM client refused the command", "read the device's words"},
	"CPProfileManager":          {"the Mac could not install the profile", "read the device's words"},
	"CPDomain":                  {"the Mac could not install the profile", "read the device's words"},
	"ConfigProfilePluginDomain": {"the part of macOS that handles a payload refused it", "check the payload against Apple's documentation"},
	"RMErrorDomain":             {"declarative management failed on the device", "read the device's words"},
	"Muster":                    {"this server could not make the command for the host", "read the reason; it is tried again when what is missing appears"},
	"NSPOSIXErrorDomain":        {"the device's system reported a failure", "try again; if it stays, restart the device"},
	"MCPasscodeErrorDomain":     {"the passcode policy could not be applied", "check the policy for values out of range"},
}

// errorCodes are those of Apple's Mobile Device Management Protocol Reference,
// section "Error Codes", as far as profiles and their payloads go, and of
// "MDMClientError" what Macs are seen to say.
var errorCodes = map[string]map[int64]Meaning{
	"MCProfileErrorDomain": {
		1000: {"the profile is malformed", "make the profile anew: its property list is broken"},
		1001: {"the profile's version is not supported", "PayloadVersion must be 1"},
		1002: {"a required key of the profile is missing", "add the key that the device names"},
		1003: {"a key of the profile has a value of the wrong type", "correct the value that the device names"},
		1004: {"the profile's signature is bad", "sign the profile again, or upload it without a signature"},
		1005: {"the profile is empty", "give it a payload"},
		1006: {"the profile is encrypted and the device cannot open it", "encrypt it for this device, or upload it as it is"},
		1007: {"two payloads of the profile have one UUID", "give each payload a PayloadUUID of its own"},
		1008: {"two payloads of the profile have one identifier", "give each payload a PayloadIdentifier of its own"},
		1009: {"the profile could not be installed", "read the next error of the chain"},
		1010: {"a key of the profile has a value that is not supported", "correct the value that the device names"},
	},
	"MCPayloadErrorDomain": {
		2000: {"a payload is malformed", "check the payload that the device names"},
		2001: {"a payload's version is not supported", "PayloadVersion must be 1"},
		2002: {"a required key of a payload is missing", "add the key that the device names"},
		2003: {"a key of a payload has a value of the wrong type", "correct the value that the device names"},
		2004: {"a key of a payload has a value that is not supported", "correct the value that the device names"},
		2005: {"the device failed while it read a payload", "try again; if it stays, restart the device"},
	},
	"MCInstallationErrorDomain": {
		4000: {"the device cannot parse the profile", "make the profile anew"},
		4001: {"the profile could not be installed", "read the next error of the chain"},
		4002: {"a payload with that UUID is installed already", "give the payload a new PayloadUUID"},
		4003: {"the device had not queued the profile", "nothing; it is tried again"},
		4004: {"a person cancelled the installation", "ask the person, or enroll the device by automatic enrollment"},
		4005: {"the device's passcode does not comply with the profile", "the user has to set a passcode that does"},
		4006: {"the profile's removal date is in the past", "change RemovalDate"},
		4007: {"the device does not recognize the file", "upload a configuration profile in XML form"},
		4008: {"the profile is signed by another certificate than the one it replaces", "sign it as before, or remove the installed one first"},
		4009: {"the device is locked", "nothing; it is tried again"},
		4010: {"the profile has another identifier than the one it replaces", "keep PayloadIdentifier"},
		4012: {"the installed profile cannot be updated", "remove the installed one first"},
		4013: {"the installed profile could not be updated", "read the next error of the chain"},
		4014: {"the device has no identity", "restart the device, then send it again"},
		4015: {"the profile would replace the enrollment profile and has no MDM payload", "give it another PayloadIdentifier"},
		4016: {"the device failed while it installed the profile", "try again; if it stays, restart the device"},
		4017: {"another profile has a global HTTP proxy already, and a device takes one", "keep one of them, or scope them apart with labels"},
		4018: {"another profile has a cellular payload already, and a device takes one", "keep one of them, or scope them apart with labels"},
		4019: {"another profile locks the device to an app already, and a device takes one", "keep one of them, or scope them apart with labels"},
		4020: {"the device does not let people install profiles", "nothing: send it through MDM"},
		4021: {"the profile must be installed without a person", "nothing: send it through MDM"},
		4022: {"the profile can only be installed through MDM", "remove the one that was installed by hand"},
		4023: {"a payload is not acceptable on this device", "scope the profile with labels to the devices that it is for"},
		4024: {"there is no such profile on the device", "nothing: it is gone already"},
		4025: {"the device must be supervised for a payload of the profile", "supervise the device, or scope the profile to supervised devices with a label of vitals (supervised = true)"},
		4026: {"the profile's removal date is in the past", "change RemovalDate"},
		4027: {"the user has to change the passcode first", "ask the user to do so; it is tried again"},
		4028: {"another profile has a home screen layout already, and a device takes one", "keep one of them, or scope them apart with labels"},
		4029: {"another profile has notification settings for that app already", "keep one of them, or scope them apart with labels"},
		4030: {"the payload is not acceptable on a Shared iPad", "scope the profile to other devices with a label"},
		4031: {"the payload carries a user's secrets, which may not be on a Shared iPad", "take the secrets out"},
	},
	"MCPasscodeErrorDomain": {
		5010: {"the device is locked", "nothing; it is tried again"},
		5013: {"the passcode could not be cleared", "try again"},
		5014: {"the passcode could not be set", "try again"},
	},
	"MCEmailErrorDomain": {
		7000: {"the mail server could not be reached", "check server name and port, and the device's network"},
		7001: {"the mail server refused the credentials", "check user name and password"},
		7003: {"the S/MIME certificate was not found", "put it into the same profile"},
	},
	"MCWebClipErrorDomain": {8000: {"the web clip could not be installed", "check its address and icon"}},
	"MCCertificateErrorDomain": {
		9000: {"the certificate's password is wrong", "correct Password"},
		9001: {"a payload has more than one certificate", "give each certificate a payload"},
		9002: {"the certificate could not be stored", "try again; if it stays, restart the device"},
		9004: {"the root certificate could not be stored", "try again; if it stays, restart the device"},
		9005: {"the certificate is malformed", "check that the file is a certificate in DER or PEM form"},
		9006: {"the certificate has no key with it", "use a PKCS#12 file, or SCEP"},
	},
	"MCAPNErrorDomain": {11000: {"the cellular payload could not be installed, or there is one already", "a device takes one, and needs a SIM"}},
	"MCMDMErrorDomain": {
		12000: {"the enrollment's access rights do not allow the command", "enroll the device with all access rights"},
		12001: {"the device is managed by another MDM already", "remove that enrollment first"},
		12002: {"the device could not check in", "check that it reaches the server"},
		12006: {"the device refused a redirect", "serve the address itself"},
		12007: {"the command is not allowed on this device", "check supervision and the kind of enrollment"},
		12008: {"the command is malformed", "check the command's keys"},
		12009: {"the new enrollment profile cannot replace the old one", "keep topic, URLs and identity rules as they were"},
		12010: {"the device's MDM client is inconsistent", "restart the device"},
		12012: {"the new enrollment profile does not fit the old one", "keep topic, URLs and access rights as they were"},
		12013: {"the profile is not managed by this server", "it was installed by a person: remove it by hand"},
		12021: {"the device does not know the command", "its system is too old, or the command is for another platform"},
		12040: {"the user must sign in to the App Store", "ask the user, or assign the app to the device"},
		12063: {"a person refused", "ask the person"},
		12067: {"the device is not in Lost Mode", "nothing"},
		12075: {"there is no such profile on the device", "nothing: it is gone already"},
		12076: {"the device has no channels for users", "send it through the device channel"},
	},
	"MCWiFiErrorDomain": {
		13000: {"the Wi-Fi payload could not be installed", "read the next error of the chain"},
		13001: {"the Wi-Fi payload needs a user name", "add UserName"},
		13002: {"the Wi-Fi payload needs a password", "add Password, best as a custom secret"},
		13003: {"the Wi-Fi configuration could not be made", "check SSID_STR and EncryptionType"},
		13004: {"802.1X could not be set up", "check EAPClientConfiguration and its certificates"},
		13005: {"the proxy could not be set up", "check the proxy's keys"},
	},
	"MCVPNErrorDomain": {
		15000: {"the VPN could not be installed", "read the next error of the chain"},
		15003: {"the VPN's certificate is not valid", "put the identity into the same profile"},
		15005: {"the VPN payload cannot be parsed", "check its keys"},
	},
	"MCEASErrorDomain": {
		21003: {"the Exchange payload has no host name", "add Host"},
		21005: {"the Exchange account exists already", "remove the one that was made by hand"},
		21007: {"the Exchange account could not be verified", "check server, user name and certificate"},
	},
	"MCSCEPErrorDomain": {
		22001: {"the device could not make a key pair", "check Keysize and Key Type"},
		22005: {"the SCEP server could not be reached", "check its address and the device's network"},
		22006: {"the SCEP server cannot do what the device needs", "check its GetCACaps"},
		22007: {"the SCEP server's certificate is not valid", "check the server's certificate and CAFingerprint"},
		22013: {"the SCEP server's answer is not valid", "check the challenge: it may be used up or expired, so send the profile again"},
	},
	"MCSettingsErrorDomain":             {28000: {"the device does not know the setting", "its system is too old, or the setting is for another platform"}},
	"MCChaperoneErrorDomain":            {29000: {"the device is not supervised", "supervise the device"}},
	"MCGlobalHTTPProxyErrorDomain":      {31000: {"the proxy's credentials could not be applied", "check user name and password"}},
	"MCSingleAppErrorDomain":            {32000: {"more than one app is to be the only one", "name one app"}},
	"MCFontErrorDomain":                 {35000: {"the font's data is not valid", "check the file"}},
	"MCCellularErrorDomain":             {36000: {"the device has a cellular payload already", "keep one of them, or scope them apart with labels"}},
	"MCHomeScreenLayoutErrorDomain":     {43000: {"the device has a home screen layout already", "keep one of them, or scope them apart with labels"}},
	"MCNotificationSettingsErrorDomain": {44000: {"the device has notification settings for that app already", "keep one of them, or scope them apart with labels"}},
	"MDMClientError": {
		89: {"there is no such profile on the Mac", "nothing: it is gone already"},
	},
	"NSURLErrorDomain": {
		-1001: {"an address did not answer in time", "check the device's network and firewall"},
		-1003: {"a host name could not be resolved", "check the name and the device's DNS"},
		-1009: {"the device is offline", "nothing; it is tried again"},
		-1200: {"a secure connection could not be made", "check the server's certificate and that the device trusts its authority"},
	},
}
