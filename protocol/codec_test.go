package protocol

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// oracle is fxamacker's codec, which shares nothing with ours but the struct tags.
type oracle struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

func newOracle(t testing.TB) oracle {
	t.Helper()
	eo := cbor.CoreDetEncOptions()
	enc, err := eo.EncMode()
	if err != nil {
		t.Fatal(err)
	}
	dec, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxNestedLevels: MaxDepth, MaxArrayElements: MaxArray, MaxMapPairs: MaxMap}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	return oracle{enc, dec}
}

// body encodes the struct and puts key 0 in front.
func (o oracle) body(t testing.TB, m Message) []byte {
	t.Helper()
	b, err := o.enc.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if b[0]>>5 != majorMap || b[0]&31 >= 23 {
		t.Fatalf("not a small map: %x", b)
	}
	out := appendHead([]byte{b[0] + 1, 0}, majorUint, uint64(m.Type()))
	return append(out, b[1:]...)
}

// positives are the messages of the vectors that are taken.
func positives(t testing.TB) []Message {
	var all []Message
	for _, v := range loadVectors(t) {
		if v.expect == "ok" && v.hex != nil {
			m, err := Decode(v.hex[HeaderSize:])
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
	}
	return all
}

func TestAgreesWithOracle(t *testing.T) {
	o := newOracle(t)
	seen := map[Type]bool{}
	for _, m := range positives(t) {
		seen[m.Type()] = true
		frame, err := Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if want := o.body(t, m); !bytes.Equal(frame[HeaderSize:], want) {
			t.Errorf("%v encodes to\n%x, the oracle to\n%x", m.Type(), frame[HeaderSize:], want)
		}
		other := New(m.Type())
		if err := o.dec.Unmarshal(frame[HeaderSize:], other); err != nil || !reflect.DeepEqual(other, m) {
			t.Errorf("the oracle reads %+v (%v), we read %+v", other, err, m)
		}
	}
	for typ := range 256 {
		if New(Type(typ)) != nil && !seen[Type(typ)] {
			t.Errorf("no positive vector for %v", Type(typ))
		}
	}
}

// TestRoundTrip makes random messages of the types with inner structure.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	o := newOracle(t)
	for range 2000 {
		for _, m := range []Message{randomReport(r), randomCommand(r), randomTelemetry(r), randomLogs(r), randomHello(r)} {
			frame, err := Append(nil, m)
			if err != nil {
				t.Fatalf("%+v: %v", m, err)
			}
			got, err := Decode(frame[HeaderSize:])
			if err != nil {
				t.Fatalf("%+v: %v", m, err)
			}
			if !reflect.DeepEqual(got, m) {
				t.Fatalf("got %+v\nwant %+v", got, m)
			}
			if want := o.body(t, m); !bytes.Equal(frame[HeaderSize:], want) {
				t.Fatalf("%x\nthe oracle %x", frame[HeaderSize:], want)
			}
		}
	}
}

func randomName(r *rand.Rand, most int) string {
	const ends, inner = "abcxyz0189", "abcxyz0189-."
	n := 1 + r.IntN(most)
	b := make([]byte, n)
	for i := range b {
		b[i] = inner[r.IntN(len(inner))]
	}
	b[0], b[n-1] = ends[r.IntN(len(ends))], ends[r.IntN(len(ends))]
	return string(b)
}

func randomText(r *rand.Rand, least, most int) string {
	const some = "aZ0 ~äλ日\x00\n"
	var b strings.Builder
	for n := least + r.IntN(most-least+1); b.Len() < n; {
		b.WriteByte(some[r.IntN(5)])
	}
	if r.IntN(4) == 0 && most-b.Len() > len(some) {
		b.WriteString(some)
	}
	return b.String()
}

