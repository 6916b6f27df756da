package stream

import (
	"context"
	"net/http"
	"strconv"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// Handler is the ingress: POST of an event (binary or structured mode) or of a batch, at any path.
// 202 means that it is stored for every Trigger that wants it; 400 that it will never be accepted as it is,
// 413 the same for its size; 429 that a Trigger has too much waiting, 503 that Redis or the broker cannot
// take it now: both with Retry-After. A batch is accepted as a whole or not at all. The body is read whole
// before anything is parsed.
func (b *Broker) Handler() http.Handler { return http.HandlerFunc(b.ingress) }

func (b *Broker) ingress(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		w.Header().Set("Accept-Post", acceptPost)
		b.refuse(w, http.StatusMethodNotAllowed, "events are POSTed", 0)
		return
	}
	if b.posts.Add(1) > b.o.MaxPosts {
		b.posts.Add(-1)
		b.refuse(w, http.StatusServiceUnavailable, "too many posts at once", time.Second)
		return
	}
	defer b.posts.Add(-1)
	if r.ContentLength != 0 {
		// Not supported by every ResponseWriter; the server's own timeouts stand behind it.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	es, err := event.ReadRequests(r, b.o.MaxEvent)
	if err == nil {
		if len(es) == 1 {
			traceFromHeader(&es[0], r.Header)
		}
		err = b.Accept(r.Context(), es)
	}
	if err != nil {
		status, after := errs.HTTPStatus(err), time.Duration(0)
		switch errs.CodeOf(err) {
		case errs.Exhausted, errs.Unavailable:
			after = time.Second
		case errs.Deadline:
			status, after = http.StatusServiceUnavailable, time.Second
		}
		b.refuse(w, status, err.Error(), after)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

const acceptPost = ce.ApplicationCloudEventsJSON + ", " + ce.ApplicationCloudEventsBatchJSON

func (b *Broker) refuse(w http.ResponseWriter, status int, msg string, after time.Duration) {
	b.m.refused.WithLabelValues(strconv.Itoa(status)).Inc()
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(after/time.Second)))
	}
	http.Error(w, msg, status)
}

// traceFromHeader carries a trace that came as HTTP's own header into the event.
func traceFromHeader(e *ce.Event, h http.Header) {
	tp := h.Get("Traceparent")
	if tp == "" || len(tp) > 128 {
		return
	}
	if _, there := e.Extensions()[event.ExtTraceParent]; there {
		return
	}
	e.SetExtension(event.ExtTraceParent, tp)
	if ts := h.Get("Tracestate"); ts != "" && len(ts) <= 512 {
		e.SetExtension("tracestate", ts)
	}
}

// Accept is the ingress without HTTP: it returns when Redis has the events for all Triggers that want
// them, all of es or none. Errors: errs.Invalid (hops exhausted too), TooLarge, Exhausted (a Trigger has
// too much waiting, or Redis is full), Unavailable, Deadline; after the last two the events may have been
// stored.
func (b *Broker) Accept(ctx context.Context, es []ce.Event) error {
	if len(es) == 0 {
		return nil
	}
	if b.full.Load() {
		return errs.New(errs.Unavailable, "redis is nearly full")
	}
	puts := make([]put, 0, len(es))
	for i := range es {
		r, err := newRecord(&es[i])
		if err != nil {
			return err
		}
		if r.hops == 0 {
			r.hops = b.o.Hops
		} else if r.hops--; r.hops == 0 {
			return errs.New(errs.Invalid, "hops exhausted")
		}
		p, err := b.newPut(r, b.o.Backlog)
		if err != nil {
			return err
		}
		puts = append(puts, p)
	}
	size := 0
	for i := range puts {
		size += puts[i].size()
	}
	err := b.commit.do(ctx, &op{size: size, build: func(p redis.Pipeliner) {
		for i := range puts {
			b.addPut(p, &puts[i])
		}
	}, done: func() {
		for i := range puts {
			b.stored(&puts[i])
		}
	}})
	if err != nil {
		return err
	}
	b.m.accepted.Add(float64(len(es)))
	return nil
}

// put is an event on its way into its queues.
type put struct {
	queues []*queue
	ids    []*redis.Cmd // what the XADD of each queue says
	names  string
	blob   string
	feed   string
	cut    bool // feed lacks the data
}

func (p *put) size() int { return len(p.blob)*(len(p.queues)+1) + 64 }

// newPut matches a record with the Triggers. errs.Exhausted when one that wants it has backlog waiting.
func (b *Broker) newPut(r record, backlog int64) (put, error) {
	var p put
	for _, q := range b.triggers {
		if !q.filter.Match(r.get) {
			continue
		}
		if q.backlog.Load() >= backlog {
			b.once("backlog "+q.name, "a Trigger has too much waiting, events that it wants are refused", "trigger", q.name, "waiting", q.backlog.Load())
			return p, errs.New(errs.Exhausted, "%d events wait for Trigger %s", q.backlog.Load(), q.name)
		}
		p.queues = append(p.queues, q)
		if p.names != "" {
			p.names += " "
		}
		p.names += q.name
	}
	p.blob = r.encode(-1)
	p.feed = p.blob
	if typ, _ := r.get("type"); len(r.data) > maxRecentData || event.Secret(typ) {
		p.feed, p.cut = r.encode(0), true
	}
	p.ids = make([]*redis.Cmd, len(p.queues))
	return p, nil
}

func (b *Broker) addPut(p redis.Pipeliner, x *put) {
	ctx := context.Background() // a pipeliner only collects; Exec has its own context
	for i, q := range x.queues {
		x.ids[i] = p.Do(ctx, "XADD", q.key, "*", "e", x.blob)
	}
	args := []any{"XADD", recentKey, "MAXLEN", "~", b.o.Recent, "*", "e", x.feed, "m", x.names}
	if x.cut {
		args = append(args, "x", "1")
	}
	p.Do(ctx, args...)
}

// stored is called when an event is in its queues, by the committer, in the order of the queues.
func (b *Broker) stored(x *put) {
	if len(x.queues) == 0 {
		b.m.unwanted.Inc()
		return
	}
	for i, q := range x.queues {
		q.offer(x.ids[i], x.blob)
	}
}

func (b *Broker) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}
