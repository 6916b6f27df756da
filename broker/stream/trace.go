package stream

import (
	"strconv"
	"strings"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/trace"
)

// sampled reports whether a traceparent says that somebody records its trace.
func sampled(traceparent string) bool {
	c, ok := trace.Parse(traceparent)
	return ok && c.IsSampled()
}

// tracestate tells a subscriber when we took an event and the how manieth attempt this is, so that it can show the way
// through the broker: "wasmbed=<Unix ms>-<attempt>", before what the event has of its own (W3C Trace Context).
func tracestate(r *record, e *entry) string {
	s := "wasmbed=" + strconv.FormatInt(e.accepted, 10) + "-" + strconv.Itoa(e.attempts+1)
	if has, ok := r.get("tracestate"); ok && has != "" && !strings.Contains(has, "wasmbed=") {
		s += "," + has
	}
	return s
}

// traceFailure records an attempt of which no subscriber tells: there was no answer, or it was the last.
func (b *Broker) traceFailure(q *queue, e *entry, o outcome, start, end time.Time) {
	if b.o.Trace == nil || o.verdict == delivered {
		return
	}
	dead := o.verdict == never || e.attempts >= q.delivery.Retry
	if o.status != 0 && !dead {
		return
	}
	r, err := decodeRecord(e.blob)
	if err != nil {
		return
	}
	tp, _ := r.get(event.ExtTraceParent)
	get := func(name string) string { v, _ := r.get(name); return v }
	name := "deliver "
	if dead {
		name = "dead letter "
	}
	span := b.o.Trace.Start(tp, name+get("type"), trace.Producer, start, trace.String("messaging.system", "cloudevents"),
		trace.String("messaging.operation.type", "deliver"), trace.String("messaging.destination.name", q.name), trace.Event(get("id")),
		trace.String("cloudevents.event_type", get("type")), trace.String("cloudevents.event_source", get("source")), trace.Namespace(get(event.ExtNamespace)),
		trace.Subject(get("subject")), trace.Int("wasmbed.attempt", e.attempts+1), trace.Int("http.response.status_code", o.status))
	span.EndAt(end, errs.New(errs.Unavailable, "%s: %s", o.reason, o.message))
}
