package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/protocol"
)

// metrics are low in cardinality: no device, no application, no address is ever a label.
type metrics struct {
	handshakes       *prometheus.CounterVec // full, resumed
	handshakeSeconds prometheus.Histogram
	refused          *prometheus.CounterVec // by reason: connections turned away
	strangers        *prometheus.CounterVec // by reason: first contacts
	ended            *prometheus.CounterVec // by reason: sessions
	frames           [256]prometheus.Counter
	errors           [256]prometheus.Counter // error frames sent, by code
	bytesIn          prometheus.Counter
	bytesOut         prometheus.Counter
	acks             prometheus.Counter
	busy             prometheus.Counter // frames not taken for want of room; their devices keep them
	commands         *prometheus.CounterVec
	calls            prometheus.Counter
	chunks           prometheus.Counter
	chunkBytes       prometheus.Counter
	moduleMisses     prometheus.Counter
	posts            *prometheus.CounterVec // kind, result
	postSeconds      *prometheus.HistogramVec
	eras             prometheus.Counter
	leasesLost       prometheus.Counter
	timers           *prometheus.CounterVec // kind
	leasesExpired    prometheus.Counter
	badDesired       prometheus.Counter
}

func newMetrics(g *Gateway, reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "wasmbed", Subsystem: "gateway", Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "wasmbed", Subsystem: "gateway", Name: name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string, f func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "wasmbed", Subsystem: "gateway", Name: name, Help: help}, f))
	}
	m := &metrics{
		handshakes:    vec("handshakes_total", "Finished TLS handshakes.", "kind"),
		refused:       vec("refused_total", "Connections turned away.", "reason"),
		strangers:     vec("first_contacts_total", "Sessions that are not enrolled, by why.", "reason"),
		ended:         vec("sessions_ended_total", "Sessions that ended.", "reason"),
		bytesIn:       counter("received_bytes_total", "Frame bytes from devices."),
		bytesOut:      counter("sent_bytes_total", "Frame bytes to devices."),
		acks:          counter("acks_total", "Frames acknowledged to devices after the broker accepted them."),
		busy:          counter("frames_not_taken_total", "Frames refused for want of room; their devices keep them."),
		commands:      vec("commands_total", "Commands sent.", "verb"),
		calls:         counter("calls_total", "Invokes, messages and restarts told to devices."),
		chunks:        counter("chunks_total", "Module chunks sent."),
		chunkBytes:    counter("chunk_bytes_total", "Module bytes sent."),
		moduleMisses:  counter("module_misses_total", "Modules asked for because Redis does not hold them."),
		posts:         vec("posts_total", "Posts to the broker.", "kind", "result"),
		eras:          counter("eras_total", "New eras of the ledger seen: times that Redis was lost."),
		leasesLost:    counter("leases_lost_total", "Sessions superseded by a newer one."),
		timers:        vec("timers_due_total", "Deadlines posted.", "kind"),
		leasesExpired: counter("leases_expired_total", "Leases of dead gateways cleaned up."),
		badDesired:    counter("desired_unusable_total", "Desired entries that break a limit of the protocol."),
	}
	m.handshakeSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "wasmbed", Subsystem: "gateway", Name: "handshake_seconds",
		Help: "From accept to the end of the handshake.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 9)})
	m.postSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "wasmbed", Subsystem: "gateway", Name: "post_seconds",
		Help: "From post to the broker's answer.", Buckets: prometheus.ExponentialBuckets(0.0005, 3, 9)}, []string{"kind"})
	reg.MustRegister(m.handshakeSeconds, m.postSeconds)

	frames := vec("frames_total", "Frames from devices.", "type")
	errors := vec("errors_total", "Error frames sent.", "code")
	otherFrames, otherErrors := frames.WithLabelValues("other"), errors.WithLabelValues("other")
	for i := range 256 {
		m.frames[i], m.errors[i] = otherFrames, otherErrors
		if t := protocol.Type(i); t.FromDevice() {
			m.frames[i] = frames.WithLabelValues(t.String())
		}
		if c := protocol.Code(i); i >= int(protocol.CodeFrame) && i <= int(protocol.CodeInternal) {
			m.errors[i] = errors.WithLabelValues(c.String())
		}
	}

	gauge("connections", "Connections, authenticated or not.", func() float64 { return float64(g.hub.size()) })
	gauge("devices", "Enrolled devices with an open session.", func() float64 { return float64(g.hub.devicesOpen()) })
	gauge("transfers", "Devices that are fetching a module.", func() float64 { return float64(g.transfers.running()) })
	gauge("uplink_waiting", "Events and batches that the broker has not accepted yet.", func() float64 { return float64(g.uplink.Waiting()) })
	is := func(f func() bool) func() float64 {
		return func() float64 {
			if f() {
				return 1
			}
			return 0
		}
	}
	gauge("draining", "1 while draining.", is(g.draining.Load))
	gauge("redis_up", "1 while Redis answers.", is(func() bool { return g.Ready().Redis.OK }))
	gauge("broker_up", "1 while the broker answers.", is(func() bool { return g.Ready().Broker.OK }))
	gauge("trust_up", "1 when there are trust anchors.", is(func() bool { return g.Ready().Trust.OK }))
	gauge("max_devices", "Enrolled devices that this process takes at most.", func() float64 { return float64(g.settings().maxDevices) })
	gauge("certificate_end_timestamp_seconds", "When the server's certificate ends, Unix time; 0: there is none.", func() float64 {
		c, err := g.tls.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil || len(c.Certificate) == 0 {
			return 0
		}
		return seconds(ends(c.Certificate[:1]))
	})
	gauge("trust_end_timestamp_seconds", "When the first of the trust anchors ends, Unix time; 0: there are none.", func() float64 {
		t := g.trust.Load()
		if t == nil {
			return 0
		}
		return seconds(t.end)
	})
	return m
}

// ends returns the first end of some certificates (DER); zero when none of them can be read.
func ends(certificates [][]byte) time.Time {
	var first time.Time
	for _, der := range certificates {
		if c, err := x509.ParseCertificate(der); err == nil && (first.IsZero() || c.NotAfter.Before(first)) {
			first = c.NotAfter
		}
	}
	return first
}

// pemBlocks returns the DER of what PEM holds.
func pemBlocks(data []byte) [][]byte {
	var out [][]byte
	for b, rest := pem.Decode(data); b != nil; b, rest = pem.Decode(rest) {
		out = append(out, b.Bytes)
	}
	return out
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}

// Posted implements uplink.Observer.
func (m *metrics) Posted(kind string, n, bytes int, took time.Duration, err error) {
	result := "accepted"
	if err != nil {
		result = string(errs.CodeOf(err))
	}
	m.posts.WithLabelValues(kind, result).Inc()
	if err == nil {
		m.postSeconds.WithLabelValues(kind).Observe(took.Seconds())
	}
}

// frameType reads the type of a body for counting and pacing only; the session decides what it really is.
func frameType(body []byte) protocol.Type {
	switch {
	case len(body) < 4 || body[1] != 0:
		return 0
	case body[2] < 24:
		return protocol.Type(body[2])
	case body[2] == 24:
		return protocol.Type(body[3])
	}
	return 0
}
