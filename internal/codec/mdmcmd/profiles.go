package mdmcmd

import (
	"errors"

	"github.com/muster-mdm/muster/internal/codec/plist"
)

// maxListed bounds the profiles that a device may list.
const maxListed = 5000

// ListedProfile is one entry of the answer to ProfileList (contracts/apple.md
// section 6).
type ListedProfile struct {
	Identifier string
	UUID       string
}

// ListedProfiles reads the answer to ProfileList.
func ListedProfiles(d plist.Dict) ([]ListedProfile, error) {
	raw, ok := d["ProfileList"]
	if !ok {
		return nil, errors.New("the answer has no ProfileList")
	}
	v, err := raw.Value()
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok || len(list) > maxListed {
		return nil, errors.New("ProfileList is no array, or a very long one")
	}
	out := make([]ListedProfile, 0, len(list))
	for _, e := range list {
		m, _ := e.(map[string]any)
		var p ListedProfile
		p.Identifier, _ = m["PayloadIdentifier"].(string)
		p.UUID, _ = m["PayloadUUID"].(string)
		if p.Identifier != "" {
			out = append(out, p)
		}
	}
	return out, nil
}

// NewInstallProfile builds the command that installs a profile.
func NewInstallProfile(uuid string, profile []byte) (*Command, error) {
	return New(uuid, "InstallProfile", map[string]any{"Payload": profile})
}

// NewRemoveProfile builds the command that removes a profile.
func NewRemoveProfile(uuid, identifier string) (*Command, error) {
	return New(uuid, "RemoveProfile", map[string]any{"Identifier": identifier})
}

// NewProfileList builds the command that asks for the managed profiles.
func NewProfileList(uuid string) (*Command, error) {
	return New(uuid, "ProfileList", map[string]any{"ManagedOnly": true})
}

// NewDeclarativeManagement builds the command after which a device fetches its
// declarations.
func NewDeclarativeManagement(uuid string) (*Command, error) {
	return New(uuid, "DeclarativeManagement", nil)
}

// InstallPayload returns the profile inside an InstallProfile command.
func InstallPayload(command []byte) ([]byte, error) {
	v, err := plist.Read(command)
	if err != nil {
		return nil, err
	}
	root, _ := v.(map[string]any)
	inner, _ := root["Command"].(map[string]any)
	payload, ok := inner["Payload"].([]byte)
	if !ok {
		return nil, errors.New("the command has no Payload")
	}
	return payload, nil
}
