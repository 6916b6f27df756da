package ledger

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

func testFencing(e *env) {
	a := dev("a")
	e.put(a, nil)
	e.target(to(1, 1), Selection{All: true})
	online := func(want bool) {
		e.Helper()
		v, err := e.l.Device(e.ctx, a)
		e.must(err)
		if v.Online != want {
			e.Fatalf("online is %v", v.Online)
		}
	}
	e.connect(a, 5)
	online(true)
	// Another era, an older session.
	c := e.connected(a, 6)
	c.Era = "0123456789abcdef"
	_, err := e.l.Connect(e.ctx, c)
	e.code(err, errs.Stale)
	_, err = e.l.Connect(e.ctx, e.connected(a, 4))
	e.code(err, errs.Stale)
	_, applied, err := e.l.Disconnect(e.ctx, event.Disconnected{Device: a, Epoch: 4, Era: e.era})
	e.must(err)
	if applied {
		e.Fatal("the end of an older session was taken for the end of the newer one")
	}
	online(true)
	// The newer session was there before the end of the older was said.
	e.connect(a, 6)
	_, applied, err = e.l.Disconnect(e.ctx, event.Disconnected{Device: a, Epoch: 5, Era: e.era})
	e.must(err)
	if applied {
		e.Fatal("the end of an older session was applied")
	}
	online(true)
	// Its end before its beginning: it is over.
	e.disconnect(a, 7)
	online(false)
	if cs := e.connect(a, 7); len(cs) != 0 {
		e.Fatalf("changes of a session that is over: %v", cs)
	}
	online(false)
	e.connect(a, 10)
	online(true)
	// Epochs are numbers, not words.
	_, err = e.l.Connect(e.ctx, e.connected(a, 9))
	e.code(err, errs.Stale)
	// The counter follows what it sees.
	if n, _ := e.rdb.Get(e.ctx, e.l.keys.Epoch(e.l.ShardOf(a))).Uint64(); n < 10 {
		e.Fatalf("the epoch counter is %d after epoch 10 was seen", n)
	}
}

// testReportsInAnyOrder: reports that come late, twice, in any order, leave the state of the right order.
func testReportsInAnyOrder(e *env) {
	e.target(to(1, 1), Selection{All: true})
	rnd := rand.New(rand.NewPCG(1, 2))
	states := []string{"Fetching", "Staged", "Starting", "Running", "Failed"}
	for round := range 40 {
		d := dev(fmt.Sprintf("r%02d", round))
		e.put(d, nil)
		// A device's word over two sessions, and what comes of it.
		var reports []event.Reported
		apps := map[string]event.AppState{}
		for epoch := uint64(9); epoch <= 10; epoch++ {
			for v := uint64(1); v <= 6; v++ {
				r := event.Reported{Device: d, Epoch: epoch, Era: e.era, Version: v, SeenDesired: v + 100*epoch, Full: v == 1 || rnd.IntN(4) == 0, Time: e.clock.now()}
				changed := map[string]event.AppState{}
				for _, app := range []string{"blink", "other"} {
					switch rnd.IntN(4) {
					case 0:
						if _, ok := apps[app]; ok && !r.Full {
							r.Removed = append(r.Removed, app)
						}
						delete(apps, app)
					case 1, 2:
						s := event.AppState{State: states[rnd.IntN(len(states))], Revision: "blink-1", Attempt: 1, Progress: uint32(rnd.IntN(1000)), Traps: uint32(v)}
						apps[app], changed[app] = s, s
					}
				}
				r.Apps = changed
				if r.Full {
					r.Apps = map[string]event.AppState{}
					for k, s := range apps {
						r.Apps[k] = s
					}
				}
				reports = append(reports, r)
			}
		}
		order := rnd.Perm(len(reports))
		order = append(order, rnd.Perm(len(reports))[:5]...)
		for _, i := range order {
			if _, err := e.l.Report(e.ctx, reports[i]); err != nil {
				e.Fatal(err)
			}
		}
		v, err := e.l.Device(e.ctx, d)
		e.must(err)
		got := map[string]event.AppState{}
		for _, a := range v.Apps {
			if a.Reported != nil {
				got[a.App] = *a.Reported
			}
		}
		same(e, fmt.Sprintf("round %d, order %v", round, order), got, apps)
		if v.SeenDesired != 1006 {
			e.Fatalf("seen desired is %d", v.SeenDesired)
		}
	}
}

