package ledger

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// hookTimer reports whether a webhook's timer is due now, and finishes it.
func (e *env) hookTimer(h Hook) bool {
	e.Helper()
	shard := e.l.keys.shardOf(h.Namespace, h.Name)
	ts, err := e.l.Due(e.ctx, shard, 10)
	if err != nil {
		e.Fatal(err)
	}
	found := false
	for _, t := range ts {
		found = found || t.Kind == DueHook && t.Name == h.Name
	}
	e.must(e.l.DoneDue(e.ctx, shard, ts))
	return found
}

func delivery(i int, at time.Time) HookDelivery {
	return HookDelivery{ID: fmt.Sprintf("%032x", i), Type: "t", Source: "/s", EventID: fmt.Sprint(i), Created: at.UTC(), Status: HookWaiting, Event: json.RawMessage(`{"id":"x"}`)}
}

// testHooks: a delivery is in the line once, one sender at a time has it, and what failed comes when it is due.
// What comes through a webhook source is counted, its last words are kept, and somebody is told to write its status.
func testHookSource(e *env) {
	h := Hook{Namespace: "plant", Name: "ci"}
	for _, n := range []HookSourceNote{{Took: `{"event":"1"}`}, {Refused: `{"cause":"signature"}`}, {Took: `{"event":"2"}`}} {
		e.must(e.l.NoteHookSource(e.ctx, h, n, time.Second))
	}
	got, err := e.l.HookSource(e.ctx, h)
	if want := (HookSourceState{Accepted: 2, Refused: 1, LastTook: `{"event":"2"}`, LastRefused: `{"cause":"signature"}`}); err != nil || got != want {
		e.Errorf("%+v %v, want %+v", got, err, want)
	}
	if err := e.l.NoteHookSource(e.ctx, h, HookSourceNote{Took: strings.Repeat("x", MaxHookNote+1)}, time.Second); !errs.Is(err, errs.TooLarge) {
		e.Errorf("too much: %v", err)
	}
	if got, err := e.l.HookSource(e.ctx, Hook{Namespace: "plant", Name: "other"}); err != nil || got != (HookSourceState{}) {
		e.Errorf("nothing came: %+v %v", got, err)
	}
}

