package gateway

import (
	"context"
	"time"

	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/protocol"
)

// listen follows the wakes of this process. All of them are hints: a lost one costs the time until a sweep.
func (g *Gateway) listen(ctx context.Context) {
	for ctx.Err() == nil {
		sub, err := g.affinity.Subscribe(ctx, g.cfg.Instance)
		if err != nil {
			g.redisFailed(err)
			select {
			case <-time.After(claimRetry):
			case <-ctx.Done():
			}
			continue
		}
		for w := range sub.C() {
			g.woken(w)
		}
		sub.Close()
	}
}

func (g *Gateway) woken(w affinity.Wake) {
	switch w.Kind {
	case affinity.WakeDesired:
		if c := g.hub.byDevice(w.Device); c != nil {
			g.reconciler.want(c)
		}
	case affinity.WakeCommand:
		if c := g.hub.byDevice(w.Device); c != nil {
			g.takers.want(c)
		}
	case affinity.WakeVerdict:
		if c := g.hub.byToken(w.Session); c != nil {
			go c.verdict(w.Session)
		}
	case affinity.WakeSuperseded:
		g.superseded(w.Device, w.Epoch)
	case affinity.WakeDisconnect:
		g.disconnect(w.Device, w.Epoch, w.RetryAfter)
	case affinity.WakeSettings:
		g.poke(g.settingsWake)
	case affinity.WakeAll:
		g.poke(g.settingsWake)
		g.poke(g.eraWake)
		g.poke(g.sweepWake)
	}
}

// disconnect ends one session because somebody asked for it: the one of that epoch, and no newer one.
func (g *Gateway) disconnect(d event.Device, epoch uint64, retryAfter time.Duration) {
	c := g.hub.byDevice(d)
	if c == nil {
		return
	}
	c.mu.Lock()
	own, _, held := c.s.Lease()
	c.mu.Unlock()
	if held && own == epoch {
		c.close(protocol.GoodbyeShutdown, retryAfter, "somebody ended this session")
	}
}

// every calls f at once when woken, and otherwise every period, until ctx ends.
func every(ctx context.Context, period func() time.Duration, wake <-chan struct{}, f func()) {
	timer := time.NewTimer(period())
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-wake:
		case <-ctx.Done():
			return
		}
		f()
		timer.Reset(period())
	}
}

func fixed(d time.Duration) func() time.Duration { return func() time.Duration { return d } }
