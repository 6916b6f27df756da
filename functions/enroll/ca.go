package enroll

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/internal/errs"
)

// Where the authority's key is. Only enroll reads it.
const (
	CANamespace = "wasmbed-system"
	CASecret    = "wasmbed-ca"
)

// Authority issues device certificates.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

// NewAuthority makes a self-signed authority (ECDSA P-256): its certificate and key in PEM, as the Secret
// holds them under tls.crt and tls.key.
func NewAuthority(trustDomain string, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, errs.New(errs.Internal, "generate the authority's key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Wasmbed device authority", Organization: []string{trustDomain}},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
		NotBefore:             now.Add(-backdate).UTC(),
		NotAfter:              now.Add(caLife).UTC(),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, nil, errs.New(errs.Internal, "sign the authority's certificate: %w", err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, errs.New(errs.Internal, "encode the authority's key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}), nil
}

// EnsureAuthority returns the authority's certificate and key from its Secret, and makes them first when
// there is no such Secret. For whoever installs: enroll itself never makes an authority, because one made
// by mistake would lock every device out.
func EnsureAuthority(ctx context.Context, secrets client.Resource[corev1.Secret], trustDomain string, now time.Time) (certPEM, keyPEM []byte, err error) {
	for {
		s, err := secrets.Get(ctx, CANamespace, CASecret)
		if err == nil {
			return s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey], nil
		}
		if !errs.Is(err, errs.NotFound) {
			return nil, nil, err
		}
		c, k, err := NewAuthority(trustDomain, now)
		if err != nil {
			return nil, nil, err
		}
		s = &corev1.Secret{Type: corev1.SecretTypeTLS, ObjectMeta: metav1.ObjectMeta{Namespace: CANamespace, Name: CASecret},
			Data: map[string][]byte{corev1.TLSCertKey: c, corev1.TLSPrivateKeyKey: k}}
		if _, err = secrets.Create(ctx, s); err == nil {
			return c, k, nil
		}
		if !errs.Is(err, errs.AlreadyExists) {
			return nil, nil, err
		}
	}
}

// ParseAuthority reads an authority from PEM. Errors: Unavailable, because the Secret can be mended and the
// request sent again.
func ParseAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	bad := func(format string, args ...any) error {
		return errs.New(errs.Unavailable, "Secret "+CANamespace+"/"+CASecret+": "+format, args...)
	}
	cb, _ := pem.Decode(certPEM)
	if cb == nil || cb.Type != "CERTIFICATE" {
		return nil, bad("tls.crt holds no certificate")
	}
	cert, err := x509.ParseCertificate(cb.Bytes)
	if err != nil {
		return nil, bad("tls.crt: %w", err)
	}
	kb, _ := pem.Decode(keyPEM)
	if kb == nil {
		return nil, bad("tls.key holds no key")
	}
	var key any
	if key, err = x509.ParsePKCS8PrivateKey(kb.Bytes); err != nil {
		if key, err = x509.ParseECPrivateKey(kb.Bytes); err != nil {
			return nil, bad("tls.key: %w", err)
		}
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	switch {
	case !ok || signer.Curve != elliptic.P256():
		return nil, bad("tls.key is not an ECDSA P-256 key, which is all that devices verify")
	case !signer.PublicKey.Equal(cert.PublicKey):
		return nil, bad("tls.key does not belong to tls.crt")
	case !cert.IsCA:
		return nil, bad("tls.crt is not an authority's certificate")
	}
	return &Authority{cert: cert, key: signer, pem: pem.EncodeToMemory(cb)}, nil
}

// Certificate is one that was issued.
type Certificate struct {
	Chain    [][]byte // DER, leaf first
	Serial   string   // lower-case hex
	NotAfter time.Time
}

// Issue signs a client certificate for a device's key (SPKI, DER): SAN URI
// spiffe://<trust domain>/ns/<namespace>/device/<name>, usage clientAuth only, serial of 128 random bits.
// It does not outlive the authority.
func (a *Authority) Issue(trustDomain, namespace, name string, pub crypto.PublicKey, now time.Time, life time.Duration) (Certificate, error) {
	if !now.Before(a.cert.NotAfter) {
		return Certificate{}, errs.New(errs.Unavailable, "the device authority's certificate ended %s", a.cert.NotAfter.Format(time.RFC3339)).
			WithMend("renew the Secret %s/%s", CANamespace, CASecret)
	}
	serial, err := newSerial()
	if err != nil {
		return Certificate{}, err
	}
	notAfter := now.Add(min(max(life, minLife), maxLife))
	if notAfter.After(a.cert.NotAfter) {
		notAfter = a.cert.NotAfter
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: truncate(name, 64)}, // X.520: at most 64; the identity is the SAN
		URIs:                  []*url.URL{Identity(trustDomain, namespace, name)},
		NotBefore:             now.Add(-backdate).UTC(),
		NotAfter:              notAfter.UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, pub, a.key)
	if err != nil {
		return Certificate{}, errs.New(errs.Internal, "sign the certificate of %s/%s: %w", namespace, name, err)
	}
	// What x509 writes has whole seconds: say the same.
	return Certificate{Chain: [][]byte{der, a.cert.Raw}, Serial: hex.EncodeToString(serial.Bytes()), NotAfter: notAfter.UTC().Truncate(time.Second)}, nil
}

// PEM is the authority's certificate: the trust anchor.
func (a *Authority) PEM() []byte { return a.pem }

// Identity is a device's name in its certificate.
func Identity(trustDomain, namespace, name string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: trustDomain, Path: "/ns/" + namespace + "/device/" + name}
}

// newSerial returns 128 random bits, positive (RFC 5280 §4.1.2.2 allows 20 bytes).
func newSerial() (*big.Int, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, errs.New(errs.Internal, "serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40 // of constant length in DER
	return new(big.Int).SetBytes(b[:]), nil
}

func truncate(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// authority reads the Secret, at most once in caCache, so that a rotation is seen and a herd of devices
// is not one read each.
type authority struct {
	secrets client.Resource[corev1.Secret]

	mu    sync.Mutex
	a     *Authority
	until time.Time
}

func (c *authority) get(ctx context.Context, now time.Time) (*Authority, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.a != nil && now.Before(c.until) {
		return c.a, nil
	}
	s, err := c.secrets.Get(ctx, CANamespace, CASecret)
	if errs.Is(err, errs.NotFound) {
		return nil, errs.New(errs.Unavailable, "there is no Secret %s/%s", CANamespace, CASecret).WithMend("install the device authority")
	}
	if err != nil {
		return nil, err
	}
	a, err := ParseAuthority(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, err
	}
	c.a, c.until = a, now.Add(caCache)
	return a, nil
}
