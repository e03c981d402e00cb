package adeprofile

import "strings"

// skipItems are the steps of Setup Assistant that can be left out, up to the
// systems of 2026 (contracts/apple.md 4.5).
var skipItems = strings.Fields(`Accessibility AccessibilityAppearance ActionButton AdditionalPrivacySettings AgeAssurance AgeBasedSafetySettings
Android Appearance AppleID AppStore Biometric CameraButton DeviceFeaturesTour DeviceToDeviceMigration Diagnostics DisplayTone EnableLockdownMode
FileVault HomeButtonSensitivity iCloudDiagnostics iCloudStorage iMessageAndFaceTime Intelligence Keyboard LiquidGlass Location
MessagingActivationUsingPhoneNumber Multitasking OnBoarding OSShowcase Passcode Payment Privacy Restore RestoreCompleted Safety
SafetyAndHandling ScreenSaver ScreenTime SIMSetup Siri SoftwareUpdate SpokenLanguage TapToSetup TermsOfAddress Tips TOS TVHomeScreenSync
TVProviderSignIn TVRoom UnlockWithWatch UpdateCompleted Wallpaper WatchMigration WebContentFiltering Welcome Zoom`)

// maxTypos is how many letters a name may be off and still be meant.
const maxTypos = 4

// nearest returns the known key that was meant; "": none is near.
func nearest(key string) string {
	names := make([]string, 0, len(known))
	for _, k := range known {
		names = append(names, k.name)
	}
	return near(key, names)
}

func hint(word string, names []string) string {
	if n := near(word, names); n != "" {
		return " (" + n + " is known)"
	}
	return ""
}

func near(word string, names []string) string {
	best, typos := "", maxTypos+1
	if len(word) > 64 {
		return ""
	}
	for _, name := range names {
		d := distance(strings.ToLower(word), strings.ToLower(name))
		if d < typos && d*2 < len(name) {
			best, typos = name, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
