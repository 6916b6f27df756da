package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/broker/ledger/testcluster"
	"wasmbed.io/wasmbed/internal/testredis"
	"wasmbed.io/wasmbed/protocol"
)

const (
	testNS      = "plant"
	testGateway = "main"
	testDomain  = "wasmbed.local"
	patience    = 60 * time.Second
)

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for !f() {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// authority is a CA.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	n    atomic.Int64
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, key: newKey(t)}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.n.Store(1)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) sign(tpl *x509.Certificate, pub any) []byte {
	tpl.SerialNumber = big.NewInt(a.n.Add(1))
	der, err := x509.CreateCertificate(rand.Reader, tpl, a.cert, pub, a.key)
	if err != nil {
		a.t.Error(err)
	}
	return der
}

func (a *authority) server() func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k := newKey(a.t)
	der := a.sign(&x509.Certificate{NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature}, &k.PublicKey)
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c, nil }
}

func pemPair(t testing.TB, c *tls.Certificate) (cert, key []byte) {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(c.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// issue gives an operational certificate; until may be in the past.
func (a *authority) issue(uri string, pub any, until time.Time) []byte {
	u, err := url.Parse(uri)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.sign(&x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, URIs: []*url.URL{u},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}, pub)
}

func spiffe(domain, ns, name string) string {
	return "spiffe://" + domain + "/ns/" + ns + "/device/" + name
}

func selfSigned(t testing.TB, k *ecdsa.PrivateKey) tls.Certificate {
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

func fingerprint(t testing.TB, k *ecdsa.PrivateKey) string {
	b, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// broker is an ingress that a test can take away, and the functions behind it in small.
type broker struct {
	t      testing.TB
	srv    *httptest.Server
	away   atomic.Bool
	posted atomic.Int64 // requests, refused ones included
	on     func(e ce.Event)

	mu     sync.Mutex
	events []ce.Event
	ids    map[string]int
}

func newBroker(t testing.TB) *broker {
	b := &broker{t: t, ids: map[string]int{}}
	b.srv = httptest.NewServer(b)
	t.Cleanup(b.srv.Close)
	return b
}

func (b *broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.posted.Add(1)
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if b.away.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	es, err := event.ReadRequests(r, 0)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, e := range es {
		b.check(e)
	}
	b.mu.Lock()
	for _, e := range es {
		b.events = append(b.events, e)
		b.ids[e.Source()+" "+e.ID()]++
	}
	b.mu.Unlock()
	if b.on != nil {
		for _, e := range es {
			b.on(e)
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

// check demands what the catalogue says of an event.
func (b *broker) check(e ce.Event) {
	for _, entry := range event.Catalogue() {
		if entry.Type != e.Type() {
			continue
		}
		for name := range entry.Extensions {
			if event.Extension(e, name) == "" {
				b.t.Errorf("%s without the extension %s", e.Type(), name)
			}
		}
		if e.Subject() == "" || e.Time().IsZero() || event.Extension(e, event.ExtTraceParent) == "" && e.DataContentType() == event.JSON {
			b.t.Errorf("%v", e)
		}
		return
	}
	b.t.Errorf("%s is not in the catalogue", e.Type())
}

// all returns the events of a type, in the order in which they came.
func (b *broker) all(typ string) (out []ce.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Type() == typ {
			out = append(out, e)
		}
	}
	return out
}

func data[T any](t testing.TB, e ce.Event) T {
	t.Helper()
	v, err := event.Data[T](e)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// world is a Redis, a broker and a CA.
type world struct {
	t      testing.TB
	redis  *testredis.Server
	rdb    redis.UniversalClient
	ledger *ledger.Ledger
	ca     *authority
	broker *broker
	domain string

	gateways []*Gateway
}

// settled reports whether every gateway follows the heartbeat interval.
func (w *world) settled(heartbeat time.Duration) bool {
	for _, g := range w.gateways {
		if g.settings().heartbeat != heartbeat {
			return false
		}
	}
	return true
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, ca: newAuthority(t), broker: newBroker(t), domain: testDomain}
	if strings.HasPrefix(t.Name(), "TestRedisCluster/") { // the same test on another Redis
		w.rdb = testcluster.Start(t)
	} else {
		w.redis = testredis.Start(t)
		w.rdb = redis.NewClient(&redis.Options{Addr: w.redis.Addr, MaxRetries: -1, DialTimeout: time.Second})
		t.Cleanup(func() { w.rdb.Close() })
	}
	w.ledger = ledger.New(w.rdb, ledger.Options{})
	w.broker.on = w.function
	w.fill(time.Second)
	return w
}

// fill puts into Redis what functions put there.
func (w *world) fill(heartbeat time.Duration) {
	w.t.Helper()
	ctx := w.t.Context()
	if err := w.ledger.PutTrust(ctx, testNS, w.ca.pem()); err != nil {
		w.t.Fatal(err)
	}
	if err := w.ledger.PutGateway(ctx, ledger.GatewaySettings{Namespace: testNS, Name: testGateway, Address: "localhost:1", Heartbeat: heartbeat, PreAuthPerAddress: 10000}); err != nil {
		w.t.Fatal(err)
	}
}

// function is report, in small: sessions and reports go into the ledger.
func (w *world) function(e ce.Event) {
	ctx := context.Background()
	switch e.Type() {
	case event.DeviceConnected:
		if v, err := event.Data[event.Connected](e); err == nil {
			w.ledger.Connect(ctx, v)
		}
	case event.DeviceDisconnected:
		if v, err := event.Data[event.Disconnected](e); err == nil {
			w.ledger.Disconnect(ctx, v)
		}
	case event.DeviceReported:
		if v, err := event.Data[event.Reported](e); err == nil {
			w.ledger.Report(ctx, v)
		}
	}
}

// gateway starts a gateway process, in process.
func (w *world) gateway(change ...func(*Config, *Deps)) *Gateway {
	w.t.Helper()
	cfg := Config{Namespace: testNS, Gateway: testGateway, ListenTLS: "127.0.0.1:0", ListenHTTP: "127.0.0.1:0", Sink: w.broker.srv.URL,
		DrainTime: 3 * time.Second, DrainSpread: 100 * time.Millisecond, Tick: 20 * time.Millisecond}
	deps := Deps{Redis: w.rdb, Certificate: w.ca.server()}
	if os.Getenv("WASMBED_LOG") == "debug" {
		deps.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, f := range change {
		f(&cfg, &deps)
	}
	g, err := New(cfg, deps)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := g.Listen(); err != nil {
		w.t.Fatal(err)
	}
	go g.Serve(context.Background())
	w.t.Cleanup(func() { g.Close() })
	w.gateways = append(w.gateways, g)
	eventually(w.t, "the gateway is ready", func() bool { return g.Ready().Ready })
	return g
}

// device is one device and its present connection.
type device struct {
	t    testing.TB
	w    *world
	name string
	key  *ecdsa.PrivateKey
	cert tls.Certificate
	boot []byte

	conn  *tls.Conn
	in    chan protocol.Message // closed when the connection ends
	cache tls.ClientSessionCache

	mu      *sync.Mutex // guards the rest and writes
	id      uint64
	version uint64
	apps    map[string]protocol.AppState
}

func (w *world) device(name string) *device {
	k := newKey(w.t)
	d := &device{t: w.t, w: w, name: name, key: k, boot: []byte("boot0001"), apps: map[string]protocol.AppState{}, mu: new(sync.Mutex)}
	d.cert = tls.Certificate{Certificate: [][]byte{w.ca.issue(spiffe(w.domain, testNS, name), &k.PublicKey, time.Now().Add(time.Hour))}, PrivateKey: k}
	return d
}

func (d *device) id64() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.id++
	return d.id
}

func (d *device) ref() event.Device { return event.Device{Namespace: testNS, Name: d.name} }

// dial connects; the TLS handshake alone.
func (d *device) dial(addr net.Addr) error {
	nc, err := net.DialTimeout("tcp", addr.String(), 5*time.Second)
	if err != nil {
		return err
	}
	tc := tls.Client(nc, &tls.Config{MinVersion: tls.VersionTLS13, ServerName: "localhost", RootCAs: d.w.ca.pool(), NextProtos: []string{alpn},
		Certificates: []tls.Certificate{d.cert}, ClientSessionCache: d.cache})
	nc.SetDeadline(time.Now().Add(patience))
	if err := tc.Handshake(); err != nil {
		nc.Close()
		return err
	}
	nc.SetDeadline(time.Time{})
	d.mu.Lock()
	d.conn, d.in, d.id, d.version = tc, make(chan protocol.Message, 4096), 0, 0
	d.mu.Unlock()
	in := d.in
	go func() {
		defer close(in)
		defer tc.Close()
		r := protocol.NewReader(tc)
		r.SetCap(protocol.MaxFrame)
		for {
			body, err := r.Next()
			if err != nil {
				return
			}
			m, err := protocol.Decode(body)
			if err != nil {
				d.t.Errorf("the gateway said what cannot be read: %v", err)
				return
			}
			in <- m
		}
	}()
	return nil
}

func (d *device) send(m protocol.Message) {
	d.t.Helper()
	b, err := protocol.Append(nil, m)
	if err != nil {
		d.t.Error(err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn.SetWriteDeadline(time.Now().Add(patience))
	d.conn.Write(b)
}

func (d *device) hello() {
	d.send(&protocol.Hello{ID: d.id64(), Versions: []byte{1}, Features: features, BootID: d.boot, Board: "Host", Firmware: "1.0.0",
		Capabilities: protocol.Capabilities{ModuleMemory: 1 << 20, ModuleSize: 1 << 20, Chunk: 1024, Frame: 4096, Apps: 4, ABI: 1, Permissions: []string{"log"}}})
}

// next returns the next message of type M; others are let go by.
func next[M protocol.Message](d *device) M {
	d.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case m, ok := <-d.in:
			if !ok {
				var want M
				d.t.Fatalf("%s: the connection ended before %T", d.name, want)
			}
			if m, ok := m.(M); ok {
				return m
			}
		case <-timer.C:
			var want M
			d.t.Fatalf("%s: no %T", d.name, want)
		}
	}
}

// ended waits until the gateway has closed.
func (d *device) ended() {
	d.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case _, ok := <-d.in:
			if !ok {
				return
			}
		case <-timer.C:
			d.t.Fatalf("%s: the gateway does not close", d.name)
		}
	}
}

// open connects, says hello and is welcomed; from then on its heart beats.
func (d *device) open(addr net.Addr) *protocol.Welcome {
	d.t.Helper()
	if err := d.dial(addr); err != nil {
		d.t.Fatal(err)
	}
	d.hello()
	w := next[*protocol.Welcome](d)
	if w.Enrolled {
		go d.live(time.Duration(w.Heartbeat)*time.Millisecond, d.conn)
	}
	return w
}

// live beats until the connection ends.
func (d *device) live(every time.Duration, conn *tls.Conn) {
	for {
		time.Sleep(every)
		d.mu.Lock()
		sum := protocol.StateDigest(d.apps)
		b, err := protocol.Append(nil, &protocol.Heartbeat{ID: 1 << 40, StateDigest: sum[:]})
		if err != nil {
			d.t.Error(err)
		}
		_, err = conn.Write(b)
		d.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// report sends a full report and returns its id.
func (d *device) report() uint64 {
	d.mu.Lock()
	d.version++
	d.id++
	sum := protocol.StateDigest(d.apps)
	m := &protocol.Report{ID: d.id, Version: d.version, Full: true, Apps: maps.Clone(d.apps), StateDigest: sum[:]}
	d.mu.Unlock()
	d.send(m)
	return m.ID
}

// holds says what the device holds of an app now, and reports it.
func (d *device) holds(app string, s protocol.AppState) uint64 {
	d.mu.Lock()
	d.apps[app] = s
	d.mu.Unlock()
	return d.report()
}

// beat sends a heartbeat and waits for its answer.
func (d *device) beat() {
	d.t.Helper()
	d.mu.Lock()
	sum := protocol.StateDigest(d.apps)
	d.mu.Unlock()
	id := d.id64()
	d.send(&protocol.Heartbeat{ID: id, StateDigest: sum[:]})
	for next[*protocol.HeartbeatAck](d).Refers != id {
	}
}

func (d *device) telemetry(seq uint64, n int) uint64 {
	m := &protocol.Telemetry{ID: d.id64(), Seq: seq}
	for i := range n {
		m.Records = append(m.Records, protocol.TelemetryRecord{Time: 1.7e12, App: "hello", Name: "temperature", Value: float64(i) + 0.5})
	}
	d.send(m)
	return m.ID
}

// close ends the connection without a word.
func (d *device) close() { d.conn.NetConn().Close() }
