package gateway

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
)

// ticker posts the deadlines of the shards that this process keeps, and cleans up after gateways that died.
// Nothing else in the system ticks. A timer is done when the broker has accepted its event; until then the
// ledger gives it out again.
type ticker struct {
	g *Gateway

	held   []bool
	holdAt time.Time

	mu     sync.Mutex
	flight map[string]struct{} // timers and leases whose event waits for the broker
}

func newTicker(g *Gateway) *ticker {
	return &ticker{g: g, held: make([]bool, g.ledger.Shards()), flight: map[string]struct{}{}}
}

// run ticks until ctx ends.
func (t *ticker) run(ctx context.Context) {
	tick := time.NewTicker(t.g.cfg.Tick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := t.tick(ctx); err != nil && ctx.Err() == nil {
				t.g.redisFailed(err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (t *ticker) tick(ctx context.Context) error {
	now := t.g.now()
	if now.Sub(t.holdAt) >= shardHoldEvery {
		if err := t.hold(ctx); err != nil {
			return err
		}
		t.holdAt = now
	}
	due, expired, err := t.peek(ctx, now)
	if err != nil {
		return err
	}
	for shard, held := range t.held {
		if !held {
			continue
		}
		if due[shard] {
			if err := t.due(ctx, shard); err != nil {
				return err
			}
		}
		if expired[shard] && now.UnixNano()-t.g.redisGap.Load() > int64(leaseGrace) {
			if err := t.expired(ctx, shard); err != nil {
				return err
			}
		}
	}
	return nil
}

// hold takes or keeps the lease on every shard.
func (t *ticker) hold(ctx context.Context) error {
	for shard := range t.held {
		ok, err := t.g.ledger.HoldShard(ctx, shard, t.g.cfg.Instance, shardTTL)
		if err != nil {
			clear(t.held)
			return err
		}
		t.held[shard] = ok
	}
	return nil
}

// peek asks all held shards in one pipeline whether there is anything to do, which most of the time there is
// not.
func (t *ticker) peek(ctx context.Context, now time.Time) (due, expired []bool, err error) {
	due, expired = make([]bool, len(t.held)), make([]bool, len(t.held))
	keys := t.g.ledger.Keys()
	by := &redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(now.UnixMilli(), 10), Count: 1}
	p := t.g.redis.Pipeline()
	type asked struct{ due, expired *redis.StringSliceCmd }
	cmds := make([]asked, len(t.held))
	n := 0
	for shard, held := range t.held {
		if held {
			cmds[shard] = asked{p.ZRangeByScore(ctx, keys.Due(shard), by), p.ZRangeByScore(ctx, keys.Leases(shard), by)}
			n++
		}
	}
	if n == 0 {
		return due, expired, nil
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, nil, err
	}
	for shard, held := range t.held {
		if held {
			due[shard], expired[shard] = len(cmds[shard].due.Val()) > 0, len(cmds[shard].expired.Val()) > 0
		}
	}
	return due, expired, nil
}

// due posts the timers of a shard that have come.
func (t *ticker) due(ctx context.Context, shard int) error {
	g := t.g
	timers, err := g.ledger.Due(ctx, shard, dueMax)
	if err != nil {
		return err
	}
	for _, timer := range timers {
		key := fmt.Sprintf("%s/%s/%s/%s/%d", timer.Kind, timer.Namespace, timer.Name, timer.Device, timer.Due.UnixMilli())
		done := func() {
			ctx, cancel := g.redisContext()
			defer cancel()
			if err := g.ledger.DoneDue(ctx, shard, []event.Timer{timer}); err != nil {
				g.log.Debug("timer not done; it comes again", "err", err)
			}
		}
		about := func(e *ce.Event) {
			e.SetSubject(timer.Namespace + "/" + timer.Name)
			e.SetExtension(event.ExtNamespace, timer.Namespace)
			e.SetExtension(event.ExtTimerKind, timer.Kind)
		}
		if t.post(event.TimerDue, key, timer, about, timer.Trace, done) {
			g.metrics.timers.WithLabelValues(timer.Kind).Inc()
		}
	}
	return nil
}

// expired says that sessions ended with their gateways.
func (t *ticker) expired(ctx context.Context, shard int) error {
	g := t.g
	leases, err := g.affinity.Expired(ctx, shard, dueMax)
	if err != nil {
		return err
	}
	for _, l := range leases {
		if c := g.hub.byDevice(l.Device); c != nil && c.holds(l.Epoch) {
			continue // ours, and alive: the next renewal tells Redis
		}
		if l.Epoch == 0 { // gone already, but for its place in the list
			if err := g.affinity.DropExpired(ctx, shard, []affinity.ExpiredLease{l}); err != nil {
				return err
			}
			continue
		}
		era, _ := g.era.Load().(string)
		data := event.Disconnected{Device: l.Device, Instance: l.Instance, Epoch: l.Epoch, Era: era, Reason: "LeaseExpired", Time: g.now()}
		id := event.DeriveID(l.Device.String(), era, strconv.FormatUint(l.Epoch, 10), "disconnected")
		done := func() {
			ctx, cancel := g.redisContext()
			defer cancel()
			if err := g.affinity.DropExpired(ctx, shard, []affinity.ExpiredLease{l}); err != nil {
				g.log.Debug("lease not dropped; it is said again", "err", err)
			}
		}
		if t.post(event.DeviceDisconnected, id, data, event.About(l.Device), "", done) {
			g.metrics.leasesExpired.Inc()
		}
	}
	return nil
}

// holds reports whether the session is alive under the epoch, and has it renewed.
func (c *conn) holds(epoch uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	own, _, held := c.s.Lease()
	if !held || own != epoch || !c.s.Open() {
		return false
	}
	c.dirty = true
	return true
}

// post queues an event, unless it waits already, and calls done when the broker has it. trace is the traceparent of what
// it follows from; empty: nobody's.
func (t *ticker) post(typ, key string, data any, about event.Option, trace string, done func()) bool {
	t.mu.Lock()
	_, waits := t.flight[key]
	if !waits {
		t.flight[key] = struct{}{}
	}
	t.mu.Unlock()
	if waits {
		return false
	}
	r := &tickReceipt{t: t, key: key, done: done}
	e, err := t.g.event(typ, key, data, about)
	if err == nil {
		if trace == "" {
			trace = t.g.traceparent(&e)
		}
		e.SetExtension(event.ExtTraceParent, trace)
		err = t.g.uplink.Lifecycle(e, r, 0)
	}
	if err != nil {
		r.forget()
		return false
	}
	return true
}

// tickReceipt hears that an event of the ticker was accepted.
type tickReceipt struct {
	t    *ticker
	key  string
	done func()
}

func (r *tickReceipt) forget() {
	r.t.mu.Lock()
	delete(r.t.flight, r.key)
	r.t.mu.Unlock()
}

func (r *tickReceipt) Accepted(uint64) {
	go func() { // the uplink must not wait for Redis
		r.done()
		r.forget()
	}()
}

func (r *tickReceipt) Refused(uint64, error) { r.forget() }
