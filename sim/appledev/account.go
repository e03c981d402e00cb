package appledev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
)

// Requests of account-driven enrollment.
const (
	opDiscover = "service discovery"
	opSignIn   = "account enrollment"
)

// signInURL finds the page in the challenge of a server.
var signInURL = regexp.MustCompile(`^Bearer method="apple-as-web", ?url="([^"]+)"$`)

// EnrollWithAccount is a person who signs in with a managed Apple account in
// Settings (contracts/apple.md 4.7): the device asks the domain, server, where
// to enroll, is sent to sign in, which page does and returns a token, and comes
// back with that. It needs the service of the Options.
func (d *Device) EnrollWithAccount(ctx context.Context, server, account string, page func(ctx context.Context, url string) (token string, err error)) error {
	d.talking.Lock()
	defer d.talking.Unlock()
	raw, err := d.withAccount(ctx, server, account, page)
	if err == nil {
		err = d.enroll(ctx, raw)
	}
	if err != nil {
		return d.failed(fmt.Errorf("account: %w", err))
	}
	d.emit(Event{Kind: EventEnrolled})
	return nil
}

// EnrollmentID is what a personal device calls itself; "" on any other.
func (d *Device) EnrollmentID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.enrolled == nil || !d.enrolled.personal() {
		return ""
	}
	return d.enrolled.pseudonym
}

func (d *Device) withAccount(ctx context.Context, server, account string, page func(context.Context, string) (string, error)) ([]byte, error) {
	base, err := d.discover(ctx, server, account)
	if err != nil {
		return nil, err
	}
	fields := d.machineFields()
	content, err := dict{"LANGUAGE": fields["LANGUAGE"], "PRODUCT": fields["PRODUCT"], "VERSION": fields["VERSION"]}.encode()
	if err != nil {
		return nil, err
	}
	hardware, err := d.factory(ctx)
	if err != nil {
		return nil, err
	}
	signed, err := hardware.sign(content, d.o.Digest, d.now())
	if err != nil {
		return nil, err
	}
	ask := call{op: opSignIn, method: http.MethodPost, url: base, contentType: typeMachineInfo, body: signed}
	answer, err := d.send(ctx, ask)
	if err != nil {
		return nil, err
	}
	where := signInURL.FindStringSubmatch(answer.challenge)
	if answer.status != http.StatusUnauthorized || where == nil {
		return nil, fmt.Errorf("not sent to sign in: %d, %q", answer.status, answer.challenge)
	}
	token, err := page(ctx, where[1])
	if err != nil {
		return nil, err
	}
	ask.header = [2]string{"Authorization", "Bearer " + token}
	answer, err = d.must(d.send(ctx, ask))
	if err != nil {
		return nil, err
	}
	p, err := parseProfile(answer.body)
	if err == nil && (p.mdm == nil || p.mdm.account == "") {
		err = errors.New("the profile is not for a personal device")
	}
	return answer.body, err
}

// discover asks a domain where to enroll.
func (d *Device) discover(ctx context.Context, server, account string) (string, error) {
	query := url.Values{"user-identifier": {account}, "model-family": {d.spec.Model.Family.String()}}
	answer, err := d.must(d.send(ctx, call{op: opDiscover, method: http.MethodGet, url: server + "/.well-known/com.apple.remotemanagement?" + query.Encode()}))
	if err != nil {
		return "", err
	}
	var found struct {
		Servers []struct{ Version, BaseURL string }
	}
	err = json.Unmarshal(answer.body, &found)
	if err != nil || len(found.Servers) != 1 || found.Servers[0].Version != "mdm-byod" {
		return "", fmt.Errorf("service discovery: %+v, %w", found, errors.Join(errors.New("not one server for personal devices"), err))
	}
	return found.Servers[0].BaseURL, nil
}
