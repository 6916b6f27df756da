package session

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/protocol"
)

const testEra = "00112233445566aa"

var testDevice = event.Device{Namespace: "plant", Name: "press-7"}

// rig drives a session and plays the device.
type rig struct {
	t   testing.TB
	s   *Session
	now time.Time
	id  uint64
	o   Output
}

func newRig(t testing.TB, enrolled bool) *rig {
	r := &rig{t: t, now: time.Unix(1e9, 0)}
	p := Peer{Fingerprint: "ff"}
	if enrolled {
		p.Enrolled, p.Device, p.NotAfter = true, testDevice, r.now.Add(time.Hour)
	}
	r.s = New(Settings{Heartbeat: 10 * time.Second, Frame: protocol.DefaultFrame, Features: testFeatures}, p, r.now)
	return r
}

func (r *rig) hello() *protocol.Hello {
	return &protocol.Hello{ID: 1, Versions: []byte{1}, Features: testFeatures, BootID: []byte("bootboot"), Board: "Host", Firmware: "1",
		Capabilities: protocol.Capabilities{ModuleMemory: 1 << 20, ModuleSize: 1 << 20, Chunk: 1024, Frame: 4096, Apps: 4, ABI: 1}}
}

// feed sends m and returns what the session says to it.
func (r *rig) feed(m protocol.Message) []protocol.Message {
	r.t.Helper()
	b, err := protocol.Append(nil, m)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.raw(b[protocol.HeaderSize:])
}

func (r *rig) raw(body []byte) []protocol.Message {
	r.t.Helper()
	r.o.Reset()
	r.s.Feed(r.now, body, &r.o)
	return frames(r.t, r.o.Frames)
}

func (r *rig) call(f func(*Output)) []protocol.Message {
	r.t.Helper()
	r.o.Reset()
	f(&r.o)
	return frames(r.t, r.o.Frames)
}

func (r *rig) actions(k Kind) (out []Action) {
	for _, a := range r.o.Actions {
		if a.Kind == k {
			out = append(out, a)
		}
	}
	return out
}

// open brings an enrolled session to its welcome.
func (r *rig) open() *rig {
	r.t.Helper()
	r.feed(r.hello())
	if len(r.actions(Claim)) != 1 {
		r.t.Fatalf("hello did not claim: %+v", r.o.Actions)
	}
	got := r.call(func(o *Output) { r.s.Claimed(r.now, 7, testEra, o) })
	w, ok := got[0].(*protocol.Welcome)
	if !ok || !w.Enrolled || w.Epoch != 7 || w.Heartbeat != 10000 {
		r.t.Fatalf("welcome: %+v", got)
	}
	if len(r.actions(Connected)) != 1 {
		r.t.Fatal("connected was not said")
	}
	return r
}

func (r *rig) next() uint64 { r.id++; return 100 + r.id }

func (r *rig) report(version uint64, full bool, apps map[string]protocol.AppState, removed ...string) *protocol.Report {
	m := &protocol.Report{ID: r.next(), Version: version, Full: full, Apps: apps, Removed: removed}
	have := map[string]protocol.AppState{}
	if !full {
		held, _ := r.s.Apps()
		for k, v := range held {
			have[k] = v
		}
	}
	for k, v := range apps {
		have[k] = v
	}
	for _, k := range removed {
		delete(have, k)
	}
	d := protocol.StateDigest(have)
	m.StateDigest = d[:]
	return m
}

func running(rev string, attempt uint64) protocol.AppState {
	return protocol.AppState{State: protocol.StateRunning, Revision: rev, Attempt: attempt, Running: rev, Confirmed: true}
}

func one[M protocol.Message](t testing.TB, got []protocol.Message) M {
	t.Helper()
	if len(got) != 1 {
		t.Fatalf("want one frame, got %+v", got)
	}
	m, ok := got[0].(M)
	if !ok {
		t.Fatalf("got %T %+v", got[0], got[0])
	}
	return m
}

