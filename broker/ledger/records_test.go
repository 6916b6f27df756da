package ledger

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

func frameOf(t testing.TB, d event.Device, boot byte, seq uint64, records any) event.TelemetryDevice {
	t.Helper()
	b, err := cbor.Marshal(records)
	if err != nil {
		t.Fatal(err)
	}
	return event.TelemetryDevice{Namespace: d.Namespace, Name: d.Name, BootID: []byte{boot}, Seq: seq, Records: b}
}

// values makes n telemetry records whose values are their numbers.
func values(from uint64, n int) [][]any {
	out := make([][]any, n)
	for i := range out {
		out[i] = []any{uint64(1_760_000_000_000), "blink", "n", float32(from + uint64(i))}
	}
	return out
}

func testTelemetry(e *env) {
	a, b := dev("a"), dev("b")
	add := func(fs ...event.TelemetryDevice) {
		e.Helper()
		e.must(e.l.AppendTelemetry(e.ctx, event.TelemetryBatch{Devices: fs}))
	}
	f1, f2, f3 := frameOf(e, a, 1, 1, values(1, 3)), frameOf(e, a, 1, 4, values(4, 2)), frameOf(e, a, 1, 6, values(6, 1))
	// Late, twice, in any order.
	add(f1, frameOf(e, b, 1, 1, values(1, 1)), f3)
	add(f3, f2, f1)
	add(f2)
	all, next, err := e.l.Telemetry(e.ctx, a, "0", 100)
	e.must(err)
	seen := map[uint64]int{}
	for _, x := range all {
		seen[x.Seq]++
		if x.Value != float64(x.Seq) || x.App != "blink" || x.Name != "n" || x.BootID != "01" || x.Time.UnixMilli() != 1_760_000_000_000 {
			e.Fatalf("entry %+v", x)
		}
	}
	same(e, "records by number", seen, map[uint64]int{1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1})
	if s := e.rdb.HGet(e.ctx, e.l.keys.TelemetrySeen(a), "01").Val(); s != "1-7" {
		e.Fatalf("seen is %q", s)
	}
	// Another boot begins at 1 again; what follows comes after next.
	add(frameOf(e, a, 2, 1, values(1, 1)))
	news, _, err := e.l.Telemetry(e.ctx, a, next, 100)
	e.must(err)
	if len(news) != 1 || news[0].BootID != "02" {
		e.Fatalf("news are %+v", news)
	}
	newest, _, err := e.l.Telemetry(e.ctx, a, "", 1)
	e.must(err)
	same(e, "newest", newest, news)
	none, again, err := e.l.Telemetry(e.ctx, dev("nobody"), "", 5)
	e.must(err)
	if len(none) != 0 || again != "0" {
		e.Fatalf("nobody's telemetry is %v, then %q", none, again)
	}
	// A bad frame does not keep the good ones out.
	bad := frameOf(e, a, 2, 2, map[string]int{"x": 1})
	err = e.l.AppendTelemetry(e.ctx, event.TelemetryBatch{Devices: []event.TelemetryDevice{bad, frameOf(e, a, 2, 2, values(2, 1))}})
	e.code(err, errs.Invalid)
	if got, _, err := e.l.Telemetry(e.ctx, a, "", 1); err != nil || got[0].Seq != 2 {
		e.Fatalf("newest is %+v, %v", got, err)
	}
	big := frameOf(e, a, 2, 3, values(3, 1))
	big.Records = append([]byte{0x81, 0x5a, 0, 0x10, 0, 0}, make([]byte, 1<<20)...)
	e.code(e.l.AppendTelemetry(e.ctx, event.TelemetryBatch{Devices: []event.TelemetryDevice{big}}), errs.TooLarge)

	// The stream is capped.
	var fs []event.TelemetryDevice
	for i := range uint64(RecordsLength + 300) {
		fs = append(fs, frameOf(e, b, 7, 1+i, values(1+i, 1)))
	}
	add(fs...)
	if n := e.rdb.XLen(e.ctx, e.l.keys.Telemetry(b)).Val(); n < RecordsLength || n > RecordsLength+150 {
		e.Fatalf("%d frames are kept", n)
	}
	if s := e.rdb.HGet(e.ctx, e.l.keys.TelemetrySeen(b), "07").Val(); s != fmt.Sprintf("1-%d", RecordsLength+301) {
		e.Fatalf("seen is %q", s)
	}
	// Boots and gaps are remembered within bounds.
	for boot := range byte(10) {
		for i := range uint64(3 * MaxIntervals) {
			add(frameOf(e, a, 100+boot, 1+2*i, values(1, 1)))
		}
	}
	m := e.rdb.HGetAll(e.ctx, e.l.keys.TelemetrySeen(a)).Val()
	if len(m) != MaxBoots+1 || len(m["6d"]) > 16*MaxIntervals {
		e.Fatalf("seen is %v", m)
	}
}

