package stream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// newTransport makes the transport to subscribers: many kept connections to few hosts. It is used without
// an http.Client, whose cookies and redirects are not wanted.
func newTransport(given http.RoundTripper, concurrency int) http.RoundTripper {
	if given != nil {
		return given
	}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConns:           0, // as many as deliveries are under way, which is bounded
		MaxIdleConnsPerHost:    maxTriggers * concurrency,
		IdleConnTimeout:        60 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// work delivers entries of one queue, one after the other.
func (b *Broker) work(ctx context.Context, q *queue, stopped <-chan struct{}) {
	for {
		select {
		case <-stopped:
			return
		default:
		}
		select {
		case <-stopped:
			return
		case e := <-q.work:
			if !q.breaker.pass(ctx, stopped, b.o.Now) {
				return // it stays in the stream
			}
			b.deliver(ctx, q, e)
		}
	}
}

// What became of an attempt.
type outcome struct {
	verdict verdict
	reply   *put
	status  int // HTTP; 0: no answer
	reason  string
	message string
	after   time.Duration // asked for by the subscriber
}

type verdict uint8

const (
	delivered verdict = iota
	again             // may go better later
	never             // will not
)

// Reasons of dead letters and retries.
const (
	reasonRefused     = "Refused"       // an answer that says: do not try again
	reasonFailed      = "Failed"        // an answer that says: try again, too often
	reasonUnreachable = "Unreachable"   // no connection
	reasonNoAnswer    = "NoAnswer"      // connection lost, or too slow
	reasonBadReply    = "BadReply"      // 200 with something that is not an event
	reasonReplyStuck  = "ReplyStuck"    // the reply could not be stored
	reasonHops        = "HopsExhausted" // the reply has passed too many brokers
	reasonUnreadable  = "Unreadable"    // the stored event cannot be read: damaged
)

func (b *Broker) deliver(ctx context.Context, q *queue, e *entry) {
	start := b.o.Now()
	o := b.attempt(ctx, q, e)
	if ctx.Err() != nil && o.verdict == again {
		return // the broker ends, the subscriber is not to blame: not an attempt, the entry stays
	}
	if q.breaker.result(o.reason != reasonUnreachable, b.o.Now()) {
		b.log.Info("a subscriber can be reached again", "trigger", q.name)
		b.signal()
	}
	end := b.o.Now()
	q.m.seconds.Observe(end.Sub(start).Seconds())
	b.traceFailure(q, e, o, start, end)
	b.settle(q, e, o)
}

// attempt posts the event once.
func (b *Broker) attempt(ctx context.Context, q *queue, e *entry) outcome {
	r, err := decodeRecord(e.blob)
	if err != nil {
		return outcome{verdict: never, reason: reasonUnreadable, message: err.Error()}
	}
	u, err := q.url()
	if err != nil {
		return outcome{verdict: again, reason: reasonUnreachable, message: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	req := &http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, len(r.attrs)+4), ContentLength: int64(len(r.data)),
	}
	event.SetHeader(req.Header, r.attrs)
	if !q.isSink {
		req.Header["Prefer"] = preferReply
	}
	if tp, ok := r.get(event.ExtTraceParent); ok {
		req.Header["Traceparent"] = []string{tp}
		if sampled(tp) {
			req.Header["Tracestate"] = []string{tracestate(&r, e)}
		}
	}
	req.Body = http.NoBody
	if len(r.data) > 0 {
		req.Body = io.NopCloser(bytes.NewReader(r.data))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.data)), nil }
	}
	resp, err := b.client.RoundTrip(req.WithContext(ctx))
	if err != nil {
		o := outcome{verdict: again, reason: reasonNoAnswer, message: clip(err.Error())}
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			o.reason = reasonUnreachable
		}
		return o
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return outcome{verdict: again, status: resp.StatusCode, reason: reasonNoAnswer, message: clip(err.Error())}
	}
	return b.judge(q, &r, resp, body)
}

var preferReply = []string{"reply"}

