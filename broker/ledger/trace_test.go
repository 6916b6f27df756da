package ledger

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/testredis"
	"wasmbed.io/wasmbed/internal/trace"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func tracer(t testing.TB, rdb redis.UniversalClient) *trace.Tracer {
	tr, err := trace.New(trace.Options{Component: "test", Redis: rdb, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// testTrace: the trace of a dispatch stays with the first devices until they have said what became of it, and with the
// timers that follow from what they say.
func testTrace(e *env) {
	tr := tracer(e, e.rdb)
	traced := func(f func()) {
		plain := e.ctx
		ctx, hop := tr.Begin(plain, trace.Work{Name: "process", Parent: traceparent})
		e.ctx = ctx
		f()
		hop.End(true, nil, trace.Event("e-1"))
		e.ctx = plain
	}
	due := func() map[string]string { // those that have a trace
		e.Helper()
		out := map[string]string{}
		for s := range e.l.Shards() {
			ts, err := e.l.Due(e.ctx, s, 1000)
			e.must(err)
			e.must(e.l.DoneDue(e.ctx, s, ts))
			for _, x := range ts {
				if x.Trace != "" {
					out[x.Kind+" "+x.Name+" "+x.Device] = trace.ID(x.Trace)
				}
			}
		}
		return out
	}
	id := trace.ID(traceparent)
	all := devs(trace.MaxFollowed + 8)
	for i, d := range all {
		e.put(d, nil)
		e.connect(d, uint64(i+1))
	}
	e.clock.add(StatusDelay)
	same(e, "timers", due(), map[string]string{})
	followed := func() (n int) {
		e.Helper()
		ds, err := e.l.DesiredMany(e.ctx, all)
		e.must(err)
		for i, d := range ds {
			if tp := d.Traces["blink"]; tp != "" {
				if n++; trace.ID(tp) != id || tp == traceparent {
					e.Errorf("%s is in trace %s", all[i], tp)
				}
			}
		}
		return n
	}
	traced(func() {
		e.target(to(1, 1), Selection{All: true})
		if n := e.dispatch(1, all[:10]...) + e.dispatch(1, all[10:]...); n != len(all) {
			e.Errorf("%d dispatched", n)
		}
	})
	if n := followed(); n != trace.MaxFollowed {
		e.Errorf("%d devices are followed", n)
	}
	same(e, "timers", due(), map[string]string{"advance blink ": id})

	// What a followed device says goes on in the trace, what another says does not.
	first, last := all[0], all[len(all)-1]
	traced(func() { e.report(first, 1, 1, true, running(1, 1)) })
	e.report(last, uint64(len(all)), 1, true, running(1, 1))
	if n := followed(); n != trace.MaxFollowed-1 {
		e.Errorf("%d devices are followed after the first was done", n)
	}
	e.clock.add(StatusDelay)
	same(e, "timers", due(), map[string]string{"advance blink ": id, "status dev-0000 ": id})

	// The deadline of one that is silent is in the trace, too; a timer comes again with its trace.
	e.clock.add(time.Minute)
	again := map[string]string{}
	for s := range e.l.Shards() {
		_, err := e.l.Due(e.ctx, s, 1000)
		e.must(err)
	}
	e.clock.add(ClaimTime)
	for s := range e.l.Shards() {
		ts, err := e.l.Due(e.ctx, s, 1000)
		e.must(err)
		for _, x := range ts {
			again[x.Kind+" "+x.Name+" "+x.Device] = trace.ID(x.Trace)
			if x.Kind == DueDeadline {
				_, err := e.l.Expire(e.ctx, blink, dev(x.Device), 1)
				e.must(err)
			}
		}
		e.must(e.l.DoneDue(e.ctx, s, ts))
	}
	if again["deadline blink dev-0001"] != id || again["deadline blink "+all[len(all)-2].Name] != "" || len(again) != len(all)-2 {
		e.Errorf("%v", again)
	}
	for s := range e.l.Shards() {
		if left := e.rdb.HGetAll(e.ctx, e.l.Keys().DueTraces(s)).Val(); len(left) > 0 && s != e.l.ShardOf(first) {
			for k := range left {
				if k[0] == '~' {
					e.Errorf("%s is left", k)
				}
			}
		}
	}
	due() // what the expired left
	// One that is marked from Go.
	traced(func() {
		e.must(e.l.MarkDue(e.ctx, event.Timer{Kind: DueAdvance, Namespace: "farm", Name: "blink", Due: e.clock.now()}))
		e.must(e.l.MarkDue(e.ctx, event.Timer{Kind: DueStatus, Namespace: "farm", Name: "dev-0000", Due: e.clock.now().Add(2 * traceDelay)}))
	})
	same(e, "timers", due(), map[string]string{"advance blink ": id})
	e.clock.add(2 * traceDelay)
	same(e, "timers", due(), map[string]string{})

	ctx, cancel := context.WithTimeout(e.ctx, time.Minute)
	defer cancel()
	// Its keys, while some of each kind are there.
	e.must(e.l.MarkDue(e.ctx, event.Timer{Kind: DueAdvance, Namespace: "farm", Name: "blink", Due: e.clock.now().Add(time.Hour)}))
	traced(func() {
		e.must(e.l.MarkDue(e.ctx, event.Timer{Kind: DueAdvance, Namespace: "farm", Name: "blink", Due: e.clock.now()}))
	})
	e.must(tr.Close(ctx))
	e.keysAreKnown()
	got, err := trace.Find(e.ctx, e.rdb, "farm/blink")
	if err != nil || got != id {
		e.Errorf("the application's trace is %q, %v", got, err)
	}
	names := map[string]int{}
	way, err := trace.Read(e.ctx, e.rdb, id, nil, time.Now())
	e.must(err)
	for _, h := range way.Hops {
		names[h.Name]++
	}
	if names["ledger set target"] != 1 || names["ledger dispatch"] != 2 || names["ledger report"] != 1 || way.Followed != len(all) {
		e.Errorf("%v, %d followed", names, way.Followed)
	}
}

// BenchmarkReportTraced is BenchmarkReport's call with and without a trace.
func BenchmarkReportTraced(b *testing.B) {
	rdb := testredis.Start(b).Client(b)
	l := New(rdb, Options{})
	era, _, err := l.Era(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	tr := tracer(b, rdb)
	defer tr.Close(context.Background())
	for _, parent := range []string{"", traceparent[:53] + "00", traceparent} {
		name := map[string]string{"": "none", traceparent: "recorded"}[parent]
		if name == "" {
			name = "unsampled"
		}
		b.Run(name, func(b *testing.B) {
			n := uint64(time.Now().UnixNano())
			b.ReportAllocs()
			for b.Loop() {
				n++
				ctx, hop := tr.Begin(b.Context(), trace.Work{Name: "process", Parent: parent})
				if _, err := l.Report(ctx, event.Reported{Device: dev("d"), Epoch: 1, Era: era, Version: n, Full: true, Apps: running(1, 1)}); err != nil {
					b.Fatal(err)
				}
				hop.End(false, nil)
			}
		})
	}
}
