package httpapi

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"strings"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Limits of lists about one host, and of versions whose hosts are counted.
const (
	maxHostSoftware   = 10_000
	maxCountedPage    = 500
	defaultVitalsPage = 100
)

func truthOrNull(t fleet.Tri) *bool {
	if t == fleet.Unknown {
		return nil
	}
	yes := t == fleet.Yes
	return &yes
}

func toHostVitals(h *fleet.HostDetail) apiv1.HostVitals {
	v := &h.Vitals
	out := apiv1.HostVitals{
		ModelName: v.ModelName, ModelNumber: v.ModelNumber, BluetoothMAC: v.BluetoothMAC, EthernetMAC: v.EthernetMAC, TimeZone: v.TimeZone,
		IMEI: v.IMEI, MEID: v.MEID, Supervised: truthOrNull(h.Supervised), LostMode: truthOrNull(v.LostMode),
		ActivationLock: truthOrNull(v.ActivationLock), FindMy: truthOrNull(v.FindMy), CloudBackup: truthOrNull(v.CloudBackup),
		PasscodePresent: truthOrNull(v.PasscodePresent), PasscodeCompliant: truthOrNull(v.PasscodeCompliant), FileVault: truthOrNull(v.FileVault),
		Firewall: truthOrNull(v.Firewall), SIP: truthOrNull(v.SIP), RecoveryLock: truthOrNull(v.RecoveryLock), SecureBoot: v.SecureBoot,
		RefetchFault: h.RefetchFault,
	}
	if u := v.Update; u != nil {
		out.UpdateState, out.UpdateVersion, out.UpdateFailure = &u.State, &u.Version, &u.Failure
	}
	return out
}

func toBatteries(v *fleet.VitalDetails) []apiv1.Battery {
	if v.BatteryLevel == nil && v.BatteryHealth == "" {
		return []apiv1.Battery{}
	}
	return []apiv1.Battery{{Health: v.BatteryHealth, Level: v.BatteryLevel}}
}

func toSoftware(s *fleet.Software) apiv1.Software {
	none := []string{}
	return apiv1.Software{ID: int64(s.ID), Name: s.Name, Version: s.Version, BundleIdentifier: s.BundleID, Source: s.Source,
		Vulnerabilities: none, InstalledPaths: none}
}

// softwareOf lists the software of a host for its detail.
func (a *api) softwareOf(ctx context.Context, id fleet.HostID) ([]apiv1.Software, error) {
	list, _, _, err := a.inventories.Software(ctx, fleet.SoftwareFilter{HostID: id, Page: fleet.Page{Size: maxHostSoftware}})
	out := make([]apiv1.Software, 0, len(list))
	for i := range list {
		out = append(out, toSoftware(&list[i].Software))
	}
	return out, err
}

func (a *api) refetchHost(ctx context.Context, in *IDInput) (*body[apiv1.Empty], error) {
	if err := a.inventories.Refetch(ctx, actorOf(ctx), fleet.HostID(in.ID)); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

type hostSoftwareInput struct {
	IDInput
	PageInput
	Query string `query:"query" maxLength:"255" doc:"Part of the name or bundle identifier"`
}

// vitalsPage is a page with the size that these lists have unless given.
func (a *api) vitalsPage(in PageInput) (fleet.Page, error) {
	if in.PerPage == 0 {
		in.PerPage = min(defaultVitalsPage, a.pageSize)
	}
	return a.page(in)
}

func (a *api) hostSoftware(ctx context.Context, in *hostSoftwareInput) (*body[apiv1.HostSoftwareResponse], error) {
	page, err := a.vitalsPage(in.PageInput)
	if err != nil {
		return nil, err
	}
	if _, err := a.hosts.Host(ctx, fleet.HostID(in.ID)); err != nil {
		return nil, err
	}
	list, total, meta, err := a.inventories.Software(ctx, fleet.SoftwareFilter{HostID: fleet.HostID(in.ID), Page: page, Query: in.Query})
	if err != nil {
		return nil, err
	}
	out := apiv1.HostSoftwareResponse{Count: total, Meta: toMeta(meta), Software: make([]apiv1.HostSoftware, 0, len(list))}
	none := []string{}
	for i := range list {
		s := &list[i]
		out.Software = append(out.Software, apiv1.HostSoftware{ID: int64(s.ID), Name: s.Name, Source: s.Source,
			InstalledVersions: []apiv1.InstalledVersion{{Version: s.Version, BundleIdentifier: s.BundleID, Vulnerabilities: none, InstalledPaths: none}}})
	}
	return reply(out), nil
}

type softwareVersionsInput struct {
	PageInput
	Query string `query:"query" maxLength:"255" doc:"Part of the name or bundle identifier"`
}

func (a *api) softwareVersions(ctx context.Context, in *softwareVersionsInput) (*body[apiv1.SoftwareVersionsResponse], error) {
	page, err := a.vitalsPage(in.PageInput)
	if err != nil {
		return nil, err
	}
	if page.Size > maxCountedPage {
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "per_page", "must be at most %d here: the hosts of each version are counted", maxCountedPage)
	}
	list, total, meta, err := a.inventories.Software(ctx, fleet.SoftwareFilter{Page: page, Query: in.Query, WithHosts: true})
	if err != nil {
		return nil, err
	}
	out := apiv1.SoftwareVersionsResponse{CountsUpdatedAt: a.now().UTC(), Count: total, Meta: toMeta(meta), Software: make([]apiv1.SoftwareVersion, 0, len(list))}
	for i := range list {
		out.Software = append(out.Software, apiv1.SoftwareVersion{Software: toSoftware(&list[i].Software), HostsCount: list[i].Hosts})
	}
	return reply(out), nil
}

