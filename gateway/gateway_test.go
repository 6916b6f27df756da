package gateway

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/protocol"
)

func TestSession(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	d := w.device("press-1")
	welcome := d.open(g.TLSAddr())
	if !welcome.Enrolled || welcome.Epoch == 0 || welcome.Heartbeat != 1000 || welcome.RenewBefore == 0 {
		t.Fatalf("%+v", welcome)
	}
	id := d.report()
	if ack := next[*protocol.Ack](d); ack.Refers != id {
		t.Fatalf("ack of %d, want %d", ack.Refers, id)
	}
	c := data[event.Connected](t, w.broker.all(event.DeviceConnected)[0])
	if c.Device != d.ref() || c.Epoch != welcome.Epoch || c.Gateway != testGateway || c.Instance != g.Instance() || c.Board != "Host" || c.NotAfter == nil || c.Serial == "" {
		t.Fatalf("%+v", c)
	}
	id = d.telemetry(1, 10)
	if ack := next[*protocol.Ack](d); ack.Refers != id {
		t.Fatalf("ack of %d, want %d", ack.Refers, id)
	}
	batch := data[event.TelemetryBatch](t, w.broker.all(event.TelemetryReceived)[0])
	recs, err := protocol.DecodeTelemetryRecords(batch.Devices[0].Records)
	if err != nil || len(recs) != 10 || batch.Devices[0].Name != "press-1" || batch.Devices[0].Seq != 1 || !bytes.Equal(batch.Devices[0].BootID, d.boot) {
		t.Fatalf("%+v %v", batch, err)
	}
	d.beat()
	view, err := w.ledger.Device(t.Context(), d.ref())
	if err != nil || !view.Online {
		t.Fatalf("%+v %v", view, err)
	}
	d.send(&protocol.Goodbye{ID: d.id64(), Reason: protocol.GoodbyeShutdown})
	d.ended()
	eventually(t, "disconnected", func() bool { return len(w.broker.all(event.DeviceDisconnected)) == 1 })
	if e := data[event.Disconnected](t, w.broker.all(event.DeviceDisconnected)[0]); e.Reason != "Closed" || e.Epoch != welcome.Epoch {
		t.Fatalf("%+v", e)
	}
	eventually(t, "the lease is released", func() bool { _, _, err := g.affinity.Owner(t.Context(), d.ref()); return err != nil })
}

