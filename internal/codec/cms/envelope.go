package cms

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // 3DES only to answer old SCEP clients in their own algorithm
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/smallstep/pkcs7"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Cipher is a content encryption algorithm of EnvelopedData. Not stored.
type Cipher uint8

// Ciphers. DES and the GCM modes can be opened and not made.
const (
	CipherUnknown Cipher = iota
	CipherDES
	CipherTripleDES
	CipherAES128
	CipherAES256
	CipherAES128GCM
	CipherAES256GCM
)

const oidEnvelopedData = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" // RFC 5652 section 6.1

// cipherOf maps DER content octets of an identifier: RFC 3370 section 5.1, RFC 3565 section 4.1,
// RFC 5084 section 3.2; DES from the OIW registry.
func cipherOf(oid string) Cipher {
	switch oid {
	case "\x2b\x0e\x03\x02\x07":
		return CipherDES
	case oidTripleDES:
		return CipherTripleDES
	case oidAES128:
		return CipherAES128
	case oidAES256:
		return CipherAES256
	case "\x60\x86\x48\x01\x65\x03\x04\x01\x06":
		return CipherAES128GCM
	case "\x60\x86\x48\x01\x65\x03\x04\x01\x2e":
		return CipherAES256GCM
	}
	return CipherUnknown
}

const (
	oidTripleDES = "\x2a\x86\x48\x86\xf7\x0d\x03\x07"
	oidAES128    = "\x60\x86\x48\x01\x65\x03\x04\x01\x02"
	oidAES256    = "\x60\x86\x48\x01\x65\x03\x04\x01\x2a"
)

// keyBytes is the length of the content key.
func (c Cipher) keyBytes() int {
	switch c {
	case CipherDES:
		return des.BlockSize
	case CipherTripleDES:
		return 3 * des.BlockSize
	case CipherAES128, CipherAES128GCM:
		return 16
	case CipherAES256, CipherAES256GCM:
		return 32
	case CipherUnknown:
		return 0
	}
	return 0
}

// Encrypt returns a DER EnvelopedData (RFC 5652 section 6) with AES-256 in CBC
// mode for every recipient, whose keys must be RSA.
func Encrypt(content []byte, recipients []*x509.Certificate) ([]byte, error) {
	return EncryptWith(CipherAES256, content, recipients)
}

// EncryptWith is Encrypt with a chosen algorithm: CipherAES256, CipherAES128 or
// CipherTripleDES. It is built here because the library takes its algorithm
// from a package variable, single DES by default.
func EncryptWith(c Cipher, content []byte, recipients []*x509.Certificate) ([]byte, error) {
	if len(content) > MaxEnvelope {
		return nil, ErrTooLarge
	}
	if len(recipients) == 0 {
		return nil, errors.New("cms: no recipient")
	}
	var oid string
	var newCipher func([]byte) (cipher.Block, error)
	switch c {
	case CipherAES256:
		oid, newCipher = oidAES256, aes.NewCipher
	case CipherAES128:
		oid, newCipher = oidAES128, aes.NewCipher
	case CipherTripleDES:
		oid, newCipher = oidTripleDES, des.NewTripleDESCipher
	case CipherUnknown, CipherDES, CipherAES128GCM, CipherAES256GCM:
		return nil, fmt.Errorf("cms: cipher %d is not offered", c)
	default:
		return nil, fmt.Errorf("cms: cipher %d is not known", c)
	}
	key := make([]byte, c.keyBytes())
	_, err := rand.Read(key)
	if err != nil {
		return nil, fmt.Errorf("content key: %w", err)
	}
	block, err := newCipher(key)
	if err != nil {
		return nil, fmt.Errorf("content cipher: %w", err)
	}
	infos, err := recipientInfos(key, recipients)
	if err != nil {
		return nil, err
	}
	iv := make([]byte, block.BlockSize())
	_, err = rand.Read(iv)
	if err != nil {
		return nil, fmt.Errorf("initialization vector: %w", err)
	}
	sealed := padded(content, block.BlockSize())
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(sealed, sealed)
	return marshalEnvelope(infos, oid, iv, sealed)
}

// padded returns a copy of b with the padding of RFC 5652 section 6.3.
func padded(b []byte, block int) []byte {
	n := block - len(b)%block
	return append(slices.Clone(b), bytes.Repeat([]byte{byte(n)}, n)...)
}

