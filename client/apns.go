package client

import (
	"bytes"
	"context"
	"fmt"
	"mime/multipart"
	"net/http"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// PushCertificate shows the APNs certificate; 404 when there is none.
func (c *Client) PushCertificate(ctx context.Context) (apiv1.PushCertificate, error) {
	var out apiv1.PushCertificate
	err := c.get(ctx, prefix+"/apns", nil, &out)
	return out, err
}

// RequestCSR makes a key on the server and returns the file to upload at
// Apple. It is not tried again: every call makes a new key.
func (c *Client) RequestCSR(ctx context.Context) ([]byte, error) {
	var out apiv1.CSRResponse
	err := c.do(ctx, request{method: http.MethodGet, path: prefix + "/mdm/apple/request_csr", into: &out, once: true})
	return out.CSR, err
}

// PushUpload is a certificate to upload: PEM files, or a .p12 file.
type PushUpload struct {
	Certificate []byte
	PrivateKey  []byte // may be empty when the request came from the server
	PKCS12      []byte
	Password    string // of the .p12 file
	Force       bool   // take a certificate with another topic
}

// UploadPushCertificate stores the certificate.
func (c *Client) UploadPushCertificate(ctx context.Context, u PushUpload) (apiv1.PushCertificate, error) {
	var buf bytes.Buffer
	form := multipart.NewWriter(&buf)
	if err := u.write(form); err != nil {
		return apiv1.PushCertificate{}, fmt.Errorf("encode upload: %w", err)
	}
	var out apiv1.PushCertificate
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/mdm/apple/apns_certificate",
		raw: buf.Bytes(), contentType: form.FormDataContentType(), into: &out})
	return out, err
}

func (u PushUpload) write(form *multipart.Writer) error {
	for _, file := range []struct {
		field, name string
		data        []byte
	}{{"certificate", "push.pem", u.Certificate}, {"private_key", "push.key", u.PrivateKey}, {"pkcs12", "push.p12", u.PKCS12}} {
		if len(file.data) == 0 {
			continue
		}
		part, err := form.CreateFormFile(file.field, file.name)
		if err != nil {
			return err
		}
		if _, err := part.Write(file.data); err != nil {
			return err
		}
	}
	if u.Password != "" {
		if err := form.WriteField("password", u.Password); err != nil {
			return err
		}
	}
	if u.Force {
		if err := form.WriteField("force", "true"); err != nil {
			return err
		}
	}
	return form.Close()
}

// DeletePushCertificate removes the certificate.
func (c *Client) DeletePushCertificate(ctx context.Context) error {
	return c.do(ctx, request{method: http.MethodDelete, path: prefix + "/mdm/apple/apns_certificate"})
}