// TestStrangers: none of these certificates is an identity here.
func TestStrangers(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	k := newKey(t)
	hour := time.Now().Add(time.Hour)
	foreign := newAuthority(t)
	for name, cert := range map[string]tls.Certificate{
		"self-signed":     selfSigned(t, k),
		"other CA":        {Certificate: [][]byte{foreign.issue(spiffe(testDomain, testNS, "press-1"), &k.PublicKey, hour)}, PrivateKey: k},
		"lapsed":          {Certificate: [][]byte{w.ca.issue(spiffe(testDomain, testNS, "press-1"), &k.PublicKey, time.Now().Add(-time.Hour))}, PrivateKey: k},
		"other namespace": {Certificate: [][]byte{w.ca.issue(spiffe(testDomain, "office", "press-1"), &k.PublicKey, hour)}, PrivateKey: k},
		"other domain":    {Certificate: [][]byte{w.ca.issue(spiffe("evil.example", testNS, "press-1"), &k.PublicKey, hour)}, PrivateKey: k},
		"not a device":    {Certificate: [][]byte{w.ca.issue("spiffe://"+testDomain+"/ns/"+testNS+"/gateway/main", &k.PublicKey, hour)}, PrivateKey: k},
		"path tricks":     {Certificate: [][]byte{w.ca.issue("spiffe://"+testDomain+"/ns/"+testNS+"/device/a%2fb", &k.PublicKey, hour)}, PrivateKey: k},
	} {
		t.Run(name, func(t *testing.T) {
			d := &device{t: t, w: w, name: name, key: k, cert: cert, boot: []byte("boot0001"), apps: map[string]protocol.AppState{}, mu: new(sync.Mutex)}
			welcome := d.open(g.TLSAddr())
			if welcome.Enrolled || welcome.Epoch != 0 || len(welcome.Nonce) != protocol.NonceSize {
				t.Fatalf("%+v", welcome)
			}
			d.telemetry(1, 1)
			if e := next[*protocol.Error](d); e.Code != protocol.CodeAuth {
				t.Fatalf("%+v", e)
			}
			next[*protocol.Goodbye](d)
			d.ended()
		})
	}
	if n := len(w.broker.all(event.DeviceConnected)) + len(w.broker.all(event.TelemetryReceived)); n != 0 {
		t.Fatalf("%d events of strangers", n)
	}
	// Without a certificate, without ALPN, with an older TLS: no session at all.
	for name, cfg := range map[string]*tls.Config{
		"no certificate": {NextProtos: []string{alpn}},
		"no ALPN":        {Certificates: []tls.Certificate{w.device("x").cert}},
		"other ALPN":     {Certificates: []tls.Certificate{w.device("x").cert}, NextProtos: []string{"h2"}},
		"TLS 1.2":        {Certificates: []tls.Certificate{w.device("x").cert}, NextProtos: []string{alpn}, MaxVersion: tls.VersionTLS12},
	} {
		cfg.RootCAs, cfg.ServerName = w.ca.pool(), "localhost"
		c, err := tls.Dial("tcp", g.TLSAddr().String(), cfg)
		if err == nil { // TLS 1.3 lets a client think that it is done before the server has judged
			c.SetReadDeadline(time.Now().Add(patience))
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		if err == nil {
			t.Errorf("%s: let in", name)
		}
	}
	eventually(t, "all places are free again", func() bool {
		g.admission.mu.Lock()
		defer g.admission.mu.Unlock()
		return g.admission.total == 0 && g.admission.first == 0 && len(g.admission.addr) == 0
	})
}

// enroller is the enroll function in small: it waits for approve, then signs.
func (w *world) enroller(name string, approve func() bool) {
	before := w.broker.on
	w.broker.on = func(e ce.Event) {
		before(e)
		if e.Type() != event.DeviceEnrollmentRequested {
			return
		}
		r, err := event.Data[event.EnrollmentRequest](e)
		if err != nil {
			w.t.Error(err)
			return
		}
		v := ledger.Verdict{Status: "Pending", Reason: "AwaitingApproval", RetryAfter: time.Minute}
		if approve() {
			csr, err := x509.ParseCertificateRequest(r.CSR)
			if err != nil {
				w.t.Error(err)
				return
			}
			if r.Renewal != "" {
				name = r.Renewal
			}
			leaf := w.ca.issue(spiffe(w.domain, r.Namespace, name), csr.PublicKey, time.Now().Add(24*time.Hour))
			v = ledger.Verdict{Status: "Accepted", Chain: [][]byte{leaf}, Device: event.Device{Namespace: r.Namespace, Name: name}}
		}
		if err := w.ledger.PutVerdict(w.t.Context(), r.Instance, r.Session, v); err != nil {
			w.t.Error(err)
		}
	}
}

func (d *device) csr() []byte {
	b, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, d.key)
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

func TestEnroll(t *testing.T) {
	w := newWorld(t)
	approved := make(chan struct{})
	w.enroller("press-9", func() bool {
		select {
		case <-approved:
			return true
		default:
			return false
		}
	})
	g := w.gateway()
	d := w.device("press-9")
	d.cert = selfSigned(t, d.key)
	if d.open(g.TLSAddr()).Enrolled {
		t.Fatal("enrolled by a self-signed certificate")
	}
	d.send(&protocol.Enroll{ID: d.id64(), CSR: d.csr(), Name: "press-9", Claim: []byte("secret")})
	res := next[*protocol.EnrollResult](d)
	if res.Status != protocol.EnrollPending || res.Reason != protocol.ReasonAwaitingApproval || res.RetryAfter != 60000 {
		t.Fatalf("%+v", res)
	}
	req := data[event.EnrollmentRequest](t, w.broker.all(event.DeviceEnrollmentRequested)[0])
	if req.WantedName != "press-9" || string(req.Claim) != "secret" || req.KeyFingerprint != fingerprint(t, d.key) || req.Namespace != testNS ||
		req.Instance != g.Instance() || req.RemoteAddress != "127.0.0.1" || req.Board != "Host" {
		t.Fatalf("%+v", req)
	}
	close(approved)
	// What enroll does when a person approves: a pending verdict with retry-after 0 to the last session.
	if err := w.ledger.PutVerdict(t.Context(), req.Instance, req.Session, ledger.Verdict{Status: "Pending"}); err != nil {
		t.Fatal(err)
	}
	if res = next[*protocol.EnrollResult](d); res.Status != protocol.EnrollPending || res.RetryAfter != 0 {
		t.Fatalf("%+v", res)
	}
	d.send(&protocol.Enroll{ID: d.id64(), CSR: d.csr(), Name: "press-9"})
	if res = next[*protocol.EnrollResult](d); res.Status != protocol.EnrollAccepted || len(res.Chain) != 1 {
		t.Fatalf("%+v", res)
	}
	if bye := next[*protocol.Goodbye](d); bye.Reason != protocol.GoodbyeEnrolled {
		t.Fatalf("%+v", bye)
	}
	d.ended()
	d.cert = tls.Certificate{Certificate: res.Chain, PrivateKey: d.key}
	if !d.open(g.TLSAddr()).Enrolled {
		t.Fatal("not enrolled")
	}
}

func TestRenewalKeepsTheSession(t *testing.T) {
	w := newWorld(t)
	w.enroller("", func() bool { return true })
	g := w.gateway()
	d := w.device("press-9")
	d.cert.Certificate = [][]byte{w.ca.issue(spiffe(w.domain, testNS, d.name), &d.key.PublicKey, time.Now().Add(3*time.Second))}
	d.open(g.TLSAddr())
	d.report()
	lapses := time.Now().Add(3 * time.Second)
	d.send(&protocol.Renew{ID: d.id64(), CSR: d.csr()})
	if res := next[*protocol.EnrollResult](d); res.Status != protocol.EnrollAccepted {
		t.Fatalf("%+v", res)
	}
	if r := data[event.EnrollmentRequest](t, w.broker.all(event.DeviceEnrollmentRequested)[0]); r.Renewal != "press-9" {
		t.Fatalf("%+v", r)
	}
	other := w.device("press-8") // the same, without renewal
	other.cert.Certificate = [][]byte{w.ca.issue(spiffe(w.domain, testNS, other.name), &other.key.PublicKey, time.Now().Add(2*time.Second))}
	other.open(g.TLSAddr())
	if bye := next[*protocol.Goodbye](other); bye.Reason != protocol.GoodbyeExpired {
		t.Fatalf("%+v", bye)
	}
	for time.Now().Before(lapses.Add(time.Second)) { // the old certificate's end has to come, there is no way around it
		d.beat()
		time.Sleep(20 * time.Millisecond)
	}
}

func TestNewerSessionWins(t *testing.T) {
	w := newWorld(t)
	g1, g2 := w.gateway(), w.gateway()
	d := w.device("press-1")
	first := d.open(g1.TLSAddr())
	for i, g := range []*Gateway{g1, g2} { // in the same process, then in another
		again := *d
		second := again.open(g.TLSAddr())
		if second.Epoch <= first.Epoch {
			t.Fatalf("%d: epoch %d after %d", i, second.Epoch, first.Epoch)
		}
		if bye := next[*protocol.Goodbye](d); bye.Reason != protocol.GoodbyeSuperseded {
			t.Fatalf("%+v", bye)
		}
		d.ended()
		first, d = second, &again
		d.beat()
	}
	if owner, _, err := g2.affinity.Owner(t.Context(), d.ref()); err != nil || owner != g2.Instance() {
		t.Fatalf("%s %v", owner, err)
	}
}

func TestDenyListEndsLiveSessions(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	bad, good := w.device("press-1"), w.device("press-2")
	bad.cache = tls.NewLRUClientSessionCache(1)
	bad.open(g.TLSAddr())
	good.open(g.TLSAddr())
	if err := w.ledger.Deny(t.Context(), testNS, fingerprint(t, bad.key), "stolen"); err != nil {
		t.Fatal(err)
	}
	if bye := next[*protocol.Goodbye](bad); bye.Reason != protocol.GoodbyeRevoked {
		t.Fatalf("%+v", bye)
	}
	bad.ended()
	// Nor does it come back, by its session ticket or otherwise.
	if err := bad.dial(g.TLSAddr()); err != nil {
		t.Fatal(err)
	}
	if !bad.conn.ConnectionState().DidResume {
		t.Fatal("the session was not resumed")
	}
	if bye := next[*protocol.Goodbye](bad); bye.Reason != protocol.GoodbyeRevoked {
		t.Fatalf("%+v", bye)
	}
	good.beat()
}

func TestAckOnlyAfterTheBrokerHasIt(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	d := w.device("press-1")
	d.open(g.TLSAddr())
	d.report()
	next[*protocol.Ack](d)
	w.broker.away.Store(true)
	before := w.broker.posted.Load()
	want := map[uint64]bool{d.report(): true, d.telemetry(1, 5): true}
	d.send(&protocol.Trap{ID: d.id64(), Seq: 1, App: "hello", Revision: "hello-1", Reason: protocol.ReasonTrap})
	want[d.id] = true
	d.send(&protocol.CommandResult{ID: d.id64(), Command: make([]byte, 8), Status: protocol.CommandDone})
	want[d.id] = true
	eventually(t, "the broker was tried", func() bool { return w.broker.posted.Load() > before+3 })
	eventually(t, "not ready without a broker", func() bool { return !g.Ready().Ready })
	for range 3 { // the session goes on
		switch m := next[protocol.Message](d).(type) {
		case *protocol.Ack:
			t.Fatalf("ack of %d while the broker was away", m.Refers)
		case *protocol.Goodbye:
			t.Fatalf("%+v", m)
		}
	}
	w.broker.away.Store(false)
	for len(want) > 0 {
		a := next[*protocol.Ack](d)
		if !want[a.Refers] {
			t.Fatalf("ack of %d", a.Refers)
		}
		delete(want, a.Refers)
	}
	if n := len(w.broker.all(event.DeviceTrapped)); n != 1 {
		t.Fatalf("%d traps", n)
	}
}

// deploy has the ledger want a revision of an app on a device.
func (w *world) deploy(app string, n int, module []byte, d *device) ledger.Target {
	w.t.Helper()
	ctx := w.t.Context()
	sum := sha256.Sum256(module)
	a := ledger.App{Namespace: testNS, Name: app}
	target := ledger.Target{Sequence: uint64(n), Revision: app + "-" + string(rune('0'+n)), Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(module)),
		Manifest: ledger.Manifest{MemoryPages: 1, Stack: 4096, CallTimeout: time.Second, HealthWindow: time.Second, MaxTraps: 3, TrapPeriod: time.Minute}}
	if err := w.ledger.PutDevice(ctx, d.ref(), ledger.DeviceFacts{Board: "Host", Approved: true}, nil); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.ledger.SetTarget(ctx, a, target, ledger.Selection{Names: []string{d.name}}); err != nil {
		w.t.Fatal(err)
	}
	if n, err := w.ledger.Dispatch(ctx, a, target.Sequence, time.Now().Add(time.Minute), []event.Device{d.ref()}); err != nil || n != 1 {
		w.t.Fatalf("dispatched %d: %v", n, err)
	}
	return target
}

