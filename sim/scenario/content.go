package scenario

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
)

// Profile writes a configuration profile with one payload. fields is XML. Equal
// arguments make equal bytes.
func Profile(identifier, name, payloadType, fields string) []byte {
	return profile(identifier, name, payloadType, fields, "System")
}

// UserProfile is Profile for the channel of a Mac's user.
func UserProfile(identifier, name, payloadType, fields string) []byte {
	return profile(identifier, name, payloadType, fields, "User")
}

func profile(identifier, name, payloadType, fields, scope string) []byte {
	sum := sha256.Sum256([]byte(strings.Join([]string{identifier, name, payloadType, fields, scope}, "\x00")))
	uuid := func(n int) string { return fmt.Sprintf("%X-0000-4000-8000-%012X", sum[:4], int(sum[5])<<8|n) }
	return []byte(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
	<key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
	<key>PayloadIdentifier</key><string>` + identifier + `</string><key>PayloadUUID</key><string>` + uuid(1) + `</string>
	<key>PayloadDisplayName</key><string>` + name + `</string><key>PayloadScope</key><string>` + scope + `</string>
	<key>PayloadContent</key><array><dict>
		<key>PayloadType</key><string>` + payloadType + `</string><key>PayloadVersion</key><integer>1</integer>
		<key>PayloadIdentifier</key><string>` + identifier + `.payload</string><key>PayloadUUID</key><string>` + uuid(2) + `</string>
		` + fields + `
	</dict></array>
</dict></plist>
`)
}

// Restrictions is a profile that every platform takes.
func Restrictions(identifier, name, key string, allowed bool) []byte {
	return Profile(identifier, name, "com.apple.applicationaccess", fmt.Sprintf("<key>%s</key><%t/>", key, allowed))
}

// Declaration writes a declaration.
func Declaration(declarationType, identifier string, payload map[string]any) []byte {
	body, err := json.MarshalIndent(map[string]any{"Type": declarationType, "Identifier": identifier, "Payload": payload}, "", "  ")
	if err != nil {
		panic(err) // texts and numbers always marshal
	}
	return body
}

// Passcode is a declaration that every platform takes.
func Passcode(identifier string, length int) []byte {
	return Declaration("com.apple.configuration.passcode.settings", identifier, map[string]any{"MinimumLength": length, "RequirePasscode": true})
}
