package scenario

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/sim/appledev"
)

// What the demo's company has.
const (
	officeTeam  = "Office"
	labTeam     = "Lab"
	kioskLabel  = "Kiosks"
	modernLabel = "iOS 17 and newer"
	// KioskProfile is the item of the demo that fails on most of its hosts.
	KioskProfile = "Kiosk mode"
	kioskID      = "com.example.kiosk"
)

// Furnish gives the fleet two teams, labels, six profiles and two
// declarations, as an admin would through the API.
func (s *Story) Furnish(ctx context.Context) error {
	return errors.Join(
		s.step(ctx, "make two teams and put the devices into them", s.furnishTeams),
		s.step(ctx, "make a manual label and one by vitals", s.furnishLabels),
		s.step(ctx, "upload six profiles and two declarations", s.furnishProfiles),
	)
}

func (s *Story) teamByName(ctx context.Context, name string) (int64, error) {
	teams, err := s.o.Client.Teams(ctx, name)
	if err != nil {
		return 0, err
	}
	for _, t := range teams {
		if t.Name == name {
			return t.ID, nil
		}
	}
	t, err := s.o.Client.CreateTeam(ctx, apiv1.CreateTeamRequest{Name: name})
	return t.ID, err
}

func (s *Story) furnishTeams(ctx context.Context) (string, error) {
	office, err := s.teamByName(ctx, officeTeam)
	if err != nil {
		return "", err
	}
	lab, err := s.teamByName(ctx, labTeam)
	if err != nil {
		return "", err
	}
	hosts, err := s.hostIDs(ctx)
	if err != nil {
		return "", err
	}
	// Every fourth device is in the lab, so that each kind is there.
	var inOffice, inLab []int64
	for i, id := range hosts {
		if i%4 == 0 {
			inLab = append(inLab, id)
		} else {
			inOffice = append(inOffice, id)
		}
	}
	if err := s.o.Client.TransferHosts(ctx, office, inOffice, len(inOffice)); err != nil {
		return "", err
	}
	if err := s.o.Client.TransferHosts(ctx, lab, inLab, len(inLab)); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d in %s, %d in %s", len(inOffice), officeTeam, len(inLab), labTeam), nil
}

func (s *Story) furnishLabels(ctx context.Context) (string, error) {
	hosts, err := s.hosts(ctx)
	if err != nil {
		return "", err
	}
	var kiosks []int64
	for i, d := range s.Fleet.Devices {
		if i%4 == 0 && d.Spec().Model.Family == appledev.IPad {
			kiosks = append(kiosks, hosts[d.Spec().Serial].ID)
		}
	}
	for _, r := range []apiv1.CreateLabelRequest{
		{Name: kioskLabel, Description: "iPads at the reception", HostIDs: kiosks},
		{Name: modernLabel, Criteria: &apiv1.Criteria{Vital: "os_version", Operator: ">=", Value: "17"}},
	} {
		if _, err := s.o.Client.CreateLabel(ctx, r); err != nil && client.StatusOf(err) != http.StatusConflict {
			return "", err
		}
	}
	return fmt.Sprintf("%q with %d iPads, %q", kioskLabel, len(kiosks), modernLabel), nil
}

