package enroll

import (
	"context"
	"crypto/x509"
	"errors"
	"net/url"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/codec/machineinfo"
	"github.com/muster-mdm/muster/internal/codec/mobileconfig"
	"github.com/muster-mdm/muster/internal/fleet"
)

// PathOTA is where a device that enrolls over the air tells what it is; the
// enroll secret follows (contracts/fleet-api.md 1.7).
const PathOTA = "/api/v1/fleet/ota_enrollment"

// Joins finds the team of an enroll secret. KindForbidden: there is none.
type Joins interface {
	TeamOf(ctx context.Context, secret string) (fleet.TeamID, error)
}

// Proofs are what a device shows of itself between the steps of enrollment over
// the air. Each works once; KindForbidden: not any more.
type Proofs interface {
	Trade(ctx context.Context, secret string, used, minted fleet.Challenge, events ...fleet.Event) (string, error)
	Proof(ctx context.Context, cert *x509.Certificate) (*fleet.Identity, error)
	Spend(ctx context.Context, i *fleet.Identity, minted fleet.Challenge, events ...fleet.Event) (string, error)
}

// OverTheAir enrolls devices whose owner has an enroll secret, in three steps:
//
//	Begin     a profile with a challenge that asks the device what it is
//	phase 1   the device answers, signed with the certificate that Apple gave
//	          it: it may ask for an identity of ours, for its serial number
//	phase 2   it answers again, signed with that identity: it gets the
//	          enrollment profile, for its serial number
//
// Challenge and identity are used up by the step that follows, so that what
// somebody recorded is worth nothing.
type OverTheAir struct {
	issuer  *Issuer
	joins   Joins
	proofs  Proofs
	trusted machineinfo.Authorities
}

// NewOverTheAir returns what enrolls over the air. trusted are the authorities
// of devices.
func NewOverTheAir(issuer *Issuer, joins Joins, proofs Proofs, trusted machineinfo.Authorities) *OverTheAir {
	return &OverTheAir{issuer: issuer, joins: joins, proofs: proofs, trusted: trusted}
}

// Begin returns the signed profile that begins enrollment with a secret.
// Errors: KindForbidden when there is no such secret.
func (o *OverTheAir) Begin(ctx context.Context, secret string) ([]byte, error) {
	team, err := o.joins.TeamOf(ctx, secret)
	if err != nil {
		return nil, err
	}
	s, err := o.issuer.settings.Settings(ctx)
	if err != nil {
		return nil, err
	}
	if s.AppleBase() == "" {
		return nil, noURL()
	}
	challenge, err := o.issuer.authority.Mint(ctx, fleet.Challenge{Purpose: fleet.PurposeOTAStart, Admission: fleet.Admission{Kind: fleet.EnrollmentOTA, TeamID: team}})
	if err != nil {
		return nil, err
	}
	return o.sign(mobileconfig.ProfileService{Organization: s.OrgName, URL: s.AppleBase() + PathOTA + "?enroll_secret=" + url.QueryEscape(secret), Challenge: challenge}.Build())
}

func (o *OverTheAir) sign(profile []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return cms.Sign(profile, o.issuer.authority.Certificate(), nil, o.issuer.authority.Signer())
}

// Answer takes what a device signed in either phase and returns the profile
// that follows. Errors: KindForbidden, KindBadRequest.
func (o *OverTheAir) Answer(ctx context.Context, secret string, der []byte, address string) ([]byte, error) {
	team, err := o.joins.TeamOf(ctx, secret)
	if err != nil {
		return nil, err
	}
	own := machineinfo.Authorities{o.issuer.authority.Certificate()}
	info, signer, err := machineinfo.VerifySigner(der, own)
	first := errors.Is(err, machineinfo.ErrForeign)
	if first {
		info, err = machineinfo.Verify(der, o.trusted)
	}
	switch {
	case err != nil:
		return nil, fleet.Errorf(fleet.KindBadRequest, "%v: only Apple devices can enroll over the air", err).WithCause(err)
	case info.Serial == "":
		return nil, fleet.Errorf(fleet.KindBadRequest, "the device does not tell its serial number")
	case first:
		return o.certify(ctx, team, info)
	}
	return o.enroll(ctx, team, info, signer, address)
}

// certify is the answer to phase 1.
func (o *OverTheAir) certify(ctx context.Context, team fleet.TeamID, info fleet.MachineInfo) ([]byte, error) {
	s, err := o.issuer.settings.Settings(ctx)
	if err != nil {
		return nil, err
	}
	way := fleet.Admission{Kind: fleet.EnrollmentOTA, TeamID: team}
	used := fleet.Challenge{Purpose: fleet.PurposeOTAStart, Admission: way}
	way.Serial = info.Serial
	challenge, err := o.proofs.Trade(ctx, info.Challenge, used, fleet.Challenge{Purpose: fleet.PurposeOTA, Admission: way})
	if err != nil {
		return nil, err
	}
	return o.sign(mobileconfig.OTAIdentity{Organization: s.OrgName, SCEPURL: s.AppleBase() + PathSCEP, Challenge: challenge}.Build())
}

// enroll is the answer to phase 2.
func (o *OverTheAir) enroll(ctx context.Context, team fleet.TeamID, info fleet.MachineInfo, signer *x509.Certificate, address string) ([]byte, error) {
	proof, err := o.proofs.Proof(ctx, signer)
	if err != nil {
		return nil, err
	}
	if proof.Serial != info.Serial || proof.TeamID != team {
		return nil, fleet.Errorf(fleet.KindForbidden, "the certificate is not that of device %.40q, or of another team: download the profile again", info.Serial)
	}
	event := fleet.Event{Kind: fleet.EventProfileDownloaded, Actor: fleet.Actor{Kind: fleet.ActorDevice, Name: info.Serial, Address: address},
		Details: details(map[string]string{"enrollment": "over the air", "serial": info.Serial})}
	return o.issuer.compose(ctx, composition{challenge: fleet.Challenge{Purpose: fleet.PurposeEnroll, Admission: proof.Admission}, signed: true,
		mint: func(c fleet.Challenge) (string, error) { return o.proofs.Spend(ctx, proof, c, event) }})
}
