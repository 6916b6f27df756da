package ledger

import (
	"context"
	"encoding/hex"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// AppendTelemetry stores the frames of a batch, each once by (boot, seq). Frames that can never be stored
// are left out: the others are stored, and the error is Invalid or TooLarge.
func (l *Ledger) AppendTelemetry(ctx context.Context, b event.TelemetryBatch) error {
	return l.appendRecords(ctx, "tm", b)
}

// AppendLogs is AppendTelemetry for log lines.
func (l *Ledger) AppendLogs(ctx context.Context, b event.LogBatch) error {
	return l.appendRecords(ctx, "lg", b)
}

func (l *Ledger) appendRecords(ctx context.Context, kind string, b event.TelemetryBatch) error {
	devs := make([]event.Device, 0, len(b.Devices))
	frames := make([]event.TelemetryDevice, 0, len(b.Devices))
	counts := make([]int, 0, len(b.Devices))
	var bad error
	for _, f := range b.Devices {
		d := event.Device{Namespace: f.Namespace, Name: f.Name}
		n, err := countRecords(d, f)
		if err != nil {
			bad = err
			continue
		}
		if n > 0 {
			devs, frames, counts = append(devs, d), append(frames, f), append(counts, n)
		}
	}
	var calls []call
	for _, p := range l.byShard(devs) {
		args := make([]any, 1, 1+5*len(p.at))
		args[0] = kind
		for _, n := range p.at {
			args = append(args, devs[n].String(), hex.EncodeToString(frames[n].BootID), dec(frames[n].Seq), counts[n], frames[n].Records)
		}
		calls = append(calls, l.shardCall(l.scripts.append, p.shard, "", args...))
	}
	if _, err := l.pipe(ctx, "append records", calls); err != nil {
		return err
	}
	return bad
}

// countRecords checks a frame and returns how many records it holds.
func countRecords(d event.Device, f event.TelemetryDevice) (int, error) {
	if err := checkDevice(d); err != nil {
		return 0, err
	}
	if len(f.Records) > MaxBatch {
		return 0, errs.New(errs.TooLarge, "ledger: %s: %d bytes of records, more than %d", d, len(f.Records), MaxBatch)
	}
	n, ok := arrayLength(f.Records)
	if !ok || n > len(f.Records) || len(f.BootID) == 0 || len(f.BootID) > 32 || cbor.Wellformed(f.Records) != nil {
		return 0, errs.New(errs.Invalid, "ledger: %s: the records are not a CBOR array of boot %x", d, f.BootID)
	}
	return n, nil
}

// arrayLength reads the head of a CBOR array of definite length (RFC 8949 §3, major type 4).
func arrayLength(b []byte) (int, bool) {
	if len(b) == 0 || b[0]>>5 != 4 {
		return 0, false
	}
	info := int(b[0] & 0x1f)
	if info < 24 {
		return info, true
	}
	size := 0
	switch info {
	case 24:
		size = 1
	case 25:
		size = 2
	case 26:
		size = 4
	default:
		return 0, false
	}
	if len(b) < 1+size {
		return 0, false
	}
	n := 0
	for _, c := range b[1 : 1+size] {
		n = n<<8 | int(c)
	}
	return n, true
}

type telemetryRecord struct {
	_     struct{} `cbor:",toarray"`
	Time  uint64
	App   string
	Name  string
	Value float64
}

type logRecord struct {
	_     struct{} `cbor:",toarray"`
	Time  uint64
	App   string
	Level uint8
	Text  string
}

// Telemetry returns a device's measured values, oldest first, of whole frames: at least n values when there are
// so many. from is "" for the newest, "0" for the oldest that are kept, or the next of the call before for what
// came since. Frames that do not decode are left out.
func (l *Ledger) Telemetry(ctx context.Context, d event.Device, from string, n int) (out []TelemetryEntry, next string, err error) {
	fs, next, err := l.frames(ctx, d, l.keys.Telemetry(d), from, n)
	for _, f := range fs {
		var rs []telemetryRecord
		if decode(f.records, &rs) != nil {
			continue
		}
		for i, r := range rs {
			out = append(out, TelemetryEntry{ID: f.id, Received: f.received, BootID: f.boot, Seq: f.seq + uint64(i),
				Time: deviceTime(r.Time), App: r.App, Name: r.Name, Value: r.Value})
		}
	}
	return out, next, err
}

// Logs is Telemetry for log lines.
func (l *Ledger) Logs(ctx context.Context, d event.Device, from string, n int) (out []LogEntry, next string, err error) {
	fs, next, err := l.frames(ctx, d, l.keys.Logs(d), from, n)
	for _, f := range fs {
		var rs []logRecord
		if decode(f.records, &rs) != nil {
			continue
		}
		for i, r := range rs {
			out = append(out, LogEntry{ID: f.id, Received: f.received, BootID: f.boot, Seq: f.seq + uint64(i),
				Time: deviceTime(r.Time), App: r.App, Level: r.Level, Text: r.Text})
		}
	}
	return out, next, err
}

func deviceTime(ms uint64) time.Time {
	if ms == 0 || ms > 1<<52 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

func decode(b []byte, v any) error {
	m, err := cbor.DecOptions{MaxNestedLevels: 4, MaxArrayElements: 65536, IndefLength: cbor.IndefLengthForbidden,
		TagsMd: cbor.TagsForbidden, UTF8: cbor.UTF8RejectInvalid}.DecMode()
	if err != nil {
		return err
	}
	return m.Unmarshal(b, v)
}

type frame struct {
	id, boot string
	seq      uint64
	received time.Time
	records  []byte
	n        int
}

func (l *Ledger) frames(ctx context.Context, d event.Device, key, from string, n int) ([]frame, string, error) {
	if err := checkDevice(d); err != nil {
		return nil, from, err
	}
	n = max(1, min(n, MaxPage))
	var ms []redis.XMessage
	var err error
	switch {
	case from == "":
		ms, err = l.rdb.XRevRangeN(ctx, key, "+", "-", int64(n)).Result()
	case !streamID(from):
		return nil, from, errs.New(errs.Invalid, "ledger: %q is not a place in a stream", from)
	default:
		ms, err = l.rdb.XRangeN(ctx, key, "("+from, "+", int64(n)).Result()
	}
	if err != nil {
		return nil, from, wrap(err, "read records")
	}
	var out []frame
	for sum, i := 0, 0; i < len(ms) && sum < n; i++ {
		m := ms[i]
		f := frame{id: m.ID, boot: field(m, "b"), seq: u64(field(m, "s")), received: fromMS(field(m, "t")), records: []byte(field(m, "r"))}
		f.n, _ = arrayLength(f.records)
		sum += f.n
		out = append(out, f)
	}
	if from == "" {
		slices.Reverse(out)
		from = "0"
	}
	if len(out) > 0 {
		from = out[len(out)-1].id
	}
	return out, from, nil
}

func field(m redis.XMessage, name string) string {
	s, _ := m.Values[name].(string)
	return s
}

// streamID reports whether s is the id of a stream's entry: "ms" or "ms-n".
func streamID(s string) bool { return made(s, 41, "-") && s[0] >= '0' && s[0] <= '9' }
