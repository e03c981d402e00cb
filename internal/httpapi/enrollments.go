package httpapi

import (
	"context"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/httpx"
)

// mobileconfigType makes an Apple device offer to install the profile.
const mobileconfigType = "application/x-apple-aspen-config"

// profileOutput is a profile as a file.
type profileOutput struct {
	ContentType  string `header:"Content-Type"`
	Disposition  string `header:"Content-Disposition"`
	CacheControl string `header:"Cache-Control"`
	Body         []byte
}

func profileFile(data []byte, err error) (*profileOutput, error) {
	if err != nil {
		return nil, err
	}
	return &profileOutput{
		ContentType: mobileconfigType, Disposition: `attachment; filename="muster-enrollment-profile.mobileconfig"`,
		CacheControl: "no-store", Body: data, // it holds a one-time secret
	}, nil
}

// SignedInput says in which form a profile is wanted.
type SignedInput struct {
	Signed bool `query:"signed" default:"true" doc:"false: the bare property list"`
}

func (a *api) manualProfile(ctx context.Context, in *SignedInput) (*profileOutput, error) {
	return profileFile(a.enrollments.Mobileconfig(ctx, actorOf(ctx), 0, in.Signed))
}

type enrollmentProfileInput struct {
	IDInput
	SignedInput
}

func (a *api) enrollmentProfile(ctx context.Context, in *enrollmentProfileInput) (*profileOutput, error) {
	return profileFile(a.enrollments.Mobileconfig(ctx, actorOf(ctx), fleet.EnrollmentProfileID(in.ID), in.Signed))
}

type enrollTokenInput struct {
	Token string `path:"token" maxLength:"255" doc:"The enrollment's token, from its enroll_url"`
	SignedInput
}

func (a *api) enrollByToken(ctx context.Context, in *enrollTokenInput) (*profileOutput, error) {
	if err := a.mayDownload(ctx); err != nil {
		return nil, err
	}
	return profileFile(a.enrollments.MobileconfigByToken(ctx, in.Token, httpx.Address(ctx), in.Signed))
}

func (a *api) toEnrollment(p fleet.EnrollmentProfile) apiv1.Enrollment {
	out := apiv1.Enrollment{ID: int64(p.ID), Name: p.Name, Type: p.Kind.String(), EnrollURL: p.EnrollURL, CreatedAt: p.CreatedAt.UTC()}
	if p.ServerTokenID != 0 {
		id := int64(p.ServerTokenID)
		out.ServerTokenID = &id
	}
	return out
}

func (a *api) listEnrollments(ctx context.Context, _ *noInput) (*body[apiv1.EnrollmentsResponse], error) {
	profiles, err := a.enrollments.Profiles(ctx)
	if err != nil {
		return nil, err
	}
	out := apiv1.EnrollmentsResponse{Enrollments: make([]apiv1.Enrollment, 0, len(profiles))}
	for _, p := range profiles {
		out.Enrollments = append(out.Enrollments, a.toEnrollment(p))
	}
	return reply(out), nil
}

func (a *api) createEnrollment(ctx context.Context, in *body[apiv1.CreateEnrollmentRequest]) (*body[apiv1.EnrollmentResponse], error) {
	profile, err := a.enrollments.CreateProfile(ctx, actorOf(ctx), in.Body.Name, kindOf(in.Body.Type))
	if err != nil {
		return nil, err
	}
	return reply(apiv1.EnrollmentResponse{Enrollment: a.toEnrollment(profile)}), nil
}

// kindOf is the kind of enrollment of that name.
func kindOf(name string) fleet.EnrollmentKind {
	if name == fleet.EnrollmentADE.String() {
		return fleet.EnrollmentADE
	}
	return fleet.EnrollmentManual
}

func (a *api) deleteEnrollment(ctx context.Context, in *IDInput) (*body[apiv1.Empty], error) {
	if err := a.enrollments.DeleteProfile(ctx, actorOf(ctx), fleet.EnrollmentProfileID(in.ID)); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}
