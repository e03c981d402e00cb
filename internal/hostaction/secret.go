package hostaction

import (
	"context"
	"fmt"
	"maps"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

// currentUUID is a sealed field that is no field of the command: the command
// that set the recovery lock password which is in force.
const currentUUID = "muster.current"

func actionRef(uuid string) fleet.SecretRef {
	return fleet.SecretRef{Scope: fleet.ScopeAction, Name: uuid}
}

func bypassRef(key string) fleet.SecretRef {
	return fleet.SecretRef{Scope: fleet.ScopeBypassCode, Name: key}
}

func (s *Service) seal(uuid string, value []byte) (fleet.SecretWrite, error) {
	ref := actionRef(uuid)
	sealed, err := s.o.Sealer.Seal(ref, value)
	return fleet.SecretWrite{Ref: ref, Value: sealed}, err
}

// open reads a sealed value; nil when there is none.
func (s *Service) open(ctx context.Context, ref fleet.SecretRef) ([]byte, error) {
	stored, err := s.o.Secrets.Secret(ctx, ref)
	if err != nil || stored == nil {
		return nil, err
	}
	value, err := s.o.Sealer.Open(ref, stored.Value)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", ref.Scope, err)
	}
	return value, nil
}

// sealedFields are the fields that a command lacks; empty when there are none.
func (s *Service) sealedFields(ctx context.Context, uuid string) (map[string]any, error) {
	packed, err := s.open(ctx, actionRef(uuid))
	if err != nil || packed == nil {
		return map[string]any{}, err
	}
	v, err := plist.Read(packed)
	if err != nil {
		return nil, fmt.Errorf("read the fields of command %s: %w", uuid, err)
	}
	fields, _ := v.(map[string]any)
	return fields, nil
}

// commandSecret returns one sealed text of a command. KindNotFound: it is gone.
func (s *Service) commandSecret(ctx context.Context, uuid, key string) (string, error) {
	fields, err := s.sealedFields(ctx, uuid)
	if err != nil {
		return "", err
	}
	text, _ := fields[key].(string)
	if text == "" {
		return "", fleet.Errorf(fleet.KindNotFound, "the %s of command %s is not kept any more", key, uuid)
	}
	return text, nil
}

// Fill puts into a command what is not in its stored body, at the moment in
// which the device fetches it and nowhere else. An error of a kind that may be
// shown says what is missing.
func (s *Service) Fill(ctx context.Context, next *fleet.NextCommand) ([]byte, error) {
	sealed, err := s.sealedFields(ctx, next.UUID)
	if err != nil {
		return nil, err
	}
	fields := maps.Clone(sealed)
	if current, _ := fields[currentUUID].(string); current != "" {
		delete(fields, currentUUID)
		if fields["CurrentPassword"], err = s.commandSecret(ctx, current, "NewPassword"); err != nil {
			return nil, err
		}
	}
	if mdmcmd.Field(next.Body, "RequestType") == "ClearPasscode" {
		token, err := s.open(ctx, fleet.SecretRef{Scope: fleet.ScopeUnlockToken, Name: next.EnrollmentKey})
		if err != nil {
			return nil, err
		}
		if token != nil {
			fields["UnlockToken"] = token
		}
	}
	if len(fields) == 0 {
		return nil, fleet.Errorf(fleet.KindPrecondition, "what belongs into command %s is not kept any more: ask for it again", next.UUID)
	}
	return mdmcmd.WithFields(next.Body, fields)
}