// testReplays: an event said again has the answer of the first time, and changes nothing.
func testReplays(e *env) {
	a := dev("a")
	e.put(a, nil)
	e.target(to(1, 1), Selection{All: true})
	c1 := e.connect(a, 1)
	e.dispatch(1, a)
	r1 := e.report(a, 1, 1, true, running(1, 1))
	r2 := e.report(a, 1, 2, false, one(event.AppState{State: "Failed", Revision: "blink-1", Attempt: 1, Reason: "Trap"}))
	e.disconnect(a, 1)
	c2 := e.connect(a, 2)
	d2 := e.disconnect(a, 2)
	before, err := e.l.Dump(e.ctx)
	e.must(err)
	version := e.desired(a).Version
	for range 3 {
		same(e, "connect", e.connect(a, 1), c1)
		same(e, "report", e.report(a, 1, 1, true, running(1, 1)), r1)
		same(e, "report", e.report(a, 1, 2, false, one(event.AppState{State: "Failed", Revision: "blink-1", Attempt: 1, Reason: "Trap"})), r2)
		same(e, "connect", e.connect(a, 2), c2)
		same(e, "disconnect", e.disconnect(a, 2), d2)
	}
	after, err := e.l.Dump(e.ctx)
	e.must(err)
	same(e, "after replays", after, before)
	if v := e.desired(a).Version; v != version {
		e.Fatalf("version of desired went from %d to %d", version, v)
	}
	for n, cs := range map[string][]event.Change{"connect": c1, "report": r1, "failure": r2} {
		if len(cs) != 1 {
			e.Fatalf("%s had the changes %v", n, cs)
		}
	}
}

func testReportBounds(e *env) {
	a := dev("a")
	many := map[string]event.AppState{}
	for i := range MaxApps + 1 {
		many[fmt.Sprintf("app-%d", i)] = event.AppState{State: "Running", Revision: "r"}
	}
	r := event.Reported{Device: a, Epoch: 1, Era: e.era, Version: 1, Full: true, Apps: many}
	_, err := e.l.Report(e.ctx, r)
	e.code(err, errs.TooLarge)
	r.Apps = map[string]event.AppState{"a|b": {State: "Running"}}
	_, err = e.l.Report(e.ctx, r)
	e.code(err, errs.Invalid)
	r.Apps = map[string]event.AppState{"b": {State: ""}}
	_, err = e.l.Report(e.ctx, r)
	e.code(err, errs.Invalid)
	// Text is cut and made valid; large numbers stay exact.
	r.Apps = map[string]event.AppState{"b": {State: "Failed", Revision: "r", Attempt: 1<<64 - 1, Traps: 1<<32 - 1,
		Message: strings.Repeat("é", MaxMessage) + "\xff"}}
	_, err = e.l.Report(e.ctx, r)
	e.must(err)
	v, err := e.l.Device(e.ctx, a)
	e.must(err)
	w := v.Apps[0].Reported
	if w.Attempt != 1<<64-1 || w.Traps != 1<<32-1 || len(w.Message) > MaxMessage || !strings.HasSuffix(w.Message, "é…") {
		e.Fatalf("reported is %+v", w)
	}
	// A device that says of ever new applications that they are gone does not fill Redis.
	for i := range uint64(2 * MaxRecords / MaxApps) {
		var gone []string
		for j := range MaxApps {
			gone = append(gone, fmt.Sprintf("gone-%d-%d", i, j))
		}
		e.report(a, 1, 2+i, false, nil, gone...)
	}
	if n := e.rdb.HLen(e.ctx, e.l.keys.Records(a)).Val(); n > MaxRecords {
		e.Fatalf("%d records of one device", n)
	}
}

func testTrap(e *env) {
	a := dev("a")
	e.put(a, nil)
	e.target(to(1, 1), Selection{All: true})
	trap := func(boot string, seq uint64) bool {
		fresh, err := e.l.Trap(e.ctx, event.Trapped{Device: a, BootID: boot, Seq: seq, App: "blink", Revision: "blink-1", Reason: "Trap", Message: "unreachable"})
		e.must(err)
		return fresh
	}
	for _, c := range []struct {
		boot  string
		seq   uint64
		fresh bool
	}{{"b1", 1, true}, {"b1", 1, false}, {"b1", 3, true}, {"b1", 2, true}, {"b1", 3, false}, {"b2", 1, true}, {"b1", 2, false}} {
		if got := trap(c.boot, c.seq); got != c.fresh {
			e.Fatalf("trap %s %d => %v", c.boot, c.seq, got)
		}
	}
	v, err := e.l.Device(e.ctx, a)
	e.must(err)
	if v.Apps[0].Traps != 4 {
		e.Fatalf("%d traps counted, want 4", v.Apps[0].Traps)
	}
}

