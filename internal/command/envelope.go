package command

import (
	"bytes"
	"context"
	"fmt"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Sealer encrypts and decrypts what is kept.
type Sealer interface {
	Seal(ref fleet.SecretRef, secret []byte) (fleet.Sealed, error)
	Open(ref fleet.SecretRef, sealed fleet.Sealed) ([]byte, error)
}

// SecretReader reads sealed values; nil when there is none.
type SecretReader interface {
	Secret(ctx context.Context, ref fleet.SecretRef) (*fleet.StoredSecret, error)
}

// Envelope keeps passwords, PINs and tokens of people's commands sealed until
// a device fetches the command.
type Envelope struct {
	secrets SecretReader
	sealer  Sealer
}

// NewEnvelope returns the envelope of commands.
func NewEnvelope(secrets SecretReader, sealer Sealer) *Envelope { return &Envelope{secrets, sealer} }

func wholeRef(uuid string) fleet.SecretRef {
	return fleet.SecretRef{Scope: fleet.ScopeCommand, Name: uuid}
}

// close seals a command that holds a secret: its body is then without. What a
// profile holds has too many names to tell, so that each counts as secret.
func (e *Envelope) close(cmd *fleet.Command) error {
	open := mdmcmd.Redacted(cmd.Body)
	if cmd.RequestType == "InstallProfile" {
		var err error
		if open, err = mdmcmd.WithFields(cmd.Body, map[string]any{"Payload": []byte(mdmcmd.Hidden)}); err != nil {
			return fmt.Errorf("seal the profile of command %s: %w", cmd.UUID, err)
		}
	}
	if open == nil {
		return fmt.Errorf("command %s cannot be read again", cmd.UUID)
	}
	if bytes.Equal(open, cmd.Body) {
		return nil
	}
	ref := wholeRef(cmd.UUID)
	sealed, err := e.sealer.Seal(ref, cmd.Body)
	if err != nil {
		return fmt.Errorf("seal command %s: %w", cmd.UUID, err)
	}
	cmd.Body, cmd.Expand, cmd.Whole = open, true, &fleet.SecretWrite{Ref: ref, Value: sealed}
	return nil
}

// Fill returns a sealed command as the device gets it. KindPrecondition: what
// was sealed is not kept any more.
func (e *Envelope) Fill(ctx context.Context, next *fleet.NextCommand) ([]byte, error) {
	ref := wholeRef(next.UUID)
	stored, err := e.secrets.Secret(ctx, ref)
	if err != nil {
		return nil, err
	}
	if stored == nil {
		return nil, fleet.Errorf(fleet.KindPrecondition, "what is secret in command %s is not kept any more: send it again", next.UUID)
	}
	body, err := e.sealer.Open(ref, stored.Value)
	if err != nil {
		return nil, fmt.Errorf("open command %s: %w", next.UUID, err)
	}
	return body, nil
}
