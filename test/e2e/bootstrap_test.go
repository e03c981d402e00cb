package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/sim/installer"
)

// packageOf makes a signed package with that much inside.
func packageOf(t *testing.T, payload int, change func(*installer.Options)) []byte {
	t.Helper()
	signer, err := installer.NewSigner("Developer ID Installer: Acme (ABCDE12345)")
	if err != nil {
		t.Fatal(err)
	}
	o := installer.Options{Identifier: "com.acme.tools", Version: "4.2", Title: "Acme Tools", Payload: payload, Signer: signer}
	if change != nil {
		change(&o)
	}
	data, err := installer.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (b *business) uploadPackage(t *testing.T, team int64, data []byte) error {
	t.Helper()
	return b.api.UploadBootstrapPackage(t.Context(), team, "tools.pkg", bytes.NewReader(data), int64(len(data)), false)
}

func TestAMacGetsItsPackageInSetupAssistant(t *testing.T) {
	t.Parallel()
	eachBusiness(t, func(t *testing.T, b *business) {
		ctx := t.Context()
		team, err := b.api.CreateTeam(ctx, apiv1.CreateTeamRequest{Name: "Office"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.api.SetServerTokenTeams(ctx, b.token.ID, apiv1.ServerTokenTeams{MacOSTeamID: &team.ID}); err != nil {
			t.Fatal(err)
		}
		data := packageOf(t, 9<<20, nil) // three pieces
		if err := b.uploadPackage(t, team.ID, data); err != nil {
			t.Fatal(err)
		}
		if n := b.number(t, "SELECT COUNT(*) FROM bootstrap_pieces"); n != 3 {
			t.Errorf("%d pieces", n)
		}
		if err := b.uploadPackage(t, team.ID, data); client.StatusOf(err) != http.StatusConflict {
			t.Errorf("a second one: %v", err)
		}
		meta, err := b.api.BootstrapPackage(ctx, team.ID)
		if err != nil || meta.Signer != "Developer ID Installer: Acme (ABCDE12345)" || meta.Identifier != "com.acme.tools" || meta.Size != int64(len(data)) {
			t.Errorf("%+v, %v", meta, err)
		}
		d, ruined := b.buy(t, "mac", 1)[0], b.buy(t, "mac", 1)[0]
		b.assigned(t, d, ruined)
		ruined.Faults().RuinPackage(1)
		if err := d.Boot(ctx); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() (bool, string) { // it is told before it is released
			_, _ = d.Poll(ctx)
			if !d.AwaitingConfiguration() && len(d.Packages()) == 0 {
				t.Fatal("it left Setup Assistant without the package")
			}
			return len(d.Packages()) == 1, fmt.Sprint(d.Packages())
		})
		b.configured(t, d)
		if !slices.Equal(d.Packages(), []string{"com.acme.tools"}) {
			t.Errorf("%v", d.Packages())
		}
		if s := b.host(t, d.Spec().Serial).MDM.MacOSSetup; s.BootstrapPackageStatus != "installed" || s.BootstrapPackageName != "tools.pkg" || s.Details != "" {
			t.Errorf("%+v", s)
		}

		// One whose download is damaged is told so, and goes on.
		if err := ruined.Boot(ctx); err != nil {
			t.Fatal(err)
		}
		b.configured(t, ruined)
		h := b.host(t, ruined.Spec().Serial)
		if s := h.MDM.MacOSSetup; s.BootstrapPackageStatus != "failed" || !strings.Contains(s.Details, "checksum") || len(ruined.Packages()) != 0 {
			t.Errorf("%+v, %v", s, ruined.Packages())
		}
		s, err := b.api.HostSetup(ctx, h.ID)
		if err != nil || !slices.ContainsFunc(s.Steps, func(s apiv1.HostSetupStep) bool {
			return s.Name == "bootstrap_package" && s.Status == "failed" && strings.Contains(s.Detail, "checksum")
		}) {
			t.Errorf("%+v, %v", s, err)
		}
		if s, err := b.api.BootstrapPackageSummary(ctx, team.ID); err != nil || s != (apiv1.BootstrapPackageSummary{Installed: 1, Failed: 1}) {
			t.Errorf("%+v, %v", s, err)
		}
		// Later it is installed by hand.
		if _, err := b.api.InstallBootstrapPackage(ctx, team.ID, []int64{h.ID}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() (bool, string) {
			_, _ = ruined.Poll(ctx)
			return len(ruined.Packages()) == 1, fmt.Sprint(ruined.Packages())
		})
		if _, err := b.api.InstallBootstrapPackage(ctx, 0, []int64{h.ID}); client.StatusOf(err) != http.StatusNotFound {
			t.Errorf("a package that is not there: %v", err)
		}
		for status, serial := range map[string]string{"installed": d.Spec().Serial, "failed": ruined.Spec().Serial} {
			list, err := b.api.HostsPage(ctx, client.HostFilter{TeamID: &team.ID, BootstrapPackage: status}, 0, 0)
			if err != nil || len(list.Hosts) != 1 || list.Hosts[0].HardwareSerial != serial {
				t.Errorf("%s: %d hosts, %v", status, len(list.Hosts), err)
			}
		}

		// With its team the package goes.
		if err := b.api.DeleteTeam(ctx, team.ID); err != nil {
			t.Fatal(err)
		}
		if n := b.number(t, "SELECT COUNT(*) FROM bootstrap_packages"); n != 0 {
			t.Errorf("%d packages are left", n)
		}
		resp, err := b.devices.Get(b.url + "/api/v1/fleet/bootstrap?token=" + meta.Token)
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != http.StatusNotFound {
			t.Errorf("it is still there: %d", resp.StatusCode)
		}
	})
}

func TestAMacThatAnswersAfterTheTimeoutIsHeard(t *testing.T) {
	t.Parallel()
	eachBusiness(t, func(t *testing.T, b *business) {
		ctx := t.Context()
		if err := b.uploadPackage(t, 0, packageOf(t, 100, nil)); err != nil {
			t.Fatal(err)
		}
		d := b.buy(t, "mac", 1)[0]
		b.assigned(t, d)
		const many = 1000
		d.Faults().NotNow(many, "InstallEnterpriseApplication")
		if err := d.Boot(ctx); err != nil {
			t.Fatal(err)
		}
		status := func() string { return b.host(t, d.Spec().Serial).MDM.MacOSSetup.BootstrapPackageStatus }
		eventually(t, func() (bool, string) { return status() == "pending", status() })
		b.clock.advance(20 * time.Minute)
		b.configured(t, d)
		if status() != "pending" {
			t.Errorf("after the timeout it is %q", status())
		}
		d.Faults().NotNow(0)
		eventually(t, func() (bool, string) {
			_, _ = d.Poll(ctx)
			return status() == "installed", status()
		})
	})
}

func TestPackagesThatMacsWouldNotInstallAreRefused(t *testing.T) {
	t.Parallel()
	eachBusiness(t, func(t *testing.T, b *business) {
		good := packageOf(t, 5<<20, nil)
		changed := bytes.Clone(good)
		changed[len(good)-(5<<20)-40] ^= 1 // in the signature or Distribution
		for name, data := range map[string][]byte{
			"not signed":  packageOf(t, 100, func(o *installer.Options) { o.Signer = nil }),
			"a component": packageOf(t, 100, func(o *installer.Options) { o.Component = true }),
			"half of it":  good[:1000],
			"changed":     changed,
			"a text":      []byte("hello"),
			"nothing":     nil,
		} {
			err := b.uploadPackage(t, 0, data)
			if client.StatusOf(err) != http.StatusUnprocessableEntity || !strings.Contains(err.Error(), "tools.pkg") {
				t.Errorf("%s: %v", name, err)
			}
		}
		// One that breaks off.
		err := b.api.UploadBootstrapPackage(t.Context(), 0, "tools.pkg", bytes.NewReader(good[:4<<20+1]), int64(len(good)), false)
		if err == nil {
			t.Error("half an upload was taken")
		}
		eventually(t, func() (bool, string) {
			left := b.number(t, "SELECT COUNT(*) FROM bootstrap_packages") + b.number(t, "SELECT COUNT(*) FROM bootstrap_pieces")
			return left == 0, fmt.Sprint(left, " rows are left")
		})
		if _, err := b.api.BootstrapPackage(t.Context(), 0); client.StatusOf(err) != http.StatusNotFound {
			t.Errorf("%v", err)
		}
		if err := b.uploadPackage(t, 0, good); err != nil {
			t.Fatal(err)
		}
		meta, err := b.api.BootstrapPackage(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(meta.SHA256); len(got) != 64 {
			t.Errorf("the checksum is %q", got)
		}
		if err := b.api.DeleteBootstrapPackage(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if n := b.number(t, "SELECT COUNT(*) FROM bootstrap_pieces"); n != 0 {
			t.Errorf("%d pieces of the deleted package are left", n)
		}
	})
}
