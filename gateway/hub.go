package gateway

import (
	"sync"
	"time"

	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/gateway/session"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/protocol"
)

// hub knows every connection of the process, and which of them holds which device.
type hub struct {
	mu      sync.Mutex
	all     map[*conn]struct{}
	devices map[event.Device]*conn // the session that holds the lease
	tokens  map[string]*conn       // enrollments that may get a verdict
}

func newHub() *hub {
	return &hub{all: map[*conn]struct{}{}, devices: map[event.Device]*conn{}, tokens: map[string]*conn{}}
}

func (h *hub) add(c *conn) {
	h.mu.Lock()
	h.all[c] = struct{}{}
	h.mu.Unlock()
}

// remove forgets c, and the device when c still holds it.
func (h *hub) remove(c *conn, d event.Device, token string) {
	h.mu.Lock()
	delete(h.all, c)
	if h.devices[d] == c {
		delete(h.devices, d)
	}
	if token != "" {
		delete(h.tokens, token)
	}
	h.mu.Unlock()
}

// own makes c the device's session and returns the former one, when it was another.
func (h *hub) own(d event.Device, c *conn) *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.devices[d]
	h.devices[d] = c
	if old == c {
		return nil
	}
	return old
}

func (h *hub) await(token string, c *conn) {
	h.mu.Lock()
	h.tokens[token] = c
	h.mu.Unlock()
}

func (h *hub) byDevice(d event.Device) *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.devices[d]
}

func (h *hub) byToken(token string) *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tokens[token]
}

func (h *hub) size() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}

func (h *hub) devicesOpen() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.devices)
}

// list appends every connection to buf.
func (h *hub) list(buf []*conn) []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.all {
		buf = append(buf, c)
	}
	return buf
}

// leaseTTL is the life of a lease of a device that beats so often.
func leaseTTL(heartbeat time.Duration) time.Duration {
	return max(leaseHeartbeats*heartbeat, 2*renewEvery)
}

// tickEvery is the period of beat: a second, or less when devices beat faster.
func (g *Gateway) tickEvery() time.Duration {
	return min(renewEvery, max(g.settings().heartbeat/4, 20*time.Millisecond))
}

// beat looks at every session once: time's doings, and the leases of those that were heard of.
func (g *Gateway) beat(conns []*conn) []*conn {
	now := g.now()
	conns = g.hub.list(conns[:0])
	var leases []affinity.Lease
	var slowest time.Duration // settings may have changed since a session began
	for _, c := range conns {
		l, renew, token := c.beat(now)
		if renew {
			leases = append(leases, l)
			slowest = max(slowest, c.heartbeat)
		}
		if token != "" {
			go c.verdict(token)
		}
	}
	g.renew(leases, leaseTTL(slowest))
	clear(conns)
	return conns
}

// beat is one session's part. Renew is set when l is to be renewed; token when its verdict is to be looked for,
// lest the wake was lost.
func (c *conn) beat(now time.Time) (l affinity.Lease, renew bool, token string) {
	o := outputs.Get().(*session.Output)
	c.mu.Lock()
	c.s.Tick(now, o)
	if c.unsaid && !c.gone {
		c.unsaid = false
		c.s.Announce(now, o)
	}
	idle := c.moving && now.UnixNano()-c.moved > int64(transferIdle)
	if idle {
		c.moving = false
	}
	if c.s.TakeHeard() {
		c.dirty = true
	}
	epoch, _, held := c.s.Lease()
	if renew = c.dirty && held && c.s.Open(); renew {
		c.dirty = false
		l = affinity.Lease{Device: c.device, Epoch: epoch, LastSeen: c.s.Seen()}
	}
	if c.token != "" && c.s.Waiting() && now.UnixNano()-c.polled > int64(verdictPoll) {
		c.polled = now.UnixNano()
		token = c.token
	}
	write := c.took(o)
	late := c.closeBy != 0 && time.Now().UnixNano() > c.closeBy && !c.gone
	c.mu.Unlock()
	if late {
		c.abort()
	}
	if idle {
		c.g.transfers.leave()
	}
	c.after(o, write, false)
	return l, renew, token
}

// renew renews leases in pipelines, and learns who was superseded and whether the ledger was lost.
func (g *Gateway) renew(leases []affinity.Lease, ttl time.Duration) {
	for len(leases) > 0 {
		n := min(len(leases), renewBatch)
		batch := leases[:n]
		leases = leases[n:]
		ctx, cancel := g.redisContext()
		lost, era, err := g.affinity.Renew(ctx, g.cfg.Instance, batch, ttl)
		cancel()
		if err != nil {
			g.redisFailed(err)
			for _, l := range batch { // still to be renewed when Redis is back
				if c := g.hub.byDevice(l.Device); c != nil {
					c.mu.Lock()
					c.dirty = true
					c.mu.Unlock()
				}
			}
			continue
		}
		g.redisAnswered()
		if era != g.era.Load() {
			g.sawEra(era)
			continue // none of these leases is of that era: they are claimed anew
		}
		for _, d := range lost {
			g.lost(d)
		}
	}
}

// lost finds out what became of a lease that could not be renewed: somebody newer has the device, or the lease
// ended while Redis was away and was dropped.
func (g *Gateway) lost(d event.Device) {
	ctx, cancel := g.redisContext()
	defer cancel()
	_, epoch, err := g.affinity.Owner(ctx, d)
	switch {
	case err == nil:
		g.superseded(d, epoch)
	case errs.Is(err, errs.NotFound):
		if c := g.hub.byDevice(d); c != nil {
			c.do(false, func(s *session.Session, now time.Time, o *session.Output) { s.Unclaimed(now, o) })
		}
	default:
		g.redisFailed(err)
	}
}

// superseded ends the session of a device whose epoch is below epoch.
func (g *Gateway) superseded(d event.Device, epoch uint64) {
	c := g.hub.byDevice(d)
	if c == nil {
		return
	}
	c.mu.Lock()
	own, _, held := c.s.Lease()
	c.mu.Unlock()
	if held && own < epoch {
		g.metrics.leasesLost.Inc()
		c.close(protocol.GoodbyeSuperseded, 0, "")
	}
}
