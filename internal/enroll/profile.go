package enroll

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/codec/mobileconfig"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
)

// Paths of the endpoints that a profile names.
const (
	PathMDM  = "/mdm/apple/mdm"
	PathSCEP = "/mdm/apple/scep"
	// PathEnroll is followed by the token of an enrollment profile.
	PathEnroll = "/mdm/apple/enroll/"
)

// DefaultProfile is the enrollment that is used when none is named.
const DefaultProfile = "Default manual enrollment"

// maxName bounds the name of an enrollment profile.
const maxName = 200

// Profiles keeps enrollment entities.
type Profiles interface {
	Create(ctx context.Context, p *fleet.EnrollmentProfile, events ...fleet.Event) error
	List(ctx context.Context) ([]fleet.EnrollmentProfile, error)
	ByID(ctx context.Context, id fleet.EnrollmentProfileID) (*fleet.EnrollmentProfile, error)
	ByToken(ctx context.Context, token string) (*fleet.EnrollmentProfile, error)
	ByName(ctx context.Context, name string) (*fleet.EnrollmentProfile, error)
	ByServerToken(ctx context.Context, token fleet.ServerTokenID) (*fleet.EnrollmentProfile, error)
	Delete(ctx context.Context, id fleet.EnrollmentProfileID, events ...fleet.Event) (bool, error)
}

// Authority issues identities and signs profiles.
type Authority interface {
	Mint(ctx context.Context, c fleet.Challenge, events ...fleet.Event) (secret string, err error)
	Certificate() *x509.Certificate
	Signer() crypto.Signer
}

// Settings tells the organization's name and URLs.
type Settings interface {
	Settings(ctx context.Context) (fleet.Settings, error)
}

// Topics tells the push topic. KindNotFound: no push certificate.
type Topics interface {
	Certificate(ctx context.Context) (*fleet.PushCertificate, error)
}

// Issuer makes enrollment profiles. Each carries a challenge of its own, so
// that each enrolls one device.
type Issuer struct {
	profiles  Profiles
	authority Authority
	settings  Settings
	topics    Topics
}

// NewIssuer returns a maker of enrollment profiles.
func NewIssuer(profiles Profiles, authority Authority, settings Settings, topics Topics) *Issuer {
	return &Issuer{profiles: profiles, authority: authority, settings: settings, topics: topics}
}

// CreateProfile makes an enrollment entity.
func (i *Issuer) CreateProfile(ctx context.Context, actor fleet.Actor, name string, kind fleet.EnrollmentKind) (fleet.EnrollmentProfile, error) {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > maxName {
		return fleet.EnrollmentProfile{}, fleet.FieldErrorf(fleet.KindInvalid, "name", "a name of 1 to %d characters is needed", maxName)
	}
	if kind != fleet.EnrollmentManual && kind != fleet.EnrollmentADE {
		return fleet.EnrollmentProfile{}, fleet.FieldErrorf(fleet.KindInvalid, "type", "only manual and automatic enrollments can be made")
	}
	p := fleet.EnrollmentProfile{Name: name, Kind: kind, Token: ids.Token(), CreatedBy: actor.UserID}
	s, err := i.settings.Settings(ctx)
	if err != nil {
		return p, err
	}
	p.EnrollURL = enrollURL(s, &p)
	err = i.profiles.Create(ctx, &p, fleet.Event{Kind: fleet.EventProfileCreated, Actor: actor, Details: details(map[string]string{"name": name})})
	return p, err
}

// Profiles lists the enrollment entities.
func (i *Issuer) Profiles(ctx context.Context) ([]fleet.EnrollmentProfile, error) {
	list, err := i.profiles.List(ctx)
	if err != nil {
		return nil, err
	}
	s, err := i.settings.Settings(ctx)
	for n := range list {
		list[n].EnrollURL = enrollURL(s, &list[n])
	}
	return list, err
}

// DeleteProfile removes an enrollment entity; its URL stops working. Devices
// that enrolled with it stay enrolled.
func (i *Issuer) DeleteProfile(ctx context.Context, actor fleet.Actor, id fleet.EnrollmentProfileID) error {
	p, err := i.profiles.ByID(ctx, id)
	if err != nil {
		return err
	}
	if p != nil && p.ServerTokenID != 0 {
		return fleet.Errorf(fleet.KindConflict, "enrollment %d (%s) is that of server token %d, whose devices enroll through it: delete the server token instead", id, p.Name, p.ServerTokenID)
	}
	found, err := i.profiles.Delete(ctx, id, fleet.Event{Kind: fleet.EventProfileDeleted, Actor: actor, Details: details(map[string]string{"id": fmt.Sprint(id)})})
	if err == nil && !found {
		return fleet.Errorf(fleet.KindNotFound, "there is no enrollment %d", id)
	}
	return err
}

