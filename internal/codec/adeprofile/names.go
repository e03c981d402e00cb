package adeprofile

import (
	"strings"

	"github.com/muster-mdm/muster/internal/kit/near"
)

// skipItems are the steps of Setup Assistant that can be left out, up to the
// systems of 2026 (contracts/apple.md 4.5).
var skipItems = strings.Fields(`Accessibility AccessibilityAppearance ActionButton AdditionalPrivacySettings AgeAssurance AgeBasedSafetySettings
Android Appearance AppleID AppStore Biometric CameraButton DeviceFeaturesTour DeviceToDeviceMigration Diagnostics DisplayTone EnableLockdownMode
FileVault HomeButtonSensitivity iCloudDiagnostics iCloudStorage iMessageAndFaceTime Intelligence Keyboard LiquidGlass Location
MessagingActivationUsingPhoneNumber Multitasking OnBoarding OSShowcase Passcode Payment Privacy Restore RestoreCompleted Safety
SafetyAndHandling ScreenSaver ScreenTime SIMSetup Siri SoftwareUpdate SpokenLanguage TapToSetup TermsOfAddress Tips TOS TVHomeScreenSync
TVProviderSignIn TVRoom UnlockWithWatch UpdateCompleted Wallpaper WatchMigration WebContentFiltering Welcome Zoom`)

// nearest returns the known key that was meant; "": none is near.
func nearest(key string) string {
	names := make([]string, 0, len(known))
	for _, k := range known {
		names = append(names, k.name)
	}
	return near.Of(key, names)
}

func hint(word string, names []string) string {
	if n := near.Of(word, names); n != "" {
		return " (" + n + " is known)"
	}
	return ""
}
