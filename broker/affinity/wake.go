package affinity

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// Wake kinds.
const (
	WakeDesired    = "desired"    // Device: its desired may have changed; Epoch: of the session that the ledger knows
	WakeCommand    = "command"    // Device: it has an open command
	WakeVerdict    = "verdict"    // Session: its enrollment has a verdict
	WakeSuperseded = "superseded" // Device: sessions with an epoch lower than Epoch are over
	WakeSettings   = "settings"   // gateway settings, trust anchors or the deny-list changed
	WakeDisconnect = "disconnect" // Device: its session of Epoch ends, and comes back after RetryAfter
	WakeAll        = "all"        // wakes may have been lost: look at everything
)

// Wake is a hint. A lost one costs time only.
type Wake struct {
	Kind    string
	Device  event.Device
	Epoch   uint64
	Session string
	// RetryAfter is how long a device that is sent away stays away.
	RetryAfter time.Duration
}

// maxRetryAfter bounds how long a device may be sent away: SPEC's retry-after is 32 bits of milliseconds, and a day is
// more than anybody means.
const maxRetryAfter = 24 * time.Hour

// Disconnect asks the gateway process that holds a device to end the session of that epoch. It is a hint as every wake:
// whoever needs to know looks at Owner. Errors: Invalid for what can never be sent.
func (a *Affinity) Disconnect(ctx context.Context, d event.Device, instance string, epoch uint64, retryAfter time.Duration) error {
	if !named(d.Namespace) || !named(d.Name) || !named(instance) || epoch == 0 || retryAfter < 0 || retryAfter > maxRetryAfter {
		return errs.New(errs.Invalid, "affinity: disconnect %q of %q, epoch %d, for %v", d.String(), instance, epoch, retryAfter)
	}
	word := strings.Join([]string{WakeDisconnect, d.Namespace, d.Name, strconv.FormatUint(epoch, 10), strconv.FormatInt(retryAfter.Milliseconds(), 10)}, " ")
	return wrap(a.rdb.Publish(ctx, a.keys.Channel(instance), word).Err(), "disconnect")
}

const (
	wakeBuffer = 1024
	// Without a message or an answer to a ping for twice so long, the connection counts as dead.
	wakePing = 3 * time.Second
	// Between attempts to connect.
	wakeRetry = 200 * time.Millisecond
)

// Subscription is a gateway process's stream of wakes.
type Subscription struct {
	c    chan Wake
	stop context.CancelFunc
	done sync.WaitGroup
}

// C delivers the wakes; it is closed after Close, or when the context of Subscribe ends. A reader that is slow
// holds up Redis' connection, which in the end closes it: then a WakeAll stands for what was lost.
func (s *Subscription) C() <-chan Wake { return s.c }

// Close ends the subscription and waits until it has ended.
func (s *Subscription) Close() error {
	s.stop()
	s.done.Wait()
	return nil
}

// Subscribe listens to the wakes of a gateway process until ctx ends or the subscription is closed. It returns
// when Redis has confirmed, or an error. Later it connects again by itself, and then sends WakeAll.
func (a *Affinity) Subscribe(ctx context.Context, instance string) (*Subscription, error) {
	if !named(instance) {
		return nil, errs.New(errs.Invalid, "affinity: subscribe %q", instance)
	}
	ctx, stop := context.WithCancel(ctx)
	s := &Subscription{c: make(chan Wake, wakeBuffer), stop: stop}
	channels := []string{a.keys.Channel(instance), a.keys.Broadcast()}
	ps, err := a.listen(ctx, channels)
	if err != nil {
		stop()
		return nil, wrap(err, "subscribe")
	}
	s.done.Go(func() {
		defer close(s.c)
		for {
			s.pump(ctx, ps)
			ps.Close()
			for {
				if ctx.Err() != nil {
					return
				}
				if ps, err = a.listen(ctx, channels); err == nil {
					break
				}
				select {
				case <-ctx.Done():
				case <-time.After(wakeRetry):
				}
			}
			if !s.send(ctx, Wake{Kind: WakeAll}) {
				ps.Close()
				return
			}
		}
	})
	return s, nil
}

// listen subscribes and waits for the confirmations.
func (a *Affinity) listen(ctx context.Context, channels []string) (*redis.PubSub, error) {
	ps := a.rdb.Subscribe(ctx, channels...)
	for range channels {
		if _, err := ps.ReceiveTimeout(ctx, wakePing); err != nil {
			ps.Close()
			return nil, err
		}
	}
	return ps, nil
}

// pump delivers until the connection breaks or ctx ends.
func (s *Subscription) pump(ctx context.Context, ps *redis.PubSub) {
	end := context.AfterFunc(ctx, func() { ps.Close() })
	defer end()
	quiet := false
	for ctx.Err() == nil {
		m, err := ps.ReceiveTimeout(ctx, wakePing)
		var ne net.Error
		switch {
		case err == nil:
			quiet = false
		case errors.As(err, &ne) && ne.Timeout() && !quiet:
			quiet = true
			if ps.Ping(ctx) != nil {
				return
			}
			continue
		default:
			return
		}
		switch m := m.(type) {
		case *redis.Message:
			if w, ok := parse(m.Payload); ok && !s.send(ctx, w) {
				return
			}
		case *redis.Subscription:
			// The client connected again on its own.
			if !s.send(ctx, Wake{Kind: WakeAll}) {
				return
			}
		}
	}
}

func (s *Subscription) send(ctx context.Context, w Wake) bool {
	select {
	case s.c <- w:
		return true
	case <-ctx.Done():
		return false
	}
}

// parse reads "desired ns name epoch", "superseded ns name epoch", "disconnect ns name epoch milliseconds", "verdict
// session" or "settings".
func parse(s string) (Wake, bool) {
	f := strings.Fields(s)
	if len(f) == 0 {
		return Wake{}, false
	}
	w := Wake{Kind: f[0]}
	switch {
	case (w.Kind == WakeDesired || w.Kind == WakeSuperseded || w.Kind == WakeCommand) && len(f) == 4:
		w.Device = event.Device{Namespace: f[1], Name: f[2]}
		w.Epoch, _ = strconv.ParseUint(f[3], 10, 64)
	case w.Kind == WakeDisconnect && len(f) == 5:
		w.Device = event.Device{Namespace: f[1], Name: f[2]}
		w.Epoch, _ = strconv.ParseUint(f[3], 10, 64)
		ms, _ := strconv.ParseInt(f[4], 10, 64)
		w.RetryAfter = min(max(0, time.Duration(ms)*time.Millisecond), maxRetryAfter)
	case w.Kind == WakeVerdict && len(f) == 2:
		w.Session = f[1]
	case w.Kind == WakeSettings && len(f) == 1:
	default:
		return Wake{}, false
	}
	return w, true
}
