package api

import (
	"context"
	"io"
	"maps"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of the figures that are kept.
const (
	sampleEvery  = 5 * time.Second
	keptSamples  = 720 // an hour
	shownSamples = 360 // of the history in one answer
	latencyOver  = 12  // samples: percentiles are of the last minute
	scrapeWithin = 2 * time.Second
	maxMetered   = 64 // parts that are asked
)

// Meter answers a part's metrics in Prometheus' text format. Its name in Deps.Meters is that of the part, and for one of
// several processes of a part a slash and its own.
type Meter func(ctx context.Context) ([]byte, error)

// MeterAt asks the /metrics of a part at a URL.
func MeterAt(url string) Meter {
	hc := &http.Client{Timeout: scrapeWithin, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return func(ctx context.Context) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, errs.New(errs.Internal, "metrics: %w", err)
		}
		resp, err := hc.Do(req)
		if err != nil {
			return nil, errs.New(errs.Unavailable, "metrics: %w", err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, errs.New(errs.Unavailable, "metrics: %s", resp.Status)
		}
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxMetrics+1))
		if err != nil {
			return nil, errs.New(errs.Unavailable, "metrics: %w", err)
		}
		return b, nil
	}
}

// figure is one number of the platform as a whole.
type figure struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Unit  string `json:"unit"` // "", "1/s", "bytes", "bytes/s", "s", "cores"
}

// figureTable lists what is kept. The order is that of a sample's values.
func figureTable() []figure {
	return []figure{
		{"sessions", "devices with a session", ""},
		{"connections", "connections of devices, authenticated or not", ""},
		{"frames", "frames from devices", "1/s"},
		{"bytesIn", "from devices", "bytes/s"},
		{"bytesOut", "to devices", "bytes/s"},
		{"uplink", "events at the gateways that the broker has not accepted yet", ""},
		{"events", "events accepted by the broker", "1/s"},
		{"deliveries", "deliveries to subscribers that were taken", "1/s"},
		{"retries", "deliveries that are tried again", "1/s"},
		{"waiting", "events that wait for a subscriber", ""},
		{"dead", "dead letters", ""},
		{"handled", "events handled by functions", "1/s"},
		{"p50", "time of a function for one event, half are faster", "s"},
		{"p95", "95 of 100 are faster", "s"},
		{"p99", "99 of 100 are faster", "s"},
		{"redisMemory", "Redis' memory", "bytes"},
		{"redisCommands", "Redis' commands", "1/s"},
		{"memory", "resident memory of the parts", "bytes"},
		{"cpu", "processor time of the parts", "cores"},
		{"goroutines", "goroutines of the parts", ""},
		{"boards", "emulated boards", ""},
	}
}

// partFigures is one process of a part.
type partFigures struct {
	Name       string  `json:"name"`
	Healthy    bool    `json:"healthy"`
	Message    string  `json:"message,omitempty"`
	SharedWith string  `json:"sharedWith,omitempty"` // the part in whose process it runs: its memory and time are told there
	Memory     float64 `json:"memory,omitempty"`     // resident, bytes
	CPU        float64 `json:"cpu,omitempty"`        // cores, since the sample before
	Goroutines float64 `json:"goroutines,omitempty"`
	Uptime     float64 `json:"uptime,omitempty"` // seconds
}

// functionFigures is one function. Times are seconds, of the last minute.
type functionFigures struct {
	Name   string   `json:"name"`
	Events float64  `json:"events"` // a second
	Failed float64  `json:"failed"` // a second: to come again, or never to be handled
	Total  float64  `json:"total"`  // since its process began
	P50    *float64 `json:"p50,omitempty"`
	P95    *float64 `json:"p95,omitempty"`
	P99    *float64 `json:"p99,omitempty"`
}

