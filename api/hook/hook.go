// Package hook is what both doors for webhooks share, the one that sends and the one that takes: keys, the signatures of
// Standard Webhooks, and what is shown of a body.
package hook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// Limits.
const (
	MinSecret = 24 // bytes of a key (Standard Webhooks: 24 to 64)
	MaxSecret = 1 << 10
	MaxHops   = 4 // webhooks that an event may come through, so that two platforms do not feed each other for ever
)

// HeaderHops counts the webhooks that an event has come through.
const HeaderHops = "Webhook-Hops"

// Keys in a Secret of type v1alpha1.SecretTypeWebhook.
const (
	KeySecret        = "secret"
	KeyPrevious      = "previous"
	KeyAuthorization = "authorization"
)

// Keys are what is signed and verified with.
type Keys struct {
	Sign          [][]byte // the current one first
	Authorization string   // the value of a header that is sent; may be ""
}

// ReadKeys reads a Secret. Errors: Invalid.
func ReadKeys(s *corev1.Secret) (Keys, error) {
	var k Keys
	if s.Type != v1alpha1.SecretTypeWebhook {
		return k, errs.New(errs.Invalid, "Secret %s is of type %s, not %s", s.Name, s.Type, v1alpha1.SecretTypeWebhook).
			WithMend("kubectl create secret generic NAME --type=%s --from-literal=secret=whsec_…", v1alpha1.SecretTypeWebhook)
	}
	for _, name := range []string{KeySecret, KeyPrevious} {
		v, ok := s.Data[name]
		if !ok {
			if name == KeySecret {
				return k, errs.New(errs.Invalid, "Secret %s has no key %q", s.Name, name)
			}
			continue
		}
		b, err := ParseKey(v)
		if err != nil {
			return k, errs.New(errs.Invalid, "Secret %s, key %s: %w", s.Name, name, err)
		}
		k.Sign = append(k.Sign, b)
	}
	k.Authorization = strings.TrimSpace(string(s.Data[KeyAuthorization]))
	if strings.ContainsFunc(k.Authorization, func(c rune) bool { return c < ' ' || c > '~' }) || len(k.Authorization) > 4096 {
		return k, errs.New(errs.Invalid, "Secret %s, key %s: not the value of a header", s.Name, KeyAuthorization)
	}
	return k, nil
}

// ParseKey reads whsec_ and base64 (Standard Webhooks), else takes the bytes as they are. Errors: Invalid.
func ParseKey(v []byte) ([]byte, error) {
	s := strings.TrimSpace(string(v))
	b := []byte(s)
	if enc, ok := strings.CutPrefix(s, "whsec_"); ok {
		var err error
		if b, err = base64.StdEncoding.DecodeString(enc); err != nil {
			return nil, errs.New(errs.Invalid, "what stands behind whsec_ is not base64")
		}
	}
	if len(b) < MinSecret || len(b) > MaxSecret {
		return nil, errs.New(errs.Invalid, "a key of %d bytes; it has %d to %d", len(b), MinSecret, MaxSecret)
	}
	return b, nil
}

func mac(key []byte, id, ts string, body []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(id + "." + ts + "."))
	m.Write(body)
	return m.Sum(nil)
}

// Set writes the headers of Standard Webhooks 1.0: an HMAC-SHA256 of id.timestamp.body by each key.
func (k Keys) Set(h http.Header, id string, at time.Time, body []byte) {
	ts := strconv.FormatInt(at.Unix(), 10)
	sigs := make([]string, len(k.Sign))
	for i, key := range k.Sign {
		sigs[i] = "v1," + base64.StdEncoding.EncodeToString(mac(key, id, ts, body))
	}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", ts)
	h.Set("Webhook-Signature", strings.Join(sigs, " "))
	if k.Authorization != "" {
		h.Set("Authorization", k.Authorization)
	}
}

// maxSignatures bounds what one request makes us compute.
const maxSignatures = 8

// Verify checks the headers of Standard Webhooks. It returns the id, which is signed. Errors: Unauthenticated.
func (k Keys) Verify(h http.Header, body []byte, now time.Time, tolerance time.Duration) (id string, err error) {
	id, ts := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
	sigs := strings.Fields(h.Get("Webhook-Signature"))
	if id == "" || len(id) > 256 || strings.Contains(id, ".") || ts == "" || len(sigs) == 0 || len(sigs) > maxSignatures {
		return "", errs.New(errs.Unauthenticated, "webhook-id, webhook-timestamp and webhook-signature are needed")
	}
	n, err := strconv.ParseInt(ts, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != ts {
		return "", errs.New(errs.Unauthenticated, "webhook-timestamp is not a number of seconds")
	}
	if age := now.Sub(time.Unix(n, 0)); age > tolerance || age < -tolerance {
		return "", errs.New(errs.Unauthenticated, "webhook-timestamp is not of the last %v", tolerance)
	}
	good := false
	for _, s := range sigs {
		enc, ok := strings.CutPrefix(s, "v1,")
		if !ok {
			continue
		}
		given, err := base64.StdEncoding.DecodeString(enc)
		if err != nil {
			continue
		}
		for _, key := range k.Sign {
			if hmac.Equal(given, mac(key, id, ts, body)) {
				good = true
			}
		}
	}
	if !good {
		return "", errs.New(errs.Unauthenticated, "no signature is right")
	}
	return id, nil
}

// VerifyGitHub checks X-Hub-Signature-256: an HMAC-SHA256 of the body alone. It returns the HMAC by the current key, hex: the
// same for the same body. Errors: Unauthenticated.
func (k Keys) VerifyGitHub(h http.Header, body []byte) (mark string, err error) {
	given, err := hex.DecodeString(strings.TrimPrefix(h.Get("X-Hub-Signature-256"), "sha256="))
	good := false
	for i, key := range k.Sign {
		m := hmac.New(sha256.New, key)
		m.Write(body)
		sum := m.Sum(nil)
		if i == 0 {
			mark = hex.EncodeToString(sum)
		}
		if err == nil && hmac.Equal(given, sum) {
			good = true
		}
	}
	if !good || !strings.HasPrefix(h.Get("X-Hub-Signature-256"), "sha256=") {
		return "", errs.New(errs.Unauthenticated, "X-Hub-Signature-256 is missing or wrong")
	}
	return mark, nil
}

// VerifyToken checks that a header holds one of the keys, as they stand in the Secret or as bytes. Errors: Unauthenticated.
func VerifyToken(s *corev1.Secret, h http.Header, header string) error {
	given := h.Get(header)
	if http.CanonicalHeaderKey(header) == "Authorization" {
		var ok bool
		if given, ok = strings.CutPrefix(given, "Bearer "); !ok {
			given = ""
		}
	}
	sum := sha256.Sum256([]byte(given))
	good := false
	for _, name := range []string{KeySecret, KeyPrevious} {
		v := strings.TrimSpace(string(s.Data[name]))
		if want := sha256.Sum256([]byte(v)); hmac.Equal(sum[:], want[:]) && v != "" {
			good = true
		}
	}
	if !good {
		return errs.New(errs.Unauthenticated, "the header %s is missing or wrong", header)
	}
	return nil
}

// DeliveryID is the id of an event's delivery to a webhook: the same however often the event comes.
func DeliveryID(namespace, webhook, source, id string) string {
	h := sha256.New()
	for _, p := range []string{"webhook", namespace, webhook, source, id} {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
