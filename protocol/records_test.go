package protocol

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
)

// rawAgrees demands that the raw readers take what Decode takes and refuse what it refuses, for the same
// reason.
func rawAgrees(t *testing.T, body []byte) {
	t.Helper()
	m, err := Decode(body)
	typ, _, _ := PeekType(body)
	if typ == TypeTelemetry {
		seq, id, raw, n, rerr := DecodeTelemetryRaw(body)
		sameError(t, body, err, rerr)
		if err != nil {
			return
		}
		want := m.(*Telemetry)
		got, err := DecodeTelemetryRecords(raw)
		if err != nil || seq != want.Seq || id != want.ID || n != len(want.Records) || !reflect.DeepEqual(got, want.Records) {
			t.Fatalf("%x: %d %d %d %+v %v", body, seq, id, n, got, err)
		}
	}
	if typ == TypeLogs {
		seq, id, raw, n, rerr := DecodeLogsRaw(body)
		sameError(t, body, err, rerr)
		if err != nil {
			return
		}
		want := m.(*Logs)
		got, err := DecodeLogRecords(raw)
		if err != nil || seq != want.Seq || id != want.ID || n != len(want.Records) || !reflect.DeepEqual(got, want.Records) {
			t.Fatalf("%x: %d %d %d %+v %v", body, seq, id, n, got, err)
		}
	}
}

func sameError(t *testing.T, body []byte, a, b error) {
	t.Helper()
	var x, y *WireError
	if (a == nil) != (b == nil) || a != nil && (!errors.As(a, &x) || !errors.As(b, &y) || x.Layer != y.Layer || x.Code != y.Code) {
		t.Fatalf("%x: %v, and %v", body, a, b)
	}
}

func TestRawAgreesOnVectors(t *testing.T) {
	for _, v := range loadVectors(t) {
		if len(v.hex) > HeaderSize {
			rawAgrees(t, v.hex[HeaderSize:])
		}
	}
}

func TestRawAgreesOnBrokenBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 20_000 {
		m := randomTelemetry(r)
		if r.IntN(2) == 0 {
			m = randomLogs(r)
		}
		frame, err := Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		body := frame[HeaderSize:]
		switch r.IntN(3) {
		case 0:
			body[r.IntN(len(body))] ^= 1 << r.IntN(8)
		case 1:
			body = body[:r.IntN(len(body))]
		}
		rawAgrees(t, body)
	}
}

func TestRawRefusesAnotherType(t *testing.T) {
	frame, err := Append(nil, &Ack{ID: 1, Refers: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, _, err := DecodeTelemetryRaw(frame[HeaderSize:]); !errors.Is(err, ErrSchema) {
		t.Error(err)
	}
}

func TestAppendRecords(t *testing.T) {
	m := randomTelemetry(rand.New(rand.NewPCG(11, 12))).(*Telemetry)
	raw, err := AppendTelemetryRecords(nil, m.Records)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeTelemetryRecords(raw); err != nil || !reflect.DeepEqual(got, m.Records) {
		t.Errorf("%v %v", got, err)
	}
	l := randomLogs(rand.New(rand.NewPCG(11, 12))).(*Logs)
	if raw, err = AppendLogRecords(raw[:0], l.Records); err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeLogRecords(raw); err != nil || !reflect.DeepEqual(got, l.Records) {
		t.Errorf("%v %v", got, err)
	}
	if _, err := AppendTelemetryRecords(nil, nil); !errors.Is(err, ErrSchema) {
		t.Error(err)
	}
	for _, bad := range []string{"", "80", "8101", "81 84 00 6161 616e f93c00 00", "a0"} {
		if _, err := DecodeTelemetryRecords(unhex(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
