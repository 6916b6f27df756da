package functions

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/run"
	"wasmbed.io/wasmbed/internal/testredis"
)

type handle func(context.Context, ce.Event) (*ce.Event, error)

func (h handle) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) { return h(ctx, e) }

func binary(method, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	for _, h := range append([]string{"Ce-Specversion: 1.0", "Ce-Id: 1", "Ce-Source: /s", "Ce-Type: known", "Content-Type: application/json"}, headers...) {
		k, v, _ := strings.Cut(h, ": ")
		if v == "" {
			r.Header.Del(k)
			continue
		}
		r.Header.Set(k, v)
	}
	return r
}

func TestHandler(t *testing.T) {
	reply, err := event.New("said", "/f", "ns/x", "r1", map[string]string{"a": "b c"}, event.In("ns"))
	if err != nil {
		t.Fatal(err)
	}
	answer := func(r *ce.Event, err error) handle {
		return func(context.Context, ce.Event) (*ce.Event, error) { return r, err }
	}
	fails := func(code errs.Code) handle { return answer(nil, errs.New(code, "no")) }
	for _, x := range []struct {
		name   string
		f      handle
		r      *http.Request
		status int
	}{
		{"no reply", answer(nil, nil), binary("POST", "{}"), 202},
		{"reply", answer(&reply, nil), binary("POST", "{}"), 200},
		{"structured", answer(nil, nil), func() *http.Request {
			r := httptest.NewRequest("POST", "/", strings.NewReader(`{"specversion":"1.0","id":"1","source":"/s","type":"known","data":{}}`))
			r.Header.Set("Content-Type", "application/cloudevents+json")
			return r
		}(), 202},
		{"unknown type", fails(errs.Internal), binary("POST", "{}", "Ce-Type: other"), 202},
		{"GET", answer(nil, nil), binary("GET", ""), 405},
		{"no id", answer(nil, nil), binary("POST", "{}", "Ce-Id: "), 400},
		{"no event", answer(nil, nil), binary("POST", "{}", "Ce-Specversion: "), 400},
		{"too large", answer(nil, nil), binary("POST", strings.Repeat("x", event.MaxEvent+1)), 413},
		{"invalid", fails(errs.Invalid), binary("POST", "{}"), 400},
		{"not found is no 404", fails(errs.NotFound), binary("POST", "{}"), 422},
		{"unsupported", fails(errs.Unsupported), binary("POST", "{}"), 422},
		{"conflict", fails(errs.Conflict), binary("POST", "{}"), 409},
		{"exhausted", fails(errs.Exhausted), binary("POST", "{}"), 429},
		{"our rights", fails(errs.Denied), binary("POST", "{}"), 503},
		{"our token", fails(errs.Unauthenticated), binary("POST", "{}"), 503},
		{"away", fails(errs.Unavailable), binary("POST", "{}"), 503},
		{"deadline", answer(nil, context.DeadlineExceeded), binary("POST", "{}"), 504},
		{"stale", fails(errs.Stale), binary("POST", "{}"), 202},
		{"other", answer(nil, errors.New("x")), binary("POST", "{}"), 500},
		{"panic", func(context.Context, ce.Event) (*ce.Event, error) { panic("no") }, binary("POST", "{}"), 500},
	} {
		t.Run(x.name, func(t *testing.T) {
			var log bytes.Buffer
			h := Handler(Entry{Name: "f", Types: []string{"known"}, Function: x.f}, HandlerOptions{Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: NewMetrics(prometheus.NewRegistry())})
			w := httptest.NewRecorder()
			h.ServeHTTP(w, x.r)
			if w.Code != x.status {
				t.Fatalf("%d %s, want %d", w.Code, w.Body, x.status)
			}
			if x.status == 202 && w.Body.Len() > 0 {
				t.Errorf("an answer without an event is empty, not %q", w.Body)
			}
			if x.status == 200 {
				got, err := event.ReadResponse(w.Header(), w.Body.Bytes())
				if err != nil || got == nil || got.ID() != "r1" || got.Type() != "said" || string(got.Data()) != `{"a":"b c"}` || event.Namespace(*got) != "ns" {
					t.Errorf("reply %v, %v", got, err)
				}
			}
			if (x.status == 503 || x.status == 429) && w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			if x.name == "panic" && !strings.Contains(log.String(), "handler_test.go") {
				t.Errorf("the log does not say where: %s", log.String())
			}
		})
	}
}

