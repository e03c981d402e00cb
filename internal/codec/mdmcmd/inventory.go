package mdmcmd

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Limits of what is taken from an answer. What is beyond is left out.
const (
	maxApplications = 5000
	maxCertificates = 500
	maxCertificate  = 16 << 10 // bytes of DER
	maxText         = 255      // bytes of a name or version
	maxSlots        = 8        // of ServiceSubscriptions
)

var errNoPart = errors.New("there is no such part of a refetch")

// facts are the answers of a dictionary, each of the type that it should have
// or nothing.
type facts map[string]any

// factsOf decodes a dictionary; nil when it is none.
func factsOf(d plist.Dict, key string) facts {
	raw, ok := d[key]
	if !ok {
		return nil
	}
	v, err := raw.Value()
	if err != nil {
		return nil
	}
	m, _ := v.(map[string]any)
	return m
}

func (f facts) text(key string) string {
	t, _ := f[key].(string)
	return clipped(t)
}

func (f facts) truth(key string) fleet.Tri {
	b, ok := f[key].(bool)
	if !ok {
		return fleet.Unknown
	}
	return fleet.TriOf(b)
}

// number is a number that can be stored: a property list may have <real>nan</real>
// and infinities, which databases refuse.
func (f facts) number(key string) (float64, bool) {
	switch v := f[key].(type) {
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	case int64:
		return float64(v), true
	}
	return 0, false
}

// clipped cuts a text that a device may have made longer than it should be.
func clipped(text string) string {
	if len(text) <= maxText {
		return text
	}
	text = text[:maxText]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text
}

// gib is what devices count capacities in; we store units of 10^9 bytes.
const gib = float64(1<<30) / 1e9

// Vitals reads the answer to DeviceInformation; nil when it has none.
func Vitals(d plist.Dict) *fleet.Vitals {
	f := factsOf(d, "QueryResponses")
	if f == nil {
		return nil
	}
	out := &fleet.Vitals{DeviceName: f.text("DeviceName"), OSVersion: f.text("OSVersion"), Build: f.text("BuildVersion"),
		Model: f.text("ProductName"), ModelName: f.text("ModelName"), Serial: f.text("SerialNumber"), WiFiMAC: f.text("WiFiMAC"),
		DiskTotalGB: f.capacity("DeviceCapacity"), DiskAvailableGB: f.capacity("AvailableDeviceCapacity")}
	if b, ok := f["IsSupervised"].(bool); ok {
		out.Supervised = &b
	}
	out.Details = fleet.VitalDetails{ModelName: out.ModelName, ModelNumber: cmp.Or(f.text("ModelNumber"), f.text("Model")),
		BluetoothMAC: f.text("BluetoothMAC"), EthernetMAC: f.text("EthernetMAC"), TimeZone: f.text("TimeZone"),
		IMEI: f.text("IMEI"), MEID: f.text("MEID"),
		LostMode: f.truth("IsMDMLostModeEnabled"), ActivationLock: f.truth("IsActivationLockEnabled"),
		FindMy: f.truth("IsDeviceLocatorServiceEnabled"), CloudBackup: f.truth("IsCloudBackupEnabled"),
		SIP: f.truth("SystemIntegrityProtectionEnabled")}
	if level, ok := f.number("BatteryLevel"); ok && level >= 0 && level <= 1 { // -1: the device does not know
		out.Details.BatteryLevel = &level
	}
	f.subscriptions(&out.Details)
	return out
}

func (f facts) capacity(key string) *float64 {
	v, ok := f.number(key)
	if !ok || v < 0 || v > 1e9 {
		return nil // no disk has an exabyte
	}
	v *= gib
	return &v
}

// subscriptions fills in what devices since iOS 16 tell for each SIM slot
// instead of once. The slot for data speaks for the device.
func (f facts) subscriptions(out *fleet.VitalDetails) {
	list, _ := f["ServiceSubscriptions"].([]any)
	for _, e := range list[:min(len(list), maxSlots)] {
		m, _ := e.(map[string]any)
		slot := facts(m)
		first := out.IMEI == "" && out.MEID == ""
		if preferred, _ := slot["IsDataPreferred"].(bool); first || preferred {
			out.IMEI, out.MEID = cmp.Or(slot.text("IMEI"), out.IMEI), cmp.Or(slot.text("MEID"), out.MEID)
		}
	}
}

