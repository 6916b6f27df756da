package ledger

import (
	"context"
	"strconv"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/trace"
)

// traceDelay is how far in the future a timer may be that goes on with the trace of who marked it: what is later is
// not a consequence that somebody waits for.
const traceDelay = time.Minute

// writes are the calls that are shown as hops of a trace: those that change what is wanted or what is so. Reads are not,
// they have no effect, and neither are the refusals of single devices, of which a rollout may have thousands. Their scripts have the prelude, which passes the trace on to timers.
func writes(what string) bool {
	switch what {
	case "connect", "disconnect", "report", "trap", "set target", "walk", "dispatch", "put device", "delete device", "remove application", "expire", "ask", "finish":
		return true
	}
	return false
}

// traced begins the span of calls that write, and stamps them. Nil: the work is not traced.
func traced(ctx context.Context, what string, calls []call) *trace.Active {
	if !writes(what) {
		return nil
	}
	var span *trace.Active
	tp := ""
	if what == "dispatch" { // whose span is begun already
		tp = trace.Of(ctx)
	} else {
		ns, name := argument(&calls[0], 2), argument(&calls[0], 3)
		attrs := []trace.Attr{trace.String("db.system.name", "redis"), trace.String("db.operation.name", "EVALSHA"), trace.Namespace(ns), trace.Subject(ns + "/" + name)}
		if len(calls) > 1 {
			attrs = append(attrs, trace.Int("db.operation.batch.size", len(calls)))
		}
		if what == "set target" {
			attrs = append(attrs, trace.Mark(ns+"/"+name))
		}
		_, span = trace.Child(ctx, "ledger "+what, trace.Client, attrs...)
		tp = span.Traceparent()
	}
	for i := range calls {
		calls[i].stamp(tp)
	}
	return span
}

// argument returns a string among a call's arguments: 2 is the namespace, 3 the name of what it is about.
func argument(c *call, i int) string {
	if i >= len(c.args) {
		return ""
	}
	s, _ := c.args[i].(string)
	return s
}

// stamp gives a script with the prelude the traceparent of the work: "<ms> <traceparent>" in place of the clock.
func (c *call) stamp(traceparent string) {
	if now, ok := c.args[1].(int64); ok && traceparent != "" {
		c.args[1] = strconv.FormatInt(now, 10) + " " + traceparent
	}
}

// traceDispatch begins the span of a dispatch, and says how many of its devices the trace follows: their gateways go on
// with it. The others are counted.
func (l *Ledger) traceDispatch(ctx context.Context, app App, devices int) (context.Context, int, *trace.Active) {
	if !trace.Traced(ctx) {
		return ctx, 0, nil
	}
	ctx, span := trace.Child(ctx, "ledger dispatch", trace.Client, trace.String("db.system.name", "redis"), trace.String("db.operation.name", "EVALSHA"),
		trace.Namespace(app.Namespace), trace.Subject(app.String()), trace.Int("wasmbed.devices", devices))
	if span == nil {
		return ctx, 0, nil
	}
	follow, err := trace.Follow(ctx, l.rdb, span.Traceparent(), devices)
	if err != nil {
		follow = 0 // the dispatch itself will say what is wrong with Redis
	}
	span.Set(trace.Int("wasmbed.devices.followed", follow))
	return ctx, follow, span
}

// traceAsk is the traceparent that a command to a device carries on; "" when its trace does not follow the device: of a
// command to many it follows the first.
func (l *Ledger) traceAsk(ctx context.Context) string {
	if !trace.Traced(ctx) {
		return ""
	}
	tp := trace.Of(ctx)
	if n, err := trace.Follow(ctx, l.rdb, tp, 1); err != nil || n == 0 {
		return ""
	}
	return tp
}

// traceTimer notes the trace of who marks a timer.
func (l *Ledger) traceTimer(ctx context.Context, shard int, t event.Timer, at time.Time) error {
	if !trace.Traced(ctx) || at.Sub(l.now()) > traceDelay {
		return nil
	}
	tp := trace.Of(ctx)
	if tp == "" {
		return nil
	}
	return wrap(l.rdb.HSet(ctx, l.keys.DueTraces(shard), timerName(t), tp).Err(), "mark due")
}
