package gateway

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// identity is what a client certificate says, after it was judged.
type identity struct {
	device      event.Device // zero when not enrolled
	fingerprint string       // lower-case hex SHA-256 of the key's SubjectPublicKeyInfo
	serial      string       // of the certificate, hex
	notAfter    time.Time    // the first to lapse of its chain
	renewBefore time.Time    // two thirds of the certificate's life
	enrolled    bool
	why         stranger // when not enrolled
}

// stranger says why a certificate makes no enrolled identity. Low cardinality: it is a metric's label.
type stranger string

const (
	strangerNone    stranger = ""
	strangerUnknown stranger = "unknown-issuer" // self-signed, the maker's, somebody else's
	strangerLapsed  stranger = "lapsed"
	strangerName    stranger = "no-device-name" // our CA, but no SPIFFE name of a device
	strangerForeign stranger = "foreign-name"   // a device of another trust domain or namespace
	strangerNoTrust stranger = "no-trust"       // this gateway has no trust anchors yet
)

// trust is a snapshot of whom to believe. It is replaced whole, never changed.
type trust struct {
	roots   *x509.CertPool
	sum     [sha256.Size]byte // of the PEM
	denied  map[string]string // key fingerprint → reason
	anchors int
	end     time.Time // of the first anchor that ends
}

// newTrust parses PEM trust anchors. It fails with errs.Invalid when there is no certificate in it.
func newTrust(pem []byte, denied map[string]string) (*trust, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errs.New(errs.Invalid, "the trust anchors hold no certificate")
	}
	return &trust{roots: pool, sum: sha256.Sum256(pem), denied: denied, anchors: 1, end: ends(pemBlocks(pem))}, nil
}

func (t *trust) deniedReason(fingerprint string) (string, bool) {
	if t == nil {
		return "", false
	}
	r, ok := t.denied[fingerprint]
	return r, ok
}

// judge decides who shows a certificate chain. It verifies a chain once per certificate and trust anchors
// and remembers the result, because a P-256 verification is a third of a known device's handshake.
type judge struct {
	domain    string
	namespace string

	mu    sync.Mutex
	sum   [sha256.Size]byte // of the trust anchors that the cache was filled under
	known *ring[[sha256.Size]byte, identity]
}

func newJudge(domain, namespace string) *judge {
	return &judge{domain: domain, namespace: namespace, known: newRing[[sha256.Size]byte, identity](chainCache)}
}

// identify judges certs, leaf first, at now. It never fails: whoever is not enrolled is a stranger, who may
// only say hello and enroll.
func (j *judge) identify(t *trust, certs []*x509.Certificate, now time.Time) identity {
	leaf := certs[0]
	spki := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	id := identity{fingerprint: hex.EncodeToString(spki[:])}
	if t == nil || t.roots == nil {
		id.why = strangerNoTrust
		return id
	}
	key := sha256.Sum256(leaf.Raw)
	j.mu.Lock()
	if j.sum != t.sum { // other anchors: nothing that was verified counts any more
		j.sum = t.sum
		j.known.clear()
	}
	known, ok := j.known.get(key)
	j.mu.Unlock()
	if ok {
		if !now.After(known.notAfter) && !now.Before(leaf.NotBefore) {
			return known
		}
		id.why = strangerLapsed
		return id
	}
	if id.why = j.verify(t, certs, now, &id); id.why != strangerNone {
		return id
	}
	id.enrolled = true
	j.mu.Lock()
	if j.sum == t.sum {
		j.known.put(key, id)
	}
	j.mu.Unlock()
	return id
}

func (j *judge) verify(t *trust, certs []*x509.Certificate, now time.Time, id *identity) stranger {
	leaf := certs[0]
	opts := x509.VerifyOptions{
		Roots:       t.roots,
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(certs) > 1 {
		opts.Intermediates = x509.NewCertPool()
		for _, c := range certs[1:] {
			opts.Intermediates.AddCert(c)
		}
	}
	chains, err := leaf.Verify(opts)
	if err != nil {
		var invalid x509.CertificateInvalidError
		if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			return strangerLapsed
		}
		return strangerUnknown
	}
	device, why := j.name(leaf)
	if why != strangerNone {
		return why
	}
	id.device = device
	id.serial = hex.EncodeToString(leaf.SerialNumber.Bytes())
	id.notAfter = leaf.NotAfter
	id.renewBefore = leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 3 * 2)
	for _, c := range chains[0] {
		if c.NotAfter.Before(id.notAfter) {
			id.notAfter = c.NotAfter
		}
	}
	return strangerNone
}

// renewed judges a chain (DER, leaf first) that was issued to a device whose session lives. Not ok: no chain, or
// not one for this device.
func (j *judge) renewed(t *trust, chain [][]byte, d event.Device, now time.Time) (identity, bool) {
	var certs []*x509.Certificate
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return identity{}, false
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return identity{}, false
	}
	id := j.identify(t, certs, now)
	return id, id.enrolled && id.device == d
}

// name reads the one SPIFFE URI of a device's certificate, spiffe://<domain>/ns/<namespace>/device/<name>
// (SPIFFE X.509-SVID §2: exactly one URI SAN).
func (j *judge) name(leaf *x509.Certificate) (event.Device, stranger) {
	if len(leaf.URIs) != 1 || leaf.URIs[0].Scheme != "spiffe" {
		return event.Device{}, strangerName
	}
	u := leaf.URIs[0]
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.RawPath != "" {
		return event.Device{}, strangerName
	}
	if u.Host != j.domain {
		return event.Device{}, strangerForeign
	}
	parts := strings.Split(strings.TrimPrefix(u.Path, "/"), "/")
	if len(parts) != 4 || parts[0] != "ns" || parts[2] != "device" || !isName(parts[1]) || !isName(parts[3]) {
		return event.Device{}, strangerName
	}
	if parts[1] != j.namespace {
		return event.Device{}, strangerForeign
	}
	return event.Device{Namespace: parts[1], Name: parts[3]}, strangerNone
}

// isName reports whether s is a name as Kubernetes has them (RFC 1123 labels, joined by dots).
func isName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}

// ring is a bounded map that forgets the half that was not used lately. Not safe for concurrent use.
type ring[K comparable, V any] struct {
	half     int
	now, old map[K]V
}

func newRing[K comparable, V any](n int) *ring[K, V] {
	return &ring[K, V]{half: max(1, n/2), now: map[K]V{}}
}

func (r *ring[K, V]) get(k K) (V, bool) {
	if v, ok := r.now[k]; ok {
		return v, true
	}
	v, ok := r.old[k]
	if ok {
		r.put(k, v)
	}
	return v, ok
}

func (r *ring[K, V]) put(k K, v V) {
	if len(r.now) >= r.half {
		r.now, r.old = map[K]V{}, r.now
	}
	r.now[k] = v
}

func (r *ring[K, V]) clear() { r.now, r.old = map[K]V{}, nil }

func (r *ring[K, V]) len() int { return len(r.now) + len(r.old) }