func TestHandlerCarriesTheTrace(t *testing.T) {
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	h := Handler(Entry{Types: []string{"known"}, Function: handle(func(_ context.Context, e ce.Event) (*ce.Event, error) {
		if got := event.Extension(e, event.ExtTraceParent); got != trace {
			t.Errorf("traceparent %q", got)
		}
		r, err := event.New("said", "/f", "", "1", nil)
		return &r, err
	})}, HandlerOptions{})
	for _, header := range []string{"Traceparent: " + trace, "Ce-Traceparent: " + trace} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, binary("POST", "{}", header))
		if got := w.Header().Get("Ce-Traceparent"); got != trace {
			t.Errorf("%s: the reply has %q", header, got)
		}
	}
}

func TestHandlerEndsAndIsBounded(t *testing.T) {
	release := make(chan struct{})
	var wg sync.WaitGroup
	h := Handler(Entry{Types: []string{"known"}, Function: handle(func(ctx context.Context, _ ce.Event) (*ce.Event, error) {
		wg.Done()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-release:
			return nil, nil
		}
	})}, HandlerOptions{Timeout: time.Minute})
	wg.Add(maxUnderWay)
	var done sync.WaitGroup
	for range maxUnderWay {
		done.Go(func() { h.ServeHTTP(httptest.NewRecorder(), binary("POST", "{}")) })
	}
	wg.Wait()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, binary("POST", "{}"))
	if w.Code != 429 {
		t.Errorf("%d", w.Code)
	}
	close(release)
	done.Wait()

	short := Handler(Entry{Types: []string{"known"}, Function: handle(func(ctx context.Context, _ ce.Event) (*ce.Event, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})}, HandlerOptions{Timeout: time.Millisecond})
	w = httptest.NewRecorder()
	short.ServeHTTP(w, binary("POST", "{}"))
	if w.Code != 504 {
		t.Errorf("%d", w.Code)
	}
}

// TestServer posts to the server as a broker does.
func TestServer(t *testing.T) {
	rs := testredis.Start(t)
	posted := make(chan struct{}, 100)
	broker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { posted <- struct{}{}; w.WriteHeader(202) }))
	defer broker.Close()
	began := time.Now()
	s, err := New(Config{Listen: "127.0.0.1:0", RedisURL: rs.URL, Sink: broker.URL, TrustDomain: "wasmbed.local", Timeout: 5 * time.Second, Grace: time.Second}, ServerDeps{Client: client.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Logf("from New to listening %v", time.Since(began))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	call := func(method, path, body string) (int, string) {
		t.Helper()
		r := binary(method, body, "Ce-Type: "+event.RefAdd)
		q, err := http.NewRequest(method, "http://"+s.Addr()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header = r.Header
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/nobody": 404} {
		if got, body := call("GET", path, ""); got != want {
			t.Errorf("%s: %d %s", path, got, body)
		}
	}
	for _, name := range Names() {
		got, body := call("POST", "/"+name, `{"kind":"Application","namespace":"plant","name":"nobody"}`)
		if got != 202 || body != "" {
			t.Errorf("%s: %d %s", name, got, body)
		}
	}
	if got, _ := call("POST", "/deploy", "no JSON"); got != 400 {
		t.Errorf("no JSON: %d", got)
	}
	rs.Kill()
	if got, _ := call("GET", "/readyz", ""); got != 503 {
		t.Errorf("ready without Redis: %d", got)
	}
	if got, body := call("POST", "/deploy", `{"kind":"Application","namespace":"plant","name":"nobody"}`); got != 503 && got != 504 {
		t.Errorf("without Redis: %d %s", got, body)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"function": {Function: "nobody", RedisURL: "redis://127.0.0.1:1", Sink: "http://127.0.0.1:1"},
		"redis":    {RedisURL: "http://127.0.0.1:1", Sink: "http://127.0.0.1:1"},
		"sink":     {RedisURL: "redis://127.0.0.1:1"},
	} {
		if _, err := New(c, ServerDeps{Client: client.NewMemory()}); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := New(Config{Function: "report", RedisURL: "redis://127.0.0.1:1,127.0.0.1:2"}, ServerDeps{Client: client.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	var out bytes.Buffer
	run.Usage(&out, "functions", "x", &Config{})
	for _, k := range []string{"WASMBED_FUNCTION", "WASMBED_REDIS_URL", "WASMBED_SINK", "WASMBED_TRUST_DOMAIN"} {
		if !strings.Contains(out.String(), k) {
			t.Errorf("the manual lacks %s", k)
		}
	}
}
