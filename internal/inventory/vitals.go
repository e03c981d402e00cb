package inventory

import (
	"context"

	"github.com/muster-mdm/muster/internal/fleet"
)

// SoftwareLists keeps which software hosts have.
type SoftwareLists interface {
	List(ctx context.Context, f fleet.SoftwareFilter) ([]fleet.SoftwareVersion, int, fleet.PageMeta, error)
}

// CertificateLists keeps the certificates of hosts.
type CertificateLists interface {
	List(ctx context.Context, host fleet.HostID, page fleet.Page) ([]fleet.HostCertificate, int, fleet.PageMeta, error)
}

// Vitals answers what hosts told about themselves, and has them asked anew.
type Vitals struct {
	*Refetcher
	software     SoftwareLists
	certificates CertificateLists
}

// NewVitals returns the vitals over a store.
func NewVitals(refetcher *Refetcher, software SoftwareLists, certificates CertificateLists) *Vitals {
	return &Vitals{refetcher, software, certificates}
}

// Software lists one page of the software of a host, or of all hosts, and how
// many versions there are.
func (v *Vitals) Software(ctx context.Context, f fleet.SoftwareFilter) ([]fleet.SoftwareVersion, int, fleet.PageMeta, error) {
	return v.software.List(ctx, f)
}

// Certificates lists one page of a host's certificates, and how many it has.
func (v *Vitals) Certificates(ctx context.Context, host fleet.HostID, page fleet.Page) ([]fleet.HostCertificate, int, fleet.PageMeta, error) {
	return v.certificates.List(ctx, host, page)
}
