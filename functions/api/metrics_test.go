package api

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

func TestReadMetrics(t *testing.T) {
	ms, err := readMetrics([]byte("# HELP x y\n# TYPE x counter\nx 1\nx{a=\"b\",c=\"d\\\"\\\\\\n,}\"} 2.5 1700000000\n\nh_bucket{le=\"+Inf\"} 3\nn NaN\n"))
	if err != nil || len(ms["x"]) != 2 || ms["x"][1].value != 2.5 || ms["x"][1].labels["c"] != "d\"\\\n,}" {
		t.Fatalf("%+v %v", ms, err)
	}
	if v, ok := total(ms, "n", "", ""); ok || v != 0 {
		t.Errorf("NaN counts: %v", v)
	}
	for _, bad := range []string{"x", "x y", "{a=\"b\"} 1", "x{a=b} 1", "x{a=\"b} 1", "x{a=\"b\"", "x 1 2 3"} {
		if _, err := readMetrics([]byte(bad)); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := readMetrics([]byte(strings.Repeat("x 1\n", maxSamples+1))); !errs.Is(err, errs.TooLarge) {
		t.Error(err)
	}
}

func FuzzReadMetrics(f *testing.F) {
	for _, s := range []string{"x 1\n", "x{a=\"b\",c=\"d\\\"\"} 2.5 17\n", "h_bucket{le=\"+Inf\"} 3", "# x\n\n", "x{,a=\"\"}\t1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ms, err := readMetrics([]byte(s))
		if err != nil {
			if c := errs.CodeOf(err); c != errs.Invalid && c != errs.TooLarge {
				t.Fatal(err)
			}
			return
		}
		for name := range ms {
			h := histogram(ms, strings.TrimSuffix(name, "_bucket"), "", "")
			if q, ok := quantile(0.95, h); ok && math.IsInf(q, 1) {
				t.Fatalf("%v of %v", q, h)
			}
		}
	})
}

func TestQuantile(t *testing.T) {
	inf := math.Inf(1)
	h := []bucket{{1, 10}, {2, 20}, {4, 20}, {inf, 21}}
	for q, want := range map[float64]float64{0.25: 0.525, 0.5: 1.05, 0.99: 4, 1: 4} {
		if got, ok := quantile(q, h); !ok || math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if _, ok := quantile(0.5, []bucket{{1, 0}, {inf, 0}}); ok {
		t.Error("nothing has a quantile")
	}
	if d := since(h, []bucket{{1, 10}, {2, 10}, {4, 10}, {inf, 11}}); d[0].count != 0 || d[1].count != 10 || d[3].count != 10 {
		t.Errorf("%v", d)
	}
	if d := since(h, []bucket{{1, 30}, {2, 30}, {4, 30}, {inf, 30}}); d[3].count != 21 {
		t.Errorf("began anew: %v", d)
	}
}

// parts answers metrics that a test moves on.
type gauges struct {
	mu                      sync.Mutex
	devices, events, slow   float64
	away                    bool
	now                     time.Time
	commands, handled, dead int
}

func (g *gauges) gateway(context.Context) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away {
		return nil, errs.New(errs.Unavailable, "gone")
	}
	return fmt.Appendf(nil, "wasmbed_gateway_devices %v\nprocess_start_time_seconds 1\nprocess_resident_memory_bytes 1000\ngo_goroutines 7\nprocess_cpu_seconds_total 2\n", g.devices), nil
}

func (g *gauges) rest(context.Context) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return fmt.Appendf(nil, `wasmbed_broker_events_accepted_total %v
wasmbed_function_events_total{function="deploy",outcome="ok"} %d
wasmbed_function_seconds_bucket{function="deploy",le="0.1"} %d
wasmbed_function_seconds_bucket{function="deploy",le="1"} %v
wasmbed_function_seconds_bucket{function="deploy",le="+Inf"} %v
`, g.events, g.handled, g.handled, float64(g.handled)+g.slow, float64(g.handled)+g.slow), nil
}

func (g *gauges) info(context.Context) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return fmt.Sprintf("# Server\r\nredis_version:8.0\r\nused_memory_rss:4096\r\ntotal_commands_processed:%d\r\ndb0:keys=12,expires=1\r\n", g.commands), nil
}

func (g *gauges) clock() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now
}

func (g *gauges) step(d time.Duration, change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now = g.now.Add(d)
	change()
}

