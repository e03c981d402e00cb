package apiv1

import "time"

// Enrollment is an entity that devices enroll through. It is Muster's own:
// the enrollments of the first MDM plan.
type Enrollment struct {
	ID        int64     `json:"id"`
	Name      string    `json:"name"`
	Type      string    `json:"type" enum:"manual,automatic"`
	EnrollURL string    `json:"enroll_url" doc:"Opened on the device it downloads an enrollment profile"`
	CreatedAt time.Time `json:"created_at"`
	// ServerTokenID is set once an automatic enrollment has its server token.
	ServerTokenID *int64 `json:"abm_token_id,omitempty" doc:"Server token of an automatic enrollment; absent until it is uploaded"`
}

// CreateEnrollmentRequest makes an enrollment.
type CreateEnrollmentRequest struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty" enum:"manual,automatic" default:"manual" doc:"automatic: for devices that Apple assigns to this server; its server token is uploaded next"`
}

// EnrollmentResponse is one enrollment.
type EnrollmentResponse struct {
	Enrollment Enrollment `json:"enrollment"`
}

// EnrollmentsResponse lists enrollments.
type EnrollmentsResponse struct {
	Enrollments []Enrollment `json:"enrollments" nullable:"false"`
}