func testLogs(e *env) {
	a := dev("a")
	f := frameOf(e, a, 1, 1, [][]any{{uint64(0), "", uint8(2), "up"}, {uint64(1_760_000_000_000), "blink", uint8(4), "trap"}})
	for range 2 {
		e.must(e.l.AppendLogs(e.ctx, event.LogBatch{Devices: []event.TelemetryDevice{f}}))
	}
	got, next, err := e.l.Logs(e.ctx, a, "", 10)
	e.must(err)
	if len(got) != 2 || next == "" {
		e.Fatalf("logs are %+v, then %q", got, next)
	}
	id, at := got[0].ID, e.clock.now()
	same(e, "logs", got, []LogEntry{{ID: id, Received: at, BootID: "01", Seq: 1, Level: 2, Text: "up"},
		{ID: id, Received: at, BootID: "01", Seq: 2, Time: time.UnixMilli(1_760_000_000_000).UTC(), App: "blink", Level: 4, Text: "trap"}})
}

// TestArrayLength reads heads of CBOR arrays.
func TestArrayLength(t *testing.T) {
	for _, c := range []struct {
		in []byte
		n  int
		ok bool
	}{{nil, 0, false}, {[]byte{0x80}, 0, true}, {[]byte{0x83}, 3, true}, {[]byte{0x98, 24}, 24, true}, {[]byte{0x99, 1, 0}, 256, true},
		{[]byte{0x9a, 0, 1, 0, 0}, 65536, true}, {[]byte{0x98}, 0, false}, {[]byte{0x9f}, 0, false}, {[]byte{0x9b, 0, 0, 0, 0, 0, 0, 0, 1}, 0, false}, {[]byte{0xa0}, 0, false}} {
		if n, ok := arrayLength(c.in); n != c.n || ok != c.ok {
			t.Errorf("arrayLength(%x) => %d, %v", c.in, n, ok)
		}
	}
}

// FuzzRecords: whatever comes as records, it is stored or refused, and reading does not fail.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{0x81, 0x84, 1, 0x61, 'x', 0x61, 'y', 1})
	f.Add([]byte{0x82, 0x84, 0, 0x60, 2, 0x61, 'y', 0x84})
	f.Add([]byte{0x9a, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := countRecords(dev("a"), event.TelemetryDevice{Namespace: "farm", Name: "a", BootID: []byte{1}, Records: b})
		if err == nil && n > len(b) {
			t.Fatalf("%d records in %d bytes", n, len(b))
		}
		var ts []telemetryRecord
		var ls []logRecord
		for _, v := range []any{&ts, &ls} {
			if derr := decode(b, v); derr == nil && err != nil && len(b) <= MaxBatch && !bytes.HasPrefix(b, []byte{0xf6}) && !bytes.HasPrefix(b, []byte{0xf7}) {
				t.Fatalf("%x decodes but is refused: %v", b, err)
			}
		}
	})
}

// FuzzScriptValue: what a script answers never makes its reader fall over.
func FuzzScriptValue(f *testing.F) {
	f.Add(`{"m":1,"s":"done","w":{"st":"Running","rv":"a"}}`, `{"digest":"x"}`)
	f.Add(`[]`, ``)
	f.Fuzz(func(t *testing.T, record, content string) {
		_, _ = appView(&DeviceView{}, "a", []any{record, content, []any{"rev", "x", "seq", "1"}, content})
		_, _ = changes(record)
		_, _ = candidate("ns", []any{"x", record, content})
	})
}

// testCover: the intervals against a plain set, at random.
func testCover(e *env) {
	rnd := rand.New(rand.NewPCG(3, 4))
	a := dev("cover")
	seen := map[uint64]bool{}
	stored := 0
	for range 300 {
		seq, n := uint64(rnd.IntN(24)+1), rnd.IntN(3)+1
		fresh := false
		for i := range uint64(n) {
			fresh = fresh || !seen[seq+i]
			seen[seq+i] = true
		}
		if fresh {
			stored++
		}
		e.must(e.l.AppendTelemetry(e.ctx, event.TelemetryBatch{Devices: []event.TelemetryDevice{frameOf(e, a, 1, seq, values(seq, n))}}))
		if got := e.rdb.XLen(e.ctx, e.l.keys.Telemetry(a)).Val(); int(got) != stored {
			e.Fatalf("%d frames stored, want %d (seen %v, last %d+%d)", got, stored, seen, seq, n)
		}
	}
}