func randomNumber(r *rand.Rand) uint64 { return r.Uint64() >> r.IntN(64) }

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func randomReport(r *rand.Rand) Message {
	m := &Report{ID: 1 + randomNumber(r)>>1, Version: 1 + randomNumber(r)>>1, Full: r.IntN(2) == 0, SeenDesired: randomNumber(r)}
	if r.IntN(2) == 0 {
		m.Era = randomBytes(r, EraSize)
	}
	if n := r.IntN(MaxApps + 1); n > 0 {
		m.Apps = map[string]AppState{}
		for range n {
			m.Apps[randomName(r, MaxName)] = randomState(r)
		}
	}
	if !m.Full && r.IntN(2) == 0 {
		m.Removed = []string{randomName(r, MaxName), randomName(r, 3)}
	}
	d := StateDigest(m.Apps)
	m.StateDigest = d[:]
	return m
}

func randomState(r *rand.Rand) AppState {
	s := AppState{State: State(1 + r.IntN(8)), Revision: randomName(r, MaxRevision), Attempt: randomNumber(r), Text: randomText(r, 0, 40),
		Restarts: uint32(randomNumber(r)), Progress: uint32(randomNumber(r)), Traps: uint32(randomNumber(r))}
	switch s.State {
	case StateRunning:
		s.Running, s.Confirmed = s.Revision, r.IntN(2) == 0
	case StateFailed:
		s.Reason = Reason(1 + r.IntN(255))
	case StateRolledBack:
		s.Reason, s.Running = Reason(1+r.IntN(255)), randomName(r, MaxRevision)
	case StateFetching, StateStaged:
		s.Running = randomName(r, MaxRevision)
	}
	return s
}

func randomCommand(r *rand.Rand) Message {
	m := &Command{ID: 1 + randomNumber(r)>>1, Command: randomBytes(r, CommandSize), Verb: Verb(1 + r.IntN(6)), App: randomName(r, MaxName),
		Revision: randomName(r, MaxRevision), Attempt: 1 + randomNumber(r)>>1, Digest: randomBytes(r, DigestSize), Size: 1 + uint32(r.IntN(MaxModule)),
		Desired: randomNumber(r), Deadline: uint32(randomNumber(r)), Manifest: manifestMin()}
	if n := r.IntN(MaxConfig + 1); n > 0 {
		m.Manifest.Config = map[string]string{}
		for range n {
			m.Manifest.Config[randomText(r, 1, MaxConfigKey)] = randomText(r, 0, MaxConfigValue)
		}
	}
	for range r.IntN(MaxTimers + 1) {
		m.Manifest.Timers = append(m.Manifest.Timers, Timer{ID: uint32(randomNumber(r)), Period: 1 + uint32(randomNumber(r)>>33)})
	}
	for range r.IntN(MaxPermissions + 1) {
		m.Manifest.Permissions = append(m.Manifest.Permissions, randomText(r, 1, 20))
	}
	return m
}

func randomFloat(r *rand.Rand) float64 {
	switch r.IntN(4) {
	case 0:
		return float64(r.IntN(5000))
	case 1:
		return float64(math.Float32frombits(r.Uint32() &^ (1 << 30)))
	case 2:
		return fromHalf(uint16(r.Uint32()) &^ (1 << 14))
	}
	return math.Float64frombits(r.Uint64() &^ (1 << 62))
}

func randomTelemetry(r *rand.Rand) Message {
	m := &Telemetry{ID: 1 + randomNumber(r)>>1, Seq: 1 + randomNumber(r)>>1}
	for range 1 + r.IntN(20) {
		m.Records = append(m.Records, TelemetryRecord{Time: randomNumber(r), App: randomName(r, MaxName), Name: randomText(r, 1, MaxMetric), Value: randomFloat(r)})
	}
	return m
}

func randomLogs(r *rand.Rand) Message {
	m := &Logs{ID: 1 + randomNumber(r)>>1, Seq: 1 + randomNumber(r)>>1}
	for range 1 + r.IntN(20) {
		m.Records = append(m.Records, LogRecord{Time: randomNumber(r), App: randomName(r, MaxName), Level: uint8(1 + r.IntN(4)), Text: randomText(r, 0, MaxText)})
	}
	return m
}

func randomHello(r *rand.Rand) Message {
	m := helloMin()
	m.ID, m.Features, m.SeenDesired = 1+randomNumber(r)>>1, randomNumber(r), randomNumber(r)
	m.Board, m.Firmware = randomText(r, 1, 20), randomText(r, 1, 40)
	return m
}

