package apiv1

import "time"

// PushCertificate is the APNs certificate for MDM.
type PushCertificate struct {
	CommonName   string    `json:"common_name"`
	SerialNumber string    `json:"serial_number"`
	Issuer       string    `json:"issuer"`
	RenewDate    time.Time `json:"renew_date" doc:"When it expires: renew it before, with the same Apple ID"`
	Topic        string    `json:"topic" doc:"Muster's own: must stay the same for as long as devices are enrolled"`
}

// CSRResponse is a certificate signing request for Apple's push portal.
type CSRResponse struct {
	CSR []byte `json:"csr" doc:"Base64 of the file to upload at Apple"`
}
