package stream_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/stream"
	"wasmbed.io/wasmbed/internal/testredis"
)

const patience = 20 * time.Second

// running is a broker of a test with its ingress.
type running struct {
	*stream.Broker
	URL   string
	redis *testredis.Server
	rdb   *redis.Client
	stop  func() // ends Run and waits; may be called twice
	srv   *httptest.Server
}

// start starts a redis-server and a broker with the Triggers of a manifest.
func start(t testing.TB, manifest []byte, o stream.Options) *running {
	t.Helper()
	r := testredis.Start(t)
	return startOn(t, r, manifest, o)
}

func startOn(t testing.TB, r *testredis.Server, manifest []byte, o stream.Options) *running {
	t.Helper()
	ts, err := stream.ParseTriggers(manifest)
	if err != nil {
		t.Fatal(err)
	}
	rdb := r.Client(t)
	b, err := stream.New(rdb, ts, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	srv := httptest.NewServer(b.Handler())
	run := &running{Broker: b, URL: srv.URL, redis: r, rdb: rdb, srv: srv, stop: func() { cancel(); <-done }}
	t.Cleanup(func() { srv.Close(); run.stop() })
	return run
}

// queueKey finds the stream of a Trigger's only broker.
func (r *running) queueKey(t testing.TB, trigger string) string {
	t.Helper()
	keys := r.rdb.Keys(t.Context(), "{broker}:q:"+trigger+":*").Val()
	if len(keys) != 1 {
		t.Fatalf("queues %q", keys)
	}
	return keys[0]
}

// one is the manifest of a Trigger "plant/<name>" for events of a type.
func one(name, typ, uri, delivery string) string {
	if delivery == "" {
		delivery = "{retry: 3, backoffDelay: PT0.02S}"
	}
	return fmt.Sprintf("---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: %s, namespace: plant}\nspec:\n  broker: default\n  filters: [{exact: {type: %s}}]\n  subscriber: {uri: %q}\n  delivery: %s\n", name, typ, uri, delivery)
}

func ev(t testing.TB, typ, id string) ce.Event {
	t.Helper()
	e, err := event.New(typ, "/test", "plant/press-7", id, map[string]string{"hello": "world"})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (r *running) post(t testing.TB, es ...ce.Event) {
	t.Helper()
	if err := event.NewSink(r.URL, nil).PostBatch(t.Context(), es); err != nil {
		t.Fatal(err)
	}
}

// subscriber records what it gets. Its answer may be changed under way.
type subscriber struct {
	*httptest.Server
	mu      sync.Mutex
	got     []*http.Request
	bodies  []string
	handler http.HandlerFunc
}

func subscribe(t testing.TB, h http.HandlerFunc) *subscriber {
	t.Helper()
	s := &subscriber{handler: h}
	s.Server = httptest.NewServer(s.serve())
	t.Cleanup(s.Server.Close)
	return s
}

func (s *subscriber) serve() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.got = append(s.got, r)
		s.bodies = append(s.bodies, string(body))
		h := s.handler
		s.mu.Unlock()
		if h != nil {
			h(w, r)
		}
	})
}

func (s *subscriber) answer(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

// counts returns how often each id came.
func (s *subscriber) counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := map[string]int{}
	for _, r := range s.got {
		m[event.DecodeValue(r.Header.Get("Ce-Id"))]++
	}
	return m
}

func (s *subscriber) awaitIDs(t testing.TB, n int) map[string]int {
	t.Helper()
	await(t, func() bool { return len(s.counts()) >= n }, func() string { return fmt.Sprintf("%d of %d events came", len(s.counts()), n) })
	return s.counts()
}

func await(t testing.TB, cond func() bool, what any) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			if f, ok := what.(func() string); ok {
				what = f()
			}
			t.Fatalf("not within %s: %v", patience, what)
		}
	}
}

// rawPost posts and returns the answer's status and header.
func rawPost(t testing.TB, url string, body string, header ...string) (int, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header
}