// judge reads an answer.
func (b *Broker) judge(q *queue, r *record, resp *http.Response, body []byte) outcome {
	o := outcome{status: resp.StatusCode, reason: reasonFailed}
	switch c := resp.StatusCode; {
	case c == http.StatusOK && !q.isSink:
		return b.readReply(r, resp.Header, body)
	case c/100 == 2:
		return outcome{status: c}
	case c == http.StatusNotFound, c == http.StatusRequestTimeout, c == http.StatusConflict, c == http.StatusTooManyRequests, c/100 == 5:
		o.verdict = again
		o.after = min(retryAfter(resp.Header.Get("Retry-After"), b.o.Now()), q.delivery.RetryAfterMax)
	default:
		o.verdict, o.reason = never, reasonRefused
	}
	o.message = clip(string(body))
	return o
}

func (b *Broker) readReply(in *record, h http.Header, body []byte) outcome {
	if len(body) > maxReply {
		return outcome{verdict: again, status: http.StatusOK, reason: reasonBadReply, message: "the reply is too large"}
	}
	ev, err := event.ReadResponse(h, body)
	if err != nil {
		// As Knative does: the subscriber may be something else that answers at this address just now.
		return outcome{verdict: again, status: http.StatusOK, reason: reasonBadReply, message: clip(err.Error())}
	}
	if ev == nil {
		return outcome{status: http.StatusOK}
	}
	if _, there := ev.Extensions()[event.ExtTraceParent]; !there {
		if tp, ok := in.get(event.ExtTraceParent); ok {
			ev.SetExtension(event.ExtTraceParent, tp)
		}
	}
	ev.SetExtension(extHops, nil) // not the subscriber's to say
	r, err := newRecord(ev)
	if err != nil {
		return outcome{verdict: again, status: http.StatusOK, reason: reasonBadReply, message: clip(err.Error())}
	}
	if r.hops = in.hops - 1; r.hops < 1 {
		return outcome{verdict: never, status: http.StatusOK, reason: reasonHops, message: "a loop of replies?"}
	}
	p, err := b.newPut(r, 2*b.o.Backlog)
	if err != nil {
		return outcome{verdict: again, status: http.StatusOK, reason: reasonReplyStuck, message: clip(err.Error())}
	}
	return outcome{status: http.StatusOK, reply: &p}
}

// retryAfter reads a Retry-After header: seconds or a date.
func retryAfter(v string, now time.Time) time.Duration {
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseInt(strings.TrimSpace(v), 10, 32); err == nil {
		return time.Duration(max(s, 0)) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}

func clip(s string) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "")
	}
	return strings.TrimSpace(s)
}

// url is where the queue's deliveries go now.
func (q *queue) url() (*url.URL, error) {
	s := q.to.URI
	if q.to.Ref != nil {
		base, err := q.b.o.Resolve(*q.to.Ref)
		if err != nil {
			return nil, errs.New(errs.Unavailable, "%s %s: %w", q.to.Ref.Kind, q.to.Ref.Name, err)
		}
		s = base
	}
	if t, ok := q.target.Load().(*target); ok && t.from == s {
		return t.url, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errs.New(errs.Invalid, "subscriber: %w", err)
	}
	if q.to.Ref != nil && q.to.URI != "" {
		if u, err = u.Parse(q.to.URI); err != nil {
			return nil, errs.New(errs.Invalid, "subscriber: %w", err)
		}
	}
	q.target.Store(&target{from: s, url: u})
	return u, nil
}

type target struct {
	from string
	url  *url.URL
}

// settle writes down what became of an attempt: the delivery is done, parked, or dead. It is tried until
// Redis takes it; until then the delivery counts as under way, and if the broker dies it is made again.
func (b *Broker) settle(q *queue, e *entry, o outcome) {
	if o.verdict == again && e.attempts >= q.delivery.Retry {
		o.verdict = never
	}
	switch o.verdict {
	case delivered:
		b.settleDone(q, e, o)
	case again:
		b.settleAgain(q, e, o)
	case never:
		b.settleNever(q, e, o)
	}
}

