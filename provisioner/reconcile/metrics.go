package reconcile

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wasmbed.io/wasmbed/provisioner"
)

// metrics are the reconciler's. What a board takes is asked for at each scrape.
type metrics struct {
	r                     *Reconciler
	restarts              *prometheus.CounterVec
	resets, cuts, reboots prometheus.Counter
	steps                 *prometheus.HistogramVec
	phases, memory, cpu   *prometheus.Desc

	mu sync.Mutex
	at map[provisioner.Key]string
}

const usageTimeout = 5 * time.Second

func newMetrics(r *Reconciler, reg prometheus.Registerer) *metrics {
	count := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "wasmbed", Subsystem: "boards", Name: name, Help: help})
	}
	m := &metrics{
		r: r, at: map[provisioner.Key]string{},
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "wasmbed", Subsystem: "boards", Name: "restarts_total", Help: "Boards that ended by themselves or did not boot, and were started again."}, []string{"reason"}),
		resets:   count("resets_total", "Resets carried out."),
		cuts:     count("power_cuts_total", "Power cuts carried out."),
		reboots:  count("reboots_total", "Boots that a board did by itself."),
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "wasmbed", Subsystem: "boards", Name: "start_seconds", Help: "Steps of a start: start (the program runs), boot (the firmware says so), online (the platform has its session).",
			Buckets: []float64{0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100},
		}, []string{"step"}),
		phases: prometheus.NewDesc("wasmbed_boards", "Boards by phase.", []string{"phase"}, nil),
		memory: prometheus.NewDesc("wasmbed_board_memory_bytes", "Memory of one board's processes, their proportional share.", []string{"namespace", "device"}, nil),
		cpu:    prometheus.NewDesc("wasmbed_board_cpu_seconds_total", "Processor time of one board's processes since their start.", []string{"namespace", "device"}, nil),
	}
	if reg != nil {
		reg.MustRegister(m.restarts, m.resets, m.cuts, m.reboots, m.steps, m)
	}
	return m
}

func (m *metrics) step(name string, d time.Duration) {
	m.steps.WithLabelValues(name).Observe(d.Seconds())
}

func (m *metrics) phase(k provisioner.Key, phase string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at[k] = phase
}

func (m *metrics) forget(k provisioner.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.at, k)
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) { ch <- m.phases; ch <- m.memory; ch <- m.cpu }

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	counts := map[string]int{}
	m.mu.Lock()
	for _, p := range m.at {
		counts[p]++
	}
	m.mu.Unlock()
	for p, n := range counts {
		ch <- prometheus.MustNewConstMetric(m.phases, prometheus.GaugeValue, float64(n), p)
	}
	ctx, cancel := context.WithTimeout(context.Background(), usageTimeout)
	defer cancel()
	for _, e := range m.r.o.Engines {
		all, err := e.List(ctx)
		if err != nil {
			continue
		}
		for _, i := range all {
			if !i.Running {
				continue
			}
			if u, err := e.Usage(ctx, i.ID); err == nil {
				ch <- prometheus.MustNewConstMetric(m.memory, prometheus.GaugeValue, float64(u.Memory), i.Key.Namespace, i.Key.Name)
				ch <- prometheus.MustNewConstMetric(m.cpu, prometheus.CounterValue, u.CPU.Seconds(), i.Key.Namespace, i.Key.Name)
			}
		}
	}
}
