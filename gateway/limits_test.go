package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
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
