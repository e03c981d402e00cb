package mdmcmd

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

// refetchPart is a part of a refetch: how its command is told from others, and
// what it asks.
type refetchPart struct {
	part        fleet.RefetchParts
	prefix      string // of the CommandUUID
	requestType string
	fields      map[string]any
	// personal are the fields that User Enrollments get besides: they tell of
	// managed things only.
	personal map[string]any
}

// refetchParts are in the order in which they are asked: what people look at
// first comes first.
func refetchParts() []refetchPart {
	return []refetchPart{
		{fleet.RefetchDevice, "REFETCH-DEVICE-", "DeviceInformation", map[string]any{"Queries": vitalsQueries}, nil},
		{fleet.RefetchApps, "REFETCH-APPS-", "InstalledApplicationList", map[string]any{"Items": applicationItems}, map[string]any{"ManagedAppsOnly": true}},
		{fleet.RefetchCertificates, "REFETCH-CERTS-", "CertificateList", map[string]any{"ManagedOnly": false}, map[string]any{"ManagedOnly": true}},
		{fleet.RefetchSecurity, "REFETCH-SECURITY-", "SecurityInfo", nil, nil},
	}
}

// vitalsQueries are asked right after enrollment and by refetches. A query
// that a device does not know, or that its access rights do not allow, is
// missing from its answer (contracts/apple.md 6).
var vitalsQueries = []string{"DeviceName", "OSVersion", "BuildVersion", "ModelName", "Model", "ModelNumber", "ProductName", "SerialNumber",
	"DeviceCapacity", "AvailableDeviceCapacity", "WiFiMAC", "BluetoothMAC", "EthernetMAC", "IsSupervised", "IsMDMLostModeEnabled",
	"BatteryLevel", "IsActivationLockEnabled", "IsDeviceLocatorServiceEnabled", "IsCloudBackupEnabled", "TimeZone", "ServiceSubscriptions",
	"IMEI", "MEID", "SystemIntegrityProtectionEnabled"}

// applicationItems are the facts that are asked of each application; a device
// that does not know the key tells all (contracts/apple.md 6).
var applicationItems = []string{"Identifier", "Name", "ShortVersion", "Version", "Installing"}

// NewVitals builds the DeviceInformation command that asks for vitals.
func NewVitals(uuid string) (*Command, error) {
	return NewRefetch(fleet.RefetchDevice, uuid, false)
}

// NewRefetch builds the command of one part. The UUID is one of kit/ids.
func NewRefetch(part fleet.RefetchParts, uuid string, personal bool) (*Command, error) {
	t, ok := refetchTemplates()[refetchKey{part, personal}]
	if !ok {
		return nil, errNoPart
	}
	return &Command{UUID: t.prefix + uuid, RequestType: t.requestType, Raw: slices.Concat(t.before, []byte(uuid), t.after)}, nil
}

type refetchKey struct {
	part     fleet.RefetchParts
	personal bool
}

// refetchTemplate is a command in two pieces, between which its UUID belongs: a
// company that enrolls on a Monday asks the same of every device.
type refetchTemplate struct {
	prefix, requestType string
	before, after       []byte
}

var refetchTemplates = sync.OnceValue(func() map[refetchKey]refetchTemplate {
	const uuid = "00000000-0000-0000-0000-000000000000"
	templates := map[refetchKey]refetchTemplate{}
	for _, p := range refetchParts() {
		for _, personal := range []bool{false, true} {
			fields := maps.Clone(p.fields)
			if personal && p.personal != nil {
				maps.Copy(fields, p.personal)
			}
			c, err := New(p.prefix+uuid, p.requestType, fields)
			if err != nil {
				panic(err) // fixed texts
			}
			before, after, _ := bytes.Cut(c.Raw, []byte(uuid))
			templates[refetchKey{p.part, personal}] = refetchTemplate{p.prefix, p.requestType, before, after}
		}
	}
	return templates
})

// RefetchPart tells which part a command asks for, by its CommandUUID; 0: it
// is no refetch.
func RefetchPart(commandUUID string) fleet.RefetchParts {
	for _, p := range refetchParts() {
		if strings.HasPrefix(commandUUID, p.prefix) {
			return p.part
		}
	}
	return 0
}

// Inventory reads the answer to one part. A field that is broken is left out;
// nil: there is no answer in it.
func Inventory(part fleet.RefetchParts, d plist.Dict) *fleet.Inventory {
	out := &fleet.Inventory{}
	switch part {
	case fleet.RefetchDevice:
		out.Vitals = Vitals(d)
	case fleet.RefetchApps:
		out.Software = Applications(d)
	case fleet.RefetchCertificates:
		out.Certificates = Certificates(d)
	case fleet.RefetchSecurity:
		out.Vitals = Security(d)
	}
	if *out == (fleet.Inventory{}) {
		return nil
	}
	return out
}
