package profile

import (
	"context"
	"fmt"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/codec/variables"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Hosts finds hosts.
type Hosts interface {
	Host(ctx context.Context, id fleet.HostID) (*fleet.HostDetail, error)
}

// SecretReader reads sealed values.
type SecretReader interface {
	Secret(ctx context.Context, ref fleet.SecretRef) (*fleet.StoredSecret, error)
}

// Delivery fills variables in, at the moment in which something goes to a
// host and nowhere else.
type Delivery struct {
	items   Items
	hosts   Hosts
	secrets SecretReader
	sealer  Sealer
}

// NewDelivery returns the delivery.
func NewDelivery(items Items, hosts Hosts, secrets SecretReader, sealer Sealer) *Delivery {
	return &Delivery{items: items, hosts: hosts, secrets: secrets, sealer: sealer}
}

// Declaration returns a declaration's content for a host; nil when there is
// none of that version any more.
func (d *Delivery) Declaration(ctx context.Context, host fleet.HostID, item fleet.ItemID, version int) ([]byte, error) {
	v, err := d.items.Version(ctx, item, version)
	if err != nil || v == nil {
		return nil, err
	}
	content, err := d.items.Content(ctx, v.SHA256)
	if err != nil || content == nil || !v.Spec.Expands() {
		return content, err
	}
	return d.expand(ctx, host, content, variables.JSON)
}

// Command fills the host's variables into the profile of an InstallProfile.
// An error of a kind that may be shown says which value is missing.
func (d *Delivery) Command(ctx context.Context, host fleet.HostID, body []byte) ([]byte, error) {
	payload, err := mdmcmd.InstallPayload(body)
	if err != nil {
		return nil, fmt.Errorf("read command: %w", err)
	}
	if payload, err = d.expand(ctx, host, payload, variables.XML); err != nil {
		return nil, err
	}
	root, err := plist.ReadDict(body)
	if err != nil {
		return nil, fmt.Errorf("read command: %w", err)
	}
	cmd, err := mdmcmd.NewInstallProfile(root.Text("CommandUUID"), payload)
	if err != nil {
		return nil, err
	}
	return cmd.Raw, nil
}

func (d *Delivery) expand(ctx context.Context, host fleet.HostID, content []byte, escape func(string) string) ([]byte, error) {
	h, err := d.hosts.Host(ctx, host)
	if err != nil {
		return nil, err
	}
	if h == nil {
		return nil, fleet.Errorf(fleet.KindNotFound, "the host is gone")
	}
	return variables.Expand(content, escape, func(secret bool, name string) (string, error) {
		if secret {
			return d.secret(ctx, name)
		}
		value, ok := h.Variable(name)
		if !ok {
			return "", fleet.Errorf(fleet.KindPrecondition, "the variable $FLEET_VAR_%s has no value for this host", name)
		}
		return value, nil
	})
}

func (d *Delivery) secret(ctx context.Context, name string) (string, error) {
	ref := fleet.SecretRef{Scope: fleet.ScopeVariable, Name: name}
	stored, err := d.secrets.Secret(ctx, ref)
	if err != nil {
		return "", err
	}
	if stored == nil {
		return "", fleet.Errorf(fleet.KindPrecondition, "the secret $FLEET_SECRET_%s is not set", name)
	}
	value, err := d.sealer.Open(ref, stored.Value)
	if err != nil {
		return "", fmt.Errorf("open secret %s: %w", name, err)
	}
	return string(value), nil
}
