package uplink

import (
	"context"
	"sync"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/internal/errs"
)

// item is one event and who waits for it.
type item struct {
	event   ce.Event
	receipt Receipt // nil: nobody
	id      uint64
}

// queue is a bounded FIFO of events.
type queue struct {
	wake chan struct{} // one token per poster that may have work

	mu    sync.Mutex
	items []item // from head on
	head  int
	bytes int
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) - q.head
}

// put appends, or reports that there is no room below limit.
func (q *queue) put(it item, limit int) bool {
	q.mu.Lock()
	n := len(it.event.DataEncoded)
	if waiting := len(q.items) - q.head; waiting >= limit || (q.bytes+n > maxQueuedBytes && waiting > 0) {
		q.mu.Unlock()
		return false
	}
	q.items = append(q.items, it)
	q.bytes += n
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// take moves the next batch into out, whose pending count goes up before the queue's goes down.
func (q *queue) take(out []item, u *Uplink) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := 0
	for q.head < len(q.items) && len(out) < eventBatch {
		n := len(q.items[q.head].event.DataEncoded)
		if size += n; size > eventBatchBytes && len(out) > 0 {
			break
		}
		out = append(out, q.items[q.head])
		q.items[q.head] = item{}
		q.head++
		q.bytes -= n
	}
	u.pending.Add(int64(len(out)))
	rest := len(q.items) - q.head
	switch {
	case rest == 0 && cap(q.items) > 4*eventBatch:
		q.items, q.head = nil, 0 // a herd has passed
	case q.head > rest:
		copy(q.items, q.items[q.head:])
		clear(q.items[rest:])
		q.items, q.head = q.items[:rest], 0
	}
	if rest > 0 {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return out
}

var errClosed = errs.New(errs.Unavailable, "the gateway stops")

// Event queues e; r, when not nil, hears of it under id. The error is errs.Exhausted when the queue is full,
// Unavailable after Close: then nothing was taken.
func (u *Uplink) Event(e ce.Event, r Receipt, id uint64) error {
	if u.ctx.Err() != nil {
		return errClosed
	}
	if !u.events.put(item{e, r, id}, maxQueued-reserved) {
		return errs.New(errs.Exhausted, "%d events wait for the broker", u.events.len())
	}
	return nil
}

// Lifecycle is Event for what the gateway itself has to say; it may use the queue's reserve.
func (u *Uplink) Lifecycle(e ce.Event, r Receipt, id uint64) error {
	if u.ctx.Err() != nil {
		return errClosed
	}
	if !u.events.put(item{e, r, id}, maxQueued) {
		return errs.New(errs.Exhausted, "%d events wait for the broker", u.events.len())
	}
	return nil
}

func (u *Uplink) postEvents() {
	defer u.wg.Done()
	items := make([]item, 0, eventBatch)
	batch := make([]ce.Event, 0, eventBatch)
	for {
		select {
		case <-u.events.wake:
		case <-u.ctx.Done():
			return
		}
		for {
			items = u.events.take(items[:0], u)
			if len(items) == 0 {
				break
			}
			batch = batch[:0]
			size := 0
			for i := range items {
				batch = append(batch, items[i].event)
				size += len(items[i].event.DataEncoded)
			}
			u.postItems(items, batch, size)
			clear(items)
			clear(batch)
			if u.ctx.Err() != nil {
				return
			}
		}
	}
}

// postItems posts a batch. When the broker refuses it for good, every event is posted alone, so that only the
// bad one is refused.
func (u *Uplink) postItems(items []item, batch []ce.Event, size int) {
	defer u.pending.Add(-int64(len(items)))
	err := u.retry("events", len(items), size, func(ctx context.Context) error { return u.sink.PostBatch(ctx, batch) })
	if err == nil {
		for _, it := range items {
			if it.receipt != nil {
				it.receipt.Accepted(it.id)
			}
		}
		return
	}
	if u.ctx.Err() != nil {
		return
	}
	for i, it := range items {
		err := err
		if len(items) > 1 {
			err = u.retry("events", 1, len(it.event.DataEncoded), func(ctx context.Context) error { return u.sink.Post(ctx, batch[i]) })
		}
		switch {
		case u.ctx.Err() != nil:
			return
		case err == nil:
			if it.receipt != nil {
				it.receipt.Accepted(it.id)
			}
		default:
			u.o.Log.Error("the broker refuses an event for good", "type", it.event.Type(), "id", it.event.ID(), "subject", it.event.Subject(), "err", err)
			if it.receipt != nil {
				it.receipt.Refused(it.id, err)
			}
		}
	}
}