func testDeleteDevice(e *env) {
	a := dev("a")
	for range 2 {
		e.put(a, map[string]string{"site": "x"})
		e.connect(a, 1)
		e.target(to(1, 1), Selection{All: true})
		e.dispatch(1, a)
		e.report(a, 1, 1, true, running(1, 1))
		e.must(e.l.AppendTelemetry(e.ctx, event.TelemetryBatch{Devices: []event.TelemetryDevice{{Namespace: "farm", Name: "a", BootID: []byte{1}, Seq: 1, Records: []byte{0x81, 0x84, 1, 0x61, 'x', 0x61, 'y', 1}}}}))
		e.must(e.l.DeleteDevice(e.ctx, a))
		e.must(e.l.DeleteDevice(e.ctx, a))
		same(e, "counts", e.counts(), Counts{})
		_, err := e.l.Device(e.ctx, a)
		e.code(err, errs.NotFound)
		if d := e.desired(a); d.Complete || len(d.Apps) > 0 {
			e.Fatalf("desired is %+v", d)
		}
		for _, k := range e.keys() {
			if strings.HasSuffix(k, "farm/a") && !strings.Contains(k, ":rel:") {
				e.Fatalf("%s is left", k)
			}
		}
	}
}

func testUnknownRowsEnd(e *env) {
	a := dev("a")
	e.connect(a, 1)
	e.report(a, 1, 1, true, running(1, 1))
	k := e.l.keys
	for _, key := range []string{k.Row(a), k.Session(a), k.Records(a)} {
		if ttl := e.rdb.PTTL(e.ctx, key).Val(); ttl <= 0 {
			e.Fatalf("%s has the TTL %v", key, ttl)
		}
	}
	v, err := e.l.Device(e.ctx, a)
	e.must(err)
	if v.Known || !v.Online || v.Board != "Host" {
		e.Fatalf("the view is %+v", v)
	}
	e.put(a, nil)
	e.report(a, 1, 2, true, running(1, 1))
	for _, key := range []string{k.Row(a), k.Session(a), k.Records(a)} {
		if ttl := e.rdb.PTTL(e.ctx, key).Val(); ttl != -1 {
			e.Fatalf("%s has the TTL %v", key, ttl)
		}
	}
	if n, err := e.l.DevicesKnown(e.ctx, "farm"); err != nil || n != 1 {
		e.Fatalf("%d devices known, %v", n, err)
	}
}

// testConcurrent: many at once, over the same devices; the ledger is consistent afterwards.
func testConcurrent(e *env) {
	ds := devs(12)
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 7))
			for i := range 40 {
				d := ds[rnd.IntN(len(ds))]
				var err error
				switch rnd.IntN(6) {
				case 0:
					err = e.l.PutDevice(e.ctx, d, DeviceFacts{Approved: true, Labels: map[string]string{"x": fmt.Sprint(rnd.IntN(3))}}, nil)
				case 1:
					_, err = e.l.Connect(e.ctx, e.connected(d, uint64(rnd.IntN(50)+1)))
				case 2:
					_, _, err = e.l.Disconnect(e.ctx, event.Disconnected{Device: d, Epoch: uint64(rnd.IntN(50) + 1), Era: e.era})
				case 3:
					_, err = e.l.Report(e.ctx, event.Reported{Device: d, Epoch: uint64(rnd.IntN(50) + 1), Era: e.era, Version: uint64(i + 1), Apps: running(rnd.IntN(3)+1, uint64(rnd.IntN(3)+1))})
				case 4:
					_, err = e.l.Dispatch(e.ctx, blink, uint64(rnd.IntN(3)+1), e.clock.now().Add(time.Minute), ds)
				case 5:
					n := rnd.IntN(3) + 1
					s := Selection{All: true}
					if rnd.IntN(2) == 0 {
						s = Selection{Terms: []Term{{"x", "In", []string{"0", "1"}}}}
					}
					_, err = e.l.SetTarget(e.ctx, blink, to(n, uint64(n)), s)
				}
				if err != nil && !errs.Is(err, errs.Stale) {
					e.Errorf("%v", err)
				}
			}
		})
	}
	wg.Wait()
	// The last word of two who said different things at once is not told; one more makes it one.
	e.target(to(3, 3), Selection{All: true})
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{"": "", "a\xffb": "a\uFFFDb", strings.Repeat("x", MaxMessage): strings.Repeat("x", MaxMessage)} {
		if got := text(in); got != want {
			t.Errorf("text(%q) => %q", in, got)
		}
	}
}
