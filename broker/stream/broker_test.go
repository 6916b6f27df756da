package stream_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	cetest "github.com/cloudevents/sdk-go/v2/test"
	"github.com/prometheus/client_golang/prometheus"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/stream"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

// A batch is accepted as a whole; everything in it is delivered once.
func TestBatch(t *testing.T) {
	sub := subscribe(t, nil)
	b := start(t, []byte(one("a", "t", sub.URL, "")), stream.Options{})
	var es []ce.Event
	for i := range 300 {
		es = append(es, ev(t, "t", fmt.Sprint(i)))
	}
	b.post(t, es...)
	for id, n := range sub.awaitIDs(t, 300) {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
	const ct = "application/cloudevents-batch+json"
	if status, _ := rawPost(t, b.URL, `[]`, "content-type", ct); status != 202 {
		t.Error("an empty batch:", status)
	}
	bad := `[{"specversion":"1.0","id":"new","source":"/s","type":"t"},{"specversion":"1.0","id":"x","source":"/s"}]`
	if status, _ := rawPost(t, b.URL, bad, "content-type", ct); status != 400 {
		t.Error("one bad event in a batch:", status)
	}
	b.post(t, ev(t, "t", "last"))
	sub.awaitIDs(t, 301)
	if sub.counts()["new"] != 0 {
		t.Error("part of a refused batch was accepted")
	}
}

func TestSizeLimits(t *testing.T) {
	b := start(t, nil, stream.Options{MaxEvent: 1000})
	binary := []string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"}
	for body, want := range map[int]int{1000: 202, 1001: 413} {
		if status, _ := rawPost(t, b.URL, strings.Repeat("x", body), binary...); status != want {
			t.Errorf("%d bytes: %d, want %d", body, status, want)
		}
	}
	r, _ := http.NewRequest(http.MethodPost, b.URL, io.LimitReader(zeros{}, 5000)) // chunked, no length said
	for i := 0; i < len(binary); i += 2 {
		r.Header.Set(binary[i], binary[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Errorf("chunked: %d, want 413", resp.StatusCode)
	}
	if status, _ := rawPost(t, b.URL, "", append(binary, "ce-long", strings.Repeat("x", event.MaxAttributes))...); status != 413 {
		t.Errorf("attributes: %d, want 413", status)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// Retry-After is kept to, in seconds and as a date, up to the Trigger's limit.
func TestRetryAfter(t *testing.T) {
	var mu sync.Mutex
	at := map[string][]time.Time{}
	sub := subscribe(t, func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("Ce-Id")
		mu.Lock()
		defer mu.Unlock()
		if at[id] = append(at[id], time.Now()); len(at[id]) == 1 {
			switch id {
			case "seconds":
				w.Header().Set("Retry-After", "1")
			case "date":
				w.Header().Set("Retry-After", time.Now().Add(2*time.Second).UTC().Format(http.TimeFormat))
			case "long":
				w.Header().Set("Retry-After", "100000")
			}
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	b := start(t, []byte(one("a", "t", sub.URL, "{retry: 3, backoffDelay: PT0.01S, retryAfterMax: PT1.5S}")), stream.Options{})
	b.post(t, ev(t, "t", "seconds"), ev(t, "t", "date"), ev(t, "t", "long"))
	await(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(at["seconds"]) == 2 && len(at["date"]) == 2 && len(at["long"]) == 2
	}, "second attempts")
	for id, least := range map[string]time.Duration{"seconds": time.Second, "date": 900 * time.Millisecond, "long": 1500 * time.Millisecond} {
		if d := at[id][1].Sub(at[id][0]); d < least || d > least+2*time.Second {
			t.Errorf("%s: %s between the attempts", id, d)
		}
	}
}

// The pauses grow: exponential by default.
func TestBackoff(t *testing.T) {
	ts, err := stream.ParseTriggers([]byte(one("e", "t", "http://x", "{backoffDelay: PT0.2S}") + one("l", "t", "http://x", "{backoffPolicy: linear, backoffDelay: PT0.2S}")))
	if err != nil {
		t.Fatal(err)
	}
	ms := func(d stream.Delivery) (out []int64) {
		for i := range 12 {
			out = append(out, d.Backoff(i+1).Milliseconds())
		}
		return out
	}
	if got := fmt.Sprint(ms(ts[0].Delivery)); got != "[200 400 800 1600 3200 6400 12800 25600 30000 30000 30000 30000]" {
		t.Error("exponential:", got)
	}
	if got := fmt.Sprint(ms(ts[1].Delivery)); got != "[200 400 600 800 1000 1200 1400 1600 1800 2000 2200 2400]" {
		t.Error("linear:", got)
	}
	if d := ts[0].Delivery.Backoff(1 << 30); d != 30*time.Second {
		t.Error("far:", d)
	}
}

// A subscriber that does not answer in time is tried again.
func TestTimeout(t *testing.T) {
	hang := make(chan struct{})
	var n atomic.Int64
	sub := subscribe(t, func(_ http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}
	})
	defer close(hang)
	b := start(t, []byte(one("a", "t", sub.URL, "{retry: 1, timeout: PT0.1S, backoffDelay: PT0.01S}")), stream.Options{})
	b.post(t, ev(t, "t", "1"))
	await(t, func() bool { return n.Load() == 2 }, "the second attempt")
}

// Replies go round a bounded number of times, and what exceeds it is a dead letter of the last one.
func TestHops(t *testing.T) {
	sub := subscribe(t, func(w http.ResponseWriter, r *http.Request) {
		reply(w, "t", r.Header.Get("Ce-Id")+"'")
	})
	b := start(t, []byte(one("a", "t", sub.URL, "")), stream.Options{Hops: 5})
	b.post(t, ev(t, "t", "1"))
	letters := b.awaitDead(t, "plant/a", 1)
	if got := len(sub.counts()); got != 5 {
		t.Errorf("%d rounds", got)
	}
	if letters[0].Reason != "HopsExhausted" || letters[0].Event.ID() != "1''''" {
		t.Errorf("%+v", letters[0])
	}
	// A sender may say less, and no sender says more than there is.
	binary := []string{"ce-specversion", "1.0", "ce-source", "/s", "ce-type", "other"}
	for hops, want := range map[string]int{"2": 202, "1": 400, "0": 400, "-4": 400, "x": 400} {
		if status, _ := rawPost(t, b.URL, "", append(binary, "ce-id", hops, "ce-knativebrokerttl", hops)...); status != want {
			t.Errorf("hops %s: %d, want %d", hops, status, want)
		}
	}
}

func reply(w http.ResponseWriter, typ, id string) {
	h := w.Header()
	h.Set("ce-specversion", "1.0")
	h.Set("ce-id", id)
	h.Set("ce-source", "/reply")
	h.Set("ce-type", typ)
}

func (r *running) awaitDead(t testing.TB, trigger string, n int) []stream.DeadLetter {
	t.Helper()
	var letters []stream.DeadLetter
	await(t, func() bool {
		var err error
		letters, _, err = r.DeadLetters(t.Context(), trigger, "", 1000)
		return err == nil && len(letters) >= n
	}, func() string { return fmt.Sprintf("%d dead letters", len(letters)) })
	return letters
}

// The reply carries on the trace of its cause.
func TestReplyKeepsTrace(t *testing.T) {
	const tp = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	sub := subscribe(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Ce-Type") == "ask" {
			reply(w, "answer", "re")
		}
	})
	b := start(t, []byte(one("a", "ask", sub.URL, "")+one("b", "answer", sub.URL, "")), stream.Options{})
	rawPost(t, b.URL, "", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "ask", "traceparent", tp)
	sub.awaitIDs(t, 2)
	for _, r := range sub.got {
		if r.Header.Get("Ce-Traceparent") != tp || r.Header.Get("Traceparent") != tp {
			t.Errorf("%s: %v", r.Header.Get("Ce-Id"), r.Header)
		}
	}
}

// Dead letters say what happened, can be read page by page, and be delivered again.
func TestDeadLetters(t *testing.T) {
	var well atomic.Bool
	sub := subscribe(t, func(w http.ResponseWriter, r *http.Request) {
		if !well.Load() {
			http.Error(w, "broken: "+r.Header.Get("Ce-Id"), http.StatusUnprocessableEntity)
		}
	})
	b := start(t, []byte(one("a", "t", sub.URL, "")), stream.Options{})
	for i := range 5 {
		b.post(t, ev(t, "t", fmt.Sprint(i)))
		b.awaitDead(t, "plant/a", i+1)
	}
	first, next, err := b.DeadLetters(t.Context(), "plant/a", "", 2)
	if err != nil || len(first) != 2 || next == "" {
		t.Fatal(first, next, err)
	}
	l := first[0]
	if l.Status != 422 || l.Reason != "Refused" || l.Message != "broken: 0" || l.Attempts != 1 || l.Trigger != "plant/a" || time.Since(l.Accepted) > time.Minute || l.Time.Before(l.Accepted) {
		t.Errorf("%+v", l)
	}
	cetest.AssertEvent(t, l.Event, cetest.HasId("0"), cetest.HasType("t"), cetest.HasSubject("plant/press-7"), cetest.HasData([]byte(`{"hello":"world"}`)))
	rest, next, err := b.DeadLetters(t.Context(), "plant/a", next, 100)
	if err != nil || len(rest) != 3 || next != "" || rest[0].Event.ID() != "2" {
		t.Fatal(rest, next, err)
	}
	well.Store(true)
	if n, err := b.Redeliver(t.Context(), "plant/a", l.ID, "1-1"); n != 1 || err != nil {
		t.Error(n, err)
	}
	await(t, func() bool { return sub.counts()["0"] == 2 }, "the first again")
	if n, err := b.Redeliver(t.Context(), "plant/a"); n != 4 || err != nil {
		t.Error(n, err)
	}
	await(t, func() bool { return sub.counts()["4"] == 2 && sub.counts()["1"] == 2 }, "all again")
	if left, _, _ := b.DeadLetters(t.Context(), "plant/a", "", 10); len(left) != 0 {
		t.Errorf("%d left", len(left))
	}
	if n, err := b.Redeliver(t.Context(), "plant/a"); n != 0 || err != nil {
		t.Error("nothing there:", n, err)
	}
	if _, err := b.Redeliver(t.Context(), "plant/a", "not an id"); !errs.Is(err, errs.Invalid) {
		t.Error(err)
	}
}

// Without a dead letter sink of its own an event is still a dead letter here; with one it goes on with
// what went wrong, and a sink that is away is tried again too.
func TestDeadLetterSink(t *testing.T) {
	var n atomic.Int64
	sink := subscribe(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	sub := subscribe(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	b := start(t, []byte(one("a", "t", sub.URL, fmt.Sprintf("{retry: 4, backoffDelay: PT0.01S, deadLetterSink: {uri: %q}}", sink.URL))), stream.Options{})
	b.post(t, ev(t, "t", "1"))
	await(t, func() bool { return n.Load() == 3 }, "the sink's third attempt")
	h := sink.got[2].Header
	if h.Get("Ce-Knativeerrorcode") != "403" || h.Get("Ce-Knativeerrordest") != sub.URL || !strings.Contains(h.Get("Ce-Knativeerrordata"), "no") || h.Get("Prefer") != "" {
		t.Error(h)
	}
	b.awaitDead(t, "plant/a", 1)
}

// The feed shows what was accepted, in order, who got it, and blocks for news.
func TestRecent(t *testing.T) {
	b := start(t, []byte(one("a", "t", "http://127.0.0.1:1", "")), stream.Options{})
	es, next, err := b.Recent(t.Context(), "", 10, 0)
	if err != nil || len(es) != 0 {
		t.Fatal(es, err)
	}
	b.post(t, ev(t, "t", "1"))
	b.post(t, ev(t, "other", "2"))
	es, next, err = b.Recent(t.Context(), next, 10, time.Second)
	for err == nil && len(es) < 2 {
		var more []stream.Stored
		more, next, err = b.Recent(t.Context(), next, 10, time.Second)
		es = append(es, more...)
	}
	if err != nil || es[0].Event.ID() != "1" || fmt.Sprint(es[0].Triggers) != "[plant/a]" || es[1].Event.ID() != "2" || len(es[1].Triggers) != 0 || time.Since(es[0].Accepted) > time.Minute {
		t.Fatal(es, err)
	}
	_, end, err := b.Recent(t.Context(), "$", 10, 0)
	if err != nil || end != next {
		t.Errorf("$ is %q, the last was %q, %v", end, next, err)
	}
	got := make(chan []stream.Stored)
	go func() {
		es, _, _ := stream.Recent(context.Background(), b.rdb, end, 10, patience)
		got <- es
	}()
	big := ev(t, "t", "3")
	big.DataEncoded = []byte(`"` + strings.Repeat("x", 20000) + `"`)
	b.post(t, big)
	if es := <-got; len(es) != 1 || es[0].Event.ID() != "3" || !es[0].Truncated || len(es[0].Event.Data()) != 0 {
		t.Error(es)
	}
	_, end, _ = b.Recent(t.Context(), "$", 10, 0)
	claim := ev(t, event.DeviceEnrollmentRequested, "4") // its claim is nobody's to read
	claim.DataEncoded = []byte(`{"claim":"c2VjcmV0"}`)
	b.post(t, claim)
	if es, _, err := b.Recent(t.Context(), end, 10, patience); err != nil || len(es) != 1 || es[0].Event.ID() != "4" || !es[0].Truncated || len(es[0].Event.Data()) != 0 {
		t.Error(es, err)
	}
}

// The feed is capped, and what is delivered leaves nothing behind.
func TestMemoryIsFreed(t *testing.T) {
	sub := subscribe(t, nil)
	b := start(t, []byte(one("a", "t", sub.URL, "")), stream.Options{Recent: 100})
	var es []ce.Event
	for i := range 2000 {
		es = append(es, ev(t, "t", fmt.Sprint(i)))
	}
	b.post(t, es...)
	sub.awaitIDs(t, 2000)
	ctx := t.Context()
	key := b.queueKey(t, "plant/a")
	await(t, func() bool { return b.rdb.XLen(ctx, key).Val() == 0 }, func() string { return fmt.Sprint(b.rdb.XLen(ctx, key).Val()) })
	if n := b.rdb.XLen(ctx, "{broker}:recent").Val(); n > 100+200 {
		t.Errorf("%d in the feed", n)
	}
	if n := b.rdb.MemoryUsage(ctx, key, 0).Val(); n > 4000 {
		t.Errorf("the empty queue takes %d bytes", n)
	}
	for _, key := range b.rdb.Keys(ctx, "*").Val() {
		if !strings.HasPrefix(key, "{broker}:") {
			t.Errorf("key %s", key)
		}
	}
}

// Above the backlog the ingress refuses what would go there, and only that; below it accepts again.
func TestBacklog(t *testing.T) {
	release := make(chan struct{})
	once := sync.OnceFunc(func() { close(release) })
	defer once()
	slow := subscribe(t, func(http.ResponseWriter, *http.Request) { <-release })
	other := subscribe(t, nil)
	b := start(t, []byte(one("slow", "t", slow.URL, "")+one("other", "u", other.URL, "")), stream.Options{Backlog: 100, Concurrency: 4})
	accepted := 0
	var status int
	var h http.Header
	for accepted < 500 {
		if status, h = rawPost(t, b.URL, "", "ce-specversion", "1.0", "ce-id", fmt.Sprint(accepted), "ce-source", "/s", "ce-type", "t"); status != 202 {
			break
		}
		accepted++
	}
	if status != 429 || h.Get("Retry-After") == "" || accepted < 95 || accepted > 110 {
		t.Errorf("%d accepted, then %d, Retry-After %q", accepted, status, h.Get("Retry-After"))
	}
	b.post(t, ev(t, "u", "1"))
	other.awaitIDs(t, 1)
	once()
	slow.awaitIDs(t, accepted)
	await(t, func() bool {
		status, _ := rawPost(t, b.URL, "", "ce-specversion", "1.0", "ce-id", "again", "ce-source", "/s", "ce-type", "t")
		return status == 202
	}, "accepted again")
}

// A Redis that has no memory left: posts are refused, and deliveries still come to their end.
func TestRedisFull(t *testing.T) {
	release := make(chan struct{})
	once := sync.OnceFunc(func() { close(release) })
	defer once()
	sub := subscribe(t, func(http.ResponseWriter, *http.Request) { <-release })
	b := start(t, []byte(one("a", "t", sub.URL, "")), stream.Options{})
	ctx := t.Context()
	b.post(t, ev(t, "t", "1"), ev(t, "t", "2"))
	sub.awaitIDs(t, 2)
	if err := b.rdb.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	status, h := rawPost(t, b.URL, "", "ce-specversion", "1.0", "ce-id", "3", "ce-source", "/s", "ce-type", "t")
	if status != 503 || h.Get("Retry-After") == "" {
		t.Errorf("%d, Retry-After %q", status, h.Get("Retry-After"))
	}
	once()
	await(t, func() bool { return b.rdb.XLen(ctx, b.queueKey(t, "plant/a")).Val() == 0 }, "delivered events leave")
	b.rdb.ConfigSet(ctx, "maxmemory", "0")
	await(t, func() bool { return b.Ready(ctx) == nil }, "ready again")
	b.post(t, ev(t, "t", "4"))
	await(t, func() bool { return sub.counts()["4"] == 1 }, "accepted again")
	if sub.counts()["3"] != 0 {
		t.Error("a refused event was delivered")
	}
}

// While nobody listens at a subscriber's address, most of what waits is not even tried, and when it is back
// everything comes within a moment.
func TestUnreachableSubscriberPausesItsQueue(t *testing.T) {
	sub := subscribe(t, nil)
	addr := sub.Listener.Addr().String()
	sub.Close()
	reg := prometheus.NewRegistry()
	b := start(t, []byte(one("a", "t", "http://"+addr, "{retry: 10, backoffDelay: PT0.2S}")), stream.Options{Registry: reg})
	var es []ce.Event
	for i := range 1000 {
		es = append(es, ev(t, "t", fmt.Sprint(i)))
	}
	b.post(t, es...)
	await(t, func() bool { return metric(t, reg, "wasmbed_broker_deliveries_total", "retry") >= 9 }, "a probe after the breaker opened")
	if n := metric(t, reg, "wasmbed_broker_deliveries_total", "retry"); n > 200 {
		t.Errorf("%v attempts", n)
	}
	back := subscribeAt(t, addr)
	back.awaitIDs(t, 1000)
}

// Metrics are counted.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	sub := subscribe(t, nil)
	b := start(t, []byte(one("a", "t", sub.URL, "")), stream.Options{Registry: reg})
	b.post(t, ev(t, "t", "1"), ev(t, "u", "2"))
	rawPost(t, b.URL, "")
	sub.awaitIDs(t, 1)
	await(t, func() bool { return metric(t, reg, "wasmbed_broker_deliveries_total", "done") == 1 }, "done")
	for name, want := range map[string]float64{"wasmbed_broker_events_accepted_total": 2, "wasmbed_broker_events_unwanted_total": 1, "wasmbed_broker_posts_refused_total": 1} {
		if got := metric(t, reg, name, ""); got != want {
			t.Errorf("%s %v, want %v", name, got, want)
		}
	}
}

func metric(t testing.TB, reg *prometheus.Registry, name, result string) (sum float64) {
	t.Helper()
	fams, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fams {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			ok := result == ""
			for _, l := range m.GetLabel() {
				ok = ok || l.GetName() == "result" && l.GetValue() == result
			}
			if ok {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestNewRefuses(t *testing.T) {
	rdb := testredis.Start(t).Client(t)
	ts, _ := stream.ParseTriggers([]byte(one("a", "t", "http://x", "")))
	if _, err := stream.New(rdb, append(ts, ts...), stream.Options{}); !errs.Is(err, errs.Invalid) {
		t.Error("twice:", err)
	}
	ref, _ := stream.ParseTriggers([]byte(strings.Replace(one("a", "t", "http://x", ""), `{uri: "http://x"}`, "{ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: x}}", 1)))
	if _, err := stream.New(rdb, ref, stream.Options{}); !errs.Is(err, errs.Invalid) {
		t.Error("a ref and nobody who resolves it:", err)
	}
	if b, err := stream.New(rdb, ts, stream.Options{Broker: "another"}); err != nil || b == nil {
		t.Error("another broker's Triggers are left out:", err)
	}
}

func TestResolve(t *testing.T) {
	at := stream.FunctionsAt("http://127.0.0.1:9/")
	if u, err := at(stream.Ref{Kind: "Service", Name: "deploy"}); err != nil || u != "http://127.0.0.1:9/deploy" {
		t.Error(u, err)
	}
	if _, err := at(stream.Ref{Kind: "Channel", Name: "x"}); !errs.Is(err, errs.Unsupported) {
		t.Error(err)
	}
	if _, err := stream.FunctionsAt("")(stream.Ref{Kind: "Service", Name: "x"}); !errs.Is(err, errs.Unavailable) {
		t.Error(err)
	}
}

// A subscriber may move: it is resolved at each delivery, and a uri beside the ref is a path there.
func TestSubscriberMoves(t *testing.T) {
	var now atomic.Value
	first, second := subscribe(t, nil), subscribe(t, nil)
	now.Store(first.URL + "/base")
	manifest := strings.Replace(one("a", "t", "X", ""), `{uri: "X"}`, `{ref: {apiVersion: v1, kind: Service, name: x}, uri: "/path?q=1"}`, 1)
	b := start(t, []byte(manifest), stream.Options{Resolve: func(r stream.Ref) (string, error) {
		if r.Namespace != "plant" || r.Name != "x" {
			t.Errorf("%+v", r)
		}
		return now.Load().(string), nil
	}})
	b.post(t, ev(t, "t", "1"))
	first.awaitIDs(t, 1)
	if got := first.got[0].URL.String(); got != "/path?q=1" {
		t.Error(got)
	}
	now.Store(second.URL)
	b.post(t, ev(t, "t", "2"))
	second.awaitIDs(t, 1)
}