// Mobileconfig mints a challenge and returns the profile of an enrollment
// entity; id 0 means the default one, made on first use.
func (i *Issuer) Mobileconfig(ctx context.Context, actor fleet.Actor, id fleet.EnrollmentProfileID, signed bool) ([]byte, error) {
	p, err := i.byID(ctx, actor, id)
	if err != nil {
		return nil, err
	}
	if p.Kind != fleet.EnrollmentManual {
		return nil, fleet.Errorf(fleet.KindInvalid, "enrollment %d (%s) is automatic: its profile is handed to devices that Apple assigned to this server, and to nobody else", p.ID, p.Name)
	}
	return i.build(ctx, actor, *p, signed)
}

// MobileconfigByToken is Mobileconfig for whoever has the entity's URL.
func (i *Issuer) MobileconfigByToken(ctx context.Context, token, address string, signed bool) ([]byte, error) {
	p, err := i.profiles.ByToken(ctx, token)
	if err != nil {
		return nil, err
	}
	if p == nil || p.Kind != fleet.EnrollmentManual {
		return nil, fleet.Errorf(fleet.KindNotFound, "there is no such enrollment: its link may have been deleted. Ask your administrator for a new one")
	}
	return i.build(ctx, fleet.Actor{Kind: fleet.ActorDevice, Address: address}, *p, signed)
}

func (i *Issuer) byID(ctx context.Context, actor fleet.Actor, id fleet.EnrollmentProfileID) (*fleet.EnrollmentProfile, error) {
	if id != 0 {
		p, err := i.profiles.ByID(ctx, id)
		if err == nil && p == nil {
			err = fleet.Errorf(fleet.KindNotFound, "there is no enrollment %d", id)
		}
		return p, err
	}
	p, err := i.profiles.ByName(ctx, DefaultProfile)
	if err != nil || p != nil {
		return p, err
	}
	made, err := i.CreateProfile(ctx, actor, DefaultProfile, fleet.EnrollmentManual)
	if fleet.KindOf(err) == fleet.KindConflict {
		return i.profiles.ByName(ctx, DefaultProfile) // somebody else was faster
	}
	return &made, err
}

// enrollURL is where a profile is downloaded; a path only while the server's
// URL is not set.
func enrollURL(s fleet.Settings, p *fleet.EnrollmentProfile) string {
	if p.Kind == fleet.EnrollmentADE {
		return automaticURL(s, p.Token)
	}
	return s.AppleBase() + PathEnroll + url.PathEscape(p.Token)
}

func noURL() error {
	return fleet.Errorf(fleet.KindPrecondition, "the server's URL is not set: run `muster setup`, or set server_settings.server_url")
}

func (i *Issuer) build(ctx context.Context, actor fleet.Actor, p fleet.EnrollmentProfile, signed bool) ([]byte, error) {
	return i.buildFor(ctx, actor, p, fleet.Admission{Kind: p.Kind, TeamID: p.TeamID}, signed)
}

// buildFor mints a challenge for whoever may come in, and builds the profile
// that carries it.
func (i *Issuer) buildFor(ctx context.Context, actor fleet.Actor, p fleet.EnrollmentProfile, admission fleet.Admission, signed bool) ([]byte, error) {
	event := fleet.Event{Kind: fleet.EventProfileDownloaded, Actor: actor, Details: details(map[string]string{"enrollment": p.Name, "serial": admission.Serial})}
	return i.compose(ctx, composition{challenge: fleet.Challenge{Purpose: fleet.PurposeEnroll, ProfileID: p.ID, Admission: admission}, signed: signed,
		mint: func(c fleet.Challenge) (string, error) { return i.authority.Mint(ctx, c, event) }})
}

// composition says what goes into an enrollment profile.
type composition struct {
	challenge      fleet.Challenge
	managedAppleID string // of a person's own device; "": none
	signed         bool
	// mint makes the challenge when everything else is there.
	mint func(fleet.Challenge) (string, error)
}

// compose builds the enrollment profile around a challenge.
func (i *Issuer) compose(ctx context.Context, o composition) ([]byte, error) {
	s, err := i.settings.Settings(ctx)
	if err != nil {
		return nil, err
	}
	if s.AppleBase() == "" {
		return nil, noURL()
	}
	push, err := i.topics.Certificate(ctx)
	if fleet.KindOf(err) == fleet.KindNotFound {
		return nil, fleet.Errorf(fleet.KindPrecondition, "devices cannot be reached without an APNs certificate: upload one with `muster apns upload`, then enroll")
	}
	if err != nil {
		return nil, err
	}
	e := mobileconfig.Enrollment{Organization: s.OrgName, Topic: push.Topic, ServerURL: s.AppleBase() + PathMDM,
		AccessRights: mobileconfig.AllRights, SCEPURL: s.AppleBase() + PathSCEP, CA: i.authority.Certificate()}
	if o.managedAppleID != "" {
		e.AccessRights, e.ManagedAppleID = 0, o.managedAppleID
	}
	c := o.challenge
	c.ServerURL, c.CheckInURL, c.AccessRights = e.ServerURL, e.CheckInURL, e.AccessRights
	e.Challenge, err = o.mint(c)
	if err != nil {
		return nil, fmt.Errorf("mint challenge: %w", err)
	}
	profile, err := e.Build()
	if err != nil || !o.signed {
		return profile, err
	}
	return cms.Sign(profile, i.authority.Certificate(), nil, i.authority.Signer())
}
