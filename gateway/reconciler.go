package gateway

import (
	"context"
	"sync"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/gateway/reconcile"
	"wasmbed.io/wasmbed/gateway/session"
)

// batcher does something for sessions that want it, many in one pipeline. A session is in the set at most once,
// however often it asks.
type batcher struct {
	g    *Gateway
	work func([]*conn) error // on an error, all of them want it again
	wake chan struct{}

	mu   sync.Mutex
	set  map[*conn]struct{}
	list []*conn // the set in the order in which they asked
}

func newBatcher(g *Gateway, work func([]*conn) error) *batcher {
	return &batcher{g: g, work: work, wake: make(chan struct{}, reconcileWorkers), set: map[*conn]struct{}{}}
}

// want asks for it soon.
func (r *batcher) want(c *conn) {
	r.mu.Lock()
	_, there := r.set[c]
	if !there {
		r.set[c] = struct{}{}
		r.list = append(r.list, c)
	}
	r.mu.Unlock()
	if !there {
		r.g.poke(r.wake)
	}
}

func (r *batcher) take(buf []*conn) []*conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.list), reconcileBatch)
	buf = append(buf, r.list[:n]...)
	for _, c := range buf {
		delete(r.set, c)
	}
	rest := copy(r.list, r.list[n:])
	clear(r.list[rest:])
	r.list = r.list[:rest]
	if rest > 0 {
		r.g.poke(r.wake)
	}
	return buf
}

// run works until ctx ends.
func (r *batcher) run(ctx context.Context) {
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
		for conns := r.take(nil); len(conns) > 0; conns = r.take(nil) {
			if err := r.work(conns); err != nil {
				r.g.redisFailed(err)
				for _, c := range conns {
					r.want(c)
				}
				select {
				case <-time.After(claimRetry):
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

// compare reads the desired of devices and has the difference to what they hold sent.
func (g *Gateway) compare(conns []*conn) error {
	devices := make([]event.Device, len(conns))
	for i, c := range conns {
		devices[i] = c.device
	}
	began := g.now()
	ctx, cancel := g.redisContext()
	defer cancel()
	desired, err := g.ledger.DesiredMany(ctx, devices)
	if err != nil {
		return err
	}
	g.redisAnswered()
	for i, c := range conns {
		d := desired[i]
		if d.Era != "" && d.Era != g.era.Load() {
			g.sawEra(d.Era)
		}
		c.do(false, func(s *session.Session, now time.Time, o *session.Output) {
			apps, full := s.Apps()
			_, era, held := s.Lease()
			if !full || !held || d.Era != era {
				return // a full report, or the new lease, asks again
			}
			plan, bad := reconcile.Plan(d, apps)
			if len(bad) > 0 {
				g.metrics.badDesired.Add(float64(len(bad)))
				g.log.Warn("desired breaks a limit of the protocol", "device", devices[i], "apps", bad)
			}
			sent := s.Commands(now, d.Version, plan, o)
			c.follow(d, plan, sent > 0, began, now)
			if sent > 0 {
				for j := range plan {
					g.metrics.commands.WithLabelValues(plan[j].Verb.String()).Inc()
				}
				g.log.Debug("commands", "device", devices[i], "desired", d.Version, "n", len(plan))
			}
		})
	}
	return nil
}

// sweep compares the versions of all sessions with the ledger's, lest a wake was lost.
func (g *Gateway) sweep() {
	var conns []*conn
	var devices []event.Device
	flush := func() {
		if len(conns) == 0 {
			return
		}
		ctx, cancel := g.redisContext()
		versions, err := g.ledger.DesiredVersions(ctx, devices)
		cancel()
		if err != nil {
			g.redisFailed(err)
		} else {
			for i, c := range conns {
				c.mu.Lock()
				seen, ok := c.s.Compared()
				c.mu.Unlock()
				if !ok || seen != versions[i] {
					g.reconciler.want(c)
				}
			}
		}
		conns, devices = conns[:0], devices[:0]
	}
	for _, c := range g.hub.list(nil) {
		c.mu.Lock()
		open := c.s.Open()
		c.mu.Unlock()
		if !open {
			continue
		}
		conns, devices = append(conns, c), append(devices, c.device)
		if len(conns) == renewBatch {
			flush()
		}
	}
	flush()
}