func testHooks(e *env) {
	h := Hook{Namespace: "plant", Name: "mes"}
	queue := func(d HookDelivery, want string) {
		e.Helper()
		if got, err := e.l.QueueHook(e.ctx, h, d, false); err != nil || got != want {
			e.Fatalf("queue %s: %s, %v", d.ID, got, err)
		}
	}
	d := delivery(1, e.clock.now())
	queue(d, "queued")
	if !e.hookTimer(h) {
		e.Fatal("no timer")
	}
	queue(d, "known") // whoever queued it may not have come to its timer
	if !e.hookTimer(h) {
		e.Fatal("no timer for what waits")
	}
	take := func(token string, n int) []HookDelivery {
		e.Helper()
		ds, _, err := e.l.TakeHook(e.ctx, h, token, n, time.Minute)
		if err != nil {
			e.Fatal(err)
		}
		return ds
	}
	ds := take("a", 10)
	if len(ds) != 1 || ds[0].ID != d.ID || string(ds[0].Event) != string(d.Event) {
		e.Fatalf("%+v", ds)
	}
	if ds, busy, err := e.l.TakeHook(e.ctx, h, "b", 10, time.Minute); len(ds) != 0 || !busy.After(e.clock.now()) || err != nil {
		e.Fatalf("two send at once: %+v %v %v", ds, busy, err)
	}
	if again := take("a", 10); len(again) != 0 {
		e.Fatalf("taken twice: %+v", again)
	}
	// It fails, and comes again when it is due and the line does not rest.
	next := e.clock.now().Add(10 * time.Second)
	d.Attempts, d.Next, d.Tries = 1, &next, []HookTry{{Time: e.clock.now(), Status: 503, Reason: "Refused"}}
	if n, since, err := e.l.SettleHook(e.ctx, h, d, `{"status":503}`, false, true); err != nil || n != 1 || !since.Equal(e.clock.now()) {
		e.Fatalf("%d %v %v", n, since, err)
	}
	e.must(e.l.IdleHook(e.ctx, h, "a", Idle{Rest: next.Add(5 * time.Second)}))
	for _, at := range []time.Duration{0, 11 * time.Second} {
		e.clock.add(at)
		if e.hookTimer(h) {
			e.Fatalf("a timer after %v", at)
		}
	}
	e.clock.add(5 * time.Second)
	if !e.hookTimer(h) {
		e.Fatal("no timer for the next attempt")
	}
	if ds = take("b", 10); len(ds) != 1 || ds[0].Attempts != 1 || len(ds[0].Tries) != 1 {
		e.Fatalf("%+v", ds)
	}
	d = ds[0]
	d.Status, d.Next = HookDelivered, nil
	if n, _, err := e.l.SettleHook(e.ctx, h, d, `{"status":200}`, true, false); err != nil || n != 0 {
		e.Fatalf("%d %v", n, err)
	}
	e.must(e.l.SetHook(e.ctx, h, HookNote{Handshake: `{"url":"x"}`, Generation: 3, Written: true, Fresh: true}))
	e.must(e.l.IdleHook(e.ctx, h, "b", Idle{Look: e.clock.now().Add(time.Second)}))
	s, err := e.l.HookState(e.ctx, h)
	if err != nil || s.Delivered != 1 || s.Waiting != 0 || s.Dirty || s.Generation != 3 || s.Handshake == "" || s.Last != `{"status":200}` || s.FailuresInARow != 0 {
		e.Fatalf("%+v, %v", s, err)
	}
	e.clock.add(time.Second)
	if !e.hookTimer(h) {
		e.Fatal("no further timer")
	}
	// Again, under the same id.
	e.must(e.l.AgainHook(e.ctx, h, d.ID))
	if ds = take("c", 1); !e.hookTimer(h) || len(ds) != 1 || ds[0].ID != d.ID || ds[0].Attempts != 0 {
		e.Fatalf("%+v", ds)
	}
	if err := e.l.AgainHook(e.ctx, h, "00"); !errs.Is(err, errs.NotFound) {
		e.Fatal(err)
	}
	e.must(e.l.IdleHook(e.ctx, h, "c", Idle{Stop: true}))
	e.clock.add(time.Hour)
	if e.hookTimer(h) {
		e.Fatal("a timer of a line that stopped")
	}
	// Bounded: those that wait, and those that are finished.
	for i := 2; i <= MaxHookQueue; i++ {
		queue(delivery(i, e.clock.now()), "queued")
		e.clock.add(time.Millisecond)
	}
	queue(delivery(5000, e.clock.now()), "full")
	if err := e.l.DropHookEvent(e.ctx, h); err != nil {
		e.Fatal(err)
	}
	for len(ds) > 0 {
		if ds = take("d", 100); len(ds) == 0 {
			break
		}
		for _, d := range ds {
			d.Status = HookFailed
			if _, _, err := e.l.SettleHook(e.ctx, h, d, `{}`, false, false); err != nil {
				e.Fatal(err)
			}
		}
	}
	log := delivery(6000, e.clock.now())
	log.Status, log.Event = HookFailed, nil
	queue(log, "queued")
	seen, after := 0, ""
	last := "x"
	for {
		page, next, err := e.l.Deliveries(e.ctx, h, after, 33)
		if err != nil {
			e.Fatal(err)
		}
		for _, d := range page {
			if seen++; d.ID >= last && last != "x" {
				e.Fatalf("%s after %s", d.ID, last)
			}
			last = d.ID
		}
		if after = next; after == "" {
			break
		}
	}
	s, err = e.l.HookState(e.ctx, h)
	if err != nil || seen > MaxHookLog+2 || seen < MaxHookLog || s.Dropped != 2 || s.Waiting != 0 || s.Failed < MaxHookQueue {
		e.Fatalf("%d kept, %+v, %v", seen, s, err)
	}
	if size, err := e.rdb.HGet(e.ctx, e.l.keys.HookState(h), "size").Int(); err != nil || size < 100*seen || size > 400*seen {
		e.Fatalf("%d bytes of %d: %v", size, seen, err)
	}
	big := delivery(7000, e.clock.now())
	big.Event = json.RawMessage(`"` + strings.Repeat("x", MaxHookEvent) + `"`)
	if _, err := e.l.QueueHook(e.ctx, h, big, false); !errs.Is(err, errs.Invalid) {
		e.Fatal(err)
	}
	other := Hook{Namespace: "plant", Name: "other"}
	queue(delivery(8000, e.clock.now()), "queued")
	e.must(e.l.ForgetHook(e.ctx, other))
	e.keysAreKnown()
	e.must(e.l.ForgetHook(e.ctx, h))
	if s, err := e.l.HookState(e.ctx, h); err != nil || s != (HookState{}) {
		e.Fatalf("%+v %v", s, err)
	}
	for _, bad := range []Hook{{}, {Namespace: "a"}, {Namespace: "a b", Name: "c"}} {
		if _, err := e.l.HookState(e.ctx, bad); !errs.Is(err, errs.Invalid) {
			e.Errorf("%q: %v", bad, err)
		}
	}
}

func TestHookTimersAreMarked(t *testing.T) {
	if (Hook{"a", "b"}).timer() != "webhook|a|b|" {
		t.Error("the timer's name is what Due splits")
	}
}
