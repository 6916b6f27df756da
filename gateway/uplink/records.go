package uplink

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// Frame is one telemetry or logs frame of one device. Records is the CBOR array as the device wrote it; it is
// copied.
type Frame struct {
	Device  event.Device
	BootID  []byte
	Seq     uint64 // of the first record
	Records []byte
}

// Telemetry gathers a telemetry frame; r hears of it under id. The error is errs.Exhausted when the queue is
// full: then nothing was taken. It allocates nothing but the batches' buffers, which are used again.
func (u *Uplink) Telemetry(f Frame, r Receipt, id uint64) error { return u.telemetry.add(f, r, id) }

// Logs is Telemetry for log lines.
func (u *Uplink) Logs(f Frame, r Receipt, id uint64) error { return u.logs.add(f, r, id) }

type receipt struct {
	r  Receipt
	id uint64
}

// headroom is left at the front of a batch's buffer for the CBOR that can only be written at the end: a map of
// one, key 1, and the array's length.
const headroom = 8

type batch struct {
	buf      []byte // headroom, then the entries
	receipts []receipt
}

// gatherer collects frames of all sessions into batches of one event type.
type gatherer struct {
	u     *Uplink
	kind  string
	typ   string
	ready chan *batch
	pool  sync.Pool

	mu      sync.Mutex
	current *batch // nil: empty
	timer   *time.Timer
	armed   bool
}

func newGatherer(u *Uplink, kind string) *gatherer {
	g := &gatherer{u: u, kind: kind, typ: event.TelemetryReceived, ready: make(chan *batch, recordReady)}
	if kind == "logs" {
		g.typ = event.LogsReceived
	}
	g.pool.New = func() any { return &batch{buf: make([]byte, headroom, 16<<10)} }
	g.timer = time.AfterFunc(time.Hour, g.due)
	g.timer.Stop()
	return g
}

func (g *gatherer) add(f Frame, r Receipt, id uint64) error {
	if g.u.ctx.Err() != nil {
		return errClosed
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.current
	if b != nil && (len(b.buf) >= recordBatch || len(b.receipts) >= recordEntries) {
		if !g.hand() {
			return errs.New(errs.Exhausted, "%d batches of %s wait for the broker", recordReady, g.kind)
		}
		b = nil
	}
	if b == nil {
		b = g.pool.Get().(*batch)
		g.current = b
		if !g.armed {
			g.armed = true
			g.timer.Reset(recordFlush)
		}
	}
	b.buf = appendFrame(b.buf, f)
	b.receipts = append(b.receipts, receipt{r, id})
	return nil
}

// hand passes the current batch on to the posters, unless they have too many. Under mu.
func (g *gatherer) hand() bool {
	if g.current == nil {
		return true
	}
	g.u.pending.Add(1)
	select {
	case g.ready <- g.current:
		g.current = nil
		return true
	default:
		g.u.pending.Add(-1)
		return false
	}
}

// due is the timer's: the oldest frame has waited long enough. While the posters are busy the batch grows on.
func (g *gatherer) due() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.armed = !g.hand(); g.armed {
		g.timer.Reset(recordFlush)
	}
}

func (g *gatherer) flush() {
	g.mu.Lock()
	g.hand()
	g.mu.Unlock()
}

func (g *gatherer) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current != nil {
		return 1
	}
	return 0
}

func (g *gatherer) post() {
	defer g.u.wg.Done()
	for {
		select {
		case b := <-g.ready:
			g.postBatch(b)
			g.u.pending.Add(-1)
		case <-g.u.ctx.Done():
			return
		}
	}
}

func (g *gatherer) postBatch(b *batch) {
	data := seal(b.buf, len(b.receipts))
	e := ce.New(ce.CloudEventsVersionV1)
	e.SetType(g.typ)
	e.SetSource(g.u.o.Source)
	e.SetSubject(g.u.o.Subject)
	e.SetID(event.NewID())
	e.SetTime(g.u.o.Now())
	e.SetExtension(event.ExtNamespace, g.u.o.Namespace)
	e.SetDataContentType(event.CBOR)
	e.DataEncoded = data
	e.DataBase64 = true
	err := g.u.retry(g.kind, len(b.receipts), len(data), func(ctx context.Context) error { return g.u.sink.Post(ctx, e) })
	switch {
	case err == nil:
		for _, r := range b.receipts {
			r.r.Accepted(r.id)
		}
	case g.u.ctx.Err() == nil:
		g.u.o.Log.Error("the broker refuses a batch for good", "kind", g.kind, "frames", len(b.receipts), "err", err)
		for _, r := range b.receipts {
			r.r.Refused(r.id, err)
		}
	}
	clear(b.receipts)
	b.receipts = b.receipts[:0]
	b.buf = b.buf[:headroom]
	if cap(b.buf) <= 4*recordBatch {
		g.pool.Put(b)
	}
}

// appendFrame writes f as one event.TelemetryDevice: deterministic CBOR (RFC 8949 §4.2) by hand, because it is
// the hottest line of the gateway.
func appendFrame(b []byte, f Frame) []byte {
	b = append(b, 0xa5, 1)
	b = appendHead(b, 3, uint64(len(f.Device.Namespace)))
	b = append(b, f.Device.Namespace...)
	b = append(b, 2)
	b = appendHead(b, 3, uint64(len(f.Device.Name)))
	b = append(b, f.Device.Name...)
	b = append(b, 3)
	b = appendHead(b, 2, uint64(len(f.BootID)))
	b = append(b, f.BootID...)
	b = append(b, 4)
	b = appendHead(b, 0, f.Seq)
	b = append(b, 5)
	b = appendHead(b, 2, uint64(len(f.Records)))
	return append(b, f.Records...)
}

// seal writes the batch's head right before its n entries and returns the event.TelemetryBatch.
func seal(buf []byte, n int) []byte {
	var head [headroom]byte
	h := append(head[:0], 0xa1, 1)
	h = appendHead(h, 4, uint64(n))
	start := headroom - len(h)
	copy(buf[start:], h)
	return buf[start:]
}

// appendHead writes the head of a CBOR item (RFC 8949 §3).
func appendHead(b []byte, major byte, n uint64) []byte {
	m := major << 5
	switch {
	case n < 24:
		return append(b, m|byte(n))
	case n < 1<<8:
		return append(b, m|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, m|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, m|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, m|27), n)
}
