package pushcsr

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/codec/plist"
)

func makeKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func issue(t *testing.T, name string, key *rsa.PrivateKey, parent *x509.Certificate, parentKey *rsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestThePortalsListHoldsRequestChainAndSignature(t *testing.T) {
	rootKey, vendorKey, pushKey := makeKey(t), makeKey(t), makeKey(t)
	root := issue(t, "root", rootKey, nil, nil)
	vendor := issue(t, "vendor", vendorKey, root, rootKey)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "push"}}, pushKey)
	if err != nil {
		t.Fatal(err)
	}
	out, err := Sign(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}), []*x509.Certificate{vendor, root}, vendorKey)
	if err != nil {
		t.Fatal(err)
	}
	list, err := base64.StdEncoding.DecodeString(string(out))
	if err != nil {
		t.Fatal(err)
	}
	d, err := plist.ReadDict(list)
	if err != nil {
		t.Fatal(err)
	}
	der, err := base64.StdEncoding.DecodeString(d.Text("PushCertRequestCSR"))
	if err != nil || string(der) != string(csr) {
		t.Fatalf("the request changed: %v", err)
	}
	signature, err := base64.StdEncoding.DecodeString(d.Text("PushCertSignature"))
	if err != nil {
		t.Fatal(err)
	}
	if err := vendor.CheckSignature(x509.SHA256WithRSA, der, signature); err != nil {
		t.Error(err)
	}
	first, rest := pem.Decode([]byte(d.Text("PushCertCertificateChain")))
	second, _ := pem.Decode(rest)
	if first == nil || second == nil || string(first.Bytes) != string(vendor.Raw) || string(second.Bytes) != string(root.Raw) {
		t.Error("the chain is not vendor, then root")
	}

	again, err := SignPEM(csr, append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: vendor.Raw}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})...),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(vendorKey)}))
	if err != nil || string(again) != string(out) {
		t.Errorf("from PEM files it differs: %v", err)
	}
	for name, test := range map[string]struct {
		csr   []byte
		chain []*x509.Certificate
		key   *rsa.PrivateKey
	}{
		"no request":           {[]byte("hello"), []*x509.Certificate{vendor, root}, vendorKey},
		"no chain":             {csr, nil, vendorKey},
		"another key":          {csr, []*x509.Certificate{vendor, root}, rootKey},
		"chain in wrong order": {csr, []*x509.Certificate{root, vendor}, rootKey},
	} {
		if _, err := Sign(test.csr, test.chain, test.key); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
