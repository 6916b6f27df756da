package trace

import (
	"context"
	"log/slog"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	otel "go.opentelemetry.io/otel/trace"

	"wasmbed.io/wasmbed/internal/testredis"
)

func testLog(testing.TB) *slog.Logger { return slog.New(slog.DiscardHandler) }

func otelOf(q *queue) otel.Tracer {
	return sdk.NewTracerProvider(sdk.WithSampler(sdk.AlwaysSample()), sdk.WithSpanProcessor(q)).Tracer("test")
}

func (s *stuckWriter) name() string { return "stuck" }

func (s *stuckWriter) write(_ context.Context, spans []sdk.ReadOnlySpan) error {
	select {
	case s.enter <- struct{}{}:
	default:
	}
	<-s.leave
	s.got += len(spans)
	return nil
}

// BenchmarkHop is what an event costs a function: one that is not sampled, one that is and has no effect, and one that
// is recorded with the broker's stage and a child - three spans, written to Redis meanwhile.
func BenchmarkHop(b *testing.B) {
	rdb := testredis.Start(b).Client(b)
	t, err := New(Options{Component: "test", Redis: rdb, Getenv: func(string) string { return "" }})
	if err != nil {
		b.Fatal(err)
	}
	defer t.Close(context.Background())
	attrs := []Attr{Event("e-1"), Namespace("plant"), Subject("plant/press"), String("cloudevents.event_type", "io.wasmbed.device.reported.v1")}
	for _, x := range []struct {
		name, parent string
		effect       bool
	}{{"unsampled", parent[:53] + "00", true}, {"without effect", parent, false}, {"recorded", parent, true}} {
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				now := time.Now()
				ctx, h := t.Begin(context.Background(), Work{Name: "process", Kind: Consumer, Parent: x.parent, Attrs: attrs, Start: now,
					Before: &Stage{Component: "broker", Name: "deliver", Start: now, End: now}})
				if x.effect {
					_, c := Child(ctx, "ledger report", Client, Namespace("plant"))
					c.End(nil)
				}
				h.End(false, nil)
			}
		})
	}
}
