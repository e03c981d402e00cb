package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
)

// macPayloads and mobilePayloads are payload types that the other platforms
// refuse; a choice of those that are used often.
var (
	macPayloads = []string{"com.apple.MCX", "com.apple.MCX.FileVault2", "com.apple.loginwindow", "com.apple.dock", "com.apple.systempolicy.control",
		"com.apple.security.firewall", "com.apple.TCC.configuration-profile-policy", "com.apple.system-extension-policy", "com.apple.servicemanagement",
		"com.apple.extensiblesso.kerberos", "com.apple.DirectoryService.managed", "com.apple.screensaver", "com.apple.SoftwareUpdate"}
	mobilePayloads = []string{"com.apple.app.lock", "com.apple.homescreenlayout", "com.apple.cellular", "com.apple.notificationsettings",
		"com.apple.proxy.http.global", "com.apple.shareddeviceconfiguration"}
)

// predict tells for which reasons a host will not take an item, as far as that
// can be told beforehand. It is pure. wants is all that the host should have.
func (r *Rules) predict(f *fleet.HostFacts, w Want, wants []Want) []fleet.Refusal {
	if w.Version == nil {
		return nil
	}
	var out []fleet.Refusal
	add := func(code, fix, format string, args ...any) {
		out = append(out, fleet.Refusal{Code: code, Text: fmt.Sprintf(format, args...), Fix: fix})
	}
	spec, host := &w.Version.Spec, &f.Host
	mac := host.Platform == fleet.PlatformDarwin
	if len(spec.NeedsSupervision) > 0 && !mac && host.Supervised == fleet.No {
		add("supervision", "supervise the device, or scope the profile to supervised devices with a label of vitals (supervised = true)",
			"%s needs a supervised device, and this one is not", strings.Join(spec.NeedsSupervision, ", "))
	}
	foreign := macPayloads
	if mac {
		foreign = mobilePayloads
	}
	for _, t := range spec.PayloadTypes {
		if slices.Contains(foreign, t) {
			add("platform", "scope the profile with the label of its platform", "%s does not know the payload %s", host.Platform.Title(), t)
		}
	}
	if w.Item.Kind == fleet.ItemDeclaration {
		if from := declarationsFrom(host.Platform); host.OSNumber() != "" && fleet.CompareVersions(host.OSNumber(), from) < 0 {
			add("os_version", "update the device", "declarations need %s %s, and the host has %s", host.Platform.Title(), from, host.OSVersion)
		}
	}
	p := plan{r: r, f: f}
	if _, missing := p.params(w.Version); missing != "" {
		add("variable", "set the value; the item follows by itself", "%s", missing)
	}
	if w.Item.Scope == fleet.ScopeUser && mac && f.User.ID == 0 {
		add("user_channel", "let a managed user log in on the Mac", "no user of the Mac has an MDM channel yet")
	}
	for _, other := range wants {
		if other.Item.ID == w.Item.ID && other.Item.UUID == w.Item.UUID || other.Decision != fleet.Yes || other.Version == nil {
			continue
		}
		for _, t := range spec.Exclusive {
			if slices.Contains(other.Version.Spec.Exclusive, t) {
				add("conflict", "keep one of them, or scope them apart with labels", "%q has the payload %s as well, and a device takes one only", other.Item.Name, t)
			}
		}
	}
	return out
}
