package stream

import (
	"context"
	"sync"
	"time"
)

// breaker pauses the deliveries of a queue whose subscriber cannot be reached at all. While it is open, one
// delivery at a time probes; the others wait in their queue, so an outage does not use up the attempts of
// everything that is waiting. An answer of any kind, even a refusal, closes it.
type breaker struct {
	mu      sync.Mutex
	failed  int           // connections in a row
	pause   time.Duration // current; 0: closed
	until   time.Time     // no probe before
	probing bool
	changed chan struct{} // closed when the state changes; nil: nobody waits
}

// isOpen reports whether reading more is of no use now.
func (k *breaker) isOpen(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pause > 0 && (k.probing || now.Before(k.until))
}

// pass waits until a delivery may be tried. False: the broker ends.
func (k *breaker) pass(ctx context.Context, stopped <-chan struct{}, now func() time.Time) bool {
	for {
		k.mu.Lock()
		if k.pause == 0 {
			k.mu.Unlock()
			return true
		}
		wait := k.until.Sub(now())
		if wait <= 0 && !k.probing {
			k.probing = true
			k.mu.Unlock()
			return true
		}
		if k.changed == nil {
			k.changed = make(chan struct{})
		}
		changed := k.changed
		k.mu.Unlock()
		t := time.NewTimer(max(wait, 10*time.Millisecond))
		select {
		case <-t.C:
		case <-changed:
		case <-stopped:
			t.Stop()
			return false
		case <-ctx.Done():
			t.Stop()
			return false
		}
		t.Stop()
	}
}

// result is told of every attempt: whether the subscriber was there. It reports whether that closed the
// breaker.
func (k *breaker) result(there bool, now time.Time) (closed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if there {
		k.failed = 0
		if k.pause == 0 {
			return false
		}
		k.pause, k.probing, closed = 0, false, true
	} else {
		k.failed++
		switch {
		case k.failed < breakerFailures:
			return false
		case k.pause == 0:
			k.pause = breakerMin
		case k.probing:
			k.pause = min(2*k.pause, breakerMax)
		default:
			return false // was under way when it opened
		}
		k.probing = false
		k.until = now.Add(k.pause)
	}
	if k.changed != nil {
		close(k.changed)
		k.changed = nil
	}
	return closed
}

// reset closes the breaker.
func (k *breaker) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed, k.pause, k.probing = 0, 0, false
}
