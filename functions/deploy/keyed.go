package deploy

import (
	"context"
	"sync"
	"time"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/internal/errs"
)

// keyed is a lock per key. It keeps this process from working on one application twice at once, which would
// be right but wasteful; between processes the objects' resourceVersions and the ledger's sequences decide.
type keyed struct {
	mu   sync.Mutex
	held map[string]*hold
}

type hold struct {
	token   chan struct{} // holds one token while free
	waiters int           // guarded by keyed.mu; the entry goes with the last
}

// lock waits for the key and returns its release. The error is errs.Deadline or errs.Unavailable, of ctx.
func (k *keyed) lock(ctx context.Context, key string) (release func(), err error) {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*hold{}
	}
	h := k.held[key]
	if h == nil {
		h = &hold{token: make(chan struct{}, 1)}
		h.token <- struct{}{}
		k.held[key] = h
	}
	h.waiters++
	k.mu.Unlock()
	leave := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if h.waiters--; h.waiters == 0 {
			delete(k.held, key)
		}
	}
	select {
	case <-h.token:
		return func() { h.token <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, errs.New(errs.CodeOf(ctx.Err()), "waiting for %s: %w", key, ctx.Err())
	}
}

// infos keeps what modules were found to be, by digest. A digest never means another module.
type infos struct {
	mu sync.Mutex
	m  map[string]module.Info
}

func (c *infos) get(digest string) (module.Info, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.m[digest]
	return i, ok
}

func (c *infos) put(i module.Info) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= infoCache {
		c.m = map[string]module.Info{}
	}
	c.m[i.Digest] = i
}

// pace remembers when this process last did something about an application that should not be done too
// often. Losing it costs doing it once more.
type pace struct {
	least time.Duration
	mu    sync.Mutex
	last  map[string]time.Time
}

// wait returns how long it should still wait, when it was last done then (at least since) or by this process.
func (p *pace) wait(key string, since, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last, ok := p.last[key]; ok && last.After(since) {
		since = last
	}
	if now.Before(since) {
		return 0 // a clock went back
	}
	return max(0, p.least-now.Sub(since))
}

func (p *pace) wrote(key string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil || len(p.last) > 1000 {
		p.last = map[string]time.Time{}
	}
	p.last[key] = now
}

// runs lets events that ask for the same thing share one run of it, which serves those who asked before it
// began.
type runs struct {
	mu      sync.Mutex
	waiting map[string]bool // asked for, not begun
	began   map[string]time.Time
}

// join reports whether the caller has to make the run that serves it; false: somebody else is about to.
func (r *runs) join(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting[key] {
		return false
	}
	if r.waiting == nil {
		r.waiting, r.began = map[string]bool{}, map[string]time.Time{}
	}
	r.waiting[key] = true
	return true
}

// gap returns how long to wait until the next run of a key, when there is to be a least time between two.
func (r *runs) gap(key string, least time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.began[key]
	if !ok {
		return 0
	}
	return max(0, least-time.Since(last))
}

// begin ends the time in which others can join.
func (r *runs) begin(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, key)
	if len(r.began) > 1000 {
		clear(r.began)
	}
	r.began[key] = time.Now()
}

// pulls remembers registry references that could not be had, for a while.
type pulls struct {
	mu sync.Mutex
	m  map[string]failedPull
}

type failedPull struct {
	why   *problem
	until time.Time
}

func (c *pulls) failed(reference string, now time.Time) *problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x, ok := c.m[reference]; ok && now.Before(x.until) {
		return x.why
	}
	return nil
}

func (c *pulls) fail(reference string, why *problem, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) > 1000 {
		c.m = map[string]failedPull{}
	}
	c.m[reference] = failedPull{why, until}
}