func TestAppendRefuses(t *testing.T) {
	for name, m := range map[string]Message{
		"no id": &Ack{Refers: 1}, "no refers": &Ack{ID: 1}, "long text": &Error{ID: 1, Code: 1, Text: strings.Repeat("x", 257)},
		"not UTF-8": &Error{ID: 1, Code: 1, Text: "\xff"}, "bad name": &Trap{ID: 1, Seq: 1, App: "A", Revision: "r", Reason: 1},
		"short digest": &ChunkRequest{ID: 1, Digest: digest[1:], Length: 1}, "NaN": record(math.NaN()), "infinity": record(math.Inf(1)),
		"no records": &Telemetry{ID: 1, Seq: 1}, "no manifest": &Command{ID: 1, Command: commandI, Verb: VerbDeploy, App: "a"},
		"log level": logLine(0, "x"), "bad app state": reportOf(map[string]AppState{"a": {}}),
	} {
		dst := []byte{1, 2, 3}
		out, err := Append(dst, m)
		if !errors.Is(err, ErrSchema) || !bytes.Equal(out, dst) {
			t.Errorf("%s: %v, %x", name, err, out)
		}
	}
	large := &Telemetry{ID: 1, Seq: 1}
	for range MaxRecords {
		large.Records = append(large.Records, TelemetryRecord{App: strings.Repeat("a", 63), Name: strings.Repeat("m", 64), Value: 0.1})
	}
	if _, err := Append(nil, large); err != nil {
		t.Errorf("the largest telemetry: %v", err)
	}
	chain := &EnrollResult{ID: 1, Refers: 1, Status: EnrollAccepted, Chain: [][]byte{make([]byte, MaxCertificate)}}
	if _, err := Append(nil, chain); err != nil {
		t.Errorf("a large certificate: %v", err)
	}
}

func TestDecodeSharesNoMemory(t *testing.T) {
	frame, err := Append(nil, &Chunk{ID: 1, Refers: 1, Digest: digest, Data: []byte("abc"), Total: 3})
	if err != nil {
		t.Fatal(err)
	}
	m, err := Decode(frame[HeaderSize:])
	if err != nil {
		t.Fatal(err)
	}
	clear(frame)
	if c := m.(*Chunk); string(c.Data) != "abc" || !bytes.Equal(c.Digest, digest) {
		t.Errorf("%+v", m)
	}
}

