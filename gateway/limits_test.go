package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/gateway/session"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/protocol"
)

func (w *world) put(s ledger.GatewaySettings) {
	w.t.Helper()
	s.Namespace, s.Name = testNS, testGateway
	if err := w.ledger.PutGateway(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
}

func TestPerAddressCap(t *testing.T) {
	w := newWorld(t)
	w.put(ledger.GatewaySettings{Heartbeat: time.Second, PreAuthPerAddress: 3})
	g := w.gateway()
	d := w.device("press-1")
	d.open(g.TLSAddr()) // authenticated: counts no more
	for range 3 {
		c, err := net.Dial("tcp", g.TLSAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	eventually(t, "three are counted", func() bool {
		g.admission.mu.Lock()
		defer g.admission.mu.Unlock()
		return g.admission.total == 3
	})
	if c, err := net.Dial("tcp", g.TLSAddr().String()); err == nil { // else it was reset already
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the fourth was not turned away: %v", err)
		}
	}
	d.beat() // nobody else is disturbed
}

// TestStalledHandshakes: clients that stop in the middle hold no core.
func TestStalledHandshakes(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	for range runtime.GOMAXPROCS(0) + 6 {
		c, err := net.Dial("tcp", g.TLSAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write([]byte{22, 3, 1, 2, 0, 1}) // the beginning of a ClientHello
	}
	w.device("press-1").open(g.TLSAddr())
}

func TestDeviceCap(t *testing.T) {
	w := newWorld(t)
	w.put(ledger.GatewaySettings{Heartbeat: time.Second, MaxDevices: 1, MaxFrame: 3000})
	g := w.gateway()
	d := w.device("press-1")
	if got := d.open(g.TLSAddr()); got.Frame != 3000 {
		t.Fatalf("%+v", got)
	}
	other := w.device("press-2")
	if err := other.dial(g.TLSAddr()); err != nil {
		t.Fatal(err)
	}
	other.hello()
	if bye := next[*protocol.Goodbye](other); bye.Reason != protocol.GoodbyeBusy || bye.RetryAfter == 0 {
		t.Fatalf("%+v", bye)
	}
	other.ended()
	// The cap of the welcome counts.
	d.conn.Write([]byte{0, 0, 0x0b, 0xb9})
	if e := next[*protocol.Error](d); e.Code != protocol.CodeFrame {
		t.Fatalf("%+v", e)
	}
	d.ended()
}

func TestSettingsFollowTheGatewayObject(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	w.put(ledger.GatewaySettings{Heartbeat: 3 * time.Second, MaxFrame: 1 << 30})
	eventually(t, "new settings", func() bool { return g.settings().heartbeat == 3*time.Second })
	if g.settings().frame != protocol.MaxFrame {
		t.Fatalf("%+v", g.settings())
	}
	if r := g.Ready(); r.Settings.Note != "" {
		t.Fatalf("%+v", r)
	}
	if err := w.ledger.DeleteGateway(t.Context(), testNS, testGateway); err != nil {
		t.Fatal(err)
	}
	eventually(t, "defaults", func() bool { return !g.settings().found && g.settings().heartbeat == protocol.DefaultHeartbeat })
	if r := g.Ready(); !r.Ready || r.Settings.Note == "" {
		t.Fatalf("%+v", r)
	}
}

// TestNothingIsThereAtTheStart: no Redis, no broker, no trust anchors. The gateway starts, says so, and serves
// when they come.
func TestNothingIsThereAtTheStart(t *testing.T) {
	w := newWorld(t)
	w.redis.Kill()
	w.broker.away.Store(true)
	cfg := Config{Namespace: testNS, Gateway: testGateway, ListenTLS: "127.0.0.1:0", ListenHTTP: "127.0.0.1:0", Sink: w.broker.srv.URL, Tick: 20 * time.Millisecond}
	g, err := New(cfg, Deps{Redis: w.rdb, Certificate: w.ca.server()})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Listen(); err != nil {
		t.Fatal(err)
	}
	go g.Serve(context.Background())
	t.Cleanup(func() { g.Close() })
	eventually(t, "it says what is missing", func() bool {
		r := g.Ready()
		return !r.Ready && r.Redis.Note != "" && r.Broker.Note != "" && r.Trust.Note != ""
	})
	d := w.device("press-1")
	if err := d.dial(g.TLSAddr()); err != nil {
		t.Fatal(err)
	}
	if bye := next[*protocol.Goodbye](d); bye.Reason != protocol.GoodbyeBusy { // not: enroll anew
		t.Fatalf("%+v", bye)
	}
	w.redis.Restart(t)
	w.broker.away.Store(false)
	w.fill(time.Second)
	eventually(t, "ready", func() bool { return g.Ready().Ready })
	if !d.open(g.TLSAddr()).Enrolled {
		t.Fatal("not enrolled")
	}
}

func TestDeviceThatDoesNotRead(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	d := w.device("press-1")
	d.open(g.TLSAddr())
	c := g.hub.byDevice(d.ref())
	c.mu.Lock()
	c.writing = true // a writer that hangs
	for range maxOut/1000 + 2 {
		c.took(&session.Output{Frames: make([]byte, 1000)})
	}
	end := c.end
	held := len(c.out.b)
	c.writing = false
	c.mu.Unlock()
	if end.Reason != session.EndSlow || held > maxOut {
		t.Fatalf("%+v with %d bytes", end, held)
	}
	d.ended()
	eventually(t, "said", func() bool {
		es := w.broker.all(event.DeviceDisconnected)
		return len(es) == 1 && data[event.Disconnected](t, es[0]).Reason == session.EndSlow
	})
}

func TestLapsedCertificateIsNotResumed(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	d := w.device("press-1")
	d.cache = tls.NewLRUClientSessionCache(1)
	until := time.Now().Add(2 * time.Second).Truncate(time.Second)
	d.cert.Certificate = [][]byte{w.ca.issue(spiffe(w.domain, testNS, d.name), &d.key.PublicKey, until)}
	if !d.open(g.TLSAddr()).Enrolled {
		t.Fatal("not enrolled")
	}
	if bye := next[*protocol.Goodbye](d); bye.Reason != protocol.GoodbyeExpired || time.Now().Before(until) {
		t.Fatalf("%+v", bye)
	}
	if d.open(g.TLSAddr()).Enrolled {
		t.Fatal("enrolled with a lapsed certificate")
	}
}

func TestModules(t *testing.T) {
	var loads, misses atomic.Int32
	gate := make(chan struct{})
	store := map[string][]byte{}
	now := time.Unix(1e9, 0)
	m := newModules(func(_ context.Context, d string) ([]byte, error) {
		loads.Add(1)
		<-gate
		if b, ok := store[d]; ok {
			return b, nil
		}
		return nil, errs.New(errs.NotFound, "no")
	}, func(string) error { misses.Add(1); return nil }, func() time.Time { return now })
	m.size = 250
	put := func(b []byte) digest {
		d := digest(sha256.Sum256(b))
		store[d.String()] = b
		return d
	}
	a, b, c := put(make([]byte, 100)), put(make([]byte, 101)), put(make([]byte, 102))
	var wg sync.WaitGroup
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if got, err := m.get(t.Context(), a); err != nil || len(got) != 100 {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		}()
	}
	eventually(t, "somebody loads", func() bool { return loads.Load() > 0 })
	close(gate)
	wg.Wait()
	if loads.Load() != 1 {
		t.Fatalf("read %d times", loads.Load())
	}
	for _, d := range []digest{b, a, c} { // b is the one not used lately
		if _, err := m.get(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := m.cached(b); ok || m.held > 250 {
		t.Fatalf("%d bytes are held", m.held)
	}
	if _, ok := m.cached(a); !ok {
		t.Fatal("what was just used is forgotten")
	}
	none := digest(sha256.Sum256([]byte("none")))
	for range 5 {
		if _, err := m.get(t.Context(), none); !errs.Is(err, errs.NotFound) {
			t.Fatal(err)
		}
	}
	if misses.Load() != 1 {
		t.Fatalf("asked %d times", misses.Load())
	}
	now = now.Add(moduleMissEvery)
	m.get(t.Context(), none)
	if misses.Load() != 2 {
		t.Fatalf("asked %d times", misses.Load())
	}
	store[none.String()] = []byte("something else")
	if _, err := m.get(t.Context(), none); !errs.Is(err, errs.Invalid) {
		t.Fatal(err)
	}
}

func TestRate(t *testing.T) {
	now := time.Unix(1e9, 0)
	r := rate{perSecond: 1000}
	var wait time.Duration
	for range 4 {
		wait = r.take(1000, now)
	}
	if wait != 4*time.Second {
		t.Fatalf("%v", wait)
	}
	if wait = r.take(0, now.Add(10*time.Second)); wait != 0 {
		t.Fatalf("%v", wait)
	}
	if wait = (&rate{}).take(1<<30, now); wait != 0 {
		t.Fatalf("%v", wait)
	}
}

func TestJudgeRemembersNoLongerThanItMay(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	k := newKey(t)
	der := ca.issue(spiffe(testDomain, testNS, "press-1"), &k.PublicKey, time.Now().Add(time.Hour))
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	j := newJudge(testDomain, testNS)
	under := func(a *authority, at time.Time) identity {
		tr, err := newTrust(a.pem(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return j.identify(tr, []*x509.Certificate{leaf}, at)
	}
	now := time.Now()
	for range 2 {
		if id := under(ca, now); !id.enrolled || id.device.Name != "press-1" || id.fingerprint != fingerprint(t, k) {
			t.Fatalf("%+v", id)
		}
	}
	if j.known.len() != 1 {
		t.Fatal("not remembered")
	}
	if id := under(ca, now.Add(2*time.Hour)); id.enrolled || id.why != strangerLapsed {
		t.Fatalf("%+v", id)
	}
	if id := under(other, now); id.enrolled || id.why != strangerUnknown {
		t.Fatalf("%+v", id)
	}
	if id := j.identify(nil, []*x509.Certificate{leaf}, now); id.why != strangerNoTrust {
		t.Fatalf("%+v", id)
	}
	r := newRing[int, int](10)
	for i := range 1000 {
		r.put(i, i)
		r.get(0)
	}
	if r.len() > 10 {
		t.Fatalf("%d entries", r.len())
	}
	if _, ok := r.get(0); !ok {
		t.Fatal("what is used is forgotten")
	}
}

func TestDenyListHasNoHoleWhileTheLedgerIsRebuilt(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	if err := w.ledger.Deny(t.Context(), testNS, "abc", "stolen"); err != nil {
		t.Fatal(err)
	}
	denied := func() bool {
		_, no := g.trust.Load().deniedReason("abc")
		return no
	}
	eventually(t, "denied", denied)
	if err := w.rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss is known", func() bool { return g.eraSince.Load() != 0 })
	for range 3 {
		g.refresh()
		if !denied() || g.trust.Load().roots == nil || !g.settings().found {
			t.Fatal("an empty Redis revoked the deny-list, the trust or the settings")
		}
	}
	w.fill(time.Second)
	// Once the ledger has had its time, what it says counts.
	g.eraSince.Store(time.Now().Add(-2 * rebuildGrace).UnixNano())
	g.refresh()
	if denied() {
		t.Fatal("still denied")
	}
}

func TestHTTP(t *testing.T) {
	w := newWorld(t)
	g := w.gateway(func(c *Config, _ *Deps) { c.DrainToken = "secret" })
	w.device("press-1").open(g.TLSAddr())
	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + g.HTTPAddr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Fatal(code)
	}
	code, body := get("/readyz")
	var r Readiness
	if err := json.Unmarshal([]byte(body), &r); err != nil || code != 200 || !r.Ready {
		t.Fatalf("%d %s", code, body)
	}
	if _, body = get("/sessions"); !strings.Contains(body, `"devices": 1`) {
		t.Fatal(body)
	}
	_, body = get("/metrics")
	for _, line := range []string{"wasmbed_gateway_devices 1", `wasmbed_gateway_handshakes_total{kind="full"} 1`, `wasmbed_gateway_frames_total{type="Hello"} 1`} {
		if !strings.Contains(body, line) {
			t.Errorf("no %s in the metrics", line)
		}
	}
	for _, c := range []struct {
		token, remote string
		want          int
	}{{"", "127.0.0.1:1", 403}, {"wrong", "127.0.0.1:1", 403}, {"secret", "192.0.2.1:1", 202}} {
		req := httptest.NewRequest("POST", "/drain", nil)
		req.RemoteAddr = c.remote
		req.Header.Set("Authorization", "Bearer "+c.token)
		rec := httptest.NewRecorder()
		g.http.Handler.ServeHTTP(rec, req)
		if rec.Code != c.want {
			t.Errorf("%+v: %d", c, rec.Code)
		}
	}
	<-g.done
	w.broker.away.Store(true)
}

func TestServerCertificateIsReadAgain(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	f := &certFile{cert: filepath.Join(dir, "cert"), key: filepath.Join(dir, "key")}
	if err := f.reload(); !errs.Is(err, errs.Invalid) {
		t.Fatal(err)
	}
	write := func(at time.Time) []byte {
		c, err := ca.server()(nil)
		if err != nil {
			t.Fatal(err)
		}
		cert, key := pemPair(t, c)
		for name, b := range map[string][]byte{f.cert: cert, f.key: key} {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(name, at, at); err != nil {
				t.Fatal(err)
			}
		}
		return c.Certificate[0]
	}
	now := time.Now()
	for i := range 2 {
		want := write(now.Add(time.Duration(i) * time.Second))
		if err := f.reload(); err != nil {
			t.Fatal(err)
		}
		if c, err := f.get(nil); err != nil || string(c.Certificate[0]) != string(want) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	os.WriteFile(f.cert, []byte("rubbish"), 0o600)
	if err := f.reload(); err == nil {
		t.Fatal("rubbish was taken")
	}
	if _, err := f.get(nil); err != nil {
		t.Fatal("the former certificate is gone")
	}
}

func TestConfig(t *testing.T) {
	w := newWorld(t)
	for i, f := range []func(*Config, *Deps){
		func(c *Config, _ *Deps) { c.Namespace = "Not a name" },
		func(c *Config, _ *Deps) { c.Gateway = "" },
		func(c *Config, d *Deps) { c.Sink = "" },
		func(_ *Config, d *Deps) { d.Redis = nil },
		func(_ *Config, d *Deps) { d.Certificate = nil },
		func(c *Config, _ *Deps) { c.ModuleRate = -1 },
	} {
		cfg, deps := Config{Namespace: "a", Gateway: "b", Sink: "http://127.0.0.1:1"}, Deps{Redis: w.rdb, Certificate: w.ca.server()}
		f(&cfg, &deps)
		if _, err := New(cfg, deps); !errs.Is(err, errs.Invalid) {
			t.Errorf("%d: %v", i, err)
		}
	}
	for name, want := range map[string]bool{"a": true, "a.b-c": true, "": false, "-a": false, "a..b": false, "A": false, "a/b": false, strings.Repeat("a", 64): false} {
		if isName(name) != want {
			t.Errorf("%q", name)
		}
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	g, err := New(Config{Namespace: "a", Gateway: "b", Sink: "http://127.0.0.1:1", ListenTLS: "127.0.0.1:0", ListenHTTP: busy.Addr().String()}, Deps{Redis: w.rdb, Certificate: w.ca.server()})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Listen(); err == nil || !strings.Contains(fmt.Sprint(err), "WASMBED_LISTEN_HTTP") {
		t.Fatal(err)
	}
	g.Close()
}

func TestSilentDeviceIsSaidToBeGone(t *testing.T) {
	w := newWorld(t)
	w.put(ledger.GatewaySettings{Heartbeat: 100 * time.Millisecond})
	g := w.gateway()
	d := w.device("press-1")
	if err := d.dial(g.TLSAddr()); err != nil {
		t.Fatal(err)
	}
	d.hello()
	if bye := next[*protocol.Goodbye](d); bye.Reason != protocol.GoodbyeIdle {
		t.Fatalf("%+v", bye)
	}
	eventually(t, "said", func() bool {
		es := w.broker.all(event.DeviceDisconnected)
		return len(es) == 1 && data[event.Disconnected](t, es[0]).Reason == session.EndTimeout
	})
}

func TestOtherTrustAnchors(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	old := w.device("press-1")
	old.open(g.TLSAddr())
	ca := newAuthority(t)
	k := newKey(t)
	early := &device{t: t, w: w, name: "press-2", key: k, boot: []byte("boot0001"), apps: map[string]protocol.AppState{}, mu: new(sync.Mutex),
		cert: tls.Certificate{Certificate: [][]byte{ca.issue(spiffe(testDomain, testNS, "press-2"), &k.PublicKey, time.Now().Add(time.Hour))}, PrivateKey: k}}
	if early.open(g.TLSAddr()).Enrolled {
		t.Fatal("enrolled by a CA that is not ours")
	}
	// Rotation: both are trusted for a time.
	if err := w.ledger.PutTrust(t.Context(), testNS, append(ca.pem(), w.ca.pem()...)); err != nil {
		t.Fatal(err)
	}
	next[*protocol.Goodbye](early) // it is no stranger any more
	if !early.open(g.TLSAddr()).Enrolled {
		t.Fatal("not enrolled")
	}
	old.beat()
	if err := w.ledger.PutTrust(t.Context(), testNS, ca.pem()); err != nil {
		t.Fatal(err)
	}
	if bye := next[*protocol.Goodbye](old); bye.Reason != protocol.GoodbyeExpired {
		t.Fatalf("%+v", bye)
	}
	early.beat()
}

func TestSweepFindsWhatAWakeDidNot(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	d := w.device("press-1")
	d.open(g.TLSAddr())
	d.report()
	next[*protocol.Ack](d)
	w.deploy("hello", 1, []byte("module"), d)
	next[*protocol.Command](d)
	c := g.hub.byDevice(d.ref())
	c.mu.Lock()
	want, _ := c.s.Compared()
	c.s.Commands(time.Now(), 0, nil, &session.Output{}) // as if the wake had been lost
	c.mu.Unlock()
	g.sweep()
	next[*protocol.Command](d)
	if got, _ := c.s.Compared(); got != want {
		t.Fatalf("compared %d, want %d", got, want)
	}
}

// TestRecordsAreSmall: no TLS record is larger than a small device's buffer, whatever is written.
func TestRecordsAreSmall(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	module := make([]byte, 100_000)
	w.putModule(module)
	d := w.device("press-1")
	nc, err := net.Dial("tcp", g.TLSAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{Conn: nc}
	c := tls.Client(rec, &tls.Config{ServerName: "localhost", RootCAs: w.ca.pool(), NextProtos: []string{alpn}, Certificates: []tls.Certificate{d.cert}})
	r := protocol.NewReader(c)
	r.SetCap(protocol.MaxFrame)
	say := func(m protocol.Message) {
		b, err := protocol.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	say(&protocol.Hello{ID: 1, Versions: []byte{1}, BootID: d.boot, Board: "Host", Firmware: "1",
		Capabilities: protocol.Capabilities{Chunk: protocol.MaxChunk, Frame: protocol.MaxFrame, Apps: 1, ABI: 1}})
	sum := sha256.Sum256(module)
	got := 0
	for got < len(module) {
		body, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		m, err := protocol.Decode(body)
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *protocol.Chunk:
			got += len(m.Data)
		case *protocol.Welcome:
		default:
			continue
		}
		if got < len(module) {
			say(&protocol.ChunkRequest{ID: uint64(got) + 2, Digest: sum[:], Offset: uint32(got), Length: protocol.MaxChunk})
		}
	}
	for b := rec.all; len(b) >= 5; {
		n := int(b[3])<<8 | int(b[4])
		if n > recordSize+17 { // its content type and tag
			t.Fatalf("a record of %d bytes", n)
		}
		b = b[min(5+n, len(b)):]
	}
	if len(rec.all) < len(module) {
		t.Fatal("nothing was recorded")
	}
}

// recorder keeps what was read.
type recorder struct {
	net.Conn
	all []byte
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.all = append(r.all, b[:n]...)
	return n, err
}
