package mdmcmd

import (
	"errors"
	"fmt"
	"maps"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

// MaxCommand bounds a command that a person uploads: profiles inside
// InstallProfile are the largest.
const MaxCommand = 4 << 20

// Command is a command as it goes to devices.
type Command struct {
	UUID        string
	RequestType string
	Raw         []byte
}

// DecodeCommand reads a command that a person wrote. Without a CommandUUID
// the given one is put in; the body is otherwise kept as it is, byte by byte.
func DecodeCommand(data []byte, uuid string) (*Command, error) {
	if err := plist.Guard(data, MaxCommand); err != nil {
		return nil, err
	}
	v, err := plist.Read(data)
	if err != nil {
		return nil, err
	}
	root, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("the root is not a dictionary")
	}
	inner, ok := root["Command"].(map[string]any)
	if !ok {
		return nil, errors.New("there is no Command dictionary")
	}
	c := &Command{Raw: data}
	c.RequestType, _ = inner["RequestType"].(string)
	if c.RequestType == "" || len(c.RequestType) > maxUUIDLength {
		return nil, errors.New("the Command dictionary has no RequestType, or a too long one")
	}
	if given, has := root["CommandUUID"]; has {
		c.UUID, _ = given.(string)
		if c.UUID == "" || len(c.UUID) > maxUUIDLength {
			return nil, fmt.Errorf("CommandUUID is empty, no string, or longer than %d characters", maxUUIDLength)
		}
		return c, nil
	}
	root["CommandUUID"] = uuid
	if c.Raw, err = plist.Marshal(root); err != nil {
		return nil, err
	}
	c.UUID = uuid
	return c, nil
}

// New builds a command with the given fields besides RequestType.
func New(uuid, requestType string, fields map[string]any) (*Command, error) {
	inner := map[string]any{"RequestType": requestType}
	maps.Copy(inner, fields)
	raw, err := plist.Marshal(map[string]any{"CommandUUID": uuid, "Command": inner})
	if err != nil {
		return nil, err
	}
	return &Command{UUID: uuid, RequestType: requestType, Raw: raw}, nil
}

// VitalsPrefix begins the UUID of a command by which Muster asks for vitals.
const VitalsPrefix = "REFETCH-DEVICE-"

// vitalsQueries are asked right after enrollment and by refetches. A query
// that a device does not know is missing from its answer.
var vitalsQueries = []string{"DeviceName", "OSVersion", "BuildVersion", "ModelName", "Model", "ProductName", "SerialNumber",
	"DeviceCapacity", "AvailableDeviceCapacity", "WiFiMAC", "IsSupervised", "IsMDMLostModeEnabled"}

// NewVitals builds the DeviceInformation command that asks for vitals.
func NewVitals(uuid string) (*Command, error) {
	return New(VitalsPrefix+uuid, "DeviceInformation", map[string]any{"Queries": vitalsQueries})
}

// gib is what devices count capacities in; we store units of 10^9 bytes.
const gib = float64(1<<30) / 1e9

// Vitals reads the answer to NewVitals; nil when it has none.
func Vitals(d plist.Dict) *fleet.Vitals {
	raw, ok := d["QueryResponses"]
	if !ok {
		return nil
	}
	v, err := raw.Value()
	if err != nil {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	text := func(key string) string { t, _ := m[key].(string); return t }
	out := &fleet.Vitals{DeviceName: text("DeviceName"), OSVersion: text("OSVersion"), Build: text("BuildVersion"),
		Model: text("ProductName"), ModelName: text("ModelName"), Serial: text("SerialNumber"), WiFiMAC: text("WiFiMAC")}
	out.DiskTotalGB = capacity(m["DeviceCapacity"])
	out.DiskAvailableGB = capacity(m["AvailableDeviceCapacity"])
	if b, ok := m["IsSupervised"].(bool); ok {
		out.Supervised = &b
	}
	return out
}

func capacity(v any) *float64 {
	var f float64
	switch v := v.(type) {
	case float64:
		f = v
	case int64:
		f = float64(v)
	default:
		return nil
	}
	if f < 0 || f > 1e9 {
		return nil // no disk has an exabyte
	}
	f *= gib
	return &f
}
