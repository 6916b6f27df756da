package report

import (
	"sync"
	"time"

	"wasmbed.io/wasmbed/broker/event"
)

// pacer gives out turns for writes to Device status, so that a fleet that moves at once is neither the API server's
// trouble nor, by filling the broker's deliveries to this function, that of the reports behind it. Who has to wait
// is promised a time and comes again then. The pace follows what a write takes: slow writes mean that somebody needs
// the machine more. What is promised is this process' own knowledge; losing it costs another round.
type pacer struct {
	under chan struct{} // writes under way

	mu       sync.Mutex
	every    time.Duration // between two turns, now
	next     time.Time
	promised map[event.Device]time.Time
}

func newPacer() *pacer {
	return &pacer{under: make(chan struct{}, statusParallel), every: statusLeast, promised: map[event.Device]time.Time{}}
}

// turn returns true when it is who's turn, which done ends; else when to ask again.
func (p *pacer) turn(who event.Device, now time.Time) (again time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, waited := p.promised[who]
	if !waited {
		at = p.slot(now)
	}
	if at.After(now) && waited {
		return at, false // it was woken by something else
	}
	if !at.After(now) {
		select {
		case p.under <- struct{}{}:
			delete(p.promised, who)
			return time.Time{}, true
		default: // those under way are slow, or many came at once; its turn was counted, it comes again for it
		}
	}
	if soon := now.Add(statusAgain); at.Before(soon) {
		at = soon
	}
	if len(p.promised) >= statusPromised {
		clear(p.promised)
	}
	p.promised[who] = at
	return at, false
}

// slot takes the next free time.
func (p *pacer) slot(now time.Time) time.Time {
	if earliest := now.Add(-(statusBurst - 1) * p.every); p.next.Before(earliest) {
		p.next = earliest
	}
	at := p.next
	p.next = at.Add(p.every)
	return at
}

// done ends a turn that took so long.
func (p *pacer) done(took time.Duration) {
	<-p.under
	p.mu.Lock()
	defer p.mu.Unlock()
	p.every = min(max((7*p.every+took/2)/8, statusLeast), statusMost)
}