func TestPeekType(t *testing.T) {
	for _, v := range loadVectors(t) {
		if v.expect != "ok" || v.hex == nil {
			continue
		}
		typ, id, err := PeekType(v.hex[HeaderSize:])
		m, _ := Decode(v.hex[HeaderSize:])
		if want := reflect.ValueOf(m).Elem().FieldByName("ID").Uint(); err != nil || typ != v.typ || id != want {
			t.Errorf("%s: %v %d %v", v.name, typ, id, err)
		}
	}
	typ, id, err := PeekType(unhex("a3 0018c8 0105"))
	if typ != 200 || id != 5 || err != nil {
		t.Errorf("an unknown type: %v %d %v", typ, id, err)
	}
	for _, bad := range []string{"", "a0", "80", "a2 0101 0202", "a2 00 1900ff 0101", "a2 0019012c 0101", "a2 000c 0202"} {
		if _, _, err := PeekType(unhex(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestErrorsIs(t *testing.T) {
	_, err := Decode(unhex("a2 0018c8 0101"))
	if !errors.Is(err, ErrUnknownType) || errors.Is(err, ErrSchema) {
		t.Error(err)
	}
	if _, err := Decode(unhex("a2 0018c8 01f6")); !errors.Is(err, ErrCBOR) {
		t.Error(err)
	}
}

func TestHalfFloats(t *testing.T) {
	o := newOracle(t)
	for h := range 1 << 16 {
		v := fromHalf(uint16(h))
		var b []byte
		if v == v {
			b = appendFloat(nil, v)
			if want := []byte{initF16, byte(h >> 8), byte(h)}; !bytes.Equal(b, want) {
				t.Fatalf("%04x is %g encodes to %x", h, v, b)
			}
		}
		raw := []byte{initF16, byte(h >> 8), byte(h)}
		got, n, err := readFloat(raw, 0)
		if v == v && (err != nil || n != 3 || math.Float64bits(got) != math.Float64bits(v)) {
			t.Fatalf("%04x reads as %g, %v", h, got, err)
		}
		if v != v && (err == nil) != (h == 0x7e00) {
			t.Fatalf("NaN %04x: %v", h, err)
		}
		var other float64
		if err := o.dec.Unmarshal(raw, &other); err != nil || v == v && other != v || (v == v) != (other == other) {
			t.Fatalf("%04x: the oracle reads %g, %v", h, other, err)
		}
	}
}

func TestFloatsAgreeWithOracle(t *testing.T) {
	o := newOracle(t)
	r := rand.New(rand.NewPCG(3, 4))
	for range 200_000 {
		v := randomFloat(r)
		b := appendFloat(nil, v)
		want, err := o.enc.Marshal(v)
		if err != nil || !bytes.Equal(b, want) {
			t.Fatalf("%g (%x): %x, the oracle %x %v", v, math.Float64bits(v), b, want, err)
		}
		if got, n, err := readFloat(b, 0); err != nil || n != len(b) || got != v {
			t.Fatalf("%g reads as %g, %v", v, got, err)
		}
	}
}

func TestStateDigest(t *testing.T) {
	o := newOracle(t)
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		apps := randomReport(r).(*Report).Apps
		plain := map[string][]any{}
		for name, s := range apps {
			plain[name] = []any{uint8(s.State), s.Revision, s.Attempt, s.Running, s.Confirmed, uint8(s.Reason)}
		}
		b, err := o.enc.Marshal(plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := StateDigest(apps), sha256Of(b)[:8]; !bytes.Equal(got[:], want) {
			t.Fatalf("%x, want %x", got, want)
		}
	}
	for want, apps := range map[string]map[string]AppState{
		"c19a797fa1fd590c": nil,
		"63f122283e8c9074": {"hello": {State: StateRunning, Revision: "hello-2", Attempt: 2, Running: "hello-2", Confirmed: true, Restarts: 9, Text: "left out"}},
	} {
		if got := StateDigest(apps); hex.EncodeToString(got[:]) != want {
			t.Errorf("%x, SPEC says %s", got, want)
		}
	}
}

func TestEvidenceToBeSigned(t *testing.T) {
	got := EvidenceToBeSigned(nonce, digest, []byte("spki"))
	if len(got) != 115 || !bytes.HasPrefix(got, []byte("wasmbed/1 evidence\x00")) || !bytes.Equal(got[19:51], nonce) ||
		!bytes.Equal(got[51:83], digest) || !bytes.Equal(got[83:], sha256Of([]byte("spki"))) {
		t.Errorf("%x", got)
	}
	if EvidenceToBeSigned(nonce[1:], digest, []byte("x")) != nil || EvidenceToBeSigned(nonce, nil, []byte("x")) != nil || EvidenceToBeSigned(nonce, digest, nil) != nil {
		t.Error("bytes to sign for parts of wrong size")
	}
}

func TestNoAllocations(t *testing.T) {
	buf := make([]byte, 0, 4096)
	batch := randomTelemetry(rand.New(rand.NewPCG(7, 8))).(*Telemetry)
	frame, err := Append(nil, batch)
	if err != nil {
		t.Fatal(err)
	}
	logs, err := Append(nil, logLine(1, "x"))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		"ack":           func() { buf, _ = Append(buf[:0], &Ack{ID: 7, Refers: 9}) },
		"heartbeat-ack": func() { buf, _ = Append(buf[:0], &HeartbeatAck{ID: 7, Refers: 9, Time: 1 << 40}) },
		"telemetry":     func() { buf, _ = Append(buf[:0], batch) },
		"telemetry raw": func() { _, _, _, _, err = DecodeTelemetryRaw(frame[HeaderSize:]) },
		"logs raw":      func() { _, _, _, _, err = DecodeLogsRaw(logs[HeaderSize:]) },
		"peek":          func() { _, _, err = PeekType(frame[HeaderSize:]) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 || err != nil {
			t.Errorf("%s: %v allocations, %v", name, n, err)
		}
	}
}

func sha256Of(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}
