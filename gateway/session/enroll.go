package session

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"
	"unicode/utf8"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/protocol"
)

func newNonce() []byte {
	b := make([]byte, protocol.NonceSize)
	rand.Read(b) // never fails (crypto/rand since Go 1.24)
	return b
}

// enroll asks for a certificate for the key of the TLS session.
func (s *Session) enroll(now time.Time, m *protocol.Enroll, out *Output) error {
	if reason, text := s.checkCSR(m.CSR); reason != protocol.ReasonNone {
		s.send(&protocol.EnrollResult{ID: s.id(), Refers: m.ID, Status: protocol.EnrollRejected, Reason: reason,
			RetryAfter: millis(protocol.RejectedRetry), Text: text}, out)
		return nil
	}
	r := s.request(m.CSR)
	r.WantedName, r.Claim = m.Name, m.Claim
	if v := m.Evidence; v != nil {
		r.EvidenceFormat, r.EvidenceNonce, r.Measurement, r.Signature = v.Format, v.Nonce, v.Measurement, v.Signature
	}
	return s.ask(now, m.ID, r, out)
}

// renew asks for a certificate for the identity that the session has.
func (s *Session) renew(now time.Time, m *protocol.Renew, out *Output) error {
	if s.set.Features&protocol.FeatureRenew == 0 {
		return errNotSpoken
	}
	if reason, text := s.checkCSR(m.CSR); reason != protocol.ReasonNone {
		s.send(&protocol.EnrollResult{ID: s.id(), Refers: m.ID, Status: protocol.EnrollRejected, Reason: reason,
			RetryAfter: millis(protocol.RenewRetry), Text: text}, out)
		return nil
	}
	if s.enrolling == nil {
		s.enrolling = &enrolling{renewal: true, nonce: newNonce()}
	}
	r := s.request(m.CSR)
	r.Renewal = s.peer.Device.Name
	return s.ask(now, m.ID, r, out)
}

func (s *Session) request(csr []byte) *event.EnrollmentRequest {
	return &event.EnrollmentRequest{
		KeyFingerprint: s.peer.Fingerprint, CSR: csr, Board: s.hello.board, Firmware: s.hello.firmware, Nonce: s.enrolling.nonce,
	}
}

func (s *Session) ask(now time.Time, id uint64, r *event.EnrollmentRequest, out *Output) error {
	e := s.enrolling
	if e.asked != 0 && now.UnixNano()-e.asked < int64(enrollPause) {
		return errBusy
	}
	if e.count++; e.count > maxEnrolls {
		s.goodbye(protocol.GoodbyeBusy, protocol.RejectedRetry, "too many enrollments in one session", EndBusy, nil, out)
		return nil
	}
	e.refers, e.asked = id, now.UnixNano()
	out.Actions = append(out.Actions, Action{Kind: Enroll, ID: id, Data: r, EventID: fmt.Sprintf("enroll/%d", id)})
	return nil
}

// checkCSR demands that the request is signed by the key that it asks for, and that this is the session's.
func (s *Session) checkCSR(der []byte) (protocol.Reason, string) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return protocol.ReasonBadRequest, "the CSR cannot be read"
	}
	sum := sha256.Sum256(csr.RawSubjectPublicKeyInfo)
	if hex.EncodeToString(sum[:]) != s.peer.Fingerprint {
		return protocol.ReasonKeyMismatch, "the CSR's key is not the key of this TLS session"
	}
	if err := csr.CheckSignature(); err != nil {
		return protocol.ReasonBadRequest, "the CSR's signature is wrong"
	}
	return protocol.ReasonNone, ""
}

// Verdict passes on what became of an enroll or renew. It may come again, as when a person approves: a pending
// verdict with retry-after 0 makes the device ask at once.
func (s *Session) Verdict(v ledger.Verdict, out *Output) {
	e := s.enrolling
	if e == nil || e.refers == 0 || s.phase == phaseClosed {
		return
	}
	m := protocol.EnrollResult{ID: s.id(), Refers: e.refers, RetryAfter: millis(v.RetryAfter), Text: clip(v.Message)}
	status, err := protocol.ParseEnrollStatus(v.Status)
	if err != nil {
		status = protocol.EnrollPending
	}
	m.Status = status
	if m.Reason, err = protocol.ParseReason(v.Reason); err != nil || (status == protocol.EnrollRejected && m.Reason == protocol.ReasonNone) {
		m.Reason = protocol.ReasonRejected
	}
	switch status {
	case protocol.EnrollAccepted:
		m.Chain, m.Reason, m.RetryAfter = v.Chain, protocol.ReasonNone, 0
	case protocol.EnrollRejected:
		m.RetryAfter = max(m.RetryAfter, millis(protocol.RejectedRetry))
	}
	e.asked = 0
	s.send(&m, out)
	if status != protocol.EnrollAccepted || s.phase == phaseClosed {
		return
	}
	if e.renewal {
		s.enrolling = nil
		return
	}
	s.goodbye(protocol.GoodbyeEnrolled, 0, "", EndEnrolled, nil, out)
}

// EnrollUndone says that the request could not be posted.
func (s *Session) EnrollUndone(err error, out *Output) {
	if s.enrolling != nil && s.enrolling.asked != 0 {
		s.verdictLate(out)
	}
}

// verdictLate tells the device to ask again.
func (s *Session) verdictLate(out *Output) {
	s.Verdict(ledger.Verdict{Status: protocol.EnrollPending.String(), RetryAfter: pendingRetry, Message: "no verdict yet"}, out)
}

// Renewed says what the session's identity now is good for, after a renewal was accepted and checked.
func (s *Session) Renewed(serial string, notAfter, renewBefore time.Time) {
	s.peer.Serial, s.peer.NotAfter, s.peer.RenewBefore = serial, notAfter, renewBefore
}

// tickFirst ends first contacts that last too long.
func (s *Session) tickFirst(now int64, out *Output) {
	e := s.enrolling
	switch {
	case now-s.opened > int64(protocol.FirstContactLife), now-s.lastSeen > int64(protocol.FirstContactIdle):
		s.goodbye(protocol.GoodbyeIdle, pendingRetry, "", EndIdle, nil, out)
	case e.asked != 0 && now-e.asked > int64(verdictPatience):
		s.verdictLate(out)
	}
}

// millis is a duration as the wire has it, rounded up.
func millis(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	n := (d + time.Millisecond - 1) / time.Millisecond
	return uint32(min(n, 1<<32-1))
}

func unixMilli(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(0, t.UnixMilli()))
}

// eraBytes is an era as the wire has it. An era that is not 16 hex digits is ours to worry about: it encodes
// as nothing, and the frame that needs it is refused by the codec.
func eraBytes(era string) []byte {
	b, err := hex.DecodeString(era)
	if err != nil || len(b) != protocol.EraSize {
		return nil
	}
	return b
}

// clip cuts a text to what the wire takes, at a rune's start.
func clip(s string) string {
	if len(s) <= protocol.MaxText {
		return s
	}
	s = s[:protocol.MaxText]
	for len(s) > 0 && !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}