// Security reads the answer to SecurityInfo; nil when it has none.
func Security(d plist.Dict) *fleet.Vitals {
	f := factsOf(d, "SecurityInfo")
	if f == nil {
		return nil
	}
	firewall, _ := f["FirewallSettings"].(map[string]any)
	boot, _ := f["SecureBoot"].(map[string]any)
	return &fleet.Vitals{Details: fleet.VitalDetails{PasscodePresent: f.truth("PasscodePresent"), PasscodeCompliant: f.truth("PasscodeCompliant"),
		FileVault: f.truth("FDE_Enabled"), SIP: f.truth("SystemIntegrityProtectionEnabled"), RecoveryLock: f.truth("IsRecoveryLockEnabled"),
		Firewall: facts(firewall).truth("FirewallEnabled"), SecureBoot: facts(boot).text("SecureBootLevel")}}
}

// listOf decodes an array, at most so many entries of it; ok is false when it
// is none.
func listOf(d plist.Dict, key string, most int) (list []any, ok bool) {
	raw, has := d[key]
	if !has {
		return nil, false
	}
	v, err := raw.Value()
	if err != nil {
		return nil, false
	}
	list, ok = v.([]any)
	return list[:min(len(list), most)], ok
}

// Applications reads the answer to InstalledApplicationList; nil when it has
// none. What is still being installed is left out.
func Applications(d plist.Dict) *fleet.SoftwareList {
	list, ok := listOf(d, "InstalledApplicationList", maxApplications)
	if !ok {
		return nil
	}
	out := &fleet.SoftwareList{Items: make([]fleet.Software, 0, len(list))}
	for _, e := range list {
		m, _ := e.(map[string]any)
		f := facts(m)
		if f.truth("Installing") == fleet.Yes {
			continue
		}
		i := fleet.Software{Name: f.text("Name"), Version: cmp.Or(f.text("ShortVersion"), f.text("Version")), BundleID: f.text("Identifier")}
		if i.Name = cmp.Or(i.Name, i.BundleID); i.Name != "" {
			out.Items = append(out.Items, i)
		}
	}
	slices.SortFunc(out.Items, func(a, b fleet.Software) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version), strings.Compare(a.BundleID, b.BundleID))
	})
	out.Items = slices.Compact(out.Items)
	h := sha256.New()
	for _, i := range out.Items {
		for _, text := range []string{i.Name, i.Version, i.BundleID} {
			_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(text))))
			_, _ = h.Write([]byte(text))
		}
	}
	h.Sum(out.SHA256[:0])
	return out
}

// Certificates reads the answer to CertificateList; nil when it has none.
func Certificates(d plist.Dict) *fleet.CertificateList {
	list, ok := listOf(d, "CertificateList", maxCertificates)
	if !ok {
		return nil
	}
	out := &fleet.CertificateList{Items: make([]fleet.HostCertificate, 0, len(list))}
	for _, e := range list {
		m, _ := e.(map[string]any)
		der, _ := m["Data"].([]byte)
		if len(der) == 0 || len(der) > maxCertificate {
			continue
		}
		c := fleet.HostCertificate{SHA256: sha256.Sum256(der), CommonName: facts(m).text("CommonName"), DER: der}
		c.HasKey, _ = m["IsIdentity"].(bool)
		if parsed, err := x509.ParseCertificate(der); err == nil { // others exist all the same
			c.NotAfter, c.CommonName = parsed.NotAfter, cmp.Or(c.CommonName, clipped(parsed.Subject.CommonName))
		}
		out.Items = append(out.Items, c)
	}
	// Of an identity that is listed twice, the entry with the key counts.
	slices.SortFunc(out.Items, func(a, b fleet.HostCertificate) int {
		if order := bytes.Compare(a.SHA256[:], b.SHA256[:]); order != 0 || a.HasKey == b.HasKey {
			return order
		}
		if a.HasKey {
			return -1
		}
		return 1
	})
	out.Items = slices.CompactFunc(out.Items, func(a, b fleet.HostCertificate) bool { return a.SHA256 == b.SHA256 })
	h := sha256.New()
	for _, c := range out.Items {
		_, _ = h.Write(c.SHA256[:])
		_, _ = h.Write([]byte(c.CommonName))
		_, _ = h.Write([]byte{0, byte(fleet.TriOf(c.HasKey))})
	}
	h.Sum(out.SHA256[:0])
	return out
}