func TestReportIsAcknowledgedOnlyWhenDurable(t *testing.T) {
	r := newRig(t, true).open()
	m := r.report(1, true, map[string]protocol.AppState{"hello": running("hello-1", 1)})
	if got := r.feed(m); len(got) != 0 {
		t.Fatalf("said %+v before it was durable", got)
	}
	rep := r.actions(Reported)
	if len(rep) != 1 || len(r.actions(Compare)) != 1 {
		t.Fatalf("actions %+v", r.o.Actions)
	}
	e := rep[0].Data.(*event.Reported)
	if e.Epoch != 7 || e.Era != testEra || e.Version != 1 || e.Apps["hello"].State != "Running" || !e.Apps["hello"].Confirmed {
		t.Fatalf("event %+v", e)
	}
	ack := one[*protocol.Ack](t, r.call(func(o *Output) { r.s.Durable(FlowReport, rep[0].ID, o) }))
	if ack.Refers != m.ID {
		t.Fatalf("ack of %d, want %d", ack.Refers, m.ID)
	}
}

func TestSameFrameAgainIsTheSameEvent(t *testing.T) {
	r := newRig(t, true).open()
	m := r.report(1, true, nil)
	r.feed(m)
	first := r.actions(Reported)[0].EventID
	m.ID = r.next()
	r.feed(m)
	if again := r.actions(Reported)[0].EventID; again != first {
		t.Fatalf("%s, then %s", first, again)
	}
}

func TestDeltasAddUp(t *testing.T) {
	r := newRig(t, true).open()
	r.feed(r.report(1, true, map[string]protocol.AppState{"a": running("a-1", 1), "b": running("b-1", 1)}))
	r.feed(r.report(2, false, map[string]protocol.AppState{"c": running("c-1", 1)}, "a"))
	apps, full := r.s.Apps()
	if len(apps) != 2 || !full || apps["c"].Revision != "c-1" {
		t.Fatalf("%+v", apps)
	}
	// A delta whose digest says that we have missed something.
	m := r.report(4, false, map[string]protocol.AppState{"b": running("b-2", 2)})
	m.StateDigest = []byte("somedige")
	one[*protocol.ReportRequest](t, r.feed(m))
}

func TestHeartbeatWithAnotherDigestAsksOnce(t *testing.T) {
	r := newRig(t, true).open()
	m := r.report(1, true, nil)
	r.feed(m)
	r.call(func(o *Output) { r.s.Durable(FlowReport, m.ID, o) })
	hb := &protocol.Heartbeat{ID: r.next(), StateDigest: m.StateDigest}
	if ack := one[*protocol.HeartbeatAck](t, r.feed(hb)); ack.Refers != hb.ID || ack.Time != uint64(r.now.UnixMilli()) {
		t.Fatalf("%+v", ack)
	}
	hb.StateDigest = []byte("different"[:8])
	if got := r.feed(hb); len(got) != 2 || got[1].Type() != protocol.TypeReportRequest {
		t.Fatalf("%+v", got)
	}
	if got := r.feed(hb); len(got) != 1 {
		t.Fatalf("asked again at once: %+v", got)
	}
}