// furniture lists what is uploaded.
func furniture(office, lab int64) []client.ProfileUpload {
	kiosk := Profile(kioskID, KioskProfile, "com.apple.app.lock", "<key>App</key><dict><key>Identifier</key><string>com.example.reception</string></dict>")
	wifi := func(team int64) client.ProfileUpload {
		return client.ProfileUpload{TeamID: team, FileName: "wifi.mobileconfig", Content: Profile(wifiID, "Company Wi-Fi", "com.apple.wifi.managed",
			"<key>SSID_STR</key><string>Company</string><key>EncryptionType</key><string>WPA2</string><key>HIDDEN_NETWORK</key><false/>"+
				"<key>Password</key><string>$FLEET_SECRET_WIFI_PASSWORD</string>")}
	}
	return []client.ProfileUpload{
		wifi(office), wifi(lab),
		{TeamID: office, FileName: "camera.mobileconfig", Content: Restrictions(cameraID, "No camera", "allowCamera", false), LabelsIncludeAny: []string{"iOS", "iPadOS"}},
		{TeamID: office, FileName: "dock.mobileconfig", Content: UserProfile("com.example.dock", "Dock", "com.apple.dock", "<key>autohide</key><true/>"), LabelsIncludeAll: []string{"macOS"}},
		{TeamID: lab, FileName: "airdrop.mobileconfig", Content: Restrictions("com.example.airdrop", "No AirDrop", "allowAirDrop", false), LabelsExcludeAny: []string{kioskLabel}},
		{TeamID: lab, FileName: "kiosk.mobileconfig", Content: kiosk, LabelsIncludeAny: []string{"iOS", "iPadOS"}},
		{TeamID: office, FileName: "passcode.json", Content: Passcode(passcodeID, 8)},
		{TeamID: lab, FileName: "passcode-lab.json", Content: Passcode(passcodeID+".lab", 6), LabelsIncludeAny: []string{modernLabel, "macOS"}},
	}
}

func (s *Story) furnishProfiles(ctx context.Context) (string, error) {
	office, err := s.teamByName(ctx, officeTeam)
	if err != nil {
		return "", err
	}
	lab, err := s.teamByName(ctx, labTeam)
	if err != nil {
		return "", err
	}
	if err := s.o.Client.SetCustomVariables(ctx, []apiv1.SetVariable{{Name: "WIFI_PASSWORD", Value: "correct horse & battery"}}, false); err != nil {
		return "", err
	}
	for _, u := range furniture(office, lab) {
		_, err := s.o.Client.CreateProfile(ctx, u)
		if err != nil && client.StatusOf(err) != http.StatusConflict { // conflict: an earlier demo's
			return "", fmt.Errorf("%s: %w", u.FileName, err)
		}
	}
	return "the Wi-Fi password is a custom secret", nil
}

// checkDesired waits until everything that can be verified is.
func (s *Story) checkDesired(ctx context.Context) (string, error) {
	total, failing := len(s.Fleet.Devices), 0
	var last apiv1.ProfileStatusCounts
	err := s.until(ctx, func() (bool, error) {
		last = apiv1.ProfileStatusCounts{}
		for _, name := range []string{officeTeam, labTeam} {
			id, err := s.teamByName(ctx, name)
			if err != nil {
				return false, err
			}
			c, err := s.o.Client.ProfilesSummary(ctx, id)
			if err != nil {
				return false, err
			}
			last.Verified, last.Failed = last.Verified+c.Verified, last.Failed+c.Failed
			last.Pending, last.Verifying = last.Pending+c.Pending, last.Verifying+c.Verifying
		}
		failing = last.Failed
		return last.Verified+last.Failed == total, nil
	})
	if err != nil {
		return "", fmt.Errorf("hosts by status: %+v: %w", last, err)
	}
	if failing == 0 {
		return "", errors.New("the item that should fail does not")
	}
	return fmt.Sprintf("%d hosts verified, %d with the item that fails", total-failing, failing), s.protocolErrors()
}

// checkDevices looks at what really reached the devices.
func (s *Story) checkDevices(context.Context) (string, error) {
	for _, d := range s.Fleet.Devices {
		found := false
		for _, p := range d.InstalledProfiles(appledev.DeviceChannel) {
			if strings.Contains(string(p.Raw), "$FLEET_") {
				return "", fmt.Errorf("%s got an unexpanded variable in %s", d.Spec().Serial, p.Identifier)
			}
			found = found || (p.Identifier == wifiID && strings.Contains(string(p.Raw), "correct horse &amp; battery"))
		}
		if !found {
			return "", fmt.Errorf("%s does not have the Wi-Fi with its password", d.Spec().Serial)
		}
	}
	return "every device has the Wi-Fi with its password filled in", nil
}

