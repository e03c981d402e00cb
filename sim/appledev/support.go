package appledev

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// support says which devices know a declaration type or a status item.
type support struct {
	ios, mac string // the first OS version that does; "" for none
	user     bool   // also on a Mac's user channel
}

// on reports whether a channel of a device of this OS version knows it.
func (s support) on(f Family, osVersion string, c Channel) bool {
	first := s.ios
	if f == Mac {
		first = s.mac
	}
	return first != "" && compareVersions(osVersion, first) >= 0 && (c == DeviceChannel || s.user)
}

// compareVersions compares versions like 17.7.2, number by number.
func compareVersions(a, b string) int {
	numbers := func(v string) []int {
		var out []int
		for part := range strings.SplitSeq(v, ".") {
			n, err := strconv.Atoi(part)
			if err != nil {
				return out // what follows is no number: "18.6 (a)"
			}
			out = append(out, n)
		}
		return out
	}
	return cmp.Or(slices.Compare(numbers(a), numbers(b)), 0)
}

// declarationTypes are the declarations of contracts/apple.md 5.2 and the like,
// with the versions of Apple's schema.
var declarationTypes = map[string]support{
	"com.apple.activation.simple": {"15", "13", true},

	"com.apple.asset.data":                    {"17", "14", true},
	"com.apple.asset.useridentity":            {"15", "13", true},
	"com.apple.asset.credential.acme":         {"17", "14", true},
	"com.apple.asset.credential.certificate":  {"17", "14", true},
	"com.apple.asset.credential.identity":     {"17", "14", true},
	"com.apple.asset.credential.scep":         {"17", "14", true},
	"com.apple.asset.credential.userpassword": {"15", "13", true},

	"com.apple.configuration.account.caldav":                      {"15", "13", true},
	"com.apple.configuration.account.carddav":                     {"15", "13", true},
	"com.apple.configuration.account.exchange":                    {"15", "13", true},
	"com.apple.configuration.account.google":                      {"15", "13", true},
	"com.apple.configuration.account.ldap":                        {"15", "13", true},
	"com.apple.configuration.account.mail":                        {"15", "13", true},
	"com.apple.configuration.account.subscribed-calendar":         {"15", "", false},
	"com.apple.configuration.app.managed":                         {"17.2", "26", false},
	"com.apple.configuration.diskmanagement.settings":             {"", "15", false},
	"com.apple.configuration.legacy":                              {"15", "13", true},
	"com.apple.configuration.legacy.interactive":                  {"15", "13", true},
	"com.apple.configuration.management.status-subscriptions":     {"15", "13", true},
	"com.apple.configuration.management.test":                     {"15", "13", true},
	"com.apple.configuration.math.settings":                       {"18", "15", true},
	"com.apple.configuration.package":                             {"", "26", false},
	"com.apple.configuration.passcode.settings":                   {"15", "13", false},
	"com.apple.configuration.safari.extensions.settings":          {"18", "15", true},
	"com.apple.configuration.safari.settings":                     {"26", "26", true},
	"com.apple.configuration.screensharing.connection":            {"", "14", true},
	"com.apple.configuration.screensharing.connection.group":      {"", "14", true},
	"com.apple.configuration.screensharing.host.settings":         {"", "14", false},
	"com.apple.configuration.security.certificate":                {"17", "14", true},
	"com.apple.configuration.security.identity":                   {"17", "14", true},
	"com.apple.configuration.security.passkey.attestation":        {"17", "14", true},
	"com.apple.configuration.services.background-tasks":           {"", "15", false},
	"com.apple.configuration.services.configuration-files":        {"", "14", false},
	"com.apple.configuration.softwareupdate.enforcement.specific": {"17", "14", false},
	"com.apple.configuration.softwareupdate.settings":             {"18", "15", false},
	"com.apple.configuration.watch.enrollment":                    {"17", "", false},

	"com.apple.management.organization-info":   {"15", "13", true},
	"com.apple.management.properties":          {"15", "13", true},
	"com.apple.management.server-capabilities": {"15", "13", true},
}