func (w *world) putModule(module []byte) {
	w.t.Helper()
	sum := sha256.Sum256(module)
	if err := w.ledger.PutModule(w.t.Context(), testNS, "sha256:"+hex.EncodeToString(sum[:]), module); err != nil {
		w.t.Fatal(err)
	}
}

// fetch pulls bytes of a module from an offset until it has them or n chunks came.
func (d *device) fetch(c *protocol.Command, have []byte, n int) []byte {
	d.t.Helper()
	for ; len(have) < int(c.Size) && n > 0; n-- {
		d.send(&protocol.ChunkRequest{ID: d.id64(), Digest: c.Digest, Offset: uint32(len(have)), Length: 1024})
		ch := next[*protocol.Chunk](d)
		if ch.Refers != d.id || int(ch.Offset) != len(have) || ch.Total != c.Size || len(ch.Data) > 1024 {
			d.t.Fatalf("chunk %d at %d of %d, %d bytes", ch.Refers, ch.Offset, ch.Total, len(ch.Data))
		}
		have = append(have, ch.Data...)
	}
	return have
}

func TestDeployAndResumedTransfer(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	d := w.device("press-1")
	d.open(g.TLSAddr())
	d.report()
	next[*protocol.Ack](d)
	module := make([]byte, 10_000)
	rand.Read(module)
	target := w.deploy("hello", 1, module, d)

	c := next[*protocol.Command](d)
	if c.Verb != protocol.VerbDeploy || c.App != "hello" || c.Revision != "hello-1" || c.Attempt != 1 || c.Size != 10_000 || c.Manifest.HealthWindow != 1000 || c.Desired == 0 {
		t.Fatalf("%+v", c)
	}
	d.send(&protocol.CommandResult{ID: d.id64(), Refers: c.ID, Command: c.Command, Status: protocol.CommandAccepted})
	d.holds("hello", protocol.AppState{State: protocol.StateFetching, Revision: "hello-1", Attempt: 1})
	// The module is not there yet: the device asks again, somebody is told.
	d.send(&protocol.ChunkRequest{ID: d.id64(), Digest: c.Digest, Offset: 0, Length: 1024})
	if e := next[*protocol.Error](d); e.Code != protocol.CodeNotFound || e.Refers != d.id {
		t.Fatalf("%+v", e)
	}
	eventually(t, "module.missed", func() bool { return len(w.broker.all(event.ModuleMissed)) == 1 })
	if m := data[event.ModuleMiss](t, w.broker.all(event.ModuleMissed)[0]); m.Digest != target.Digest {
		t.Fatalf("%+v", m)
	}
	w.putModule(module)
	have := d.fetch(c, nil, 4)

	// Power is cut in the middle.
	d.close()
	d.boot = []byte("boot0002")
	d.open(g.TLSAddr())
	d.report()
	have = d.fetch(c, have, 1000)
	if !bytes.Equal(have, module) {
		t.Fatal("other bytes came")
	}
	d.send(&protocol.ChunkRequest{ID: d.id64(), Digest: c.Digest, Offset: 10_000, Length: 1})
	if e := next[*protocol.Error](d); e.Code != protocol.CodeState {
		t.Fatalf("%+v", e)
	}
	d.holds("hello", protocol.AppState{State: protocol.StateRunning, Revision: "hello-1", Attempt: 1, Running: "hello-1", Confirmed: true})
	eventually(t, "done", func() bool {
		n, err := w.ledger.Counts(t.Context(), ledger.App{Namespace: testNS, Name: "hello"})
		return err == nil && n.Ready == 1
	})
	// Nothing was said twice: the next command is the next revision's.
	w.deploy("hello", 2, module, d)
	if c := next[*protocol.Command](d); c.Verb != protocol.VerbUpdate || c.Revision != "hello-2" {
		t.Fatalf("%+v", c)
	}
	// It fails there; the rollout goes back by a new sequence.
	d.holds("hello", protocol.AppState{State: protocol.StateRolledBack, Revision: "hello-2", Attempt: 2, Running: "hello-1", Reason: protocol.ReasonTrapLoop})
	if err := w.ledger.RemoveApp(t.Context(), ledger.App{Namespace: testNS, Name: "hello"}); err != nil {
		t.Fatal(err)
	}
	if c := next[*protocol.Command](d); c.Verb != protocol.VerbRemove || c.App != "hello" {
		t.Fatalf("%+v", c)
	}
}

