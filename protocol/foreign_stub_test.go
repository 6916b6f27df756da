package protocol

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// stub is as much of a gateway as a device needs: it enrolls, answers heartbeats, acknowledges, hands out
// modules, and keeps what it was told. A test reads its sessions.
type stub struct {
	t        *testing.T
	dir      string
	listener net.Listener
	ca       *x509.Certificate
	caKey    *ecdsa.PrivateKey
	sessions chan *stubSession

	mu       sync.Mutex        // guards the rest, which tests change while sessions run
	modules  map[string][]byte // by digest
	missing  int               // so many chunk requests are answered NotFound
	holdAcks bool              // of telemetry
	held     uint64            // seq of the first telemetry that was not acknowledged
}

// set changes what mu guards.
func (s *stub) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

const patience = 30 * time.Second // generous: the machine may be busy

func newStub(t *testing.T) *stub {
	s := &stub{t: t, dir: t.TempDir(), modules: map[string][]byte{}, sessions: make(chan *stubSession, 16)}
	s.caKey = newKey(t)
	s.ca = s.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, &s.caKey.PublicKey)
	key := newKey(t)
	leaf := s.sign(&x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, s.ca, &key.PublicKey)
	trust := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.Raw})
	if err := os.WriteFile(s.trust(), trust, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"wasmbed/1"}, ClientAuth: tls.RequireAnyClientCert,
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	s.listener = l
	t.Cleanup(func() { l.Close() })
	go s.accept()
	return s
}

func (s *stub) trust() string { return filepath.Join(s.dir, "ca.pem") }

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (s *stub) sign(template, parent *x509.Certificate, public any) *x509.Certificate {
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, s.caKey)
	if err != nil {
		s.t.Error(err)
		return nil
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Error(err)
	}
	return cert
}

func (s *stub) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			tc := conn.(*tls.Conn)
			if err := tc.Handshake(); err != nil {
				s.t.Logf("handshake: %v", err)
				conn.Close()
				return
			}
			ss := &stubSession{stub: s, conn: tc, r: NewReader(tc), got: make(chan Message, 4096), apps: map[string]AppState{}}
			_, err := tc.ConnectionState().PeerCertificates[0].Verify(x509.VerifyOptions{Roots: s.roots(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
			ss.enrolled = err == nil
			ss.read()
		}()
	}
}

func (s *stub) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.ca)
	return pool
}

// next waits for the next session that has been welcomed.
func (s *stub) next() *stubSession {
	s.t.Helper()
	select {
	case ss := <-s.sessions:
		return ss
	case <-time.After(patience):
		s.t.Fatal("no session")
		return nil
	}
}

type stubSession struct {
	*stub
	conn     *tls.Conn
	r        *Reader
	got      chan Message // closed with the session
	enrolled bool
	hello    *Hello
	writing  sync.Mutex
	ids      uint64              // of writing
	apps     map[string]AppState // as reported; of the reading goroutine
	version  uint64
	enrolls  int
	passed   []*CommandResult // that until has gone past
}

// read judges every frame as a gateway does, answers what can be answered at once, and passes it on.
func (ss *stubSession) read() {
	defer close(ss.got)
	defer ss.conn.Close()
	phase := PhaseHello
	for {
		body, err := ss.r.Next()
		if err != nil {
			var w *WireError
			if errors.As(err, &w) {
				ss.t.Errorf("from the device: %v", err)
			}
			return
		}
		m, err := Decode(body)
		if err == nil {
			err = phase.GatewayAccepts(m.Type())
		}
		if err != nil {
			ss.t.Errorf("from the device: %v (%x)", err, body)
			return
		}
		if h, ok := m.(*Hello); ok {
			ss.hello = h
			phase = ss.welcome(h)
			ss.sessions <- ss
		}
		ss.answer(m)
		ss.got <- m
	}
}

var stubEra = []byte("testera1")

func (ss *stubSession) welcome(h *Hello) Phase {
	w := &Welcome{Refers: h.ID, Version: 1, Features: h.Features, Time: uint64(time.Now().UnixMilli()), Heartbeat: 1000, Frame: DefaultFrame, Enrolled: ss.enrolled}
	phase := PhaseFirstContact
	if ss.enrolled {
		w.Epoch, w.Era, phase = 1, stubEra, PhaseEnrolled
		ss.r.SetCap(DefaultFrame)
	} else {
		w.Nonce = make([]byte, NonceSize)
	}
	ss.send(w)
	return phase
}

// send numbers and writes a message.
func (ss *stubSession) send(m Message) {
	ss.writing.Lock()
	defer ss.writing.Unlock()
	ss.ids++
	setID(m, ss.ids)
	frame, err := Append(nil, m)
	if err != nil {
		ss.t.Error(err)
		return
	}
	ss.raw(frame)
}

func (ss *stubSession) raw(frame []byte) {
	if _, err := ss.conn.Write(frame); err != nil {
		ss.t.Logf("write: %v", err)
	}
}

func setID(m Message, id uint64) {
	switch m := m.(type) {
	case *Welcome:
		m.ID = id
	case *Error:
		m.ID = id
	case *Goodbye:
		m.ID = id
	case *EnrollResult:
		m.ID = id
	case *HeartbeatAck:
		m.ID = id
	case *Ack:
		m.ID = id
	case *Command:
		m.ID = id
	case *Chunk:
		m.ID = id
	case *ReportRequest:
		m.ID = id
	}
}

