package host

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wasmbed.io/wasmbed/firmware/modules"
	"wasmbed.io/wasmbed/protocol"
)

// patience is how long a test waits for something that takes milliseconds.
const patience = 30 * time.Second

// gateway is the other side of the protocol, as small as it can be: it enrolls whoever asks, acknowledges everything,
// serves modules, and remembers what it was told.
type gateway struct {
	t        testing.TB
	listener net.Listener
	key      *ecdsa.PrivateKey
	ca       *x509.Certificate
	config   *tls.Config
	wg       sync.WaitGroup

	heartbeat time.Duration
	life      time.Duration // of the certificates
	ahead     atomic.Int64  // how far this gateway's clock is ahead of the machine's, and its devices' with it

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when something below changes
	conns    map[net.Conn]bool
	session  *session // the newest enrolled one
	enrolls  []*protocol.Enroll
	spki     []byte // of the last enroll
	hellos   []*protocol.Hello
	apps     map[string]protocol.AppState
	digest   []byte // state digest of the last report
	traps    []*protocol.Trap
	values   map[string]float64
	logs     []string
	results  []*protocol.CommandResult
	answers  []*protocol.InvokeResult
	messages []*protocol.MessageUp
	chunks   []*protocol.ChunkRequest
	beats    int
	renewals int
	modules  map[[32]byte][]byte
	// onChunk, when set, is asked before a chunk is answered; false: the connection is cut instead.
	onChunk func(*protocol.ChunkRequest) bool
}

type session struct {
	conn   *tls.Conn
	mu     sync.Mutex
	lastID uint64

	reported bool // guarded by gateway.mu
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	g := &gateway{
		t: t, heartbeat: time.Second, life: time.Hour, changed: make(chan struct{}), conns: map[net.Conn]bool{},
		apps: map[string]protocol.AppState{}, values: map[string]float64{}, modules: map[[32]byte][]byte{},
	}
	var err error
	if g.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &g.key.PublicKey, g.key)
	if err != nil {
		t.Fatal(err)
	}
	if g.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	server := g.issue(&x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}, &serverKey.PublicKey)
	g.config = &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"wasmbed/1"}, ClientAuth: tls.RequireAnyClientCert,
		Certificates: []tls.Certificate{{Certificate: [][]byte{server}, PrivateKey: serverKey}},
	}
	if g.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	g.wg.Go(g.accept)
	t.Cleanup(func() {
		_ = g.listener.Close()
		g.cut()
		g.wg.Wait()
	})
	return g
}

func (g *gateway) issue(template *x509.Certificate, key any) []byte {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template.SerialNumber = serial
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, g.ca, key, g.key)
	if err != nil {
		g.t.Error(err)
	}
	return der
}

func (g *gateway) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(g.ca)
	return pool
}

func (g *gateway) now() time.Time { return time.Now().Add(time.Duration(g.ahead.Load())) }

func (g *gateway) address() string { return g.listener.Addr().String() }

// cut ends every connection without a word.
func (g *gateway) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		_ = c.Close()
	}
}

func (g *gateway) accept() {
	for {
		c, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.mu.Lock()
		g.conns[c] = true
		g.mu.Unlock()
		g.wg.Go(func() {
			g.serve(c)
			_ = c.Close()
			g.mu.Lock()
			delete(g.conns, c)
			g.mu.Unlock()
		})
	}
}

func (g *gateway) serve(c net.Conn) {
	conn := tls.Server(c, g.config)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return
	}
	leaf := conn.ConnectionState().PeerCertificates[0]
	pool := g.roots()
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: g.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	enrolled := err == nil && len(leaf.URIs) == 1
	s := &session{conn: conn}
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.session == s {
			g.session = nil
		}
	}()
	r := protocol.NewReader(conn)
	for {
		body, err := r.Next()
		if err != nil {
			return
		}
		m, err := protocol.Decode(body)
		if err != nil {
			g.t.Errorf("the device sent %x: %v", body, err)
			return
		}
		if !g.handle(s, m, leaf, enrolled) {
			return
		}
		r.SetCap(protocol.DefaultFrame)
	}
}

func (s *session) send(m protocol.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := protocol.Append(nil, m)
	if err != nil {
		return err
	}
	_, err = s.conn.Write(b)
	return err
}

func (s *session) id() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	return s.lastID
}

var era = []byte("\x01\x02\x03\x04\x05\x06\x07\x08")

