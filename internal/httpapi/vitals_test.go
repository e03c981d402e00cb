package httpapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

func TestAHostsVitalsAreShownAndUnknownIsNotNo(t *testing.T) {
	b := newBench(t)
	_, body, _ := b.call(t, "GET", "/api/v1/fleet/hosts/7", "")
	host := body["host"].(map[string]any)
	vitals := host["vitals"].(map[string]any)
	if vitals["filevault"] != true || vitals["firewall"] != false || vitals["lost_mode"] != nil || vitals["software_update_version"] != "15.2" || host["disk_encryption_enabled"] != true {
		t.Errorf("%v", vitals)
	}
	battery := host["batteries"].([]any)[0].(map[string]any)
	if battery["level"] != 0.5 || battery["health"] != "normal" || battery["cycle_count"] != nil {
		t.Errorf("%v", battery)
	}
	if software := host["software"].([]any)[0].(map[string]any); software["name"] != "Slack" || software["bundle_identifier"] != "com.tinyspeck.slackmacgap" {
		t.Errorf("%v", software)
	}
	_, body, _ = b.call(t, "GET", "/api/v1/fleet/hosts/7?exclude_software=true", "")
	if list := body["host"].(map[string]any)["software"].([]any); len(list) != 0 {
		t.Errorf("software in spite of exclude_software: %v", list)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for age, silent := range map[time.Duration]bool{time.Hour: false, fleet.SilentAfter: true} {
		h := toHost(&fleet.Host{RefetchAt: now.Add(-age)}, now)
		if !h.RefetchRequested || h.MDM.RefetchOutstandingSince == nil || h.MDM.Silent != silent {
			t.Errorf("asked %s ago: %+v", age, h.MDM)
		}
	}
}

func TestARefetchIsAskedFor(t *testing.T) {
	b := newBench(t)
	if status, _, _ := b.call(t, "POST", "/api/v1/fleet/hosts/7/refetch", ""); status != 200 || b.inventories.Refetched != 7 {
		t.Errorf("%d, %d", status, b.inventories.Refetched)
	}
	if status, _, _ := b.call(t, "POST", "/api/v1/fleet/hosts/8/refetch", ""); status != 404 {
		t.Errorf("an unknown host: %d", status)
	}
}

func TestSoftwareIsListed(t *testing.T) {
	b := newBench(t)
	status, body, _ := b.call(t, "GET", "/api/v1/fleet/hosts/7/software?query=sla&page=1&per_page=20", "")
	title := body["software"].([]any)[0].(map[string]any)
	version := title["installed_versions"].([]any)[0].(map[string]any)
	if status != 200 || body["count"] != 1.0 || version["version"] != "4.45" || b.inventories.Filter.Query != "sla" ||
		b.inventories.Filter.HostID != 7 || b.inventories.Filter.Page.Number != 1 || b.inventories.Filter.Page.Size != 20 {
		t.Errorf("%d %v %+v", status, body, b.inventories.Filter)
	}
	status, body, _ = b.call(t, "GET", "/api/v1/fleet/software/versions", "")
	if status != 200 || body["software"].([]any)[0].(map[string]any)["hosts_count"] != 3.0 || !b.inventories.Filter.WithHosts || b.inventories.Filter.HostID != 0 {
		t.Errorf("%d %v", status, body)
	}
	for _, path := range []string{"/api/v1/fleet/hosts/8/software", "/api/v1/fleet/hosts/8/certificates"} {
		if status, _, _ := b.call(t, "GET", path, ""); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestCertificatesAreListedAsFarAsTheyCanBeRead(t *testing.T) {
	b := newBench(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(0xabc), Subject: pkix.Name{CommonName: "Ada", Organization: []string{"Acme"}},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true}
	if b.inventories.DER, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	show := func() map[string]any {
		status, body, _ := b.call(t, "GET", "/api/v1/fleet/hosts/7/certificates", "")
		if status != 200 || body["count"] != 1.0 {
			t.Fatalf("%d %v", status, body)
		}
		return body["certificates"].([]any)[0].(map[string]any)
	}
	c := show()
	raw, _ := json.Marshal(c)
	if c["serial"] != "0abc" || c["key_algorithm"] != "ECDSA" || c["key_strength"] != 256.0 || c["key_usage"] != "Digital Signature, Certificate Sign" ||
		c["certificate_authority"] != true || c["subject"].(map[string]any)["organization"] != "Acme" || c["is_identity"] != true {
		t.Errorf("%s", raw)
	}
	b.inventories.DER = []byte("broken")
	if c := show(); c["common_name"] != "Ada" || c["not_valid_before"] != nil || c["serial"] != "" {
		t.Errorf("one that cannot be read: %v", c)
	}
}

func TestWhatExpiresIsListed(t *testing.T) {
	b := newBench(t)
	status, body, _ := b.call(t, "GET", "/api/v1/fleet/expiring?days=90", "")
	thing := body["expiring"].([]any)[0].(map[string]any)
	identities := body["identities"].(map[string]any)
	weeks, _ := json.Marshal(identities["weeks"])
	first := identities["nearest"].([]any)[0].(map[string]any)
	if status != 200 || b.guardian.Days != 90 || thing["days_left"] != 2.0 || identities["count"] != 3.0 ||
		string(weeks) != `[{"count":1,"week":-1},{"count":2,"week":1}]` || first["fault"] != "it will not" || first["failed_attempts"] != 2.0 {
		t.Errorf("%d %v", status, body)
	}
	if _, _, _ = b.call(t, "GET", "/api/v1/fleet/expiring", ""); b.guardian.Days != 30 {
		t.Errorf("without days: %d", b.guardian.Days)
	}
	if status, _, _ := b.call(t, "GET", "/api/v1/fleet/expiring?days=-1", ""); status/100 != 4 {
		t.Errorf("negative days: %d", status)
	}
}
