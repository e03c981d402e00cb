package apiv1

import "time"

// AccountEnrollmentRequest names a person who may enroll a device of their own.
type AccountEnrollmentRequest struct {
	ManagedAppleID string `json:"managed_apple_id" doc:"The person's managed Apple account"`
	TeamID         *int64 `json:"team_id,omitempty" doc:"That the device joins; null or 0: none"`
	FleetID        *int64 `json:"fleet_id,omitempty" doc:"The newer name of team_id"`
}

// AccountEnrollmentResponse has the code that the person enters on the device.
type AccountEnrollmentResponse struct {
	Token     string    `json:"token" doc:"Shown this once; good for one device"`
	ExpiresAt time.Time `json:"expires_at"`
}
