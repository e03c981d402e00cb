package mdmcmd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Limits of a device's message.
const (
	maxKeyLength   = 200 // of an enrollment key; Apple's are at most 36 + 1 + an account name
	maxPushToken   = 255 // bytes
	maxErrorChain  = 20  // entries kept
	maxUUIDLength  = 100 // of a CommandUUID
	sharedIPadUser = "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"
)

// ErrNoSender says that a message names neither a device nor an enrollment.
var ErrNoSender = errors.New("the message names no UDID and no EnrollmentID")

// Checkin is a decoded check-in message. Fields beyond the type are read by
// its methods.
type Checkin struct {
	Type string // "Authenticate", "TokenUpdate", ...
	Key  fleet.EnrollmentKey
	Dict plist.Dict
	Raw  []byte
}

// DecodeCheckin reads a check-in message of any type.
func DecodeCheckin(data []byte) (*Checkin, error) {
	d, err := plist.ReadDict(data)
	if err != nil {
		return nil, fmt.Errorf("check-in: %w", err)
	}
	c := &Checkin{Type: d.Text("MessageType"), Dict: d, Raw: data}
	if c.Type == "" {
		return nil, errors.New("check-in: MessageType is missing")
	}
	if c.Key, err = sender(d); err != nil {
		return nil, fmt.Errorf("check-in %.40q: %w", c.Type, err)
	}
	return c, nil
}

// sender tells the channel from the fields present (contracts/apple.md 1.3).
func sender(d plist.Dict) (fleet.EnrollmentKey, error) {
	k := fleet.EnrollmentKey{}
	udid, user := d.Text("UDID"), d.Text("UserID")
	enrollment, enrollmentUser := d.Text("EnrollmentID"), d.Text("EnrollmentUserID")
	switch {
	case udid != "" && user == sharedIPadUser:
		short := d.Text("UserShortName")
		if short == "" {
			return k, errors.New("a Shared iPad user without UserShortName")
		}
		k = fleet.EnrollmentKey{Channel: fleet.ChannelSharedIPad, ID: udid + ":" + short, ParentID: udid}
	case udid != "" && user != "":
		k = fleet.EnrollmentKey{Channel: fleet.ChannelUser, ID: udid + ":" + user, ParentID: udid}
	case udid != "":
		k = fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: udid}
	case enrollment != "" && enrollmentUser != "":
		k = fleet.EnrollmentKey{Channel: fleet.ChannelBYODUser, ID: enrollment + ":" + enrollmentUser, ParentID: enrollment}
	case enrollment != "":
		k = fleet.EnrollmentKey{Channel: fleet.ChannelBYODDevice, ID: enrollment}
	default:
		return k, ErrNoSender
	}
	if len(k.ID) > maxKeyLength {
		return fleet.EnrollmentKey{}, fmt.Errorf("an identifier of %d characters, at most %d", len(k.ID), maxKeyLength)
	}
	// An identifier with a colon could pass for a user channel of another device.
	if strings.Contains(udid+enrollment, ":") || strings.ContainsAny(k.ID, "\x00\n\r") {
		return fleet.EnrollmentKey{}, errors.New("an identifier with characters that identifiers do not have")
	}
	return k, nil
}

// Authenticate reads the fields of an Authenticate message.
func (c *Checkin) Authenticate() (fleet.Authenticate, error) {
	d := c.Dict
	a := fleet.Authenticate{Key: c.Key, Topic: d.Text("Topic"), UDID: d.Text("UDID"), Serial: d.Text("SerialNumber"),
		Model: d.Text("Model"), ProductName: d.Text("ProductName"), ModelName: d.Text("ModelName"),
		DeviceName: d.Text("DeviceName"), OSVersion: d.Text("OSVersion"), Build: d.Text("BuildVersion")}
	if !c.Key.Channel.IsDevice() {
		return a, errors.New("authenticate: only a device channel may send it")
	}
	if a.Topic == "" {
		return a, errors.New("authenticate: Topic is missing")
	}
	return a, nil
}

// TokenUpdate reads the fields of a TokenUpdate message.
func (c *Checkin) TokenUpdate() (fleet.TokenUpdate, error) {
	d := c.Dict
	t := fleet.TokenUpdate{Key: c.Key, Topic: d.Text("Topic"), PushMagic: d.Text("PushMagic"), PushToken: d["Token"].Data(),
		UserShortName: d.Text("UserShortName"), UserLongName: d.Text("UserLongName")}
	if raw, ok := d["UnlockToken"]; ok {
		t.UnlockToken = raw.Data()
	}
	t.AwaitingConfiguration, _ = d["AwaitingConfiguration"].Bool()
	switch {
	case t.Topic == "":
		return t, errors.New("token update: Topic is missing")
	case t.PushMagic == "" || len(t.PushMagic) > maxUUIDLength:
		return t, errors.New("token update: PushMagic is missing or too long")
	case len(t.PushToken) == 0 || len(t.PushToken) > maxPushToken:
		return t, errors.New("token update: Token is missing or too long")
	}
	return t, nil
}

// Report is a decoded message of the command channel.
type Report struct {
	Key         fleet.EnrollmentKey
	Status      string // "Idle", "Acknowledged", "NotNow", "Error", "CommandFormatError"
	CommandUUID string // empty for Idle
	Dict        plist.Dict
	Raw         []byte
}

// DecodeReport reads a message of the command channel.
func DecodeReport(data []byte) (*Report, error) {
	d, err := plist.ReadDict(data)
	if err != nil {
		return nil, fmt.Errorf("command report: %w", err)
	}
	r := &Report{Status: d.Text("Status"), CommandUUID: d.Text("CommandUUID"), Dict: d, Raw: data}
	if r.Status == "" {
		return nil, errors.New("command report: Status is missing")
	}
	if r.Key, err = sender(d); err != nil {
		return nil, fmt.Errorf("command report: %w", err)
	}
	if r.Status != "Idle" {
		if _, ok := ParseStatus(r.Status); !ok {
			return nil, fmt.Errorf("command report: unknown Status %.40q", r.Status)
		}
		if r.CommandUUID == "" {
			return nil, fmt.Errorf("command report: %s without CommandUUID", r.Status)
		}
	}
	if len(r.CommandUUID) > maxUUIDLength {
		return nil, errors.New("command report: CommandUUID is too long")
	}
	return r, nil
}

// ParseStatus maps a device's Status; false for Idle and unknown ones.
func ParseStatus(status string) (fleet.CommandStatus, bool) {
	switch status {
	case "Acknowledged":
		return fleet.CommandAcknowledged, true
	case "Error":
		return fleet.CommandError, true
	case "NotNow":
		return fleet.CommandNotNow, true
	case "CommandFormatError":
		return fleet.CommandFormatError, true
	}
	return 0, false
}

// ErrorChain reads the device's explanation of an error; nil when there is
// none or it cannot be read.
func ErrorChain(d plist.Dict) []fleet.ErrorChainItem {
	raw, ok := d["ErrorChain"]
	if !ok {
		return nil
	}
	v, err := raw.Value()
	if err != nil {
		return nil
	}
	list, _ := v.([]any)
	var out []fleet.ErrorChainItem
	for _, e := range list[:min(len(list), maxErrorChain)] {
		m, ok := e.(map[string]any)
		if !ok {
			continue
		}
		item := fleet.ErrorChainItem{}
		item.Code, _ = m["ErrorCode"].(int64)
		item.Domain, _ = m["ErrorDomain"].(string)
		item.Localized, _ = m["LocalizedDescription"].(string)
		item.USEnglish, _ = m["USEnglishDescription"].(string)
		out = append(out, item)
	}
	return out
}