// triggerFigures is one line of the broker.
type triggerFigures struct {
	Trigger    string   `json:"trigger"`
	Waiting    int64    `json:"waiting"`
	Parked     int64    `json:"parked"`
	Dead       int64    `json:"dead"`
	Deliveries float64  `json:"deliveries"` // a second
	Retries    float64  `json:"retries"`    // a second
	P95        *float64 `json:"p95,omitempty"`
}

// redisFigures is what Redis says of itself.
type redisFigures struct {
	Version  string  `json:"version,omitempty"`
	Memory   float64 `json:"memory"`   // bytes
	Peak     float64 `json:"peak"`     // bytes
	Commands float64 `json:"commands"` // a second
	Clients  float64 `json:"clients"`
	Keys     float64 `json:"keys"`
	Hits     float64 `json:"hits"` // of key look-ups, 0 to 1; since it began
}

// sample is the platform at one moment. NaN: nobody said it.
type sample struct {
	at     time.Time
	values []float64
}

// meters asks the parts for their figures and keeps an hour of them.
type meters struct {
	d   Deps
	now func() time.Time

	mu        sync.Mutex
	ring      []sample // oldest first
	parts     []partFigures
	functions []functionFigures
	triggers  []triggerFigures
	redis     *redisFigures
	before    map[string]float64    // counters of the sample before
	at        time.Time             // of it
	latencies map[string][][]bucket // by function or trigger, oldest first
	own       float64               // when this process began, Unix seconds
}

// Run keeps the figures that GET /metrics/summary shows, until ctx ends. Without it the history begins when somebody asks.
func (a *API) Run(ctx context.Context) {
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	for {
		a.meters.sample(ctx)
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// answersOf asks all parts at once.
func (m *meters) answersOf(ctx context.Context) (map[string]map[string][]metric, map[string]error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeWithin)
	defer cancel()
	names := slices.Sorted(maps.Keys(m.d.Meters))
	names = names[:min(len(names), maxMetered)]
	out, bad := map[string]map[string][]metric{}, map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			text, err := m.d.Meters[name](ctx)
			var ms map[string][]metric
			if err == nil {
				ms, err = readMetrics(text)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				bad[name] = err
				return
			}
			out[name] = ms
		})
	}
	wg.Wait()
	return out, bad
}

// fresh makes a sample when the last one is old: somebody asks, and nobody keeps them.
func (m *meters) fresh(ctx context.Context) {
	m.mu.Lock()
	old := m.now().Sub(m.at) >= 2*sampleEvery
	m.mu.Unlock()
	if old {
		m.sample(ctx)
	}
}

