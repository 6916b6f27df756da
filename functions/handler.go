package functions

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/trace"
)

// Limits of the host.
const (
	// DefaultTimeout bounds one call. It is less than the embedded broker's for a delivery, so that the
	// broker hears why.
	DefaultTimeout = 25 * time.Second
	// maxUnderWay bounds the calls of one function at once in one process; what is over is answered 429.
	maxUnderWay = 256
	retryAfter  = "1" // seconds, with 429 and 503
	maxUnknown  = 100 // event types remembered as logged
)

// HandlerOptions are settings of a Handler. Zero values are defaults.
type HandlerOptions struct {
	Timeout time.Duration // of one call
	Log     *slog.Logger
	Metrics *Metrics
	Trace   *trace.Tracer // nil: nothing is recorded
}

// Metrics are the host's.
type Metrics struct {
	handled *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// NewMetrics registers the host's metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wasmbed_function_events_total", Help: "Events that a function was given, by outcome: ok, reply, ignored, refused (not to come again), failed (to come again)."}, []string{"function", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wasmbed_function_seconds", Help: "Time that a function took for one event.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9)}, []string{"function"}),
	}
	r.MustRegister(m.handled, m.seconds)
	return m
}

// Handler serves one function over HTTP as a Knative subscriber: POST of one CloudEvent, binary or
// structured. Answers: 200 with an event in binary mode when there is a reply, 202 and nothing else when
// there is none; otherwise a status that says whether the event may come again:
//
//	400, 413, 422  no: the event can never be handled
//	409, 429, 5xx  yes
//
// 404 is never an answer of a function: the data plane retries it, and what a function does not find does not
// come by asking again.
func Handler(entry Entry, o HandlerOptions) http.Handler {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &handler{e: entry, o: o, slots: make(chan struct{}, maxUnderWay), log: o.Log.With("function", entry.Name)}
}

type handler struct {
	e     Entry
	o     HandlerOptions
	log   *slog.Logger
	slots chan struct{}

	mu      sync.Mutex
	unknown map[string]bool // event types logged as unknown
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "POST a CloudEvent", http.StatusMethodNotAllowed)
		return
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		w.Header().Set("Retry-After", retryAfter)
		http.Error(w, fmt.Sprintf("%d events are under way", maxUnderWay), http.StatusTooManyRequests)
		return
	}
	began := time.Now()
	e, err := event.ReadRequest(r, event.MaxEvent)
	if err != nil {
		h.refuse(w, e, err)
		return
	}
	if t := r.Header.Get("Traceparent"); t != "" && event.Extension(e, event.ExtTraceParent) == "" {
		e.SetExtension(event.ExtTraceParent, t)
	}
	if !slices.Contains(h.e.Types, e.Type()) && !slices.Contains(h.e.Types, "*") {
		h.ignore(e)
		w.WriteHeader(http.StatusAccepted)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.o.Timeout)
	defer cancel()
	ctx, hop := h.begin(ctx, r, &e, began)
	reply, err := h.call(ctx, e)
	if status := 0; err != nil {
		if status = Status(err); status < 400 { // Stale: somebody newer did it
			hop.End(false, nil)
		} else {
			hop.End(true, err, trace.Int("http.response.status_code", status))
		}
	} else {
		hop.End(reply != nil, nil)
	}
	if h.o.Metrics != nil {
		h.o.Metrics.seconds.WithLabelValues(h.e.Name).Observe(time.Since(began).Seconds())
	}
	if err != nil {
		h.refuse(w, e, err)
		return
	}
	if reply == nil {
		h.count("ok")
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if t := hop.Traceparent(); t != "" {
		reply.SetExtension(event.ExtTraceParent, t)
	} else if t := event.Extension(e, event.ExtTraceParent); t != "" && event.Extension(*reply, event.ExtTraceParent) == "" {
		reply.SetExtension(event.ExtTraceParent, t)
	}
	h.count("reply")
	event.SetHeader(w.Header(), event.Attributes(reply))
	if reply.DataContentType() == "" {
		w.Header()["Content-Type"] = nil // not a guessed one: it would be the event's datacontenttype
	}
	w.WriteHeader(http.StatusOK)
	if _, err := w.Write(reply.Data()); err != nil {
		h.log.Info("reply not taken", "id", e.ID(), "err", err) // the event comes again, and so does the reply
	}
}

// call runs the function; a panic of its is an error of ours, and ends nothing else.
func (h *handler) call(ctx context.Context, e ce.Event) (reply *ce.Event, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("panic", "type", e.Type(), "id", e.ID(), "panic", p, "stack", string(debug.Stack()))
			reply, err = nil, errs.New(errs.Internal, "panic: %v", p)
		}
	}()
	return h.e.Function.Handle(ctx, e)
}

func (h *handler) refuse(w http.ResponseWriter, e ce.Event, err error) {
	status := Status(err)
	outcome, level := "failed", slog.LevelWarn
	switch {
	case status < 400: // Stale: somebody newer did it
		h.count("ok")
		w.WriteHeader(http.StatusAccepted)
		return
	case status == http.StatusConflict:
		level = slog.LevelInfo
	case status < 500 && status != http.StatusTooManyRequests:
		outcome = "refused"
	}
	if e.Context != nil {
		h.log.Log(context.Background(), level, "event "+outcome, "type", e.Type(), "subject", e.Subject(), "id", e.ID(), "status", status, "err", err)
	} else {
		h.log.Log(context.Background(), level, "no event", "status", status, "err", err)
	}
	h.count(outcome)
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	http.Error(w, err.Error(), status)
}

func (h *handler) ignore(e ce.Event) {
	h.count("ignored")
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unknown[e.Type()] || len(h.unknown) >= maxUnknown {
		return
	}
	if h.unknown == nil {
		h.unknown = map[string]bool{}
	}
	h.unknown[e.Type()] = true
	h.log.Warn("event of a type that this function does not take: ignored", "type", e.Type(), "source", e.Source())
}

func (h *handler) count(outcome string) {
	if h.o.Metrics != nil {
		h.o.Metrics.handled.WithLabelValues(h.e.Name, outcome).Inc()
	}
}

// Status is the answer to a function's error, by whether the event should come again. It differs from
// errs.HTTPStatus where that speaks to a caller about the caller: here the broker is the caller, and what is
// denied or not found is a matter between the function and Kubernetes.
func Status(err error) int {
	switch errs.CodeOf(err) {
	case errs.NotFound, errs.Unsupported:
		return http.StatusUnprocessableEntity
	case errs.Denied, errs.Unauthenticated:
		return http.StatusServiceUnavailable // an operator mends our rights, and the event is still there
	}
	return errs.HTTPStatus(err)
}

// index tells what is served.
func index(names []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, "no function at %s; served are %s\n", strconv.Quote(r.URL.Path), names)
	})
}
