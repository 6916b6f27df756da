package event

import (
	"context"
	"strings"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/internal/trace"
)

// TraceAttrs are the attributes of a span about an event, by OpenTelemetry's conventions for CloudEvents and messaging.
func TraceAttrs(e *ce.Event) []trace.Attr {
	a := []trace.Attr{
		trace.Event(e.ID()), trace.String("cloudevents.event_source", e.Source()), trace.String("cloudevents.event_type", e.Type()),
		trace.String("messaging.system", "cloudevents"),
	}
	ns, subject := Namespace(*e), e.Subject()
	if name := Extension(*e, ExtName); name != "" && strings.HasPrefix(e.Type(), "dev.knative.apiserver.") {
		subject = ns + "/" + name
		a = append(a, trace.String("k8s.resource.kind", Extension(*e, ExtKind)))
	}
	if subject != "" {
		a = append(a, trace.Subject(subject))
	}
	if ns != "" {
		a = append(a, trace.Namespace(ns))
	}
	return a
}

// traced begins the span of a post in the trace of ctx, and gives the event that trace. The caller's is not touched.
func traced(ctx context.Context, e ce.Event) (ce.Event, *trace.Active) {
	if e.Type() == AuditRecorded { // says of the request what its own hop says
		return e, nil
	}
	_, span := trace.Publish(ctx, Extension(e, ExtTraceParent), "publish "+e.Type(), TraceAttrs(&e)...)
	if span == nil {
		return e, nil
	}
	e = e.Clone()
	e.SetExtension(ExtTraceParent, span.Traceparent())
	return e, span
}