func TestFlowControl(t *testing.T) {
	r := newRig(t, true).open()
	tel := func() *protocol.Telemetry {
		return &protocol.Telemetry{ID: r.next(), Seq: 1, Records: []protocol.TelemetryRecord{{App: "a", Name: "t", Value: 1}}}
	}
	for range protocol.MaxInFlight {
		if got := r.feed(tel()); len(got) != 0 || len(r.actions(Telemetry)) != 1 {
			t.Fatalf("%+v %+v", got, r.o.Actions)
		}
	}
	m := tel()
	if e := one[*protocol.Error](t, r.feed(m)); e.Code != protocol.CodeBusy || e.Refers != m.ID {
		t.Fatalf("%+v", e)
	}
	r.call(func(o *Output) { r.s.Durable(FlowTelemetry, 101, o) })
	if got := r.feed(tel()); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	// The broker had no room: the device keeps it, and its other flows are not held back.
	if e := one[*protocol.Error](t, r.call(func(o *Output) {
		r.s.Undone(FlowTelemetry, 102, errs.New(errs.Exhausted, "full"), o)
	})); e.Code != protocol.CodeBusy || e.Refers != 102 {
		t.Fatalf("%+v", e)
	}
	if got := r.feed(r.report(1, true, nil)); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestErrorsEndTheSessionAsTheSpecSays(t *testing.T) {
	ends := func(r *rig, got []protocol.Message, code protocol.Code, want bool) {
		t.Helper()
		e, ok := got[0].(*protocol.Error)
		if !ok || e.Code != code {
			t.Fatalf("got %+v, want error %s", got[0], code)
		}
		_, bye := got[len(got)-1].(*protocol.Goodbye)
		if bye != want || r.s.Closed() != want {
			t.Fatalf("%s: goodbye %v, closed %v, want %v", code, bye, r.s.Closed(), want)
		}
	}
	cborBad := []byte{0xa2, 0x00, 0x0a, 0x00, 0x01}                 // a key twice
	schemaBad := []byte{0xa2, 0x00, 0x0a, 0x01, 0x05}               // heartbeat without its fields
	unknown := []byte{0xa2, 0x00, 0x18, 0x7f, 0x01, 0x05}           // no such type
	ack, _ := protocol.Append(nil, &protocol.Ack{ID: 1, Refers: 1}) // the gateway's to say
	r := newRig(t, true).open()
	ends(r, r.raw(cborBad), protocol.CodeCBOR, true)
	r = newRig(t, true).open()
	ends(r, r.raw(schemaBad), protocol.CodeSchema, false)
	ends(r, r.raw(unknown), protocol.CodeUnknownType, false)
	ends(r, r.raw(ack[4:]), protocol.CodeState, false)
	for i := 3; i < protocol.MaxErrors-1; i++ {
		ends(r, r.raw(unknown), protocol.CodeUnknownType, false)
	}
	ends(r, r.raw(unknown), protocol.CodeUnknownType, true)
	r = newRig(t, true)
	ends(r, r.raw(unknown), protocol.CodeUnknownType, true) // before hello
	r = newRig(t, false)
	r.feed(r.hello())
	ends(r, r.feed(&protocol.Heartbeat{ID: 2, StateDigest: make([]byte, 8)}), protocol.CodeAuth, true)
	// A malformed goodbye is never answered.
	r = newRig(t, true).open()
	if got := r.raw([]byte{0xa2, 0x00, 0x04, 0x01, 0x05}); len(got) != 0 || !r.s.Closed() || r.o.End.Reason != EndProtocol {
		t.Fatalf("%+v %+v", got, r.o.End)
	}
}

func TestNoCommonVersion(t *testing.T) {
	r := newRig(t, true)
	h := r.hello()
	h.Versions = []byte{2, 3}
	got := r.feed(h)
	if len(got) != 2 || got[0].(*protocol.Error).Code != protocol.CodeVersion || got[1].(*protocol.Goodbye).Reason != protocol.GoodbyeProtocol {
		t.Fatalf("%+v", got)
	}
}

func TestTimeouts(t *testing.T) {
	r := newRig(t, true).open()
	r.feed(r.report(1, true, nil))
	r.now = r.now.Add(29 * time.Second)
	if got := r.call(func(o *Output) { r.s.Tick(r.now, o) }); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	r.now = r.now.Add(2 * time.Second)
	bye := one[*protocol.Goodbye](t, r.call(func(o *Output) { r.s.Tick(r.now, o) }))
	if bye.Reason != protocol.GoodbyeIdle || r.o.End.Reason != EndTimeout {
		t.Fatalf("%+v %+v", bye, r.o.End)
	}

	r = newRig(t, true).open()
	r.now = r.now.Add(11 * time.Second) // no report came
	one[*protocol.ReportRequest](t, r.call(func(o *Output) { r.s.Tick(r.now, o) }))

	r = newRig(t, true).open()
	r.now = r.now.Add(time.Hour + time.Second)
	if bye := one[*protocol.Goodbye](t, r.call(func(o *Output) { r.s.Tick(r.now, o) })); bye.Reason != protocol.GoodbyeExpired {
		t.Fatalf("%+v", bye)
	}

	r = newRig(t, true) // the lease was long in coming
	r.feed(r.hello())
	r.now = r.now.Add(time.Minute)
	r.call(func(o *Output) { r.s.Claimed(r.now, 7, testEra, o) })
	if got := r.call(func(o *Output) { r.s.Tick(r.now, o) }); len(got) != 0 {
		t.Fatalf("%+v", got)
	}

	r = newRig(t, false)
	r.feed(r.hello())
	r.now = r.now.Add(61 * time.Second)
	if bye := one[*protocol.Goodbye](t, r.call(func(o *Output) { r.s.Tick(r.now, o) })); bye.Reason != protocol.GoodbyeIdle {
		t.Fatalf("%+v", bye)
	}
}

func TestEraChange(t *testing.T) {
	r := newRig(t, true).open()
	r.feed(r.report(1, true, map[string]protocol.AppState{"a": running("a-1", 1)}))
	one[*protocol.ReportRequest](t, r.call(func(o *Output) { r.s.Unclaimed(r.now, o) }))
	if len(r.o.Actions) != 0 {
		t.Fatal("a session that may be half dead claimed by itself")
	}
	// The device's answer is the sign of life. It waits for the lease, and is then said with the new epoch.
	m := r.report(2, true, map[string]protocol.AppState{"a": running("a-1", 1)})
	if got := r.feed(m); len(got) != 0 || len(r.actions(Claim)) != 1 || len(r.actions(Reported)) != 0 {
		t.Fatalf("%+v %+v", got, r.o.Actions)
	}
	if r.feed(&protocol.Heartbeat{ID: r.next(), StateDigest: m.StateDigest}); len(r.actions(Claim)) != 0 {
		t.Fatal("claimed twice")
	}
	got := r.call(func(o *Output) { r.s.Claimed(r.now, 1, "ffffffffffffffff", o) })
	if len(got) != 0 {
		t.Fatalf("the device noticed: %+v", got)
	}
	c, rep := r.actions(Connected), r.actions(Reported)
	if len(c) != 1 || !c[0].Data.(*event.Connected).Announced || len(rep) != 1 {
		t.Fatalf("%+v", r.o.Actions)
	}
	if e := rep[0].Data.(*event.Reported); e.Era != "ffffffffffffffff" || e.Epoch != 1 || !e.Full {
		t.Fatalf("%+v", e)
	}
	if ack := one[*protocol.Ack](t, r.call(func(o *Output) { r.s.Durable(FlowReport, rep[0].ID, o) })); ack.Refers != m.ID {
		t.Fatalf("%+v", ack)
	}
}

func TestCommandsAreNotSaidTwice(t *testing.T) {
	r := newRig(t, true).open()
	r.feed(r.report(1, true, nil))
	plan := func() []protocol.Command {
		return []protocol.Command{{Command: []byte("cmd00001"), Verb: protocol.VerbRemove, App: "a"}}
	}
	tell := func() []protocol.Message {
		return r.call(func(o *Output) { r.s.Commands(r.now, 3, plan(), o) })
	}
	c := one[*protocol.Command](t, tell())
	if c.Desired != 3 || hex.EncodeToString(c.Era) != testEra {
		t.Fatalf("%+v", c)
	}
	if got := tell(); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	r.now = r.now.Add(commandAnswer + time.Second)
	r.feed(&protocol.Heartbeat{ID: r.next(), StateDigest: make([]byte, 8)})
	r.call(func(o *Output) { r.s.Tick(r.now, o) })
	if len(r.actions(Compare)) != 1 {
		t.Fatalf("an unanswered command was forgotten: %+v", r.o.Actions)
	}
	again := one[*protocol.Command](t, tell())
	if string(again.Command) != string(c.Command) || again.ID == c.ID {
		t.Fatalf("%+v", again)
	}
	r.feed(&protocol.CommandResult{ID: r.next(), Refers: again.ID, Command: again.Command, Status: protocol.CommandRefused, Reason: protocol.ReasonTooManyApps})
	done := r.actions(Completed)
	if len(done) != 1 || done[0].Data.(*event.CommandCompleted).Status != "Refused" || done[0].Data.(*event.CommandCompleted).App != "a" {
		t.Fatalf("%+v", done)
	}
	r.now = r.now.Add(commandAnswer + time.Second)
	if got := tell(); len(got) != 0 {
		t.Fatalf("a refused command came back at once: %+v", got)
	}
	r.now = r.now.Add(commandEffect)
	refused := one[*protocol.Command](t, tell())
	// With more room it is said at once.
	r.feed(&protocol.CommandResult{ID: r.next(), Refers: refused.ID, Command: refused.Command, Status: protocol.CommandRefused, Reason: protocol.ReasonTooManyApps})
	less := r.report(2, false, nil)
	less.Removed = []string{"gone"}
	r.feed(less)
	one[*protocol.Command](t, tell())
	// Another intent is said at once, and the former is forgotten.
	r.call(func(o *Output) { r.s.Commands(r.now, 4, nil, o) })
	one[*protocol.Command](t, tell())
}

func TestCommandTooLargeForTheDevice(t *testing.T) {
	r := newRig(t, true).open()
	r.feed(r.report(1, true, nil))
	config := map[string]string{}
	for _, k := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"} {
		config[k] = string(make([]byte, 256))
	}
	got := r.call(func(o *Output) {
		r.s.Commands(r.now, 3, []protocol.Command{{Command: []byte("cmd00001"), Verb: protocol.VerbDeploy, App: "a", Revision: "a-1", Attempt: 1,
			Digest: make([]byte, 32), Size: 1, Manifest: &protocol.Manifest{CallTimeout: 1, MaxTraps: 1, TrapPeriod: 1, Config: config}}}, o)
	})
	if len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	done := r.actions(Completed)
	if len(done) != 1 || done[0].ID != 0 || done[0].Data.(*event.CommandCompleted).Status != "Refused" {
		t.Fatalf("%+v", done)
	}
}

