package appledev

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
)

// Payload types that a device acts on here.
const (
	typeMDM      = "com.apple.mdm"
	typeSCEP     = "com.apple.security.scep"
	typePasscode = "com.apple.mobiledevice.passwordpolicy"
	typeRoot     = "com.apple.security.root"
	typePKCS1    = "com.apple.security.pkcs1"
	typePEM      = "com.apple.security.pem"
)

// maxPasscodeLength is the longest minimum length that a policy may ask for.
const maxPasscodeLength = 16

// payloadHead is what ProfileList tells of a payload.
type payloadHead struct{ kind, identifier, uuid, name string }

// onlyOnMacs reports payload types that iPhones and iPads do not know. Types in
// none of these lists are taken: a Mac treats them as preference domains.
func onlyOnMacs(kind string) bool {
	switch kind {
	case "com.apple.MCX", "com.apple.MCX.FileVault2", "com.apple.security.FDERecoveryKeyEscrow", "com.apple.loginwindow",
		"com.apple.dock", "com.apple.finder", "com.apple.screensaver", "com.apple.TCC.configuration-profile-policy",
		"com.apple.system-extension-policy", "com.apple.syspolicy.kernel-extension-policy", "com.apple.security.firewall",
		"com.apple.systempolicy.control", "com.apple.servicemanagement", "com.apple.loginitems.managed",
		"com.apple.ManagedClient.preferences", "com.apple.DirectoryService.managed":
		return true
	}
	return false
}

// neverOnMacs reports payload types that only iPhones and iPads know.
func neverOnMacs(kind string) bool {
	switch kind {
	case "com.apple.app.lock", "com.apple.homescreenlayout", "com.apple.cellular", "com.apple.apn.managed",
		"com.apple.shareddeviceconfiguration":
		return true
	}
	return false
}

// needsSupervision reports payload types that an iPhone or iPad takes only when
// it is supervised. Single keys that need supervision, like the restriction
// allowAppInstallation, are ignored instead of refused.
func needsSupervision(kind string) bool {
	switch kind {
	case "com.apple.app.lock", "com.apple.homescreenlayout", "com.apple.webcontent-filter", "com.apple.proxy.http.global",
		"com.apple.notificationsettings", "com.apple.shareddeviceconfiguration":
		return true
	}
	return false
}

// suits says whether a kind of device takes a payload type.
func suits(s Spec, kind string) error {
	family := s.Model.Family
	switch {
	case family == Mac && neverOnMacs(kind), family != Mac && onlyOnMacs(kind):
		return invalid(codeWrongPlatform, fmt.Sprintf("The payload type %q does not exist on this platform.", kind))
	case family != Mac && !s.Supervised && needsSupervision(kind):
		text := fmt.Sprintf("The payload type %q needs a supervised device.", kind)
		return &objection{cause: link{domainInstall, codeNeedsSupervision, text}}
	}
	return nil
}

// readHead reads what every payload must have.
func readHead(payload dict) (payloadHead, error) {
	h := payloadHead{
		kind: payload.text("PayloadType"), identifier: payload.text("PayloadIdentifier"),
		uuid: payload.text("PayloadUUID"), name: payload.text("PayloadDisplayName"),
	}
	for _, key := range []string{"PayloadType", "PayloadIdentifier", "PayloadUUID"} {
		if payload.text(key) == "" {
			return h, invalid(codeFieldMissing, fmt.Sprintf("profile: payload %q lacks the required field %s", h.identifier, key))
		}
	}
	return h, checkVersion(payload, h.identifier)
}

// checkVersion wants PayloadVersion 1, the only one there is.
func checkVersion(d dict, what string) error {
	if d["PayloadVersion"] == nil {
		return invalid(codeFieldMissing, fmt.Sprintf("profile: %q lacks the required field PayloadVersion", what))
	}
	if d.number("PayloadVersion") != 1 {
		return invalid(codeVersionUnknown, fmt.Sprintf("profile: %q has the unknown version %v", what, d["PayloadVersion"]))
	}
	return nil
}

// checkPasscode looks at a passcode policy.
func checkPasscode(payload dict) error {
	if length := payload.number("minLength"); length < 0 || length > maxPasscodeLength {
		return invalid(codeFieldInvalid, fmt.Sprintf("profile: minLength %d is not within 0 and %d", length, maxPasscodeLength))
	}
	return nil
}

// readCertificate returns the certificate of a payload as DER; nil when the
// payload is of another type.
func readCertificate(payload dict) ([]byte, error) {
	kind := payload.text("PayloadType")
	if !slices.Contains([]string{typeRoot, typePKCS1, typePEM}, kind) {
		return nil, nil
	}
	der := payload.data("PayloadContent")
	if block, _ := pem.Decode(der); block != nil {
		der = block.Bytes
	}
	_, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, invalid(codeFieldInvalid, fmt.Sprintf("profile: the payload %q holds no certificate", payload.text("PayloadIdentifier")))
	}
	return der, nil
}

// commonName is the name of a certificate that parsed before.
func commonName(der []byte) string {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return ""
	}
	return cert.Subject.CommonName
}
