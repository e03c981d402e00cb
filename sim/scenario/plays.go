package scenario

import (
	"context"
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

// Identifiers of what plays upload.
const (
	wifiID     = "com.example.wifi"
	cameraID   = "com.example.camera"
	passcodeID = "com.example.passcode"
)

// noCamera is a profile that every platform takes.
func noCamera() client.ProfileUpload {
	return client.ProfileUpload{Content: Restrictions(cameraID, "Camera", "allowCamera", false)}
}

// each calls f for every device.
func (s *Story) each(f func(*appledev.Device)) {
	for _, d := range s.Fleet.Devices {
		f(d)
	}
}

func lostAcknowledgement(ctx context.Context, s *Story) error {
	s.each(func(d *appledev.Device) { d.Faults().DropResults(2); d.Faults().LoseAnswers(2) })
	uuid, err := s.upload(ctx, noCamera())
	if err != nil {
		return err
	}
	s.each(func(d *appledev.Device) { _, _ = d.Poll(ctx) }) // the fault ends the connection
	return s.verified(ctx, uuid, "after lost answers", len(s.Fleet.Devices))
}

func notNowAlone(ctx context.Context, s *Story) error {
	s.each(func(d *appledev.Device) { d.Faults().NotNow(1, "InstallProfile") })
	uuid, err := s.upload(ctx, noCamera())
	if err != nil {
		return err
	}
	return s.verified(ctx, uuid, "after NotNow", len(s.Fleet.Devices))
}

func driftByHand(ctx context.Context, s *Story) error {
	uuid, err := s.upload(ctx, noCamera())
	if err != nil {
		return err
	}
	n := len(s.Fleet.Devices)
	if err := s.verified(ctx, uuid, "at first", n); err != nil {
		return err
	}
	s.each(func(d *appledev.Device) { d.RemoveByHand(cameraID) })
	if have, _ := s.withCamera(); have != 0 {
		return fmt.Errorf("%d devices still have the profile", have)
	}
	hosts, err := s.hostIDs(ctx)
	if err != nil {
		return err
	}
	for _, id := range hosts {
		if err := s.o.Client.VerifyHost(ctx, id); err != nil {
			return err
		}
	}
	err = s.until(ctx, func() (bool, error) { have, _ := s.withCamera(); return have == n, nil })
	if err != nil {
		return fmt.Errorf("it was not put back: %w", err)
	}
	if err := s.verified(ctx, uuid, "after the repair", n); err != nil {
		return err
	}
	x, err := s.o.Client.Explain(ctx, hosts[0], cameraID)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(x.Attempts, func(a apiv1.ExplainAttempt) bool { return strings.Contains(a.Text, "does not list") }) {
		return errors.New("the explanation does not say that it was missing")
	}
	return nil
}

func rejectedPayload(ctx context.Context, s *Story) error {
	s.each(func(d *appledev.Device) { d.Faults().RejectPayload("com.apple.applicationaccess") })
	uuid, err := s.upload(ctx, noCamera())
	if err != nil {
		return err
	}
	hosts, err := s.hostIDs(ctx)
	if err != nil {
		return err
	}
	var x apiv1.ExplainResponse
	err = s.until(ctx, func() (bool, error) {
		x, err = s.o.Client.Explain(ctx, hosts[0], cameraID)
		return err == nil && x.Problem != nil, err
	})
	if err != nil {
		return fmt.Errorf("no explanation of the refusal: %w", err)
	}
	if x.Problem.Cause == "" || x.Problem.Fix == "" || x.Next.Text == "" || x.Next.At == nil {
		return fmt.Errorf("the explanation lacks a cause, a fix or the next step: %+v", x)
	}
	s.each(func(d *appledev.Device) { d.Faults().RejectPayload() })
	if _, err := s.o.Client.ModifyProfile(ctx, uuid, client.ProfileUpload{FileName: "camera.mobileconfig", Content: Restrictions(cameraID, "Camera", "allowScreenShot", false)}); err != nil {
		return err
	}
	return s.verified(ctx, uuid, "the new version", len(s.Fleet.Devices))
}

func lyingDevice(ctx context.Context, s *Story) error {
	s.each(func(d *appledev.Device) { d.Faults().LieAboutInstall("com.apple.applicationaccess") })
	uuid, err := s.upload(ctx, noCamera())
	if err != nil {
		return err
	}
	n := len(s.Fleet.Devices)
	err = s.counts(ctx, uuid, "while devices lie", func(c apiv1.ProfileStatusCounts) bool { return c.Pending == n })
	if err != nil {
		return err
	}
	hosts, err := s.o.Client.ProfileHosts(ctx, uuid, "pending", "does not list it", 0, n)
	if err != nil {
		return err
	}
	err = s.until(ctx, func() (bool, error) {
		hosts, err = s.o.Client.ProfileHosts(ctx, uuid, "pending", "does not list it", 0, n)
		return err == nil && len(hosts.Hosts) == n, err
	})
	if err != nil {
		return fmt.Errorf("%d of %d hosts are known to lack it: %w", len(hosts.Hosts), n, err)
	}
	s.each(func(d *appledev.Device) { d.Faults().LieAboutInstall() })
	list, err := s.hostIDs(ctx)
	if err != nil {
		return err
	}
	for _, id := range list {
		if err := s.o.Client.ResendProfile(ctx, id, uuid); err != nil {
			return err
		}
	}
	return s.verified(ctx, uuid, "honest again", n)
}

func offline(ctx context.Context, s *Story) error {
	until := time.Now().Add(15 * time.Second)
	s.each(func(d *appledev.Device) { d.Faults().Offline(until) })
	first, err := s.upload(ctx, noCamera())
	if err != nil {
		return err
	}
	second, err := s.upload(ctx, client.ProfileUpload{Content: Restrictions(wifiID, "Game center", "allowGameCenter", false)})
	if err != nil {
		return err
	}
	if err := s.o.Client.DeleteProfile(ctx, first); err != nil {
		return err
	}
	if _, err := s.o.Client.ModifyProfile(ctx, second, client.ProfileUpload{FileName: "x.mobileconfig", Content: Restrictions(wifiID, "Game center", "allowGameCenter", true)}); err != nil {
		return err
	}
	if err := s.verified(ctx, second, "back online", len(s.Fleet.Devices)); err != nil {
		return err
	}
	if n, _ := s.withCamera(); n != 0 {
		return fmt.Errorf("%d devices got a profile that was deleted before they came back", n)
	}
	return nil
}

func reenrollment(ctx context.Context, s *Story) error {
	uuid, err := s.upload(ctx, noCamera())
	if err != nil {
		return err
	}
	s.each(func(d *appledev.Device) {
		d.Wipe()
		if err == nil {
			err = s.reenroll(ctx, d)
		}
	})
	if err != nil {
		return err
	}
	if err := s.verified(ctx, uuid, "after the wipe", len(s.Fleet.Devices)); err != nil {
		return err
	}
	if n, _ := s.withCamera(); n != len(s.Fleet.Devices) {
		return fmt.Errorf("%d of %d devices really have it", n, len(s.Fleet.Devices))
	}
	return nil
}

func teamMove(ctx context.Context, s *Story) error {
	n := len(s.Fleet.Devices)
	first, err := s.upload(ctx, noCamera())
	if err != nil {
		return err
	}
	if err := s.verified(ctx, first, "without a team", n); err != nil {
		return err
	}
	team, err := s.o.Client.CreateTeam(ctx, apiv1.CreateTeamRequest{Name: "Movers"})
	if err != nil {
		return err
	}
	u := noCamera()
	u.TeamID = team.ID
	second, err := s.upload(ctx, u)
	if err != nil {
		return err
	}
	hosts, err := s.hostIDs(ctx)
	if err != nil {
		return err
	}
	_, before := s.withCamera()
	if err := s.o.Client.TransferHosts(ctx, team.ID, hosts, n); err != nil {
		return err
	}
	if err := s.verified(ctx, second, "in the team", n); err != nil {
		return err
	}
	if _, after := s.withCamera(); after != before {
		return fmt.Errorf("the identical profile was installed %d more times", after-before)
	}
	return nil
}

func unknownLabel(ctx context.Context, s *Story) error {
	if _, err := s.o.Client.CreateLabel(ctx, apiv1.CreateLabelRequest{Name: "Kiosks", Query: "SELECT 1 FROM kiosk"}); err != nil {
		return err
	}
	u := noCamera()
	u.LabelsExcludeAny = []string{"Kiosks"}
	if _, err := s.upload(ctx, u); err != nil {
		return err
	}
	second, err := s.upload(ctx, client.ProfileUpload{Content: Restrictions(wifiID, "Game center", "allowGameCenter", false)})
	if err != nil {
		return err
	}
	if err := s.verified(ctx, second, "the one without labels", len(s.Fleet.Devices)); err != nil {
		return err
	}
	if n, _ := s.withCamera(); n != 0 {
		return fmt.Errorf("%d devices got a profile whose exclude label is not known", n)
	}
	hosts, err := s.hostIDs(ctx)
	if err != nil {
		return err
	}
	x, err := s.o.Client.Explain(ctx, hosts[0], cameraID)
	if err != nil {
		return err
	}
	if x.Decision != "unknown" || !strings.Contains(x.Answer, "Kiosks") {
		return fmt.Errorf("the explanation is %q: %s", x.Decision, x.Answer)
	}
	return nil
}

func missingVariable(ctx context.Context, s *Story) error {
	set := func(value string) error {
		return s.o.Client.SetCustomVariables(ctx, []apiv1.SetVariable{{Name: "WIFI_PASSWORD", Value: value}}, false)
	}
	u := client.ProfileUpload{Content: Profile(wifiID, "Wi-Fi", "com.apple.wifi.managed", "<key>SSID_STR</key><string>Office</string><key>EncryptionType</key><string>WPA2</string>"+
		"<key>Password</key><string>$FLEET_SECRET_WIFI_PASSWORD</string><key>HIDDEN_NETWORK</key><false/><key>Comment</key><string>$FLEET_VAR_HOST_HARDWARE_SERIAL</string>")}
	_, err := s.upload(ctx, u)
	if client.StatusOf(err) != http.StatusBadRequest || !strings.Contains(err.Error(), "WIFI_PASSWORD") {
		return fmt.Errorf("an upload with a secret that is not set was answered %w", err)
	}
	if err := set("first & <secret>"); err != nil {
		return err
	}
	uuid, err := s.upload(ctx, u)
	if err != nil {
		return err
	}
	n := len(s.Fleet.Devices)
	if err := s.verified(ctx, uuid, "with the secret", n); err != nil {
		return err
	}
	if err := s.expanded("first &amp; &lt;secret&gt;"); err != nil {
		return err
	}
	if err := set("second"); err != nil {
		return err
	}
	err = s.until(ctx, func() (bool, error) { return s.expanded("second") == nil, nil })
	if err != nil {
		return fmt.Errorf("the changed secret did not arrive: %w", s.expanded("second"))
	}
	err = s.o.Client.DeleteCustomVariable(ctx, "WIFI_PASSWORD")
	if client.StatusOf(err) != http.StatusConflict {
		return fmt.Errorf("deleting a secret in use was answered %w", err)
	}
	content, err := s.o.Client.ProfileContent(ctx, uuid)
	if err != nil {
		return err
	}
	if strings.Contains(string(content), "second") {
		return errors.New("the server gives the secret's value away")
	}
	return s.verified(ctx, uuid, "with the changed secret", n)
}

// expanded checks what reached the devices.
func (s *Story) expanded(value string) error {
	for _, d := range s.Fleet.Devices {
		found := false
		for _, p := range d.InstalledProfiles(appledev.DeviceChannel) {
			text := string(p.Raw)
			if p.Identifier != wifiID {
				continue
			}
			found = strings.Contains(text, "<string>"+value+"</string>") && strings.Contains(text, "<string>"+d.Spec().Serial+"</string>")
			if strings.Contains(text, "$FLEET_") {
				return fmt.Errorf("device %s got an unexpanded variable", d.Spec().Serial)
			}
		}
		if !found {
			return fmt.Errorf("device %s does not have %q", d.Spec().Serial, value)
		}
	}
	return nil
}

func changedScope(ctx context.Context, s *Story) error {
	n := len(s.Fleet.Devices)
	hosts, err := s.hostIDs(ctx)
	if err != nil {
		return err
	}
	if _, err := s.o.Client.CreateLabel(ctx, apiv1.CreateLabelRequest{Name: "Executives", HostIDs: hosts[:1]}); err != nil {
		return err
	}
	uuid, err := s.upload(ctx, noCamera())
	if err != nil {
		return err
	}
	if err := s.verified(ctx, uuid, "for all", n); err != nil {
		return err
	}
	for _, step := range []struct {
		when string
		u    client.ProfileUpload
		want int
	}{
		{"for executives", client.ProfileUpload{LabelsIncludeAll: []string{"Executives"}}, 1},
		{"for all but executives", client.ProfileUpload{LabelsIncludeAll: []string{}, LabelsExcludeAny: []string{"Executives"}}, n - 1},
		{"for all again", client.ProfileUpload{LabelsExcludeAny: []string{}}, n},
	} {
		if _, err := s.o.Client.ModifyProfile(ctx, uuid, step.u); err != nil {
			return fmt.Errorf("%s: %w", step.when, err)
		}
		if err := s.verified(ctx, uuid, step.when, step.want); err != nil {
			return err
		}
		if have, _ := s.withCamera(); have != step.want {
			return fmt.Errorf("%s: %d devices really have it, want %d", step.when, have, step.want)
		}
	}
	return nil
}

func userChannel(ctx context.Context, s *Story) error {
	uuid, err := s.upload(ctx, client.ProfileUpload{Content: UserProfile("com.example.dock", "Dock", "com.apple.dock", "<key>autohide</key><true/>"),
		LabelsIncludeAll: []string{"macOS"}})
	if err != nil {
		return err
	}
	macs := 0
	s.each(func(d *appledev.Device) {
		if d.Spec().Model.Family == appledev.Mac {
			macs++
		}
	})
	if err := s.verified(ctx, uuid, "on Macs", macs); err != nil {
		return err
	}
	for _, d := range s.Fleet.Devices {
		for _, p := range d.InstalledProfiles(appledev.DeviceChannel) {
			if p.Identifier == "com.example.dock" {
				return fmt.Errorf("device %s got a user's profile on its device channel", d.Spec().Serial)
			}
		}
	}
	return nil
}

func tokenStability(ctx context.Context, s *Story) error {
	n := len(s.Fleet.Devices)
	uuid, err := s.upload(ctx, client.ProfileUpload{FileName: "passcode.json", Content: Passcode(passcodeID, 8)})
	if err != nil {
		return err
	}
	if err := s.verified(ctx, uuid, "at first", n); err != nil {
		return err
	}
	before := s.serverTokens()
	if len(before) != n {
		return fmt.Errorf("%d of %d devices have the declaration", len(before), n)
	}
	// Something else changes: the declaration must stay as it is.
	other, err := s.upload(ctx, client.ProfileUpload{FileName: "other.json", Content: Passcode(passcodeID+".other", 6)})
	if err != nil {
		return err
	}
	if err := s.verified(ctx, other, "the other one", n); err != nil {
		return err
	}
	if after := s.serverTokens(); !slices.Equal(before, after) {
		return errors.New("the server token of a declaration changed though its content did not")
	}
	if _, err := s.o.Client.ModifyProfile(ctx, uuid, client.ProfileUpload{FileName: "passcode.json", Content: Passcode(passcodeID, 10)}); err != nil {
		return err
	}
	if err := s.until(ctx, func() (bool, error) {
		after := s.serverTokens()
		return len(after) == n && !slices.ContainsFunc(after, func(t string) bool { return slices.Contains(before, t) }), nil
	}); err != nil {
		return fmt.Errorf("the token did not change with the content: %w", err)
	}
	if err := s.verified(ctx, uuid, "changed", n); err != nil {
		return err
	}
	return s.protocolErrors()
}

func (s *Story) serverTokens() []string {
	var out []string
	for _, d := range s.Fleet.Devices {
		for _, decl := range d.Declarations(appledev.DeviceChannel) {
			if decl.Identifier == passcodeID {
				out = append(out, decl.ServerToken)
			}
		}
	}
	return out
}

func missingAsset(ctx context.Context, s *Story) error {
	body := Declaration("com.apple.configuration.services.configuration-files", "com.example.ssh", map[string]any{
		"ServiceType": "com.apple.sshd", "DataAssetReference": "com.example.ssh.asset"})
	_, err := s.upload(ctx, client.ProfileUpload{FileName: "ssh.json", Content: body})
	if client.StatusOf(err) != http.StatusBadRequest || !strings.Contains(err.Error(), "com.example.ssh.asset") {
		return fmt.Errorf("a declaration whose asset is missing was answered %w", err)
	}
	profiles, err := s.o.Client.Profiles(ctx, 0)
	if err != nil {
		return err
	}
	if len(profiles) != 0 {
		return fmt.Errorf("%d profiles were stored", len(profiles))
	}
	return nil
}

func rolloutHalt(ctx context.Context, s *Story) error {
	n := len(s.Fleet.Devices)
	uuid, err := s.upload(ctx, noCamera())
	if err != nil {
		return err
	}
	if err := s.verified(ctx, uuid, "the good version", n); err != nil {
		return err
	}
	// A payload that phones do not know fails at once and for good.
	bad := Profile(cameraID, "Camera", "com.apple.MCX", "<key>DisableGuestAccount</key><true/>")
	_, err = s.o.Client.ModifyProfile(ctx, uuid, client.ProfileUpload{FileName: "camera.mobileconfig", Content: bad,
		Rollout: &apiv1.RolloutPlan{Rings: []apiv1.Ring{{Percent: 30, Soak: "10s"}, {Percent: 100}}, MaxFailed: 0.1}})
	if err != nil {
		return err
	}
	var p apiv1.Profile
	err = s.until(ctx, func() (bool, error) {
		p, err = s.o.Client.Profile(ctx, uuid)
		return err == nil && p.Rollout != nil && p.Rollout.State == "halted", err
	})
	if err != nil {
		return fmt.Errorf("the rollout did not halt: %+v: %w", p.Rollout, err)
	}
	c, err := s.o.Client.ProfileStatus(ctx, uuid)
	if err != nil {
		return err
	}
	if c.Verified < n/2 || p.Rollout.Why == "" {
		return fmt.Errorf("only %d of %d hosts still have the good version; why: %q", c.Verified, n, p.Rollout.Why)
	}
	if _, err := s.o.Client.SteerRollout(ctx, uuid, "rollback", "it fails on phones"); err != nil {
		return err
	}
	return s.verified(ctx, uuid, "rolled back", n)
}

func emptyFilter(ctx context.Context, s *Story) error {
	team, err := s.o.Client.CreateTeam(ctx, apiv1.CreateTeamRequest{Name: "Trap"})
	if err != nil {
		return err
	}
	_, err = s.o.Client.TransferByFilter(ctx, team.ID, apiv1.HostSelection{}, -1)
	if client.StatusOf(err) != http.StatusUnprocessableEntity {
		return fmt.Errorf("an empty filter was answered %w", err)
	}
	hosts, err := s.hostIDs(ctx)
	if err != nil {
		return err
	}
	err = s.o.Client.TransferHosts(ctx, team.ID, hosts, len(hosts)+1)
	if client.StatusOf(err) != http.StatusConflict {
		return fmt.Errorf("a wrong expected count was answered %w", err)
	}
	t, err := s.o.Client.Team(ctx, team.ID)
	if err != nil {
		return err
	}
	if t.HostCount != 0 {
		return fmt.Errorf("%d hosts were moved", t.HostCount)
	}
	return nil
}
