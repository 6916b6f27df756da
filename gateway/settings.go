package gateway

import (
	"math/rand/v2"
	"time"

	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/protocol"
)

// settings are the Gateway object's, with defaults filled in and brought into the protocol's limits.
type settings struct {
	found             bool // there is a Gateway object
	address           string
	heartbeat         time.Duration
	frame             int
	maxDevices        int
	preAuthPerAddress int
	disabled          bool // takes no sessions
}

func completeSettings(s ledger.GatewaySettings, found bool) *settings {
	or := func(n, def int) int {
		if n <= 0 {
			return def
		}
		return n
	}
	h := s.Heartbeat
	if h <= 0 {
		h = protocol.DefaultHeartbeat
	}
	return &settings{
		found:             found,
		address:           s.Address,
		heartbeat:         min(max(h, protocol.MinHeartbeatMilli*time.Millisecond), protocol.MaxHeartbeatMilli*time.Millisecond),
		frame:             min(max(or(s.MaxFrame, protocol.DefaultFrame), protocol.MinFrame), protocol.MaxFrame),
		maxDevices:        or(s.MaxDevices, defaultMaxDevices),
		preAuthPerAddress: or(s.PreAuthPerAddress, defaultPreAuthPerAddress),
		disabled:          s.Disabled,
	}
}

// settings returns the present settings.
func (g *Gateway) settings() *settings { return g.set.Load() }

// refresh reads settings, trust anchors and the deny-list from the ledger. What Redis does not say (any more)
// stays as it was: an empty Redis is one that will be filled again, not one that revokes trust.
func (g *Gateway) refresh() {
	ctx, cancel := g.redisContext()
	defer cancel()
	s, err := g.ledger.Gateway(ctx, g.cfg.Namespace, g.cfg.Gateway)
	switch {
	case err == nil:
		g.follow(completeSettings(s, true))
	case errs.Is(err, errs.NotFound):
		if old := g.settings(); old.found && g.deleted() {
			g.set.Store(completeSettings(ledger.GatewaySettings{}, false))
		}
	default:
		g.redisFailed(err)
		return
	}
	pem, err := g.ledger.Trust(ctx, g.cfg.Namespace)
	if err != nil && !errs.Is(err, errs.NotFound) {
		g.redisFailed(err)
		return
	}
	denied, err := g.ledger.Denied(ctx, g.cfg.Namespace)
	if err != nil {
		g.redisFailed(err)
		return
	}
	g.redisAnswered()
	if g.files != nil {
		if err := g.files.reload(); err != nil {
			g.log.Warn("server certificate not read; the former one stays", "err", err)
		}
	}
	g.enterTrust(pem, denied)
}

// follow makes settings ours. Switched off, every session ends, as in a drain but without an end of ours; its device
// asks again later, and so finds out when this gateway is switched on.
func (g *Gateway) follow(next *settings) {
	was := g.set.Swap(next)
	if was.disabled == next.disabled {
		return
	}
	g.log.Info("switched", "off", next.disabled, "devices", g.hub.devicesOpen())
	g.poke(g.registerWake)
	if !next.disabled {
		return
	}
	for _, c := range g.hub.list(nil) {
		c.close(protocol.GoodbyeBusy, disabledRetry(), "this gateway is switched off")
	}
}

// disabledRetry is when a device may ask a gateway again that is switched off: spread, lest all ask at once.
func disabledRetry() time.Duration { return disabledRetryMin + rand.N(disabledRetrySpread) }

// deleted tells a Gateway object that is gone from a ledger that is being rebuilt: for a minute after a new
// era, what is missing is missing from the ledger only.
func (g *Gateway) deleted() bool {
	since := g.eraSince.Load()
	return since == 0 || g.now().UnixNano()-since > int64(rebuildGrace)
}

// enterTrust makes anchors and deny-list ours, and ends the sessions that they do not allow.
func (g *Gateway) enterTrust(pem []byte, denied map[string]string) {
	old := g.trust.Load()
	next := &trust{denied: denied}
	if len(pem) > 0 {
		t, err := newTrust(pem, denied)
		if err != nil {
			g.log.Error("trust anchors; the former ones stay", "err", err)
		} else {
			next = t
		}
	}
	if next.roots == nil && old != nil {
		next.roots, next.sum, next.end = old.roots, old.sum, old.end
	}
	if old != nil && !g.deleted() {
		// The deny-list is being rebuilt too, and must not have a hole meanwhile.
		for k, v := range old.denied {
			if _, ok := next.denied[k]; !ok {
				next.denied[k] = v
			}
		}
	}
	g.trust.Store(next)
	news := old == nil || old.sum != next.sum
	if !news && len(next.denied) == 0 {
		return
	}
	for _, c := range g.hub.list(nil) {
		switch _, no := next.denied[c.fingerprint]; {
		case no:
			c.close(protocol.GoodbyeRevoked, 0, "")
		case news && c.why == strangerNone:
			id := g.judge.identify(next, c.tls.ConnectionState().PeerCertificates, g.now())
			if !id.enrolled && !c.renewed() {
				c.close(protocol.GoodbyeExpired, 0, "the certificate's issuer is not trusted any more")
			}
		case news && c.why == strangerUnknown:
			// Enrolled under anchors that had not come when it connected, perhaps: let it try again.
			if id := g.judge.identify(next, c.tls.ConnectionState().PeerCertificates, g.now()); id.enrolled {
				c.close(protocol.GoodbyeShutdown, 0, "")
			}
		}
	}
}

// renewed reports whether the session has a newer certificate than its TLS handshake showed.
func (c *conn) renewed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fresh
}
