package enroll

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"

	"wasmbed.io/wasmbed/api/v1alpha1"
)

// evidenceES256 is the one format of evidence: ECDSA P-256 with SHA-256, ASN.1 DER (protocol/SPEC.md).
const evidenceES256 = 1

// evidence is what a device says about itself, bound to a session (RFC 9334 "Evidence").
type evidence struct {
	Format             uint8
	Measurement        []byte // SHA-256 of the firmware image
	Signature          []byte
	Nonce              []byte // that the device signed
	SessionNonce       []byte // that the gateway gave
	Key                *ecdsa.PublicKey
	SPKI               []byte // of Key, DER
	Board, FirmwareVer string
}

// toBeSigned returns the bytes that evidence signs:
//
//	"wasmbed/1 evidence" || 0x00 || nonce || measurement || SHA-256(SPKI DER)
func toBeSigned(nonce, measurement, spki []byte) []byte {
	sum := sha256.Sum256(spki)
	b := []byte("wasmbed/1 evidence\x00")
	b = append(b, nonce...)
	b = append(b, measurement...)
	return append(b, sum[:]...)
}

// verify returns "" when the policy is met, else a sentence that says why not.
func (e evidence) verify(p v1alpha1.AttestationPolicy) string {
	if p.Mode != v1alpha1.AttestationRequire {
		return ""
	}
	switch {
	case len(e.Signature) == 0:
		return "the gateway requires attestation and the device sent no evidence"
	case e.Format != evidenceES256:
		return fmt.Sprintf("evidence of format %d is not known", e.Format)
	case len(e.SessionNonce) == 0 || subtle.ConstantTimeCompare(e.Nonce, e.SessionNonce) != 1:
		return "the evidence was not made for this session"
	case len(e.Measurement) != sha256.Size:
		return fmt.Sprintf("the measurement has %d bytes, not %d", len(e.Measurement), sha256.Size)
	}
	digest := sha256.Sum256(toBeSigned(e.Nonce, e.Measurement, e.SPKI))
	if !ecdsa.VerifyASN1(e.Key, digest[:], e.Signature) {
		return "the evidence's signature is not by the session's key"
	}
	measured := hex.EncodeToString(e.Measurement)
	for _, m := range p.Measurements {
		want, ok := strings.CutPrefix(m.Digest, "sha256:")
		if ok && strings.EqualFold(want, measured) && (m.Board == "" || m.Board == e.Board) && (m.Firmware == "" || m.Firmware == e.FirmwareVer) {
			return ""
		}
	}
	return fmt.Sprintf("firmware sha256:%s of board %s (version %s) is none of the gateway's %d measurements", measured, e.Board, e.FirmwareVer, len(p.Measurements))
}

// request is a certificate request that was checked.
type request struct {
	key         *ecdsa.PublicKey
	spki        []byte
	fingerprint string // lower-case hex SHA-256 of spki
}

// parseCSR checks a request: well-formed, P-256 (the one curve of wasmbed/1), signed by its own key.
// Nothing but the key is taken from it: the name is the platform's to give.
func parseCSR(der []byte) (request, string) {
	if len(der) > maxCSR {
		return request{}, fmt.Sprintf("the certificate request has %d bytes, more than %d", len(der), maxCSR)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return request{}, "the certificate request does not parse"
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return request{}, "the certificate request's key is not ECDSA P-256"
	}
	if err := csr.CheckSignature(); err != nil {
		return request{}, "the certificate request is not signed by its own key"
	}
	return request{key: key, spki: csr.RawSubjectPublicKeyInfo, fingerprint: fingerprint(csr.RawSubjectPublicKeyInfo)}, ""
}

func fingerprint(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

// claimMatches compares in constant time. want is sha256:<hex> of the claim.
func claimMatches(claim []byte, want string) bool {
	if len(claim) == 0 || len(claim) > maxClaim {
		return false
	}
	sum := sha256.Sum256(claim)
	got := "sha256:" + hex.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(got), []byte(strings.ToLower(want))) == 1
}
