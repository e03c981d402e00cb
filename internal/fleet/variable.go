package fleet

import "slices"

// hostVariables are the variables $FLEET_VAR_NAME that Muster knows, with
// where their value comes from.
var hostVariables = map[string]func(h *Host) string{
	"HOST_UUID":            func(h *Host) string { return h.UUID },
	"HOST_HARDWARE_SERIAL": func(h *Host) string { return h.HardwareSerial },
	"HOST_PLATFORM": func(h *Host) string {
		if h.Platform == PlatformDarwin {
			return "macos"
		}
		return string(h.Platform)
	},
	"HOST_NAME": func(h *Host) string { return h.ComputerName },
	// No identity provider is connected yet: nobody has these.
	"HOST_END_USER_EMAIL_IDP":               func(*Host) string { return "" },
	"HOST_END_USER_IDP_USERNAME":            func(*Host) string { return "" },
	"HOST_END_USER_IDP_USERNAME_LOCAL_PART": func(*Host) string { return "" },
	"HOST_END_USER_IDP_FULL_NAME":           func(*Host) string { return "" },
	"HOST_END_USER_IDP_GROUPS":              func(*Host) string { return "" },
	"HOST_END_USER_IDP_DEPARTMENT":          func(*Host) string { return "" },
}

// Variable returns the host's value for what follows $FLEET_VAR_; ok is false
// while there is none, or no such variable.
func (h *Host) Variable(name string) (value string, ok bool) {
	get := hostVariables[name]
	if get == nil {
		return "", false
	}
	value = get(h)
	return value, value != ""
}

// KnownVariable reports whether there is such a variable at all.
func KnownVariable(name string) bool { return hostVariables[name] != nil }

// VariableNames lists the variables, sorted.
func VariableNames() []string {
	names := make([]string, 0, len(hostVariables))
	for name := range hostVariables {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
