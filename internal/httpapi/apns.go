package httpapi

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"

	"github.com/danielgtaylor/huma/v2"
	"software.sslmate.com/src/go-pkcs12"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

func toPush(c *fleet.PushCertificate) apiv1.PushCertificate {
	return apiv1.PushCertificate{CommonName: c.CommonName, SerialNumber: c.SerialHex, Issuer: c.Issuer, RenewDate: c.NotAfter.UTC(), Topic: c.Topic}
}

func (a *api) getPush(ctx context.Context, _ *noInput) (*body[apiv1.PushCertificate], error) {
	certificate, err := a.push.Certificate(ctx)
	if err != nil {
		return nil, err
	}
	return reply(toPush(certificate)), nil
}

func (a *api) requestCSR(ctx context.Context, _ *noInput) (*body[apiv1.CSRResponse], error) {
	csr, err := a.push.RequestCSR(ctx, actorOf(ctx))
	if err != nil {
		return nil, err
	}
	return reply(apiv1.CSRResponse{CSR: csr}), nil
}

type pushFiles struct {
	Certificate huma.FormFile `form:"certificate" required:"false" doc:"The certificate from Apple in PEM form"`
	PrivateKey  huma.FormFile `form:"private_key" required:"false" doc:"Its key in PEM form; not needed when the request came from this server"`
	PKCS12      huma.FormFile `form:"pkcs12" required:"false" doc:"Certificate and key in one file (.p12), instead of the other two"`
	Password    string        `form:"password" required:"false" doc:"Of the .p12 file"`
	Force       bool          `form:"force" required:"false" doc:"Take a certificate with another topic: every enrolled device is lost"`
}

type uploadPushInput struct {
	Force   bool `query:"force" doc:"The same as the form's field"`
	RawBody huma.MultipartFormFiles[pushFiles]
}

func (a *api) uploadPush(ctx context.Context, in *uploadPushInput) (*body[apiv1.PushCertificate], error) {
	form := in.RawBody.Data()
	certPEM, keyPEM, err := pushPair(form)
	if err != nil {
		return nil, err
	}
	certificate, err := a.push.SetCertificate(ctx, actorOf(ctx), certPEM, keyPEM, in.Force || form.Force)
	if err != nil {
		return nil, err
	}
	return reply(toPush(certificate)), nil
}

// pushPair reads the certificate, and the key when there is one, in PEM form.
func pushPair(form *pushFiles) (certPEM, keyPEM []byte, err error) {
	if form.PKCS12.IsSet {
		data, err := io.ReadAll(form.PKCS12) // bounded with the request
		if err != nil {
			return nil, nil, fmt.Errorf("read upload: %w", err)
		}
		return decodePKCS12(data, form.Password)
	}
	if !form.Certificate.IsSet {
		return nil, nil, fleet.FieldErrorf(fleet.KindInvalid, "certificate", "must be the certificate from Apple; or send a .p12 file as pkcs12")
	}
	certPEM, err = io.ReadAll(form.Certificate)
	if err != nil {
		return nil, nil, fmt.Errorf("read upload: %w", err)
	}
	if form.PrivateKey.IsSet {
		keyPEM, err = io.ReadAll(form.PrivateKey)
		if err != nil {
			return nil, nil, fmt.Errorf("read upload: %w", err)
		}
	}
	return certPEM, keyPEM, nil
}

// decodePKCS12 takes certificate and key out of a .p12 file (RFC 7292).
func decodePKCS12(data []byte, password string) (certPEM, keyPEM []byte, err error) {
	key, certificate, _, err := pkcs12.DecodeChain(data, password)
	if err != nil {
		return nil, nil, fleet.FieldErrorf(fleet.KindInvalid, "pkcs12", "could not be opened: wrong password, or not a .p12 file with a key and a certificate").WithCause(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fleet.FieldErrorf(fleet.KindInvalid, "pkcs12", "holds a key of a kind that is not supported").WithCause(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func (a *api) deletePush(ctx context.Context, _ *noInput) (*body[apiv1.Empty], error) {
	if err := a.push.DeleteCertificate(ctx, actorOf(ctx)); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}