// sample asks everybody once.
func (m *meters) sample(ctx context.Context) {
	said, bad := m.answersOf(ctx)
	var lines []QueueLine
	if m.d.Broker != nil {
		lines, _ = m.d.Broker.Queues(ctx) // what is missing is missing in the answer
	}
	info := ""
	if m.d.RedisInfo != nil {
		info, _ = m.d.RedisInfo(ctx) // as above
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	s := &sampling{m: m, at: now, past: now.Sub(m.at).Seconds(), counters: map[string]float64{}, values: map[string]float64{}}
	if m.at.IsZero() || s.past <= 0 {
		s.past = 0
	}
	s.parts(said, bad)
	s.gateways(said)
	s.broker(said, lines)
	s.functions(said)
	s.redis(info)
	values := make([]float64, len(figureTable()))
	for i, f := range figureTable() {
		v, ok := s.values[f.Name]
		if !ok {
			v = math.NaN()
		}
		values[i] = v
	}
	m.before, m.at = s.counters, now
	m.ring = append(m.ring, sample{now, values})
	if over := len(m.ring) - keptSamples; over > 0 {
		m.ring = append(m.ring[:0], m.ring[over:]...)
	}
}

// sampling is a sample that is being made. Under the meters' lock.
type sampling struct {
	m        *meters
	at       time.Time
	past     float64 // seconds since the sample before; 0: there was none
	counters map[string]float64
	values   map[string]float64
}

// rate remembers a counter and says how fast it grew. One that is lower than before began anew.
func (s *sampling) rate(key string, value float64) float64 {
	s.counters[key] = value
	was, ok := s.m.before[key]
	if !ok || s.past == 0 {
		return 0
	}
	if value < was {
		was = 0
	}
	return (value - was) / s.past
}

func (s *sampling) add(name string, v float64) { s.values[name] += v }

// grow adds the rate of a part's counter to a figure, when the part has it.
func (s *sampling) grow(figure, part string, ms map[string][]metric, name, label, value string) {
	if v, ok := total(ms, name, label, value); ok {
		s.add(figure, s.rate(part+" "+name+" "+value, v))
	}
}

// parts are the processes. Parts whose process began at the same moment as ours run in ours.
func (s *sampling) parts(said map[string]map[string][]metric, bad map[string]error) {
	rss, cpu := ownProcess()
	own := partFigures{Name: "api", Healthy: true, Memory: rss, Goroutines: float64(runtime.NumGoroutine()), CPU: s.rate("api cpu", cpu), Uptime: float64(s.at.Unix()) - s.m.own}
	out := []partFigures{own}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		ms := said[name]
		p := partFigures{Name: name, Healthy: true}
		began, has := total(ms, "process_start_time_seconds", "", "")
		if !has || math.Abs(began-s.m.own) < 2 {
			p.SharedWith = "api"
			out = append(out, p)
			continue
		}
		p.Memory, _ = total(ms, "process_resident_memory_bytes", "", "")
		p.Goroutines, _ = total(ms, "go_goroutines", "", "")
		used, _ := total(ms, "process_cpu_seconds_total", "", "")
		p.CPU, p.Uptime = s.rate(name+" cpu", used), max(0, float64(s.at.Unix())-began)
		out = append(out, p)
	}
	for _, name := range slices.Sorted(maps.Keys(bad)) {
		out = append(out, partFigures{Name: name, Message: bad[name].Error()})
	}
	for _, p := range out {
		s.add("memory", p.Memory)
		s.add("cpu", p.CPU)
		s.add("goroutines", p.Goroutines)
	}
	s.m.parts = out
}

func (s *sampling) gateways(said map[string]map[string][]metric) {
	for part, ms := range said {
		for figure, name := range map[string]string{"sessions": "wasmbed_gateway_devices", "connections": "wasmbed_gateway_connections", "uplink": "wasmbed_gateway_uplink_waiting", "boards": "wasmbed_boards"} {
			if v, ok := total(ms, name, "", ""); ok {
				s.add(figure, v)
			}
		}
		s.grow("frames", part, ms, "wasmbed_gateway_frames_total", "", "")
		s.grow("bytesIn", part, ms, "wasmbed_gateway_received_bytes_total", "", "")
		s.grow("bytesOut", part, ms, "wasmbed_gateway_sent_bytes_total", "", "")
	}
}

func (s *sampling) broker(said map[string]map[string][]metric, lines []QueueLine) {
	s.m.triggers = nil
	for part, ms := range said {
		s.grow("events", part, ms, "wasmbed_broker_events_accepted_total", "", "")
		s.grow("deliveries", part, ms, "wasmbed_broker_deliveries_total", "result", "done")
		s.grow("deliveries", part, ms, "wasmbed_broker_deliveries_total", "result", "replied")
		s.grow("retries", part, ms, "wasmbed_broker_deliveries_total", "result", "retry")
	}
	for _, l := range lines {
		s.add("waiting", float64(l.Waiting+l.Parked))
		s.add("dead", float64(l.Dead))
		t := triggerFigures{Trigger: l.Trigger, Waiting: int64(l.Waiting), Parked: int64(l.Parked), Dead: int64(l.Dead)}
		var all []bucket
		for part, ms := range said {
			for _, d := range ms["wasmbed_broker_deliveries_total"] {
				if d.labels["trigger"] != l.Trigger {
					continue
				}
				r := s.rate(part+" delivery "+l.Trigger+" "+d.labels["result"], d.value)
				switch d.labels["result"] {
				case "done", "replied":
					t.Deliveries += r
				case "retry":
					t.Retries += r
				}
			}
			if h := histogram(ms, "wasmbed_broker_delivery_seconds", "trigger", l.Trigger); h != nil {
				all = h // one broker's: several share the work evenly
			}
		}
		if q := s.m.over("trigger "+l.Trigger, all); q != nil {
			t.P95 = of(q, 0.95)
		}
		s.m.triggers = append(s.m.triggers, t)
	}
}