// handle answers one frame; false ends the session.
func (g *gateway) handle(s *session, m protocol.Message, leaf *x509.Certificate, enrolled bool) bool {
	now := uint64(g.now().UnixMilli())
	var answers []protocol.Message
	ack := func(id uint64) { answers = append(answers, &protocol.Ack{ID: s.id(), Refers: id}) }
	goOn := true
	g.mu.Lock()
	switch m := m.(type) {
	case *protocol.Hello:
		g.hellos = append(g.hellos, m)
		w := &protocol.Welcome{
			ID: s.id(), Refers: m.ID, Version: 1, Features: m.Features, Time: now,
			Heartbeat: uint32(g.heartbeat.Milliseconds()), Frame: protocol.DefaultFrame, Enrolled: enrolled,
		}
		if enrolled {
			w.Epoch, w.Era = uint64(len(g.hellos)), era
			w.RenewBefore = uint64(leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3).UnixMilli())
			g.session = s
		} else {
			w.Nonce = bytes.Repeat([]byte{7}, protocol.NonceSize)
		}
		answers = append(answers, w)
	case *protocol.Enroll:
		g.enrolls = append(g.enrolls, m)
		g.spki = leaf.RawSubjectPublicKeyInfo
		answers = append(answers, g.enroll(s, m.ID, m.CSR, leaf), &protocol.Goodbye{ID: s.id(), Reason: protocol.GoodbyeEnrolled})
	case *protocol.Renew:
		g.renewals++
		answers = append(answers, g.enroll(s, m.ID, m.CSR, leaf))
	case *protocol.Heartbeat:
		g.beats++
		answers = append(answers, &protocol.HeartbeatAck{ID: s.id(), Refers: m.ID, Time: now})
	case *protocol.Report:
		s.reported = true
		if m.Full {
			g.apps = map[string]protocol.AppState{}
		}
		maps.Copy(g.apps, m.Apps)
		for _, name := range m.Removed {
			delete(g.apps, name)
		}
		if want := protocol.StateDigest(g.apps); !bytes.Equal(want[:], m.StateDigest) {
			g.t.Errorf("report %+v: the state digest is %x, want %x", m, m.StateDigest, want)
		}
		ack(m.ID)
	case *protocol.Telemetry:
		for _, r := range m.Records {
			g.values[r.App+"/"+r.Name] = r.Value
		}
		ack(m.ID)
	case *protocol.Logs:
		for _, r := range m.Records {
			g.logs = append(g.logs, r.Text)
		}
		ack(m.ID)
	case *protocol.Trap:
		g.traps = append(g.traps, m)
		ack(m.ID)
	case *protocol.CommandResult:
		g.results = append(g.results, m)
		ack(m.ID)
	case *protocol.InvokeResult:
		g.answers = append(g.answers, m)
		ack(m.ID)
	case *protocol.MessageUp:
		g.messages = append(g.messages, m)
		ack(m.ID)
	case *protocol.ChunkRequest:
		g.chunks = append(g.chunks, m)
		if g.onChunk != nil && !g.onChunk(m) {
			goOn = false
			break
		}
		module := g.modules[[32]byte(m.Digest)]
		if int(m.Offset) >= len(module) {
			answers = append(answers, &protocol.Error{ID: s.id(), Refers: m.ID, Code: protocol.CodeNotFound})
			break
		}
		data := module[m.Offset:min(len(module), int(m.Offset+m.Length))]
		answers = append(answers, &protocol.Chunk{ID: s.id(), Refers: m.ID, Digest: m.Digest, Offset: m.Offset, Data: data, Total: uint32(len(module))})
	case *protocol.Goodbye:
		goOn = false
	case *protocol.Error:
		g.t.Errorf("the device refused a frame: %+v", m)
	default:
		g.t.Errorf("unexpected %T", m)
	}
	close(g.changed)
	g.changed = make(chan struct{})
	g.mu.Unlock()
	for _, a := range answers {
		if err := s.send(a); err != nil {
			return false
		}
	}
	return goOn
}

func (g *gateway) enroll(s *session, refers uint64, csr []byte, leaf *x509.Certificate) *protocol.EnrollResult {
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil || request.CheckSignature() != nil || !bytes.Equal(request.RawSubjectPublicKeyInfo, leaf.RawSubjectPublicKeyInfo) {
		g.t.Errorf("bad CSR: %v", err)
		return &protocol.EnrollResult{ID: s.id(), Refers: refers, Status: protocol.EnrollRejected, Reason: protocol.ReasonBadRequest}
	}
	uri, _ := url.Parse("spiffe://test/ns/test/device/" + request.Subject.CommonName)
	der := g.issue(&x509.Certificate{
		URIs: []*url.URL{uri}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore: g.now().Add(-time.Minute), NotAfter: g.now().Add(g.life),
	}, request.PublicKey)
	return &protocol.EnrollResult{ID: s.id(), Refers: refers, Status: protocol.EnrollAccepted, Chain: [][]byte{der}}
}

// wait waits until ok says so; it is asked with g.mu held.
func (g *gateway) wait(what string, ok func() bool) {
	g.t.Helper()
	deadline := time.After(patience)
	for {
		g.mu.Lock()
		done, changed := ok(), g.changed
		g.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			g.mu.Lock()
			defer g.mu.Unlock()
			g.t.Fatalf("no %s: apps %+v, traps %d, results %+v, logs %q", what, g.apps, len(g.traps), g.results, g.logs)
		}
	}
}

// forget forgets the session, so that online waits for another.
func (g *gateway) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.session = nil
}

// online waits for an enrolled session that has reported.
func (g *gateway) online() {
	g.t.Helper()
	g.wait("session", func() bool { return g.session != nil && g.session.reported })
}

