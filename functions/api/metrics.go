package api

import (
	"encoding/json"
	"math"
	"net/http"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// metricsAnswer is how the platform does: now, and the last hour as far as this process has seen it.
type metricsAnswer struct {
	Time      time.Time          `json:"time"`
	Every     float64            `json:"every"`   // seconds between two samples
	Figures   []figure           `json:"figures"` // what now and history tell
	Now       map[string]float64 `json:"now"`     // by figure; what nobody said is left out
	Parts     []partFigures      `json:"parts"`
	Functions []functionFigures  `json:"functions"`
	Triggers  []triggerFigures   `json:"triggers"`
	Redis     *redisFigures      `json:"redis,omitempty"`
	History   history            `json:"history"`
}

// history is a chart's worth: for each time one value of each figure, null where there is none.
type history struct {
	Times  []time.Time        `json:"times"`
	Values map[string][]maybe `json:"values"` // by figure
}

// maybe is a number, or none (NaN), which JSON writes as null.
type maybe float64

// MarshalJSON implements json.Marshaler.
func (m maybe) MarshalJSON() ([]byte, error) {
	if f := float64(m); !math.IsNaN(f) && !math.IsInf(f, 0) {
		return json.Marshal(f)
	}
	return []byte("null"), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *maybe) UnmarshalJSON(b []byte) error {
	var f *float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*m = maybe(math.NaN())
	if f != nil {
		*m = maybe(*f)
	}
	return nil
}

func (a *API) metricRoutes() []route {
	return []route{{"GET", "/api/v1/metrics/summary", "list", "gateways", a.metricsSummary}}
}

// metricsSummary tells the platform's figures.
func (a *API) metricsSummary(w http.ResponseWriter, r *request) error {
	minutes := 60
	if s := r.URL.Query().Get("minutes"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 60 {
			return errs.New(errs.Invalid, "minutes is a number from 1 to 60")
		}
		minutes = n
	}
	a.meters.fresh(r.Context())
	return writeJSON(w, http.StatusOK, a.meters.answer(time.Duration(minutes)*time.Minute))
}

func (m *meters) answer(back time.Duration) metricsAnswer {
	m.mu.Lock()
	defer m.mu.Unlock()
	table := figureTable()
	ans := metricsAnswer{Time: m.at, Every: sampleEvery.Seconds(), Figures: table, Now: map[string]float64{}, Parts: m.parts, Functions: m.functions, Triggers: m.triggers, Redis: m.redis,
		History: history{Times: []time.Time{}, Values: map[string][]maybe{}}}
	if ans.Parts == nil {
		ans.Parts = []partFigures{}
	}
	if ans.Functions == nil {
		ans.Functions = []functionFigures{}
	}
	if ans.Triggers == nil {
		ans.Triggers = []triggerFigures{}
	}
	if len(m.ring) == 0 {
		return ans
	}
	last := m.ring[len(m.ring)-1]
	for i, f := range table {
		if !math.IsNaN(last.values[i]) {
			ans.Now[f.Name] = last.values[i]
		}
		ans.History.Values[f.Name] = []maybe{}
	}
	first := 0
	for first < len(m.ring) && last.at.Sub(m.ring[first].at) > back {
		first++
	}
	shown := m.ring[first:]
	step := (len(shown) + shownSamples - 1) / shownSamples
	for at := 0; at < len(shown); at += step {
		group := shown[at:min(at+step, len(shown))]
		ans.History.Times = append(ans.History.Times, group[len(group)-1].at.UTC())
		for i, f := range table {
			ans.History.Values[f.Name] = append(ans.History.Values[f.Name], mean(group, i))
		}
	}
	return ans
}

// mean is the mean of what was said.
func mean(group []sample, i int) maybe {
	sum, n := 0.0, 0
	for _, s := range group {
		if !math.IsNaN(s.values[i]) {
			sum, n = sum+s.values[i], n+1
		}
	}
	return maybe(sum / float64(n)) // 0/0 is none
}

// ticks is how many of the kernel's clock ticks are a second, on every Linux that Go runs on.
const ticks = 100

// ownStat are the fields of /proc/self/stat from the third one on; nil where there is none.
func ownStat() []string {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return nil
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:]) // the name before it may hold anything
	if len(f) < 22 {
		return nil
	}
	return f
}

// processBegan is when this process began, Unix seconds: as Prometheus' process collector says it, so that parts which run
// in this process are known by it.
func processBegan(now time.Time) float64 {
	f := ownStat()
	b, err := os.ReadFile("/proc/stat")
	_, boot, ok := strings.Cut(string(b), "btime ")
	if f == nil || err != nil || !ok {
		return float64(now.Unix())
	}
	boot, _, _ = strings.Cut(boot, "\n")
	return number(boot) + number(f[19])/ticks
}

// ownProcess is what this process takes: resident bytes, and seconds of processor time. Where the system does not say
// that, it is what Go holds, and its estimate.
func ownProcess() (rss, cpu float64) {
	if f := ownStat(); f != nil {
		return number(f[21]) * float64(os.Getpagesize()), (number(f[11]) + number(f[12])) / ticks
	}
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/cpu/classes/user:cpu-seconds"}}
	metrics.Read(s)
	if s[0].Value.Kind() == metrics.KindUint64 {
		rss = float64(s[0].Value.Uint64())
	}
	if s[1].Value.Kind() == metrics.KindFloat64 {
		cpu = s[1].Value.Float64()
	}
	return rss, cpu
}