func (ss *stubSession) answer(m Message) {
	switch m := m.(type) {
	case *Heartbeat:
		ss.send(&HeartbeatAck{Refers: m.ID, Time: uint64(time.Now().UnixMilli())})
	case *Enroll:
		ss.enroll(m)
	case *ChunkRequest:
		ss.chunk(m)
	case *Report:
		ss.report(m)
		ss.send(&Ack{Refers: m.ID})
	case *Telemetry:
		hold := false
		ss.set(func() {
			if hold = ss.holdAcks; hold && ss.held == 0 {
				ss.held = m.Seq
			}
		})
		if !hold {
			ss.send(&Ack{Refers: m.ID})
		}
	case *Logs:
		ss.send(&Ack{Refers: m.ID})
	case *Trap:
		ss.send(&Ack{Refers: m.ID})
	case *CommandResult:
		ss.send(&Ack{Refers: m.ID})
	}
}

// enroll: the first time pending, then accepted.
func (ss *stubSession) enroll(m *Enroll) {
	csr, err := x509.ParseCertificateRequest(m.CSR)
	if err != nil || csr.CheckSignature() != nil {
		ss.t.Errorf("CSR: %v", err)
		return
	}
	if !csr.PublicKey.(*ecdsa.PublicKey).Equal(ss.conn.ConnectionState().PeerCertificates[0].PublicKey) {
		ss.t.Error("the CSR has another key than the session")
	}
	if ss.enrolls++; ss.enrolls == 1 {
		ss.send(&EnrollResult{Refers: m.ID, Status: EnrollPending, Reason: ReasonAwaitingApproval, RetryAfter: 100})
		return
	}
	if m.Evidence != nil {
		ss.evidence(m.Evidence)
	}
	id, _ := url.Parse("spiffe://wasmbed.local/ns/default/device/" + m.Name)
	leaf := ss.sign(&x509.Certificate{URIs: []*url.URL{id}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ss.ca, csr.PublicKey)
	ss.send(&EnrollResult{Refers: m.ID, Status: EnrollAccepted, Chain: [][]byte{leaf.Raw, ss.ca.Raw}})
	ss.send(&Goodbye{Reason: GoodbyeEnrolled})
}

func (ss *stubSession) evidence(e *Evidence) {
	key := ss.conn.ConnectionState().PeerCertificates[0]
	tbs := EvidenceToBeSigned(e.Nonce, e.Measurement, key.RawSubjectPublicKeyInfo)
	if sum := sha256Of(tbs); tbs == nil || !ecdsa.VerifyASN1(key.PublicKey.(*ecdsa.PublicKey), sum, e.Signature) {
		ss.t.Error("the evidence does not verify")
	}
}

func (ss *stubSession) chunk(m *ChunkRequest) {
	var module []byte
	ss.set(func() {
		if ss.missing > 0 {
			ss.missing--
			return
		}
		module = ss.modules[string(m.Digest)]
	})
	if module == nil || int(m.Offset) >= len(module) {
		ss.send(&Error{Refers: m.ID, Code: CodeNotFound})
		return
	}
	if m.Length > ss.hello.Capabilities.Chunk {
		ss.t.Errorf("%d bytes asked for", m.Length)
	}
	data := module[m.Offset:min(int(m.Offset+m.Length), len(module))]
	ss.send(&Chunk{Refers: m.ID, Digest: m.Digest, Offset: m.Offset, Data: data, Total: uint32(len(module))})
}

// report adds a report up and checks its digest.
func (ss *stubSession) report(m *Report) {
	if ss.version++; m.Version != ss.version || ss.version == 1 && !m.Full {
		ss.t.Errorf("report version %d, full %v; want %d", m.Version, m.Full, ss.version)
	}
	if m.Full {
		clear(ss.apps)
	}
	for name, s := range m.Apps {
		ss.apps[name] = s
	}
	for _, name := range m.Removed {
		delete(ss.apps, name)
	}
	if want := StateDigest(ss.apps); !slices.Equal(want[:], m.StateDigest) {
		ss.t.Errorf("digest %x of %+v, want %x", m.StateDigest, ss.apps, want)
	}
}

// until reads messages to the first that is wanted. Command results that it passes are kept, since their order
// among the reports is free.
func until[M Message](ss *stubSession, what string, want func(m M) bool) M {
	ss.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case m, ok := <-ss.got:
			if !ok {
				ss.t.Fatalf("the session ended before %s", what)
			}
			if m, ok := m.(M); ok && want(m) {
				return m
			}
			if r, ok := m.(*CommandResult); ok {
				ss.passed = append(ss.passed, r)
			}
		case <-deadline:
			ss.t.Fatalf("no %s", what)
		}
	}
}

// ended reads to the end of the session.
func (ss *stubSession) ended() {
	deadline := time.After(patience)
	for {
		select {
		case _, ok := <-ss.got:
			if !ok {
				return
			}
		case <-deadline:
			ss.t.Fatal("the session does not end")
		}
	}
}
