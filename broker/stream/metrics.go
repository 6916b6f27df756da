package stream

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one broker. Labels are few: Triggers are counted in tens.
type metrics struct {
	accepted, unwanted prometheus.Counter
	refused            *prometheus.CounterVec   // status
	deliveries         *prometheus.CounterVec   // trigger, result: done, replied, retry, dead
	seconds            *prometheus.HistogramVec // trigger
	dead               *prometheus.CounterVec   // trigger, reason
	waiting            *prometheus.GaugeVec     // trigger
	taken              prometheus.Counter
	batch              prometheus.Histogram
	commitSeconds      prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "wasmbed_broker_" + name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wasmbed_broker_" + name, Help: help}, labels)
	}
	m := &metrics{
		accepted:   counter("events_accepted_total", "Events answered with 202."),
		unwanted:   counter("events_unwanted_total", "Accepted events that no Trigger wants."),
		refused:    vec("posts_refused_total", "Posts not accepted, by HTTP status.", "status"),
		deliveries: vec("deliveries_total", "Deliveries by result: done, replied, retry, dead.", "trigger", "result"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wasmbed_broker_delivery_seconds", Help: "How long subscribers take.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"trigger"}),
		dead: vec("dead_letters_total", "Events given up, by reason.", "trigger", "reason"),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "wasmbed_broker_waiting_events",
			Help: "Events that wait for a Trigger, those under way and those parked for a retry included."}, []string{"trigger"}),
		taken: counter("deliveries_taken_over_total", "Deliveries taken over from brokers that died."),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wasmbed_broker_commit_operations", Help: "Operations that share one transaction.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512}}),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wasmbed_broker_commit_seconds", Help: "How long a transaction takes.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1, 5}}),
	}
	if r != nil {
		for _, c := range []prometheus.Collector{m.accepted, m.unwanted, m.refused, m.deliveries, m.seconds, m.dead, m.waiting, m.taken, m.batch, m.commitSeconds} {
			if err := r.Register(c); err != nil {
				continue // two brokers in one process on one registry: the first is shown
			}
		}
	}
	return m
}

func (m *metrics) committed(ops int, took time.Duration) {
	m.batch.Observe(float64(ops))
	m.commitSeconds.Observe(took.Seconds())
}

// labelled holds the metrics of one queue, looked up once.
type labelled struct {
	done, replied, retry, dead prometheus.Counter
	seconds                    prometheus.Observer
	waiting                    prometheus.Gauge
}

func (m *metrics) labelled(queue string) labelled {
	return labelled{
		done: m.deliveries.WithLabelValues(queue, "done"), replied: m.deliveries.WithLabelValues(queue, "replied"),
		retry: m.deliveries.WithLabelValues(queue, "retry"), dead: m.deliveries.WithLabelValues(queue, "dead"),
		seconds: m.seconds.WithLabelValues(queue), waiting: m.waiting.WithLabelValues(queue),
	}
}
