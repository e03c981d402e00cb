package appledev

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// application is a title that devices may have. It is released anew every few
// weeks.
type application struct {
	identifier, name string
	major            int // of the first release that is modeled
	days             int // between releases
	size             int // bytes
	builtIn          bool
}

// applications are what some devices of a family have.
func applications(f Family) []application {
	if f == Mac {
		return []application{
			{"com.apple.Safari", "Safari", 18, 40, 14_000_000, true},
			{"com.apple.mail", "Mail", 16, 60, 30_000_000, true},
			{"com.google.Chrome", "Google Chrome", 139, 28, 1_300_000_000, false},
			{"com.tinyspeck.slackmacgap", "Slack", 44, 21, 480_000_000, false},
			{"org.mozilla.firefox", "Firefox", 141, 28, 420_000_000, false},
			{"com.microsoft.Word", "Microsoft Word", 16, 30, 2_100_000_000, false},
			{"com.microsoft.Excel", "Microsoft Excel", 16, 30, 1_900_000_000, false},
			{"us.zoom.xos", "zoom.us", 6, 35, 290_000_000, false},
			{"com.1password.1password", "1Password", 8, 14, 360_000_000, false},
			{"com.figma.Desktop", "Figma", 125, 20, 250_000_000, false},
			{"com.docker.docker", "Docker", 4, 30, 2_000_000_000, false},
			{"com.microsoft.VSCode", "Visual Studio Code", 1, 30, 600_000_000, false},
		}
	}
	return []application{
		{"com.apple.Pages", "Pages", 14, 60, 540_000_000, true},
		{"com.apple.Keynote", "Keynote", 14, 60, 700_000_000, true},
		{"com.google.chrome.ios", "Chrome", 139, 28, 260_000_000, false},
		{"com.microsoft.Office.Outlook", "Outlook", 5, 14, 380_000_000, false},
		{"com.microsoft.skype.teams", "Teams", 7, 14, 420_000_000, false},
		{"us.zoom.videomeetings", "Zoom", 6, 35, 290_000_000, false},
		{"com.tinyspeck.chatlyio", "Slack", 25, 14, 310_000_000, false},
		{"com.agilebits.onepassword-ios", "1Password", 8, 14, 180_000_000, false},
		{"org.mozilla.ios.Firefox", "Firefox", 141, 28, 240_000_000, false},
		{"com.adobe.Adobe-Reader", "Acrobat", 25, 30, 330_000_000, false},
		{"com.duolingo.DuolingoMobile", "Duolingo", 7, 10, 400_000_000, false},
	}
}

// epoch is the release day of every title's first version.
var epoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// day counts days since the epoch.
func day(at time.Time) int { return int(at.Sub(epoch).Hours() / 24) }

// owns decides whether a device has the i-th title: built-in ones all do, of
// the others most have some, always the same.
func (s Spec) owns(i int, a application) bool { return a.builtIn || s.Seed>>(i%60)&3 != 0 }

// release is the version of a title that a device has on a day: it updates up
// to a week after the release.
func (s Spec) release(i int, a application, at time.Time) string {
	const laggards = 7
	lag := int(s.Seed>>(i%32)) & 0xff % laggards
	n := max((day(at)-lag)/a.days, 0)
	return fmt.Sprintf("%d.%d", a.major+n/10, n%10)
}

// applicationList lists applications, only those and that of them which is
// asked for. Nothing here was installed by the server.
func (d *Device) applicationList(cmd *command) *report {
	wanted, items := cmd.body.texts("Identifiers"), cmd.body.texts("Items")
	list := []any{}
	for i, a := range applications(d.spec.Model.Family) {
		if cmd.body.flag("ManagedAppsOnly") || !d.spec.owns(i, a) || len(wanted) > 0 && !slices.Contains(wanted, a.identifier) {
			continue
		}
		version := d.spec.release(i, a, d.now())
		entry := map[string]any{
			"Identifier": a.identifier, "Name": a.name, "Version": strings.ReplaceAll(version, ".", "") + "00", "ShortVersion": version,
			"BundleSize": a.size, "DynamicSize": a.size / 10, "Installing": false, "IsValidated": true,
			"HasUpdateAvailable": false, "AdHocCodeSigned": false, "AppStoreVendable": !a.builtIn, "Source": "App Store",
		}
		for key := range entry {
			if len(items) > 0 && d.spec.Model.Family != Mac && !slices.Contains(items, key) {
				delete(entry, key)
			}
		}
		list = append(list, entry)
	}
	return acknowledged(dict{"InstalledApplicationList": list})
}

// freeSpace is in GiB: it shrinks day by day until somebody tidies up.
func (s Spec) freeSpace(at time.Time) float64 {
	const tidyDays = 30
	most := s.Model.CapacityG * (0.2 + 0.6*float64(s.Seed%1000)/1000)
	used := float64((day(at)+int(s.Seed%tidyDays))%tidyDays) / (4 * tidyDays)
	return math.Round(most*(1-used)*100) / 100
}

// battery is the charge, 0 to 1: charged at night, used by day.
func (s Spec) battery(at time.Time) float64 {
	const full, perHour = 0.98, 0.045
	hour := (at.Hour() + int(s.Seed%5) + 24 - 7) % 24
	return math.Round(max(full-perHour*float64(hour%16), 0.1)*100) / 100
}