func (s *sampling) functions(said map[string]map[string][]metric) {
	by := map[string]*functionFigures{}
	hist := map[string][]bucket{}
	get := func(name string) *functionFigures {
		if by[name] == nil {
			by[name] = &functionFigures{Name: name}
		}
		return by[name]
	}
	var all []bucket
	for part, ms := range said {
		for _, c := range ms["wasmbed_function_events_total"] {
			f, r := get(c.labels["function"]), s.rate(part+" function "+c.labels["function"]+" "+c.labels["outcome"], c.value)
			f.Total += c.value
			f.Events += r
			if o := c.labels["outcome"]; o == "failed" || o == "refused" {
				f.Failed += r
			}
			s.add("handled", r)
		}
		for name := range by {
			if h := histogram(ms, "wasmbed_function_seconds", "function", name); h != nil {
				hist[name] = h
			}
		}
		if h := histogram(ms, "wasmbed_function_seconds", "", ""); h != nil {
			all = h
		}
	}
	if q := s.m.over("functions", all); q != nil {
		for figure, at := range map[string]float64{"p50": 0.5, "p95": 0.95, "p99": 0.99} {
			if v := of(q, at); v != nil {
				s.values[figure] = *v
			}
		}
	}
	s.m.functions = nil
	for _, name := range slices.Sorted(maps.Keys(by)) {
		f := by[name]
		if q := s.m.over("function "+name, hist[name]); q != nil {
			f.P50, f.P95, f.P99 = of(q, 0.5), of(q, 0.95), of(q, 0.99)
		}
		s.m.functions = append(s.m.functions, *f)
	}
}

// over remembers a histogram and returns what came to it in the last minute.
func (m *meters) over(key string, h []bucket) []bucket {
	if h == nil {
		return nil
	}
	if m.latencies == nil {
		m.latencies = map[string][][]bucket{}
	}
	kept := append(m.latencies[key], h)
	if over := len(kept) - latencyOver - 1; over > 0 {
		kept = append(kept[:0], kept[over:]...)
	}
	m.latencies[key] = kept
	if len(kept) == 1 {
		return h // since it began: better than nothing
	}
	return since(h, kept[0])
}

func of(h []bucket, q float64) *float64 {
	v, ok := quantile(q, h)
	if !ok {
		return nil
	}
	return &v
}

// redis reads the answer of Redis' INFO.
func (s *sampling) redis(info string) {
	s.m.redis = nil
	if info == "" {
		return
	}
	said, keys := map[string]string{}, 0.0
	for line := range strings.Lines(info) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		said[k] = v
		if rest, ok := strings.CutPrefix(v, "keys="); ok && strings.HasPrefix(k, "db") {
			n, _, _ := strings.Cut(rest, ",")
			keys += number(n)
		}
	}
	r := &redisFigures{Version: said["redis_version"], Memory: number(said["used_memory_rss"]), Peak: number(said["used_memory_peak"]), Clients: number(said["connected_clients"]), Keys: keys,
		Commands: s.rate("redis commands", number(said["total_commands_processed"]))}
	if r.Memory == 0 {
		r.Memory = number(said["used_memory"])
	}
	if hits, misses := number(said["keyspace_hits"]), number(said["keyspace_misses"]); hits+misses > 0 {
		r.Hits = hits / (hits + misses)
	}
	s.m.redis = r
	s.add("redisMemory", r.Memory)
	s.add("redisCommands", r.Commands)
}

// number reads a number, 0 for what is none.
func number(s string) float64 {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