type hostCertificatesInput struct {
	IDInput
	PageInput
}

func (a *api) hostCertificates(ctx context.Context, in *hostCertificatesInput) (*body[apiv1.HostCertificatesResponse], error) {
	page, err := a.vitalsPage(in.PageInput)
	if err != nil {
		return nil, err
	}
	if _, err := a.hosts.Host(ctx, fleet.HostID(in.ID)); err != nil {
		return nil, err
	}
	list, total, meta, err := a.inventories.Certificates(ctx, fleet.HostID(in.ID), page)
	if err != nil {
		return nil, err
	}
	out := apiv1.HostCertificatesResponse{Count: total, Meta: toMeta(meta), Certificates: make([]apiv1.HostCertificate, 0, len(list))}
	for i := range list {
		out.Certificates = append(out.Certificates, toHostCertificate(&list[i]))
	}
	return reply(out), nil
}

// positive keeps an identifier within what clients take for a number.
const positive = 1<<53 - 1

func toHostCertificate(c *fleet.HostCertificate) apiv1.HostCertificate {
	out := apiv1.HostCertificate{ID: int64(binary.BigEndian.Uint64(c.SHA256[:]) & positive), CommonName: c.CommonName,
		NotValidAfter: timeOrNull(c.NotAfter), Source: "system", SHA256: hex.EncodeToString(c.SHA256[:]), Identity: c.HasKey}
	parsed, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return out // it is on the host all the same
	}
	out.NotValidBefore, out.CertificateAuthority = timeOrNull(parsed.NotBefore), parsed.IsCA
	out.KeyAlgorithm, out.SigningAlgorithm = parsed.PublicKeyAlgorithm.String(), parsed.SignatureAlgorithm.String()
	out.KeyStrength, out.KeyUsage = keyBits(parsed), keyUsage(parsed.KeyUsage)
	out.Serial = hex.EncodeToString(parsed.SerialNumber.Bytes())
	out.Subject, out.Issuer = toName(parsed.Subject), toName(parsed.Issuer)
	return out
}

func toName(n pkix.Name) apiv1.CertificateName {
	return apiv1.CertificateName{Country: strings.Join(n.Country, ", "), Organization: strings.Join(n.Organization, ", "),
		OrganizationalUnit: strings.Join(n.OrganizationalUnit, ", "), CommonName: n.CommonName}
}

func keyBits(c *x509.Certificate) int {
	const bitsInByte = 8
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen()
	case *ecdsa.PublicKey:
		return key.Curve.Params().BitSize
	case ed25519.PublicKey:
		return len(key) * bitsInByte
	}
	return 0
}

// keyUsage names the uses of a key (RFC 5280 section 4.2.1.3).
func keyUsage(u x509.KeyUsage) string {
	var names []string
	for i, name := range []string{"Digital Signature", "Content Commitment", "Key Encipherment", "Data Encipherment", "Key Agreement",
		"Certificate Sign", "CRL Sign", "Encipher Only", "Decipher Only"} {
		if u&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
