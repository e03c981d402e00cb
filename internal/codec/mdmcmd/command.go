package mdmcmd

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/muster-mdm/muster/internal/codec/plist"
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
// the given one is put in. The body is written anew from what was read, so that
// devices get what was judged, whatever another reader makes of repeated keys,
// comments or entities.
func DecodeCommand(data []byte, uuid string) (*Command, error) {
	if err := plist.Guard(data, MaxCommand); err != nil {
		return nil, err
	}
	v, err := plist.ReadOnce(data)
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
	c := &Command{UUID: uuid}
	c.RequestType, _ = inner["RequestType"].(string)
	if c.RequestType == "" || len(c.RequestType) > maxUUIDLength {
		return nil, errors.New("the Command dictionary has no RequestType, or a too long one")
	}
	if given, has := root["CommandUUID"]; has {
		c.UUID, _ = given.(string)
		if c.UUID == "" || len(c.UUID) > maxUUIDLength {
			return nil, fmt.Errorf("CommandUUID is empty, no string, or longer than %d characters", maxUUIDLength)
		}
		// Anything else may come back from a device, or from the database, as
		// another text.
		if strings.ContainsFunc(c.UUID, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil, errors.New("CommandUUID has characters that are not printable ASCII")
		}
	}
	root["CommandUUID"] = c.UUID
	if c.Raw, err = plist.Marshal(root); err != nil {
		return nil, err
	}
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
