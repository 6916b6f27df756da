package trace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

// clock stands still unless it is moved.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type bench struct {
	*testing.T
	*clock
	rdb redis.UniversalClient
	t   *Tracer
}

func start(t *testing.T, env map[string]string) *bench {
	b := &bench{T: t, clock: &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, rdb: testredis.Start(t).Client(t)}
	var err error
	b.t, err = New(Options{Component: "test", Instance: "here", Redis: b.rdb, Now: b.now, Getenv: func(k string) string { return env[k] }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close() })
	return b
}

func (b *bench) close() {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.t.Close(ctx); err != nil {
		b.Error(err)
	}
}

// read reads a trace after everything was written.
func (b *bench) read(id string, may func(string) bool) Trace {
	b.Helper()
	b.close()
	tr, err := Read(b.Context(), b.rdb, id, may, b.now())
	if err != nil {
		b.Fatal(err)
	}
	return tr
}

func TestWayOfWork(t *testing.T) {
	b := start(t, nil)
	began := b.now()
	b.add(3 * time.Millisecond)
	ctx, hop := b.t.Begin(t.Context(), Work{Name: "process", Kind: Consumer, Parent: parent, Attrs: []Attr{Event("e-1"), Namespace("plant"), Subject("plant/press")},
		Before: &Stage{Component: "broker", Name: "deliver", Start: began, End: b.now()}})
	_, c := Child(ctx, "ledger report", Client, Mark("plant/app"))
	if tp := c.Traceparent(); ID(tp) != ID(parent) {
		t.Errorf("child is %s", tp)
	}
	b.add(time.Millisecond)
	c.End(errs.New(errs.Unavailable, "redis is away"))
	if of := Of(ctx); ID(of) != ID(parent) || of == parent {
		t.Errorf("passed on: %s", of)
	}
	b.add(time.Millisecond)
	hop.End(false, nil)

	b.add(quiet)
	tr := b.read(ID(parent), nil)
	var names []string
	for _, h := range tr.Hops {
		names = append(names, fmt.Sprintf("%s/%s %s %d", h.Component, h.Name, h.Status, h.Duration))
	}
	if got := strings.Join(names, "; "); got != "broker/deliver ok 3000; test/process ok 2000; test/ledger report error 1000" {
		t.Errorf("%s", got)
	}
	if tr.Root != tr.Hops[0].ID || tr.Hops[1].Parent != tr.Root || tr.Hops[2].Parent != tr.Hops[1].ID || !tr.Complete || tr.Dropped != 0 {
		t.Errorf("%+v", tr)
	}
	if h := tr.Hops[1]; h.Namespace != "plant" || h.Subject != "plant/press" || h.Kind != "consumer" || h.Instance != "here" || h.Attributes["cloudevents.event_id"] != "e-1" {
		t.Errorf("%+v", h)
	}
	if h := tr.Hops[2]; h.Message == "" || h.Attributes["error.type"] == "" {
		t.Errorf("%+v", h)
	}
	for _, what := range []string{ID(parent), parent, "e-1", "plant/app"} {
		if id, err := Find(t.Context(), b.rdb, what); err != nil || id != ID(parent) {
			t.Errorf("%s: %s %v", what, id, err)
		}
	}
	for _, what := range []string{"e-2", strings.Repeat("a", 32), Fresh()[3:35]} {
		if _, err := Find(t.Context(), b.rdb, what); !errs.Is(err, errs.NotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Another's hops are left out; who may see none sees no trace.
	if some := b.read(ID(parent), func(ns string) bool { return ns == "plant" }); len(some.Hops) != 1 || some.Root == "" {
		t.Errorf("%+v", some)
	}
	if _, err := Read(t.Context(), b.rdb, ID(parent), func(string) bool { return false }, b.now()); !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
}

func TestWhatHasNoEffectIsNotRecorded(t *testing.T) {
	b := start(t, nil)
	_, quietly := b.t.Begin(t.Context(), Work{Name: "nothing", Parent: parent})
	quietly.End(false, nil)
	ctx, unsampled := b.t.Begin(t.Context(), Work{Name: "unsampled", Parent: parent[:53] + "00", Derived: []string{"x"}})
	if _, c := Child(ctx, "child", Client); unsampled != nil || c != nil || Of(ctx) != "" || Traced(ctx) {
		t.Error("something is recorded")
	}
	if _, none := b.t.Begin(t.Context(), Work{Name: "none"}); none != nil {
		t.Error("a trace was begun that nobody asked for")
	}
	_, failed := b.t.Begin(t.Context(), Work{Name: "failed", Derived: []string{"a", "1"}})
	failed.End(false, errors.New("no"))
	b.close()
	if keys := b.rdb.Keys(t.Context(), "wb:trace:{*}:s").Val(); len(keys) != 1 || keys[0] != keySpans(derive("a", "1").TraceID().String()) {
		t.Errorf("%v", keys)
	}
	var nobody *Tracer
	ctx, hop := nobody.Begin(t.Context(), Work{Name: "x", Parent: parent})
	hop.End(true, nil)
	if nobody.Named("y") != nil || hop.Traceparent() != "" || Of(ctx) != "" || nobody.Start(parent, "x", Client, time.Time{}) != nil || nobody.Close(ctx) != nil {
		t.Error("a nil tracer does something")
	}
}

func TestAdopt(t *testing.T) {
	b := start(t, nil)
	ctx, hop := b.t.Begin(t.Context(), Work{Name: "process", Derived: []string{"k8s", "1"}, Adopts: true, Ambient: true})
	if !Adopts(ctx) {
		t.Fatal("it does not adopt")
	}
	Adopt(ctx, parent[:53]+"00") // nobody records that
	Adopt(ctx, parent)
	Adopt(ctx, "00-11111111111111111111111111111111-b7ad6b7169203331-01") // too late
	if ID(Of(ctx)) != ID(parent) {
		t.Error(Of(ctx))
	}
	// What it sends carries the new trace, also when it was made with the old one; a third one stays.
	_, p := Publish(ctx, Format(derive("k8s", "1")), "publish")
	_, q := Publish(ctx, "00-22222222222222222222222222222222-b7ad6b7169203331-00", "publish")
	if ID(p.Traceparent()) != ID(parent) || ID(q.Traceparent()) != "22222222222222222222222222222222" {
		t.Error(p.Traceparent(), q.Traceparent())
	}
	hop.End(true, nil)
	// One that came with a trace keeps it.
	ctx, _ = b.t.Begin(t.Context(), Work{Name: "process", Parent: parent, Adopts: true})
	Adopt(ctx, "00-11111111111111111111111111111111-b7ad6b7169203331-01")
	if Adopts(ctx) || ID(Of(ctx)) != ID(parent) {
		t.Error(Of(ctx))
	}
}

func TestAmbientTracesKeepTheirPace(t *testing.T) {
	b := start(t, nil)
	count := func() (n int) {
		for i := range 10 * ambientBurst {
			_, h := b.t.Begin(t.Context(), Work{Name: "process", Derived: []string{"x", fmt.Sprint(n, i)}, Ambient: true})
			if h.Traceparent() != "" {
				n++
			}
		}
		return n
	}
	if n := count(); n != ambientBurst {
		t.Errorf("%d", n)
	}
	if tp := b.t.Moment("device connected"); tp[53:] != "00" {
		t.Error(tp)
	}
	b.add(2 * time.Second)
	if tp := b.t.Moment("device connected"); tp[53:] != "01" {
		t.Error(tp)
	}
	if n := count(); n != 1 {
		t.Errorf("%d", n)
	}
}

func TestLimits(t *testing.T) {
	b := start(t, nil)
	// So many spans that the queue overflows would be a matter of timing: the store is asked itself.
	s := newStore(b.rdb, "here", b.now)
	add := func(id string, n int) {
		t.Helper()
		args := []any{MaxSpans, KeepFor.Milliseconds()}
		for i := range n {
			args = append(args, fmt.Sprintf(`{"id":"%016x","name":"n","start":"2026-03-01T12:00:00Z"}`, i+1))
		}
		news, err := s.add(t.Context(), []string{id}, map[string][]any{id: args}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(news) > 0 {
			if err := b.rdb.ZAddNX(t.Context(), keyIndex, news...).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	id := func(i int) string { return fmt.Sprintf("%032x", i) }
	add(id(1), MaxSpans-1)
	add(id(1), 5)
	tr := b.read(id(1), nil)
	if len(tr.Hops) != MaxSpans || tr.Dropped != 4 || tr.Complete {
		t.Errorf("%d hops, %d dropped, complete %v", len(tr.Hops), tr.Dropped, tr.Complete)
	}
	if ttl := b.rdb.PTTL(t.Context(), keySpans(id(1))).Val(); ttl <= 0 || ttl > KeepFor {
		t.Errorf("ttl %v", ttl)
	}
	if ttl := b.rdb.PTTL(t.Context(), keyMeta(id(1))).Val(); ttl <= 0 || ttl > KeepFor {
		t.Errorf("ttl %v", ttl)
	}
	for i := 2; i <= 6; i++ {
		b.add(time.Second)
		add(id(i), 10)
	}
	left := func() (out []string) { return b.rdb.ZRange(t.Context(), keyIndex, 0, -1).Val() }
	if err := s.trim(t.Context(), 5, 45); err != nil { // by number, and by spans: the newest four have 40
		t.Fatal(err)
	}
	if got := left(); fmt.Sprint(got) != fmt.Sprint([]string{id(3), id(4), id(5), id(6)}) {
		t.Errorf("%v", got)
	}
	if n := b.rdb.Exists(t.Context(), keySpans(id(1)), keyMeta(id(1)), keySpans(id(2))).Val(); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	b.add(KeepFor)
	if err := s.trim(t.Context(), 5, 45); err != nil || len(left()) != 0 {
		t.Errorf("%v %v", left(), err)
	}
	for i, want := range []int{10, MaxFollowed - 10, 0} {
		if n, err := Follow(t.Context(), b.rdb, parent, 10); err != nil || n != want {
			t.Errorf("%d: %d %v", i, n, err)
		}
	}
}

func TestQueueDropsAndNeverBlocks(t *testing.T) {
	stuck := &stuckWriter{enter: make(chan struct{}, 1), leave: make(chan struct{})}
	q := newQueue([]writer{stuck}, testLog(t), nil)
	tr := &Tracer{"test", &core{now: time.Now, queue: q, provider: nil, otel: otelOf(q)}}
	end := func(n int) {
		for range n {
			tr.Start(parent, "x", Client, time.Time{}).End(nil)
		}
	}
	end(maxBatch)
	<-stuck.enter // the writer has a batch, and is stuck with it
	end(maxQueue + 100)
	if n := q.dropped.Load(); n < 100 || n > 100+maxBatch || q.waiting() > maxQueue {
		t.Errorf("%d dropped, %d wait", n, q.waiting())
	}
	close(stuck.leave)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := q.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if got, want := stuck.got+int(q.dropped.Load()), maxBatch+maxQueue+100; got != want {
		t.Errorf("%d spans are accounted for, of %d", got, want)
	}
	end(1) // after the end: counted, nothing else
}

type stuckWriter struct {
	enter chan struct{}
	leave chan struct{}
	got   int
}

func TestOTLP(t *testing.T) {
	type post struct {
		header http.Header
		path   string
		body   map[string]any
	}
	posts := make(chan post, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		var body map[string]any
		if err := json.Unmarshal(b, &body); err != nil {
			t.Error(err)
		}
		posts <- post{r.Header, r.URL.Path, body}
		_, _ = w.Write([]byte("{}"))
	}))
	defer collector.Close()
	b := start(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL + "/", "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20b", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"})
	s := b.t.Named("gateway").Start(parent, "send Deploy", Producer, time.Time{}, Int("n", 7), String("s", "v"))
	s.End(errors.New("no"))
	b.close()
	p := <-posts
	if p.path != "/v1/traces" || p.header.Get("Content-Type") != "application/json" || p.header.Get("X-Key") != "a b" {
		t.Errorf("%s %v", p.path, p.header)
	}
	text, _ := json.Marshal(p.body)
	for _, want := range []string{
		`"traceId":"0af7651916cd43dd8448eb211c80319c"`, `"parentSpanId":"b7ad6b7169203331"`, `"kind":4`, `"intValue":"7"`, `{"key":"service.name","value":{"stringValue":"wasmbed-gateway"}}`,
		`"status":{"code":2,"message":"no"}`, `"startTimeUnixNano":"1772366400000000000"`, `"deployment.environment.name"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	for env, ok := range map[string]bool{"collector:4318": false, "ftp://x": false, "": true} {
		if _, err := newOTLP(func(k string) string {
			if k == "OTEL_EXPORTER_OTLP_ENDPOINT" {
				return env
			}
			return ""
		}, ""); (err == nil) != ok {
			t.Errorf("%q: %v", env, err)
		}
	}
}

func TestRedisAway(t *testing.T) {
	srv := testredis.Start(t)
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer rdb.Close()
	_ = srv
	tr, err := New(Options{Component: "test", Redis: rdb, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	tr.Start(parent, "x", Client, time.Time{}).End(nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := tr.Close(ctx); err != nil {
		t.Error(err)
	}
	if _, err := tr.Find(t.Context(), "e-1"); !errs.Is(err, errs.Unavailable) {
		t.Error(err)
	}
}

func TestArrange(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	hops := []Span{
		{ID: "c", Parent: "b", Start: at(5)}, // before its parent, by another clock
		{ID: "d", Parent: "a", Start: at(7)},
		{ID: "b", Parent: "a", Start: at(6)},
		{ID: "a", Parent: "elsewhere", Start: at(1)},
		{ID: "e", Parent: "elsewhere", Start: at(0)},
		{ID: "x", Parent: "y", Start: at(9)}, // nonsense, which must not hang
		{ID: "y", Parent: "x", Start: at(9)},
		{ID: "z", Parent: "z", Start: at(10)},
	}
	if root := arrange(hops); root != "e" {
		t.Errorf("root %s", root)
	}
	order := ""
	for _, h := range hops {
		order += h.ID
	}
	if !strings.HasPrefix(order, "eabc") || len(order) != 8 {
		t.Errorf("%s", order)
	}
}
