package apple

import (
	"crypto/x509"
	"errors"
	"net/http"
	"strings"

	nanohttp "github.com/micromdm/nanomdm/http/mdm"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/fleet"
)

// signatureHeader carries a detached CMS signature of the body.
const signatureHeader = "Mdm-Signature"

var errNoCertificate = errors.New("the request is not signed: neither an Mdm-Signature header nor a client certificate")

// certificate finds and verifies the sender's certificate. Its issuer is
// checked, its validity is not: devices keep presenting expired identities.
func (h *Handler) certificate(r *http.Request, body []byte) (*cms.Certificate, error) {
	cert, err := h.presented(r, body)
	if err != nil {
		return nil, fleet.Errorf(fleet.KindBadRequest, "%s", err.Error()).WithCause(err)
	}
	if err := h.verifier.CheckIssued(cert); err != nil {
		return nil, fleet.Errorf(fleet.KindForbidden, "the certificate was not issued by this server").WithCause(err)
	}
	return cert, nil
}

// presented reads the certificate from the signature, from TLS, or from the
// header of a TLS-terminating proxy. That header is taken off requests of
// other peers before they come here (kit/httpx).
func (h *Handler) presented(r *http.Request, body []byte) (*cms.Certificate, error) {
	if sig := r.Header.Get(signatureHeader); sig != "" {
		return h.verifier.VerifyHeader(sig, body)
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return h.verifier.Certificate(r.TLS.PeerCertificates[0].Raw)
	}
	if h.certHeader == "" {
		return nil, errNoCertificate
	}
	value := r.Header.Get(h.certHeader)
	if value == "" {
		return nil, errNoCertificate
	}
	cert, err := parseProxyHeader(value)
	if err != nil {
		return nil, err
	}
	return h.verifier.Certificate(cert.Raw)
}

// parseProxyHeader reads RFC 9440 (:base64:) or a URL-escaped PEM.
func parseProxyHeader(value string) (*x509.Certificate, error) {
	if strings.HasPrefix(value, ":") {
		return nanohttp.ExtractRFC9440(value)
	}
	return nanohttp.ExtractQueryEscapedPEM(value)
}
