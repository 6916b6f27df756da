// Package uplink is the gateway's way up: what devices say becomes CloudEvents, and a device is told that its
// frame is durable only after the broker has accepted the event that the frame became part of.
//
// Events (reports, traps, connects …) are posted in the order they came in batches of whatever waits.
// Telemetry and logs are gathered over all sessions first. While the broker is away everything waits, retried
// with back-off; what does not fit into the bounded queues is refused at once and stays with the device.
package uplink

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/internal/errs"
)

// Sink is the broker's ingress: event.Sink. A nil error means accepted, durably.
type Sink interface {
	Post(ctx context.Context, e ce.Event) error
	PostBatch(ctx context.Context, es []ce.Event) error
}

// Receipt hears what became of a frame. It is called from the uplink's goroutines and must not block.
type Receipt interface {
	// Accepted says that the broker holds what the frame id became.
	Accepted(id uint64)
	// Refused says that it never will; size is the frame's as it was given.
	Refused(id uint64, err error)
}

// Observer is told about every post. Kind is events, telemetry or logs.
type Observer interface {
	Posted(kind string, n, bytes int, took time.Duration, err error)
}

// Options of an Uplink.
type Options struct {
	Source    string // CloudEvents source of this gateway process
	Subject   string // of batches: namespace/gateway
	Namespace string
	Now       func() time.Time
	Log       *slog.Logger
	Observer  Observer
}

// Uplink posts to one broker. Safe for concurrent use.
type Uplink struct {
	o    Options
	sink Sink

	events    queue
	telemetry *gatherer
	logs      *gatherer

	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	lastOK  atomic.Int64 // Unix ns of the last accepted post
	lastErr atomic.Pointer[error]
	pending atomic.Int64 // posts and waiting batches that are not done
}

// New starts an uplink. Close ends it.
func New(sink Sink, o Options) *Uplink {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observer == nil {
		o.Observer = noObserver{}
	}
	u := &Uplink{o: o, sink: sink}
	u.ctx, u.cancel = context.WithCancelCause(context.Background())
	u.events.wake = make(chan struct{}, eventPosters)
	u.telemetry = newGatherer(u, "telemetry")
	u.logs = newGatherer(u, "logs")
	for range eventPosters {
		u.wg.Add(1)
		go u.postEvents()
	}
	for _, g := range []*gatherer{u.telemetry, u.logs} {
		for range recordPosters {
			u.wg.Add(1)
			go g.post()
		}
	}
	return u
}

type noObserver struct{}

func (noObserver) Posted(string, int, int, time.Duration, error) {}

// Health returns when the broker last accepted something (zero: never) and, when the latest attempt failed,
// its error.
func (u *Uplink) Health() (time.Time, error) {
	var at time.Time
	if ns := u.lastOK.Load(); ns != 0 {
		at = time.Unix(0, ns)
	}
	if p := u.lastErr.Load(); p != nil {
		return at, *p
	}
	return at, nil
}

// Waiting returns how many events and record batches are not accepted yet.
func (u *Uplink) Waiting() int {
	return int(u.pending.Load()) + u.events.len() + u.telemetry.waiting() + u.logs.waiting()
}

// Close flushes what waits until ctx ends, then gives up: what was not accepted was not acknowledged, and is
// the devices' still. It returns errs.Deadline when something was left.
func (u *Uplink) Close(ctx context.Context) error {
	u.telemetry.flush()
	u.logs.flush()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var left int
wait:
	for {
		if left = u.Waiting(); left == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			break wait
		}
	}
	u.cancel(errClosed)
	u.wg.Wait()
	if left > 0 {
		return errs.New(errs.Deadline, "%d batches or events were not accepted by the broker in time; their devices keep them", left)
	}
	return nil
}

// retry calls post until the broker accepts, refuses for good, or the uplink ends.
func (u *Uplink) retry(kind string, n, bytes int, post func(context.Context) error) error {
	delay := retryMin
	for {
		start := time.Now()
		ctx, cancel := context.WithTimeout(u.ctx, postTimeout)
		err := post(ctx)
		cancel()
		u.o.Observer.Posted(kind, n, bytes, time.Since(start), err)
		if err == nil {
			u.lastOK.Store(u.o.Now().UnixNano())
			if u.lastErr.Swap(nil) != nil {
				u.o.Log.Info("the broker accepts again")
			}
			return nil
		}
		if u.ctx.Err() != nil {
			return errs.New(errs.Unavailable, "%w", context.Cause(u.ctx))
		}
		if final(err) {
			return err
		}
		if u.lastErr.Swap(&err) == nil {
			u.o.Log.Warn("the broker does not accept; frames wait unacknowledged", "err", err)
		}
		// Full jitter, so that several posters do not come back together.
		select {
		case <-time.After(delay/2 + rand.N(delay/2+1)):
		case <-u.ctx.Done():
		}
		delay = min(2*delay, retryMax)
	}
}

// final reports whether the broker will never accept this. A broker that is not there or does not know us
// (yet) is a matter of configuration, and no reason to lose what devices said.
func final(err error) bool {
	switch errs.CodeOf(err) {
	case errs.Invalid, errs.TooLarge:
		return true
	}
	return false
}