func TestMetricsSummary(t *testing.T) {
	h := newHouse(t)
	g := &gauges{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), devices: 3}
	d := h.api.Deps
	d.Meters = map[string]Meter{"gateway": g.gateway, "rest": g.rest}
	d.RedisInfo, d.Now = g.info, g.clock
	h.api.meters = &meters{d: d, now: g.clock, own: 99}
	h.api.meters.sample(t.Context())
	for range 800 {
		g.step(sampleEvery, func() { g.events += 50; g.handled += 10; g.commands += 500 })
		h.api.meters.sample(t.Context())
	}
	get := func(query string) metricsAnswer {
		t.Helper()
		code, _, body := h.do("GET", "/api/v1/metrics/summary"+query, "admin", "")
		var m metricsAnswer
		if err := json.Unmarshal([]byte(body), &m); err != nil || code != 200 {
			t.Fatalf("%d %s %v", code, body, err)
		}
		return m
	}
	m := get("")
	for name, want := range map[string]float64{"sessions": 3, "events": 10, "handled": 2, "redisCommands": 100, "redisMemory": 4096} {
		if got := m.Now[name]; math.Abs(got-want) > 1e-9 {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if n := len(m.History.Times); n != shownSamples || len(m.History.Values["events"]) != n || len(m.History.Values) != len(figureTable()) || m.History.Values["events"][7] != 10 {
		t.Errorf("%d times, %d values", n, len(m.History.Values["events"]))
	}
	if n := len(h.api.meters.ring); n != keptSamples {
		t.Errorf("%d samples are kept", n)
	}
	if len(m.Functions) != 1 || m.Functions[0].Events != 2 || m.Functions[0].P95 == nil || *m.Functions[0].P95 > 0.1 {
		t.Errorf("%+v", m.Functions)
	}
	if m.Redis == nil || m.Redis.Keys != 12 || m.Redis.Version != "8.0" {
		t.Errorf("%+v", m.Redis)
	}
	if len(m.Parts) != 3 || m.Parts[1].Memory != 1000 || m.Parts[1].Goroutines != 7 || m.Parts[2].SharedWith != "api" {
		t.Errorf("%+v", m.Parts)
	}
	// A minute of slow ones is seen, an hour ago is forgotten; what does not answer is said.
	g.step(time.Second, func() { g.slow, g.away = 1000, true })
	h.api.meters.sample(t.Context())
	m = get("?minutes=1")
	if p := m.Functions[0].P95; p == nil || *p < 0.5 {
		t.Errorf("%v", p)
	}
	if _, there := m.Now["sessions"]; there || len(m.History.Times) > 14 {
		t.Errorf("%+v %d", m.Now, len(m.History.Times))
	}
	if last := m.Parts[len(m.Parts)-1]; last.Name != "gateway" || last.Healthy || last.Message == "" {
		t.Errorf("%+v", m.Parts)
	}
	// Nobody keeps them: who asks gets a fresh one.
	g.step(time.Hour, func() { g.away = false })
	if m = get("?minutes=1"); m.Now["sessions"] != 3 || len(m.History.Times) != 1 {
		t.Errorf("%+v", m.Now)
	}
	if code, _, _ := h.do("GET", "/api/v1/metrics/summary?minutes=61", "admin", ""); code != 400 {
		t.Error(code)
	}
}

type twoLogs struct{}

func (twoLogs) Names(context.Context) ([]string, error) { return []string{"gateway", "redis"}, nil }

func (twoLogs) Tail(_ context.Context, part string, n int) ([]string, error) {
	if part != "redis" {
		return nil, errs.New(errs.NotFound, "no log of %s", part)
	}
	return []string{"a", "b", "c"}[3-min(3, n):], nil
}

func TestParts(t *testing.T) {
	h := newHouse(t)
	if code, _, body := h.do("GET", "/api/v1/parts/redis/logs", "admin", ""); code != 501 {
		t.Errorf("%d %s", code, body)
	}
	h.api.PartLogs = twoLogs{}
	if code, _, body := h.do("GET", "/api/v1/parts/redis/logs?tail=2", "admin", ""); code != 200 || !strings.Contains(body, `["b","c"]`) {
		t.Errorf("%d %s", code, body)
	}
	for path, want := range map[string]int{"/redis/logs?tail=0": 400, "/redis/logs?tail=2001": 400, "/moon/logs": 404} {
		if code, _, body := h.do("GET", "/api/v1/parts"+path, "admin", ""); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	code, _, body := h.do("GET", "/api/v1/parts", "admin", "")
	var ans listAnswer[Part]
	if err := json.Unmarshal([]byte(body), &ans); err != nil || code != 200 || len(ans.Items) != 3 {
		t.Fatalf("%d %s", code, body)
	}
	if p := ans.Items[1]; p.Name != "gateway" || p.Healthy || !p.Log || p.Message == "" { // none is up
		t.Errorf("%+v", p)
	}
}
