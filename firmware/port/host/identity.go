package host

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

const (
	keyFile   = "key.pem"   // PKCS #8, EC P-256, mode 0600
	chainFile = "chain.pem" // operational certificate and what signed it, leaf first
)

// identity is the device's key, which never leaves its directory, and the certificate that the platform gave it. One goroutine
// at a time uses it.
type identity struct {
	dir   *directory
	name  string
	key   *ecdsa.PrivateKey
	chain *tls.Certificate // nil: not enrolled
}

// openIdentity reads the key, or makes it at the first boot, and the certificate when there is one. A certificate that
// cannot be read is as good as none: the device enrolls again.
func openIdentity(dir *directory, name string) (*identity, error) {
	id := &identity{dir: dir, name: name}
	b, err := dir.get(keyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := id.makeKey(); err != nil {
			return nil, errs.New(errs.Unavailable, "device key: %w", err)
		}
	case err != nil:
		return nil, errs.New(errs.Unavailable, "device key: %w", err)
	default:
		if id.key, err = parseKey(b); err != nil {
			return nil, errs.New(errs.Invalid, "device key %s: %w", dir.file(keyFile), err)
		}
	}
	if b, err := dir.get(chainFile); err == nil {
		var chain [][]byte
		for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
			chain = append(chain, block.Bytes)
		}
		id.chain, _ = id.certificate(chain)
	}
	return id, nil
}

func (id *identity) makeKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	id.key = key
	return id.dir.put(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func parseKey(b []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("not an EC P-256 key")
	}
	return key, nil
}

// certificate makes the TLS certificate of a chain that is for our key.
func (id *identity) certificate(chain [][]byte) (*tls.Certificate, error) {
	if len(chain) == 0 || len(chain) > maxChain {
		return nil, errors.New("no certificate, or too many")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	public, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || !public.Equal(&id.key.PublicKey) {
		return nil, errors.New("the certificate is for another key")
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: id.key, Leaf: leaf}, nil
}

// store keeps the operational chain, leaf first, DER.
func (id *identity) store(chain [][]byte) error {
	for i := range chain {
		chain[i] = bytes.Clone(chain[i])
	}
	certificate, err := id.certificate(chain)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	for _, der := range chain {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return err
		}
	}
	if err := id.dir.put(chainFile, text.Bytes()); err != nil {
		return err
	}
	id.chain = certificate
	return nil
}

func (id *identity) drop() error {
	id.chain = nil
	return id.dir.remove(chainFile)
}

// renewAt is when two thirds of the certificate's life are over, Unix ms; 0 without one.
func (id *identity) renewAt() uint64 {
	if id.chain == nil {
		return 0
	}
	from, to := id.chain.Leaf.NotBefore, id.chain.Leaf.NotAfter
	return uint64(max(0, from.Add(to.Sub(from)*2/3).UnixMilli()))
}

// firstContact makes the self-signed certificate that a device shows until it has another. Nobody verifies more of it than
// that its key is the session's, so its name and its dates say little.
func (id *identity) firstContact(now time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      id.subject(),
		NotBefore:    now.Add(-24 * time.Hour), // the two clocks need not agree
		NotAfter:     now.Add(10 * 365 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &id.key.PublicKey, id.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: id.key}, nil
}

func (id *identity) subject() pkix.Name { return pkix.Name{CommonName: id.name} }

// request is the PKCS #10 request for the key, DER.
func (id *identity) request() ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: id.subject()}, id.key)
}

// fingerprint is the SHA-256 of the key's SubjectPublicKeyInfo, DER.
func (id *identity) fingerprint() ([sha256.Size]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(&id.key.PublicKey)
	return sha256.Sum256(spki), err
}

// sign signs the SHA-256 of tbs: ECDSA, ASN.1 DER.
func (id *identity) sign(tbs []byte) ([]byte, error) {
	digest := sha256.Sum256(tbs)
	return id.key.Sign(rand.Reader, digest[:], crypto.SHA256)
}
