package httpapi

import (
	"context"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/httpx"
	"github.com/muster-mdm/muster/internal/kit/ratelimit"
)

// OverTheAir enrolls devices whose owner has an enroll secret. KindForbidden:
// the secret, or what the device shows, is good no more.
type OverTheAir interface {
	// Begin returns the profile that asks a device what it is.
	Begin(ctx context.Context, secret string) ([]byte, error)
	// Answer takes what a device signed and returns the profile that follows.
	Answer(ctx context.Context, secret string, der []byte, address string) ([]byte, error)
}

// otaBytes bounds what a device signs.
const otaBytes = 64 << 10

// OTAInput has the secret of enrollment over the air.
type OTAInput struct {
	EnrollSecret string `query:"enroll_secret" required:"true" maxLength:"255" doc:"An enroll secret: it says which team the device joins"`
}

func (a *api) otaProfile(ctx context.Context, in *OTAInput) (*profileOutput, error) {
	if err := a.mayDownload(ctx); err != nil {
		return nil, err
	}
	return profileFile(a.overTheAir.Begin(ctx, in.EnrollSecret))
}

type otaAnswerInput struct {
	OTAInput
	IDP     string `query:"idp_uuid" doc:"Has no effect"`
	RawBody []byte `contentType:"application/pkcs7-signature"`
}

func (a *api) otaEnroll(ctx context.Context, in *otaAnswerInput) (*profileOutput, error) {
	if err := a.mayDownload(ctx); err != nil {
		return nil, err
	}
	return profileFile(a.overTheAir.Answer(ctx, in.EnrollSecret, in.RawBody, httpx.Address(ctx)))
}

// mayDownload bounds how often one network asks for profiles.
func (a *api) mayDownload(ctx context.Context) error {
	wait := a.downloads.Take(ratelimit.Network(httpx.Address(ctx)))
	if wait == 0 {
		return nil
	}
	err := fleet.Errorf(fleet.KindTooMany, "Too many enrollment profiles were downloaded from this address. Try again later.")
	err.RetryAfter = wait
	return err
}