// send sends to the newest session, and again when that ends meanwhile; make gets a fresh id.
func (g *gateway) send(make func(id uint64) protocol.Message) {
	g.t.Helper()
	for {
		g.online()
		g.mu.Lock()
		s := g.session
		g.mu.Unlock()
		if s == nil {
			continue
		}
		if err := s.send(make(s.id())); err == nil {
			return
		}
	}
}

// deploy sends a command with a whole revision of a module that the gateway then has.
func (g *gateway) deploy(verb protocol.Verb, app, revision string, attempt uint64, module []byte, change func(*protocol.Manifest)) {
	g.t.Helper()
	digest := sha256.Sum256(module)
	g.mu.Lock()
	g.modules[digest] = module
	g.mu.Unlock()
	manifest := &protocol.Manifest{
		MemoryPages: 1, Stack: 4096, CallTimeout: 1000, HealthWindow: 300, MaxTraps: 3, TrapPeriod: 60_000,
		Permissions: []string{"log", "clock", "telemetry"}, Timers: []protocol.Timer{{ID: 1, Period: 50}},
	}
	if change != nil {
		change(manifest)
	}
	command := make([]byte, protocol.CommandSize)
	binary.BigEndian.PutUint64(command, attempt)
	g.send(func(id uint64) protocol.Message {
		return &protocol.Command{
			ID: id, Command: command, Verb: verb, App: app, Revision: revision, Attempt: attempt,
			Digest: digest[:], Size: uint32(len(module)), Manifest: manifest, Era: era, Desired: attempt,
		}
	})
}

func (g *gateway) waitApp(app, what string, ok func(protocol.AppState) bool) {
	g.t.Helper()
	g.wait(app+" "+what, func() bool { return ok(g.apps[app]) })
}

func (g *gateway) waitRunning(app, revision string) {
	g.t.Helper()
	g.waitApp(app, "running "+revision, func(s protocol.AppState) bool {
		return s.State == protocol.StateRunning && s.Revision == revision && s.Confirmed
	})
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := modules.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newShared(t testing.TB) *Shared {
	t.Helper()
	s, err := NewShared(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

// running is a device under test and the end of its Run.
type running struct {
	*Device
	t    testing.TB
	stop context.CancelFunc
	done chan error
}

// start runs a device until the test ends or it is stopped. change may be nil.
func start(t testing.TB, g *gateway, shared *Shared, dir string, change func(*Config)) *running {
	t.Helper()
	config := Config{
		Gateway: g.address(), Roots: g.roots(), Name: "device-1", Board: "Host", Dir: dir, Shared: shared, NoSync: true, Now: g.now,
		Timing: Timing{
			BackoffMin: 10 * time.Millisecond, BackoffMax: 100 * time.Millisecond,
			BatchDelay: 20 * time.Millisecond, RestartDelay: 10 * time.Millisecond,
		},
	}
	if os.Getenv("WASMBED_TEST_LOG") != "" {
		config.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if change != nil {
		change(&config)
	}
	d, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Device: d, t: t, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		r.end()
	})
	return r
}

// end waits until Run has returned.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Error(err)
		}
		r.done <- nil // again for the clean-up
	case <-time.After(patience):
		r.t.Fatal("the device does not end")
	}
}

// powerCut kills the device and waits until its directory is free.
func (r *running) powerCut() {
	r.t.Helper()
	r.Kill()
	r.end()
}

// TestGatewayProcess is the gateway of a test that wants it outside of its own process: it says where it is and whom to trust,
// and ends with its input.
func TestGatewayProcess(t *testing.T) {
	if os.Getenv("WASMBED_TEST_GATEWAY") == "" {
		t.Skip("started by other tests")
	}
	g := newGateway(t)
	g.heartbeat = 10 * time.Second
	fmt.Printf("gateway %s %x\n", g.address(), g.ca.Raw)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// gatewayProcess starts another process of this test as the gateway.
func gatewayProcess(t *testing.T) (address string, roots *x509.CertPool) {
	t.Helper()
	command := exec.Command(os.Args[0], "-test.run=^TestGatewayProcess$")
	command.Env = append(os.Environ(), "WASMBED_TEST_GATEWAY=1")
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = command.Wait()
	})
	var der []byte
	if _, err := fmt.Fscanf(bufio.NewReader(out), "gateway %s %x\n", &address, &der); err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(must(x509.ParseCertificate(der)))
	return address, roots
}

func TestCoreIsLinked(t *testing.T) {
	found := 0
	for pattern, prefix := range map[string]string{"../../core/src/*.[ch]": "", "../../core/include/wasmbed/*.h": "wasmbed_"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			found++
			link, err := os.Readlink(prefix + filepath.Base(f))
			if err != nil || link != f {
				t.Errorf("%s is not linked: ln -s %s firmware/port/host/%s", f, f, prefix+filepath.Base(f))
			}
		}
	}
	if found < 10 {
		t.Fatalf("found only %d files of the core", found)
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type()&os.ModeSymlink == 0 {
			continue
		}
		if _, err := os.Stat(e.Name()); errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s links to nothing: remove it", e.Name())
		}
	}
}
