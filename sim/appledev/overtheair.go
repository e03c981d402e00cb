package appledev

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/muster-mdm/muster/internal/codec/cms"
)

// Requests of enrollment over the air.
const (
	opProfileService = "profile service"
	opPhase1         = "over the air 1"
	opPhase2         = "over the air 2"
)

// profileService is what a profile of that type asks for.
type profileService struct {
	url       string
	challenge string
	wants     []string
}

// Pass is what a device sent and got on its way through enrollment over the
// air, for tests.
type Pass struct {
	URL            string
	Phase1, Phase2 []byte // signed, as they were sent
	// Identity is the profile that answered phase 1.
	Identity []byte
	identity *identity
}

// CheckInWith sends an Authenticate that is signed with the identity of phase 1,
// which is not for that, and returns the status.
func (d *Device) CheckInWith(ctx context.Context, pass *Pass) (status int, err error) {
	d.talking.Lock()
	defer d.talking.Unlock()
	e := d.current()
	if e == nil {
		return 0, ErrNotEnrolled
	}
	signed, err := d.checkInCall(&enrollment{profile: e.profile, identity: pass.identity}, nil, "Authenticate", d.authenticateFields(e))
	if err != nil {
		return 0, err
	}
	answer, err := d.send(ctx, signed)
	if err != nil {
		return 0, err
	}
	return answer.status, nil
}

// EnrollOverTheAir installs a profile that begins enrollment over the air
// (Apple, "Over-the-Air Profile Delivery and Configuration"): the device tells
// what it is, signed with its built-in certificate, gets an identity, tells it
// again signed with that, and installs the enrollment profile that it gets. It
// needs the service of the Options.
func (d *Device) EnrollOverTheAir(ctx context.Context, profileURL string) (*Pass, error) {
	d.talking.Lock()
	defer d.talking.Unlock()
	pass := &Pass{}
	raw, err := d.overTheAir(ctx, profileURL, pass)
	if err == nil {
		err = d.enroll(ctx, raw)
	}
	if err != nil {
		return pass, d.failed(fmt.Errorf("over the air: %w", err))
	}
	d.emit(Event{Kind: EventEnrolled})
	return pass, nil
}

// overTheAir returns the enrollment profile.
func (d *Device) overTheAir(ctx context.Context, profileURL string, pass *Pass) ([]byte, error) {
	answer, err := d.must(d.send(ctx, call{op: opProfileService, method: http.MethodGet, url: profileURL}))
	if err != nil {
		return nil, err
	}
	service, err := parseProfileService(answer.body)
	if err != nil {
		return nil, err
	}
	pass.URL = service.url
	hardware, err := d.factory(ctx)
	if err != nil {
		return nil, err
	}
	content, err := d.attributes(service).encode()
	if err != nil {
		return nil, err
	}
	if pass.Phase1, err = hardware.sign(content, d.o.Digest, d.now()); err != nil {
		return nil, err
	}
	if pass.Identity, err = d.answerService(ctx, opPhase1, service.url, pass.Phase1); err != nil {
		return nil, err
	}
	p, err := parseIdentityProfile(pass.Identity)
	if err != nil {
		return nil, err
	}
	id, err := d.requestIdentity(ctx, p)
	if err != nil {
		return nil, err
	}
	if pass.Phase2, err = cms.SignWith(content, cms.Signing{Certificate: id.cert, Key: id.key, Digest: d.o.Digest}); err != nil {
		return nil, err
	}
	pass.identity = id
	return d.answerService(ctx, opPhase2, service.url, pass.Phase2)
}

func (d *Device) answerService(ctx context.Context, op, url string, signed []byte) ([]byte, error) {
	answer, err := d.must(d.send(ctx, call{op: op, method: http.MethodPost, url: url, contentType: typeMachineInfo, body: signed}))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if answer.contentType != typeConfig {
		return nil, fmt.Errorf("%s: answered with %q", op, answer.contentType)
	}
	return answer.body, nil
}

// attributes are those that a profile asks for, and its challenge.
func (d *Device) attributes(p profileService) dict {
	all, out := d.machineFields(), dict{}
	for _, name := range p.wants {
		if v, ok := all[name]; ok {
			out[name] = v
		}
	}
	if p.challenge != "" {
		out["CHALLENGE"] = p.challenge
	}
	return out
}

func parseProfileService(raw []byte) (profileService, error) {
	content, _, err := unsigned(raw)
	if err != nil {
		return profileService{}, err
	}
	d, err := parseDict(content)
	if err != nil {
		return profileService{}, err
	}
	asked := d.dict("PayloadContent")
	p := profileService{url: asked.text("URL"), challenge: asked.text("Challenge"), wants: asked.texts("DeviceAttributes")}
	if d.text("PayloadType") != "Profile Service" || p.url == "" || len(p.wants) == 0 {
		return p, errors.New("not a profile of a profile service")
	}
	return p, nil
}

// parseIdentityProfile finds the only payload of the answer to phase 1.
func parseIdentityProfile(raw []byte) (*scepPayload, error) {
	content, _, err := unsigned(raw)
	if err != nil {
		return nil, err
	}
	d, err := parseDict(content)
	if err != nil {
		return nil, err
	}
	payloads := d.dicts("PayloadContent")
	if d.text("PayloadType") != "Configuration" || len(payloads) != 1 || payloads[0].text("PayloadType") != "com.apple.security.scep" {
		return nil, errors.New("the profile does not bring an identity")
	}
	return parseSCEP(payloads[0].dict("PayloadContent"))
}
