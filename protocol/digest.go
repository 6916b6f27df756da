package protocol

import (
	"bytes"
	"crypto/sha256"
)

// StateDigest is the fingerprint of what a device holds: the first 8 bytes of the SHA-256 over the
// deterministic CBOR encoding of the map
//
//	app => [state, revision, attempt, running, confirmed, reason]
//
// (uint, text, uint, text, bool, uint; running is "" when nothing executes). Counters, progress and texts
// are left out, so that it changes only when the state does. A device without applications has the digest of
// the empty map. See SPEC §10.4.
func StateDigest(apps map[string]AppState) [StateDigestSize]byte {
	b := appendHead(make([]byte, 0, 64+len(apps)*96), majorMap, uint64(len(apps)))
	for _, name := range sortedKeys(apps, make([]string, 0, MaxApps)) {
		s := apps[name]
		b = appendText(b, name)
		b = append(b, majorArray<<5|6)
		b = appendHead(b, majorUint, uint64(s.State))
		b = appendText(b, s.Revision)
		b = appendHead(b, majorUint, s.Attempt)
		b = appendText(b, s.Running)
		b = appendBool(b, s.Confirmed)
		b = appendHead(b, majorUint, uint64(s.Reason))
	}
	sum := sha256.Sum256(b)
	return [StateDigestSize]byte(sum[:StateDigestSize])
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

// EvidenceFormatECDSA is Evidence.Format 1: ECDSA with P-256 and SHA-256, the signature in ASN.1 DER, made
// with the key of the TLS session.
const EvidenceFormatECDSA = 1

const evidenceContext = "wasmbed/1 evidence"

// EvidenceToBeSigned is what the signature of an Evidence covers:
//
//	"wasmbed/1 evidence" || 0x00 || nonce (32) || measurement (32) || SHA-256(SPKI) (32)
//
// spki is the DER of the session key's SubjectPublicKeyInfo. It returns nil when a length is wrong, so that
// nothing can be verified against it.
func EvidenceToBeSigned(nonce, measurement, spki []byte) []byte {
	if len(nonce) != NonceSize || len(measurement) != DigestSize || len(spki) == 0 {
		return nil
	}
	key := sha256.Sum256(spki)
	return bytes.Join([][]byte{[]byte(evidenceContext + "\x00"), nonce, measurement, key[:]}, nil)
}
