package mdmcmd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

func dictOf(t testing.TB, text string) plist.Dict {
	t.Helper()
	d, err := plist.ReadDict(doc(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWhatCannotBeTrueOfADeviceIsNotKnown(t *testing.T) {
	v := Vitals(dictOf(t, "<key>QueryResponses</key><dict>"+str("ProductName", "iPhone15,2")+
		"<key>BatteryLevel</key><real>-1</real><key>IsMDMLostModeEnabled</key><string>no</string><key>IsActivationLockEnabled</key><false/>"+
		"<key>OSVersion</key><integer>18</integer><key>DeviceName</key><string>"+strings.Repeat("é", 400)+"</string>"+
		"<key>ServiceSubscriptions</key><array><string>junk</string><dict>"+str("IMEI", "1")+"</dict><dict>"+str("IMEI", "2")+
		"<key>IsDataPreferred</key><true/></dict></array></dict>"))
	d := v.Details
	if d.BatteryLevel != nil || d.LostMode != fleet.Unknown || d.ActivationLock != fleet.No || d.FindMy != fleet.Unknown || v.OSVersion != "" {
		t.Errorf("%+v", v)
	}
	if len(v.DeviceName) > 255 || !strings.HasSuffix(v.DeviceName, "é") || d.IMEI != "2" {
		t.Errorf("%d bytes of name, IMEI %s", len(v.DeviceName), d.IMEI)
	}
}

func TestWhatIsNoNumberIsNotKnown(t *testing.T) {
	for _, text := range []string{"nan", "NaN", "inf", "+infinity", "-inf"} {
		v := Vitals(dictOf(t, "<key>QueryResponses</key><dict>"+str("ProductName", "iPhone15,2")+"<key>DeviceCapacity</key><real>"+text+"</real>"+
			"<key>AvailableDeviceCapacity</key><real>"+text+"</real><key>BatteryLevel</key><real>"+text+"</real></dict>"))
		if v.DiskTotalGB != nil || v.DiskAvailableGB != nil || v.Details.BatteryLevel != nil || v.Model != "iPhone15,2" {
			t.Errorf("%s: %+v", text, v)
		}
	}
}

func TestEqualListsOfApplicationsHaveEqualHashes(t *testing.T) {
	app := func(name, version, more string) string {
		return "<dict>" + str("Name", name) + str("ShortVersion", version) + str("Identifier", "id."+name) + more + "</dict>"
	}
	list := func(apps ...string) *fleet.SoftwareList {
		return Applications(dictOf(t, "<key>InstalledApplicationList</key><array>"+strings.Join(apps, "")+"</array>"))
	}
	a, b := list(app("A", "1", ""), app("B", "2", "")), list(app("B", "2", ""), app("A", "1", ""), app("A", "1", ""))
	if a.SHA256 != b.SHA256 || len(b.Items) != 2 || b.Items[0].Name != "A" {
		t.Errorf("%+v and %+v", a, b)
	}
	for name, other := range map[string]*fleet.SoftwareList{
		"another version": list(app("A", "2", ""), app("B", "2", "")),
		"one less":        list(app("A", "1", "")),
		"one that is still being installed": list(app("A", "1", ""), app("B", "2", ""),
			"<dict>"+str("Name", "C")+"<key>Installing</key><false/></dict>"),
	} {
		if other.SHA256 == a.SHA256 {
			t.Errorf("%s: the same hash", name)
		}
	}
	if c := list(app("A", "1", "<key>Installing</key><true/>")); len(c.Items) != 0 {
		t.Errorf("still being installed: %+v", c.Items)
	}
	if Applications(dictOf(t, str("Status", "Acknowledged"))) != nil {
		t.Error("an answer without a list is a list")
	}
}

func TestCertificatesAreReadAndBrokenOnesKept(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	until := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Own"}, NotAfter: until},
		&x509.Certificate{SerialNumber: big.NewInt(7)}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(name string, data []byte, identity bool) string {
		return fmt.Sprintf("<dict>%s<key>Data</key><data>%s</data><key>IsIdentity</key><%v/></dict>", str("CommonName", name), base64.StdEncoding.EncodeToString(data), identity)
	}
	list := Certificates(dictOf(t, "<key>CertificateList</key><array>"+entry("", der, false)+entry("", der, true)+entry("Broken", []byte("x"), false)+
		entry("Huge", make([]byte, maxCertificate+1), false)+"<string>junk</string></array>"))
	if len(list.Items) != 2 {
		t.Fatalf("%+v", list.Items)
	}
	for _, c := range list.Items {
		switch c.CommonName {
		case "Own":
			if !c.HasKey || !c.NotAfter.Equal(until) {
				t.Errorf("%+v", c)
			}
		case "Broken":
			if c.HasKey || !c.NotAfter.IsZero() {
				t.Errorf("%+v", c)
			}
		default:
			t.Errorf("%+v", c)
		}
	}
}

func TestARefetchIsToldByItsPrefix(t *testing.T) {
	for _, part := range []fleet.RefetchParts{fleet.RefetchDevice, fleet.RefetchApps, fleet.RefetchCertificates, fleet.RefetchSecurity} {
		c, err := NewRefetch(part, "1", false)
		if err != nil || RefetchPart(c.UUID) != part || !strings.HasPrefix(c.UUID, "REFETCH-") {
			t.Errorf("%d: %+v, %v", part, c, err)
		}
	}
	if RefetchPart("REFETCH-OTHER-1") != 0 || RefetchPart("1") != 0 {
		t.Error("others are refetches")
	}
	if _, err := NewRefetch(0, "1", false); err == nil {
		t.Error("a part that there is not")
	}
	for personal, want := range map[bool]bool{true: true, false: false} {
		c, err := NewRefetch(fleet.RefetchApps, "1", personal)
		if err != nil || strings.Contains(string(c.Raw), "ManagedAppsOnly") != want || !strings.Contains(string(c.Raw), "<key>Items</key>") {
			t.Errorf("personal %v: %s, %v", personal, c.Raw, err)
		}
	}
}

func FuzzInventory(f *testing.F) {
	f.Add(doc("<key>QueryResponses</key><dict>" + str("OSVersion", "18") + "</dict>"))
	f.Add(doc("<key>InstalledApplicationList</key><array><dict>" + str("Name", "A") + "</dict></array>"))
	f.Add(doc("<key>CertificateList</key><array><dict><key>Data</key><data>AAAA</data></dict></array>"))
	f.Add(doc("<key>SecurityInfo</key><dict><key>FirewallSettings</key><string>x</string></dict>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := plist.ReadDict(data)
		if err != nil {
			return
		}
		for _, part := range []fleet.RefetchParts{fleet.RefetchDevice, fleet.RefetchApps, fleet.RefetchCertificates, fleet.RefetchSecurity} {
			i := Inventory(part, d)
			if i == nil {
				continue
			}
			if i.Software != nil && len(i.Software.Items) > maxApplications || i.Certificates != nil && len(i.Certificates.Items) > maxCertificates {
				t.Fatal("more than the bound")
			}
		}
	})
}