func TestBadInputDisturbsNobodyElse(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	good := w.device("good")
	good.open(g.TLSAddr())
	good.report()
	next[*protocol.Ack](good)
	for name, bytes := range map[string][]byte{
		"empty frame":     {0, 0, 0, 0},
		"over the cap":    {0, 1, 0, 0, 1, 2, 3},
		"huge":            {0xff, 0xff, 0xff, 0xff},
		"not CBOR":        {0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff},
		"nested":          append([]byte{0, 0, 0, 40}, bytes.Repeat([]byte{0x81}, 40)...),
		"HTTP":            []byte("GET / HTTP/1.1\r\n\r\n"),
		"indefinite":      {0, 0, 0, 3, 0xbf, 0, 0xff},
		"duplicate key":   {0, 0, 0, 5, 0xa2, 0, 10, 0, 10},
		"unknown, before": {0, 0, 0, 6, 0xa2, 0, 0x18, 0x7f, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			for _, opened := range []bool{true, false} {
				d := w.device("bad")
				d.t = t
				if opened {
					d.open(g.TLSAddr())
				} else if err := d.dial(g.TLSAddr()); err != nil {
					t.Fatal(err)
				}
				d.conn.Write(bytes)
				if name == "unknown, before" && opened {
					if e := next[*protocol.Error](d); e.Code != protocol.CodeUnknownType {
						t.Fatalf("%+v", e)
					}
					d.beat()
					d.close()
					continue
				}
				next[*protocol.Error](d)
				if bye := next[*protocol.Goodbye](d); bye.Reason != protocol.GoodbyeProtocol {
					t.Fatalf("%+v", bye)
				}
				d.ended()
			}
		})
	}
	d := w.device("half") // ends inside a frame
	d.open(g.TLSAddr())
	d.conn.Write([]byte{0, 0, 1, 0, 0xa1})
	d.close()
	good.beat()
	eventually(t, "the bad ones are gone", func() bool { return g.hub.size() == 1 })
}
