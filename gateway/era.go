package gateway

import (
	"context"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/gateway/session"
)

// The era names one life of the ledger. When Redis was lost and comes back empty, whoever finds no era makes
// one and says so by event; every gateway then takes its sessions' leases again, announces them, and has the
// devices report in full. No session ends for it.

func (g *Gateway) redisContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(g.ctx, redisTimeout)
}

// redisFailed and redisAnswered keep readiness and the grace for expired leases.
func (g *Gateway) redisFailed(err error) {
	if g.redisErr.Swap(&err) == nil {
		g.log.Warn("Redis does not answer; sessions go on", "err", err)
	}
	g.redisGap.Store(g.now().UnixNano())
}

func (g *Gateway) redisAnswered() {
	if g.redisErr.Swap(nil) != nil {
		g.log.Info("Redis answers again")
		g.redisGap.Store(g.now().UnixNano())
	}
	g.redisOK.Store(g.now().UnixNano())
}

// checkEra asks for the ledger's era, making one when there is none.
func (g *Gateway) checkEra() {
	ctx, cancel := g.redisContext()
	era, created, err := g.ledger.Era(ctx)
	cancel()
	if err != nil {
		g.redisFailed(err)
		return
	}
	g.redisAnswered()
	if created {
		g.log.Warn("the ledger was empty and has a new era", "era", era)
		g.unsaidEra.Store(&era)
	}
	g.saidEra()
	g.enterEra(era)
}

// saidEra posts ledger.lost for the era that we made, until it finds room.
func (g *Gateway) saidEra() {
	era := g.unsaidEra.Load()
	if era == nil {
		return
	}
	about := func(e *ce.Event) {
		e.SetSubject(*era)
		e.SetExtension(event.ExtEra, *era)
	}
	if g.say(event.LedgerLost, "lost/"+*era, event.Lost{Era: *era, By: g.cfg.Instance}, about) == nil {
		g.unsaidEra.CompareAndSwap(era, nil)
	}
}

// sawEra hears which era an answer of Redis was of. An unknown one is asked for properly.
func (g *Gateway) sawEra(era string) {
	if era != g.era.Load() {
		g.poke(g.eraWake)
	}
}

// enterEra makes an era ours: sessions of another one have no lease any more.
func (g *Gateway) enterEra(era string) {
	old, _ := g.era.Swap(era).(string)
	if old == era {
		return
	}
	if old != "" {
		g.metrics.eras.Inc()
		g.eraSince.Store(g.now().UnixNano())
		g.log.Warn("the ledger has another era: sessions are announced again", "era", era, "before", old)
	}
	for _, c := range g.hub.list(nil) {
		c.do(false, func(s *session.Session, now time.Time, o *session.Output) {
			if _, of, _ := s.Lease(); of != era {
				s.Unclaimed(now, o)
			}
		})
	}
	g.poke(g.registerWake)
	g.poke(g.settingsWake)
}

// poke wakes a loop, once.
func (g *Gateway) poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
