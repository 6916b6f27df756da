package gateway

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// digest is the SHA-256 of a module's bytes.
type digest [sha256.Size]byte

func (d digest) String() string { return "sha256:" + hex.EncodeToString(d[:]) }

// modules holds the bytes of modules that devices fetch: read once, sent many times. Bounded; what was not
// asked for lately is forgotten.
type modules struct {
	load func(ctx context.Context, d string) ([]byte, error) // ledger.Module
	miss func(d string) error                                // posts module.missed
	now  func() time.Time
	size int // bytes held at most

	slots chan struct{} // bounds loads

	mu     sync.Mutex
	held   int
	order  *list.List // of *module, the latest used first
	known  map[digest]*list.Element
	flight map[digest]*flight
	missed map[digest]time.Time
}

type module struct {
	digest digest
	bytes  []byte
}

type flight struct {
	done  chan struct{}
	bytes []byte
	err   error
}

func newModules(load func(context.Context, string) ([]byte, error), miss func(string) error, now func() time.Time) *modules {
	return &modules{load: load, miss: miss, now: now, size: moduleCache, slots: make(chan struct{}, maxLoads),
		order: list.New(), known: map[digest]*list.Element{}, flight: map[digest]*flight{}, missed: map[digest]time.Time{}}
}

// cached returns the module's bytes when they are here. They must not be changed.
func (m *modules) cached(d digest) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.known[d]
	if !ok {
		return nil, false
	}
	m.order.MoveToFront(e)
	return e.Value.(*module).bytes, true
}

// get returns the module's bytes, read from Redis when they are not here, once for all who ask meanwhile.
// Errors: errs.NotFound (Redis has it not; it was asked for by event), Invalid (Redis holds other bytes),
// Unavailable.
func (m *modules) get(ctx context.Context, d digest) ([]byte, error) {
	if b, ok := m.cached(d); ok {
		return b, nil
	}
	m.mu.Lock()
	f := m.flight[d]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		m.flight[d] = f
		m.mu.Unlock()
		m.fetch(ctx, d, f)
	} else {
		m.mu.Unlock()
	}
	select {
	case <-f.done:
		return f.bytes, f.err
	case <-ctx.Done():
		return nil, errs.New(errs.Deadline, "module %s: %w", d, ctx.Err())
	}
}

func (m *modules) fetch(ctx context.Context, d digest, f *flight) {
	defer close(f.done)
	select {
	case m.slots <- struct{}{}:
		f.bytes, f.err = m.load(ctx, d.String())
		<-m.slots
	case <-ctx.Done():
		f.err = errs.New(errs.Deadline, "module %s: %w", d, ctx.Err())
	}
	switch {
	case f.err != nil:
	case len(f.bytes) > maxModule:
		f.bytes, f.err = nil, errs.New(errs.TooLarge, "module %s has %d bytes", d, len(f.bytes))
	case sha256.Sum256(f.bytes) != d:
		// The device would find out too, after it fetched all of it.
		f.bytes, f.err = nil, errs.New(errs.Invalid, "Redis holds other bytes under %s", d)
	}
	m.mu.Lock()
	delete(m.flight, d)
	ask := false
	if f.err == nil {
		m.keep(d, f.bytes)
		delete(m.missed, d)
	} else if errs.Is(f.err, errs.NotFound) || errs.Is(f.err, errs.Invalid) {
		now := m.now()
		if now.Sub(m.missed[d]) >= moduleMissEvery {
			for k, at := range m.missed { // bounded by what is asked for within the interval
				if now.Sub(at) >= moduleMissEvery {
					delete(m.missed, k)
				}
			}
			m.missed[d] = now
			ask = true
		}
	}
	m.mu.Unlock()
	if ask {
		if err := m.miss(d.String()); err != nil {
			m.mu.Lock()
			delete(m.missed, d) // the next who asks says it
			m.mu.Unlock()
		}
	}
}

// keep puts bytes into the cache. Under mu.
func (m *modules) keep(d digest, b []byte) {
	if len(b) > m.size || m.known[d] != nil {
		return
	}
	m.held += len(b)
	m.known[d] = m.order.PushFront(&module{d, b})
	for m.held > m.size {
		e := m.order.Back()
		old := m.order.Remove(e).(*module)
		delete(m.known, old.digest)
		m.held -= len(old.bytes)
	}
}

// transfers bounds the devices that fetch modules at a time.
type transfers struct {
	mu  sync.Mutex
	max int
	n   int
}

func (t *transfers) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n >= t.max {
		return false
	}
	t.n++
	return true
}

func (t *transfers) leave() {
	t.mu.Lock()
	t.n--
	t.mu.Unlock()
}

func (t *transfers) running() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}
