package apiv1

import "time"

// ExpiringResponse is what expires within some days, or has expired.
type ExpiringResponse struct {
	Days       int                `json:"days"`
	Expiring   []ExpiringThing    `json:"expiring" nullable:"false" doc:"Of the server's own, the nearest first"`
	Identities ExpiringIdentities `json:"identities"`
	Refused    []RefusedToken     `json:"refused_tokens" nullable:"false" doc:"Server tokens that Apple does not accept at present, whatever their date"`
}

// RefusedToken is a server token with which Apple does not work.
type RefusedToken struct {
	ID     int64  `json:"id"`
	Name   string `json:"name" doc:"Of the server at Apple"`
	Reason string `json:"reason" doc:"What Apple says, and what to do"`
}

// ExpiringThing is a certificate or token of the server's own.
type ExpiringThing struct {
	Kind     string    `json:"kind" doc:"push_certificate, certificate_authority or server_token"`
	Name     string    `json:"name"`
	NotAfter time.Time `json:"not_after"`
	DaysLeft int       `json:"days_left" doc:"Whole days; negative: it has expired"`
}

// ExpiringIdentities are the certificates of devices. They are renewed without
// anybody's doing; those that are near are of devices that do not come.
type ExpiringIdentities struct {
	Count   int                `json:"count"`
	Weeks   []ExpiringWeek     `json:"weeks" nullable:"false" doc:"By the week in which they expire"`
	Nearest []ExpiringIdentity `json:"nearest" nullable:"false" doc:"The first 20"`
}

// ExpiringWeek counts identities that expire in one week.
type ExpiringWeek struct {
	Week  int `json:"week" doc:"From now, from 0; -1: expired already"`
	Count int `json:"count"`
}

// ExpiringIdentity is the certificate of a device.
type ExpiringIdentity struct {
	HostID         int64     `json:"host_id" doc:"0: the host's record was deleted"`
	HostUUID       string    `json:"host_uuid"`
	HardwareSerial string    `json:"hardware_serial"`
	Hostname       string    `json:"hostname"`
	NotAfter       time.Time `json:"not_after"`
	Renewing       bool      `json:"renewing" doc:"The device has been sent a new one"`
	FailedAttempts int       `json:"failed_attempts"`
	Fault          string    `json:"fault" doc:"Why the last attempt failed"`
}