func (b *Broker) settleDone(q *queue, e *entry, o outcome) {
	if o.reply == nil {
		b.submitUntil(q, e, &op{frees: true,
			build: func(p redis.Pipeliner) { q.drop(p, e.id) },
			done: func() {
				q.m.done.Inc()
				q.backlog.Add(-1)
			}})
		return
	}
	b.submitUntil(q, e, &op{size: o.reply.size(),
		build: func(p redis.Pipeliner) {
			b.addPut(p, o.reply)
			q.drop(p, e.id)
		},
		done: func() {
			q.m.replied.Inc()
			q.backlog.Add(-1)
			b.stored(o.reply)
		}})
}

func (b *Broker) settleAgain(q *queue, e *entry, o outcome) {
	pause := q.delivery.Backoff(e.attempts + 1)
	pause += time.Duration(rand.Int64N(int64(pause)/10 + 1)) // so that what failed together does not come back together
	at := b.o.Now().Add(max(pause, o.after)).UnixMilli()
	id := b.consumer + "/" + e.id
	parked := strconv.Itoa(e.attempts+1) + " " + strconv.FormatInt(e.accepted, 10) + "\n" + e.blob
	b.log.Debug("delivery failed, is tried again", "trigger", q.name, "attempt", e.attempts+1, "status", o.status, "reason", o.reason, "message", o.message)
	b.submitUntil(q, e, &op{size: len(parked),
		build: func(p redis.Pipeliner) {
			ctx := context.Background()
			p.Do(ctx, "HSET", parkedKey(q.name), id, parked)
			p.Do(ctx, "ZADD", retryKey(q.name), at, id)
			q.drop(p, e.id)
		},
		done: func() {
			q.m.retry.Inc()
			q.parkedUntil(at)
		}})
}

func (b *Broker) settleNever(q *queue, e *entry, o outcome) {
	b.log.Warn("event given up", "trigger", q.name, "attempts", e.attempts+1, "status", o.status, "reason", o.reason, "message", o.message)
	var forSink string
	var added *redis.Cmd
	if q.sink != nil {
		forSink = q.sinkBlob(e, o)
	}
	b.submitUntil(q, e, &op{size: 2 * len(e.blob), frees: q.isSink,
		build: func(p redis.Pipeliner) {
			ctx := context.Background()
			if !q.isSink { // what a sink refuses is in its Trigger's list already
				p.Do(ctx, "XADD", deadKey(q.name), "MAXLEN", "~", b.o.Dead, "*", "e", e.blob, "a", e.attempts+1, "t", e.accepted, "s", o.status, "r", o.reason, "m", o.message)
			}
			if forSink != "" {
				added = p.Do(ctx, "XADD", q.sink.key, "*", "e", forSink)
			}
			q.drop(p, e.id)
		},
		done: func() {
			q.m.dead.Inc()
			b.m.dead.WithLabelValues(q.name, o.reason).Inc()
			q.backlog.Add(-1)
			if forSink != "" {
				q.sink.offer(added, forSink)
			}
		}})
}

// sinkBlob is the stored event for the dead letter sink, with what went wrong in Knative's extensions.
func (q *queue) sinkBlob(e *entry, o outcome) string {
	r, err := decodeRecord(e.blob)
	if err != nil {
		return ""
	}
	dest := q.to.URI
	if u, err := q.url(); err == nil {
		dest = u.Redacted()
	}
	set := func(name, value string) {
		for i := range r.attrs {
			if r.attrs[i].Name == name {
				r.attrs[i].Value = value
				return
			}
		}
		r.attrs = append(r.attrs, event.Attribute{Name: name, Value: value})
	}
	set(extErrorDest, dest)
	set(extErrorCode, strconv.Itoa(o.status))
	set(extErrorData, o.reason+": "+o.message)
	return r.encode(-1)
}

// submitUntil submits an op that ends a delivery, again and again until Redis has taken it.
func (b *Broker) submitUntil(q *queue, e *entry, x *op) {
	pause := 20 * time.Millisecond
	x.finish = func(err error) {
		if err != nil && b.running.Load() {
			b.once("settle", "redis does not take what became of deliveries; it is told again", "error", err)
			time.AfterFunc(pause, func() { b.commit.submit(x) })
			pause = min(2*pause, time.Second)
			return
		}
		q.finished(e)
	}
	b.commit.submit(x)
}
