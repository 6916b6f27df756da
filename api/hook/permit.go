package hook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"wasmbed.io/wasmbed/internal/errs"
)

// KeyCA is the key of a Secret that holds a receiver's certificate authorities.
const KeyCA = "ca.crt"

// maxCA bounds what is read of it, bytes.
const maxCA = 256 << 10

// ReadCA reads certificates (PEM) of a Secret. Errors: Invalid.
func ReadCA(s *corev1.Secret) (*x509.CertPool, error) {
	pem, ok := s.Data[KeyCA]
	if !ok || len(pem) > maxCA {
		return nil, errs.New(errs.Invalid, "Secret %s has no key %q of at most %d bytes", s.Name, KeyCA, maxCA)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errs.New(errs.Invalid, "Secret %s, key %s: there is no certificate in it", s.Name, KeyCA)
	}
	return pool, nil
}

// Permission is the part of a callback's URL that cannot be guessed: whoever shows it was given it in the handshake for this
// URL of this webhook. It is made of the key, so it is kept nowhere, and ends with the key.
func (k Keys) Permission(namespace, name, uid, url string) string {
	if len(k.Sign) == 0 {
		return ""
	}
	return permission(k.Sign[0], namespace, name, uid, url)
}

// Permits reports whether token is the Permission by any key that is in force.
func (k Keys) Permits(token, namespace, name, uid, url string) bool {
	good := false
	for _, key := range k.Sign {
		if hmac.Equal([]byte(token), []byte(permission(key, namespace, name, uid, url))) {
			good = true
		}
	}
	return good
}

func permission(key []byte, parts ...string) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("wasmbed webhook permission\n")) // nothing that is signed for a receiver begins so
	for _, p := range parts {
		fmt.Fprintf(m, "%d:%s", len(p), p)
	}
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}
