package gateway

import (
	"context"
	"math/rand/v2"
	"time"

	"wasmbed.io/wasmbed/protocol"
)

// drain ends the gateway in DrainTime at most. The order, producers before consumers:
//
//  1. it is not ready any more, and says Draining, so that nobody is sent here;
//  2. no connection is accepted;
//  3. every session gets goodbye (Drain) with a retry-after of its own within DrainSpread, and has the time that
//     the protocol gives to close; what does not close is closed;
//  4. each session's end releases its lease, so that the next gateway takes over without waiting, and says
//     device.disconnected;
//  5. the process is unregistered and its last event, Down, is queued; the loops end (timers, reconciliation,
//     wakes, registration): nothing produces events any more;
//  6. all that waits goes to the broker; what does not fit into the time was never acknowledged, and its devices
//     say it again elsewhere;
//  7. the HTTP side closes.
func (g *Gateway) drain() error {
	end := time.Now().Add(g.cfg.DrainTime)
	g.draining.Store(true)
	g.log.Info("draining", "devices", g.hub.devicesOpen())
	waitUntil(g.register, time.Now().Add(g.cfg.DrainTime/10))

	g.closing.Store(true)
	g.tlsListener.Close()
	g.accepting.Wait()

	for _, c := range g.hub.list(nil) {
		c.close(protocol.GoodbyeDrain, g.spread(), "")
	}
	if !waitUntil(g.conns.Wait, end.Add(-g.cfg.DrainTime*2/5)) {
		for _, c := range g.hub.list(nil) {
			c.abort()
		}
		waitUntil(g.conns.Wait, end.Add(-g.cfg.DrainTime/5))
	}

	last, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	waitUntil(func() { g.unregister(last) }, end)
	g.stop()
	waitUntil(g.loops.Wait, end)
	err := g.uplink.Close(last)
	if err != nil {
		g.log.Warn("drained incompletely", "err", err)
	}
	g.http.Close()
	g.poller.close()
	g.log.Info("drained")
	return nil
}

// spread is a retry-after within the spread, so that the devices do not arrive together elsewhere.
func (g *Gateway) spread() time.Duration {
	if g.cfg.DrainSpread <= 0 {
		return 0
	}
	return rand.N(g.cfg.DrainSpread)
}

// waitUntil runs wait and reports whether it returned in time.
func waitUntil(wait func(), end time.Time) bool {
	done := make(chan struct{})
	go func() {
		wait()
		close(done)
	}()
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