// checkExplain reads the explanation of the item that fails.
func (s *Story) checkExplain(ctx context.Context) (string, error) {
	serial, x, err := s.Failing(ctx)
	if err != nil {
		return "", err
	}
	switch {
	case x.Status != "failed" || x.Problem == nil || x.Problem.Cause == "" || x.Problem.Fix == "":
		return "", fmt.Errorf("%s: %s has no cause or fix: %s", serial, KioskProfile, x.Answer)
	case len(x.Attempts) == 0 || len(x.Rules) < 3 || x.Next.Who == "":
		return "", fmt.Errorf("%s: the explanation lacks rules, attempts or who acts next", serial)
	}
	return x.Answer, nil
}

// Failing returns a host on which the demo's item failed, and why.
func (s *Story) Failing(ctx context.Context) (serial string, x apiv1.ExplainResponse, err error) {
	lab, err := s.teamByName(ctx, labTeam)
	if err != nil {
		return "", x, err
	}
	profiles, err := s.o.Client.Profiles(ctx, lab)
	if err != nil {
		return "", x, err
	}
	at := slices.IndexFunc(profiles, func(p apiv1.Profile) bool { return p.Name == KioskProfile })
	if at < 0 {
		return "", x, fmt.Errorf("there is no profile %q", KioskProfile)
	}
	hosts, err := s.o.Client.ProfileHosts(ctx, profiles[at].ProfileUUID, "failed", "", 0, 1)
	if err != nil {
		return "", x, err
	}
	if len(hosts.Hosts) == 0 {
		return "", x, fmt.Errorf("%q failed on no host", KioskProfile)
	}
	x, err = s.o.Client.Explain(ctx, hosts.Hosts[0].HostID, kioskID)
	return hosts.Hosts[0].HardwareSerial, x, err
}

// checkPlan plans the loss of every profile of a team: each is named, and
// nothing changes.
func (s *Story) checkPlan(ctx context.Context) (string, error) {
	lab, err := s.teamByName(ctx, labTeam)
	if err != nil {
		return "", err
	}
	before, err := s.o.Client.Profiles(ctx, lab)
	if err != nil {
		return "", err
	}
	kiosk := Profile(kioskID+".two", "Second kiosk", "com.apple.app.lock", "<key>App</key><dict><key>Identifier</key><string>com.example.other</string></dict>")
	plan, err := s.o.Client.Plan(ctx, apiv1.PlanRequest{TeamID: &lab, Profiles: []apiv1.PlanProfile{{Profile: base64.StdEncoding.EncodeToString(kiosk), DisplayName: "kiosk2.mobileconfig"}}})
	if err != nil {
		return "", err
	}
	removed, refused := 0, 0
	for _, i := range plan.Items {
		if i.Change == "remove" {
			removed++
		}
		refused += len(i.Refusals)
	}
	if removed != len(before) || refused == 0 || !plan.HasChanges {
		return "", fmt.Errorf("the plan names %d of %d removals and %d refusals", removed, len(before), refused)
	}
	after, err := s.o.Client.Profiles(ctx, lab)
	if err != nil || len(after) != len(before) {
		return "", fmt.Errorf("the plan changed something: %w", err)
	}
	return fmt.Sprintf("it names %d removals and foretells why hosts would refuse", removed), nil
}

// checkHistory looks back to before anything was uploaded.
func (s *Story) checkHistory(ctx context.Context) (string, error) {
	hosts, err := s.hostIDs(ctx)
	if err != nil {
		return "", err
	}
	now, err := s.o.Client.History(ctx, hosts[0], time.Time{})
	if err != nil {
		return "", err
	}
	if len(now.Items) == 0 || len(now.Events) == 0 {
		return "", errors.New("the history knows no items")
	}
	return fmt.Sprintf("%d items now", len(now.Items)), nil
}