func TestChunkIsNoLargerThanTheDevice(t *testing.T) {
	r := newRig(t, true).open()
	m := &protocol.ChunkRequest{ID: r.next(), Digest: make([]byte, 32), Offset: 5, Length: 32768}
	r.feed(m)
	a := r.actions(Chunk)
	if len(a) != 1 || a[0].Length != 1024 || a[0].Offset != 5 {
		t.Fatalf("%+v", a)
	}
	c := one[*protocol.Chunk](t, r.call(func(o *Output) { r.s.SendChunk(m.ID, m.Digest, 5, []byte("data"), 100, o) }))
	if c.Refers != m.ID || c.Total != 100 {
		t.Fatalf("%+v", c)
	}
}

func TestEnrollment(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr := func(k *ecdsa.PrivateKey) []byte {
		b, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(spki)
	r := newRig(t, false)
	r.s.peer.Fingerprint = hex.EncodeToString(sum[:])
	w := one[*protocol.Welcome](t, r.feed(r.hello()))
	if w.Enrolled || len(w.Nonce) != protocol.NonceSize || w.Frame != protocol.PreAuthFrame {
		t.Fatalf("%+v", w)
	}
	res := one[*protocol.EnrollResult](t, r.feed(&protocol.Enroll{ID: 2, CSR: csr(other)}))
	if res.Status != protocol.EnrollRejected || res.Reason != protocol.ReasonKeyMismatch || len(r.o.Actions) != 0 {
		t.Fatalf("%+v %+v", res, r.o.Actions)
	}
	res = one[*protocol.EnrollResult](t, r.feed(&protocol.Enroll{ID: 3, CSR: []byte("nonsense")}))
	if res.Reason != protocol.ReasonBadRequest {
		t.Fatalf("%+v", res)
	}
	if got := r.feed(&protocol.Enroll{ID: 4, CSR: csr(key), Name: "press-7", Claim: []byte("secret")}); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	req := r.actions(Enroll)[0].Data.(*event.EnrollmentRequest)
	if req.WantedName != "press-7" || string(req.Claim) != "secret" || req.KeyFingerprint != r.s.peer.Fingerprint || string(req.Nonce) != string(w.Nonce) {
		t.Fatalf("%+v", req)
	}
	// Nobody answers.
	r.now = r.now.Add(verdictPatience + time.Second)
	res = one[*protocol.EnrollResult](t, r.call(func(o *Output) { r.s.Tick(r.now, o) }))
	if res.Status != protocol.EnrollPending || res.RetryAfter != 5000 || res.Refers != 4 {
		t.Fatalf("%+v", res)
	}
	// A person is asked, and approves: the device is called at once.
	res = one[*protocol.EnrollResult](t, r.call(func(o *Output) {
		r.s.Verdict(ledger.Verdict{Status: "Pending", Reason: "AwaitingApproval", RetryAfter: 7 * time.Second}, o)
	}))
	if res.Status != protocol.EnrollPending || res.RetryAfter != 7000 || res.Reason != protocol.ReasonAwaitingApproval {
		t.Fatalf("%+v", res)
	}
	res = one[*protocol.EnrollResult](t, r.call(func(o *Output) { r.s.Verdict(ledger.Verdict{Status: "Pending"}, o) }))
	if res.RetryAfter != 0 {
		t.Fatalf("%+v", res)
	}
	r.feed(&protocol.Enroll{ID: 5, CSR: csr(key)})
	got := r.call(func(o *Output) {
		r.s.Verdict(ledger.Verdict{Status: "Accepted", Chain: [][]byte{[]byte("leaf"), []byte("ca")}}, o)
	})
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	if res := got[0].(*protocol.EnrollResult); res.Refers != 5 || len(res.Chain) != 2 {
		t.Fatalf("%+v", res)
	}
	if bye := got[1].(*protocol.Goodbye); bye.Reason != protocol.GoodbyeEnrolled || r.o.End.Reason != EndEnrolled {
		t.Fatalf("%+v", bye)
	}
}

func TestFeaturesThatWereNotAgreedOn(t *testing.T) {
	r := newRig(t, true)
	h := r.hello()
	h.Features = 0
	r.feed(h)
	r.call(func(o *Output) { r.s.Claimed(r.now, 7, testEra, o) })
	m := &protocol.Telemetry{ID: 9, Seq: 1, Records: []protocol.TelemetryRecord{{App: "a", Name: "t", Value: 1}}}
	if e := one[*protocol.Error](t, r.feed(m)); e.Code != protocol.CodeState {
		t.Fatalf("%+v", e)
	}
}

func TestBrokenStream(t *testing.T) {
	r := newRig(t, true).open()
	got := r.call(func(o *Output) { r.s.Broken(protocol.ErrFrame, o) })
	if len(got) != 2 || got[1].(*protocol.Goodbye).Reason != protocol.GoodbyeProtocol {
		t.Fatalf("%+v", got)
	}
	r = newRig(t, true).open()
	if got := r.call(func(o *Output) { r.s.Broken(errors.New("reset"), o) }); len(got) != 0 || r.o.End.Reason != EndLost {
		t.Fatalf("%+v %+v", got, r.o.End)
	}
}

func TestTelemetryAllocatesNothing(t *testing.T) {
	r := newRig(t, true).open()
	m := &protocol.Telemetry{ID: 9, Seq: 1}
	for i := range 64 {
		m.Records = append(m.Records, protocol.TelemetryRecord{Time: 1.7e12, App: "hello", Name: "temperature", Value: float64(i)})
	}
	b, err := protocol.Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(200, func() {
		r.o.Reset()
		r.s.Feed(r.now, b[protocol.HeaderSize:], &r.o)
		r.s.Durable(FlowTelemetry, 9, &r.o)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// FuzzSession feeds whole streams of frames, seeded with every frame of the vectors. Whatever comes, the session
// must say only what can be read, and nothing after goodbye.
func FuzzSession(f *testing.F) {
	for _, s := range scenarios(f) {
		var stream []byte
		for _, st := range s.steps {
			if st.fromDevice {
				stream = append(stream, st.frame...)
			}
		}
		f.Add(stream, true)
		f.Add(stream, false)
	}
	f.Fuzz(func(t *testing.T, stream []byte, enrolled bool) {
		r := newRig(t, enrolled)
		for len(stream) > protocol.HeaderSize {
			n := min(int(stream[2])<<8|int(stream[3]), len(stream)-protocol.HeaderSize)
			body := stream[protocol.HeaderSize : protocol.HeaderSize+n]
			stream = stream[protocol.HeaderSize+n:]
			closed := r.s.Closed()
			r.raw(body)
			if closed && (len(r.o.Frames) > 0 || len(r.o.Actions) > 0) {
				t.Fatal("spoke after goodbye")
			}
			for _, a := range append([]Action(nil), r.o.Actions...) {
				switch a.Kind {
				case Claim:
					r.call(func(o *Output) { r.s.Claimed(r.now, 1, testEra, o) })
				case Telemetry:
					r.call(func(o *Output) { r.s.Durable(FlowTelemetry, a.ID, o) })
				case Chunk:
					r.call(func(o *Output) { r.s.SendChunk(a.ID, a.Digest[:], 0, []byte("x"), 1, o) })
				}
			}
			r.now = r.now.Add(time.Second)
			r.call(func(o *Output) { r.s.Tick(r.now, o) })
		}
	})
}