// recipientInfos encrypts the content key for each recipient
// (RFC 5652 section 6.2.1) and returns the elements in DER order.
func recipientInfos(key []byte, recipients []*x509.Certificate) ([][]byte, error) {
	infos := make([][]byte, 0, len(recipients))
	for _, r := range recipients {
		pub, ok := r.PublicKey.(*rsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("cms: recipient key is %T, must be RSA", r.PublicKey)
		}
		sealed, err := rsa.EncryptPKCS1v15(rand.Reader, pub, key)
		if err != nil {
			return nil, fmt.Errorf("encrypt content key: %w", err)
		}
		var b cryptobyte.Builder
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(0)
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(r.RawIssuer)
				b.AddASN1BigInt(r.SerialNumber)
			})
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				addOID(b, oidRSA)
				b.AddASN1NULL()
			})
			b.AddASN1OctetString(sealed)
		})
		info, err := b.Bytes()
		if err != nil {
			return nil, fmt.Errorf("encode recipient: %w", err)
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, bytes.Compare)
	return infos, nil
}

// marshalEnvelope assembles ContentInfo(EnvelopedData).
func marshalEnvelope(infos [][]byte, oid string, iv, sealed []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, oidEnvelopedData)
		b.AddASN1(tagContext0Composite, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(0)
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
					for _, info := range infos {
						b.AddBytes(info)
					}
				})
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					addOID(b, oidData)
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						addOID(b, oid)
						b.AddASN1OctetString(iv)
					})
					b.AddASN1(tagContext0, func(b *cryptobyte.Builder) { b.AddBytes(sealed) })
				})
			})
		})
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode envelope: %w", err)
	}
	return der, nil
}

// addOID adds an object identifier given by its content octets.
func addOID(b *cryptobyte.Builder, oid string) {
	b.AddASN1(cbasn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(oid)) })
}

// Decrypt opens an EnvelopedData in DER or BER that names cert among its
// recipients, with cert's RSA key. It opens DES, 3DES and AES in CBC and, in
// smallstep's own framing, GCM mode. It also returns the algorithm, so that an
// answer can use the same. It fails with ErrTooLarge, ErrMalformed or
// ErrDecrypt.
//
// A wrong content key is replaced by a random one (RFC 3218 section 2.3.2), so
// that whether the key or the padding was bad cannot be told apart: the key is
// also the authority's signing key, and anybody may send envelopes.
func Decrypt(der []byte, cert *x509.Certificate, key crypto.Decrypter) ([]byte, Cipher, error) {
	if len(der) > MaxEnvelope {
		return nil, CipherUnknown, ErrTooLarge
	}
	root, err := parseBER(der)
	if err != nil {
		return nil, CipherUnknown, err
	}
	c := envelopeCipher(root)
	if c == CipherUnknown {
		return nil, CipherUnknown, fmt.Errorf("%w: no envelope in a known cipher", ErrMalformed)
	}
	var plain []byte
	err = guarded("decrypt", func() error {
		p7, err := pkcs7.Parse(der)
		if err != nil {
			return err
		}
		plain, err = p7.Decrypt(cert, sessionKey{Decrypter: key, size: c.keyBytes()})
		return err
	})
	if err != nil {
		return nil, c, ErrDecrypt
	}
	return plain, c, nil
}

// envelopeCipher finds contentEncryptionAlgorithm in ContentInfo(EnvelopedData).
func envelopeCipher(root element) Cipher {
	kind, ok := root.child(0)
	if !ok || string(kind.content) != oidEnvelopedData {
		return CipherUnknown
	}
	// The encrypted content info follows the recipients, which are the only SET.
	env, ok := root.child(1, 0)
	if !ok {
		return CipherUnknown
	}
	for i, e := range env.children {
		if e.tag != byte(cbasn1.SET) {
			continue
		}
		oid, ok := env.child(i+1, 1, 0)
		if !ok {
			return CipherUnknown
		}
		return cipherOf(string(oid.content))
	}
	return CipherUnknown
}

// sessionKey decrypts a content key of known size, giving a random one in
// place of an error.
type sessionKey struct {
	crypto.Decrypter
	size int
}

// Decrypt implements crypto.Decrypter.
func (k sessionKey) Decrypt(random io.Reader, msg []byte, opts crypto.DecrypterOpts) ([]byte, error) {
	if _, ok := opts.(*rsa.PKCS1v15DecryptOptions); ok {
		opts = &rsa.PKCS1v15DecryptOptions{SessionKeyLen: k.size}
	}
	return k.Decrypter.Decrypt(random, msg, opts)
}
