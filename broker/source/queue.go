package source

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"wasmbed.io/wasmbed/broker/event"
)

// object names an object.
type object struct {
	resource        schema.GroupVersionResource
	namespace, name string
}

func (o object) String() string { return o.resource.Resource + " " + o.namespace + "/" + o.name }

// change is something to announce.
type change struct {
	key     object
	kind    string
	typ     string
	version version
}

// queue holds the changes that are not posted yet: per object at most a deletion and what came after it, so
// it is as long as there are objects and no longer, however long the broker is away. Objects come out in
// the order in which they first changed; an object is out with one poster at a time, so its events stay in
// order.
type queue struct {
	mu     sync.Mutex
	wake   *sync.Cond
	byKey  map[object]*waiting
	order  []object // those that may be taken
	closed bool
	// after runs a function once a change may go, when changes are held back for that long; nil: they go at once.
	after func(object, func())
}

type waiting struct {
	changes []change // 0 to 2
	out     bool     // with a poster
	held    bool     // until its time has come
}

func newQueue(after func(object, func())) *queue {
	q := &queue{byKey: map[object]*waiting{}, after: after}
	q.wake = sync.NewCond(&q.mu)
	return q
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.byKey)
}

// put adds a change, together with what waits of the same object.
func (q *queue) put(c change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.byKey[c.key]
	if w == nil {
		w = &waiting{}
		q.byKey[c.key] = w
	}
	if len(w.changes) == 0 && !w.out {
		q.ready(c.key, w)
	}
	w.changes = coalesce(w.changes, c)
}

// ready lets an object be taken, when its time has come.
func (q *queue) ready(k object, w *waiting) {
	if q.after == nil {
		q.order = append(q.order, k)
		q.wake.Signal()
		return
	}
	if w.held {
		return
	}
	w.held = true
	q.after(k, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		w.held = false
		q.order = append(q.order, k)
		q.wake.Signal()
	})
}

// coalesce appends a change to those of the same object that nobody has been told of yet.
func coalesce(have []change, c change) []change {
	if c.typ == event.RefDelete {
		return append(have[:0], c) // what was before does not matter any more
	}
	if n := len(have); n > 0 && have[n-1].typ != event.RefDelete {
		c.typ = have[n-1].typ // an added object that changed is still one that was added
		if c.version.trace == "" {
			c.version.trace = have[n-1].version.trace // nobody was told of it yet
		}
		have[n-1] = c
		return have
	}
	return append(have, c)
}

// take waits for changes and takes those of up to n objects, one change each. Empty: the queue is closed.
func (q *queue) take(ctx context.Context, n int) []change {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.order) == 0 && !q.closed {
		q.wake.Wait()
	}
	if q.closed || ctx.Err() != nil {
		return nil
	}
	var out []change
	for len(out) < n && len(q.order) > 0 {
		k := q.order[0]
		q.order = q.order[1:]
		w := q.byKey[k]
		out = append(out, w.changes[0])
		w.changes = append(w.changes[:0], w.changes[1:]...)
		w.out = true
	}
	if len(q.order) > 0 {
		q.wake.Signal()
	} else {
		q.order = nil
	}
	return out
}

// done gives objects back whose changes have been posted.
func (q *queue) done(cs []change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range cs {
		w := q.byKey[c.key]
		w.out = false
		if len(w.changes) == 0 {
			delete(q.byKey, c.key)
			continue
		}
		q.ready(c.key, w)
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake.Broadcast()
}
