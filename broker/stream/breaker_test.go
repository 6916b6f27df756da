package stream

import (
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	now := time.Unix(0, 0)
	clock := func() time.Time { return now }
	var k breaker
	pass := func() bool { // without waiting
		stopped := make(chan struct{})
		close(stopped)
		return k.pass(t.Context(), stopped, clock)
	}
	for range breakerFailures - 1 {
		k.result(false, now)
	}
	k.result(true, now)
	for i := range breakerFailures {
		if k.isOpen(now) || !pass() {
			t.Fatalf("open after %d failures", i)
		}
		k.result(false, now)
	}
	if !k.isOpen(now) || pass() {
		t.Fatal("not open")
	}
	k.result(false, now) // was under way: changes nothing
	for pause := breakerMin; ; pause = min(2*pause, breakerMax) {
		now = now.Add(pause - 1)
		if pass() {
			t.Fatalf("a probe before %s", pause)
		}
		now = now.Add(1)
		if k.isOpen(now) || !pass() {
			t.Fatalf("no probe after %s", pause)
		}
		if pass() || !k.isOpen(now) {
			t.Fatal("two probes at once")
		}
		k.result(false, now)
		if pause == breakerMax {
			break
		}
	}
	now = now.Add(breakerMax)
	if !pass() || !k.result(true, now) {
		t.Fatal("does not close")
	}
	if k.isOpen(now) || !pass() || !pass() || k.result(true, now) {
		t.Fatal("not closed")
	}
}
