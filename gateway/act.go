package gateway

import (
	"context"
	"strconv"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/gateway/session"
	"wasmbed.io/wasmbed/gateway/uplink"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/protocol"

	ce "github.com/cloudevents/sdk-go/v2/event"
)

// act carries out one action of the session, outside of its lock.
func (c *conn) act(a *session.Action) {
	g := c.g
	switch a.Kind {
	case session.Telemetry:
		boot := c.s.BootID() // written before the first action, and never again
		err := g.uplink.Telemetry(uplink.Frame{Device: c.device, BootID: boot[:], Seq: a.Seq, Records: a.Records}, (*telemetryReceipt)(c), a.ID)
		if err != nil {
			c.undone(session.FlowTelemetry, a.ID, err)
		}
	case session.Logs:
		boot := c.s.BootID()
		err := g.uplink.Logs(uplink.Frame{Device: c.device, BootID: boot[:], Seq: a.Seq, Records: a.Records}, (*logsReceipt)(c), a.ID)
		if err != nil {
			c.undone(session.FlowLogs, a.ID, err)
		}
	case session.Chunk:
		c.chunk(a)
	case session.Claim:
		if c.welcomed() {
			go c.claim() // the session goes on meanwhile
		} else {
			c.claim()
		}
	case session.Connected:
		data := a.Data.(*event.Connected)
		data.Gateway, data.Instance = g.cfg.Gateway, g.cfg.Instance
		if err := g.say(event.DeviceConnected, a.EventID, data, event.About(data.Device)); err != nil {
			c.mu.Lock()
			c.unsaid = true // a tick says it
			c.mu.Unlock()
		}
	case session.Reported:
		c.publish(event.DeviceReported, a, session.FlowReport, (*reportReceipt)(c))
	case session.Trapped:
		c.publish(event.DeviceTrapped, a, session.FlowTrap, (*trapReceipt)(c))
	case session.Completed:
		c.publish(event.DeviceCommandCompleted, a, session.FlowResult, (*resultReceipt)(c))
	case session.Answered:
		c.publish(event.DeviceCommandAnswered, a, session.FlowResult, (*resultReceipt)(c))
	case session.Messaged:
		c.publish(event.MessageReceived, a, session.FlowMessage, (*messageReceipt)(c))
	case session.Take:
		g.takers.want(c)
	case session.Enroll:
		c.enroll(a)
	case session.Compare:
		g.reconciler.want(c)
	}
}

func (c *conn) welcomed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.s.Open()
}

// over reports whether the session has ended, or is about to.
func (c *conn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone || c.end.Reason != ""
}

// publish turns an action into its event.
func (c *conn) publish(typ string, a *session.Action, f session.Flow, r uplink.Receipt) {
	if a.ID == 0 {
		r = nil // our own words: nobody waits
	}
	e, err := c.g.event(typ, a.EventID, a.Data, event.About(c.device))
	if err == nil {
		e.SetExtension(event.ExtTraceParent, c.traced(&e, a))
		err = c.g.uplink.Event(e, r, a.ID)
	}
	if err != nil && a.ID != 0 {
		c.undone(f, a.ID, err)
	}
}

// durable tells the device that a frame is durable. Called by the uplink, so it must not block on the device.
func (c *conn) durable(f session.Flow, id uint64) {
	c.g.metrics.acks.Inc()
	o := outputs.Get().(*session.Output)
	c.mu.Lock()
	c.posted(f, id, nil)
	c.s.Durable(f, id, o)
	write := c.took(o)
	c.mu.Unlock()
	c.after(o, write, false)
}

func (c *conn) undone(f session.Flow, id uint64, err error) {
	c.do(false, func(s *session.Session, _ time.Time, o *session.Output) {
		c.posted(f, id, err)
		s.Undone(f, id, err, o)
	})
}

// The receipts of the flows: a conn seen by the uplink, without an allocation per frame.
type (
	telemetryReceipt conn
	logsReceipt      conn
	reportReceipt    conn
	trapReceipt      conn
	resultReceipt    conn
	messageReceipt   conn
)

func (r *telemetryReceipt) Accepted(id uint64) { (*conn)(r).durable(session.FlowTelemetry, id) }
func (r *logsReceipt) Accepted(id uint64)      { (*conn)(r).durable(session.FlowLogs, id) }
func (r *reportReceipt) Accepted(id uint64)    { (*conn)(r).durable(session.FlowReport, id) }
func (r *trapReceipt) Accepted(id uint64)      { (*conn)(r).durable(session.FlowTrap, id) }
func (r *resultReceipt) Accepted(id uint64)    { (*conn)(r).durable(session.FlowResult, id) }

func (r *messageReceipt) Accepted(id uint64) { (*conn)(r).durable(session.FlowMessage, id) }

func (r *telemetryReceipt) Refused(id uint64, err error) {
	(*conn)(r).undone(session.FlowTelemetry, id, err)
}
func (r *logsReceipt) Refused(id uint64, err error) { (*conn)(r).undone(session.FlowLogs, id, err) }
func (r *reportReceipt) Refused(id uint64, err error) {
	(*conn)(r).undone(session.FlowReport, id, err)
}
func (r *trapReceipt) Refused(id uint64, err error) { (*conn)(r).undone(session.FlowTrap, id, err) }
func (r *resultReceipt) Refused(id uint64, err error) {
	(*conn)(r).undone(session.FlowResult, id, err)
}

func (r *messageReceipt) Refused(id uint64, err error) {
	(*conn)(r).undone(session.FlowMessage, id, err)
}

// event makes an event of this gateway process. Its traceparent is the caller's to set: what functions do because of
// the event carries it on.
func (g *Gateway) event(typ, id string, data any, about event.Option) (ce.Event, error) {
	return event.New(typ, g.source, g.subject, id, data, event.In(g.cfg.Namespace), about, event.At(g.now()))
}

// say queues an event of the gateway's own. The error is errs.Exhausted when there is no room.
func (g *Gateway) say(typ, id string, data any, about event.Option) error {
	e, err := g.event(typ, id, data, about)
	if err != nil {
		g.log.Error("event", "type", typ, "err", err)
		return err
	}
	e.SetExtension(event.ExtTraceParent, g.traceparent(&e))
	return g.uplink.Lifecycle(e, nil, 0)
}

// subject makes s the subject of an event that is about no device.
func subject(s string) event.Option { return func(e *ce.Event) { e.SetSubject(s) } }

// claim takes the device's lease. A session that waits for its welcome tries for a while; one that is open and
// lost its lease with the ledger tries again with its device's next frame.
func (c *conn) claim() {
	g := c.g
	first := !c.welcomed()
	if first && g.hub.devicesOpen() >= g.settings().maxDevices {
		g.metrics.refused.WithLabelValues(string(refusedDevices)).Inc()
		c.close(protocol.GoodbyeBusy, busyRetry, "the gateway is full")
		return
	}
	until := g.now().Add(claimPatience)
	for {
		if c.over() {
			return
		}
		epoch, era, err := g.acquire(c.device, leaseTTL(c.heartbeat))
		if err == nil {
			c.claimed(c.device, epoch, era, first)
			return
		}
		g.log.Debug("lease not acquired", "device", c.device, "err", err)
		if !first {
			select {
			case <-time.After(claimRetry):
			case <-g.ctx.Done():
			}
			c.mu.Lock()
			c.s.ClaimFailed()
			c.mu.Unlock()
			return
		}
		if !g.now().Add(claimRetry).Before(until) || g.ctx.Err() != nil || !errs.Retryable(err) {
			g.metrics.refused.WithLabelValues(string(refusedRedis)).Inc()
			c.close(protocol.GoodbyeBusy, busyRetry, "the gateway cannot take the device now")
			return
		}
		select {
		case <-time.After(claimRetry):
		case <-g.ctx.Done():
		}
	}
}

func (g *Gateway) acquire(d event.Device, ttl time.Duration) (epoch uint64, era string, err error) {
	g.claims <- struct{}{}
	defer func() { <-g.claims }()
	ctx, cancel := context.WithTimeout(g.ctx, redisTimeout)
	defer cancel()
	for range 2 {
		epoch, era, err = g.affinity.Acquire(ctx, d, g.cfg.Instance, ttl)
		if err != nil {
			g.redisFailed(err)
			return 0, "", err
		}
		g.redisAnswered()
		if era != "" {
			return epoch, era, nil
		}
		g.checkEra() // the ledger has none: we make one
	}
	return 0, "", errs.New(errs.Unavailable, "the ledger has no era")
}

func (c *conn) claimed(d event.Device, epoch uint64, era string, first bool) {
	g := c.g
	c.mu.Lock()
	gone := c.gone
	c.mu.Unlock()
	if gone { // the session ended while we asked; finish could not know of this lease
		g.disconnected(d, epoch, era, true, session.EndLost)
		return
	}
	if old := g.hub.own(d, c); old != nil {
		old.close(protocol.GoodbyeSuperseded, 0, "")
	}
	o := outputs.Get().(*session.Output)
	now := g.now()
	c.mu.Lock()
	c.s.Claimed(now, epoch, era, o)
	c.dirty = true
	if first && c.place {
		c.place = false
		g.admission.leave(c.addr)
	}
	write := c.took(o)
	gone = c.gone
	c.mu.Unlock()
	c.after(o, write, first)
	if gone {
		g.hub.remove(c, d, "")
		g.disconnected(d, epoch, era, true, session.EndLost)
	}
	g.sawEra(era)
}

// enroll posts an enrollment or renewal and remembers where its verdict goes.
func (c *conn) enroll(a *session.Action) {
	g := c.g
	data := a.Data.(*event.EnrollmentRequest)
	c.mu.Lock()
	fresh := c.token == ""
	if fresh {
		c.token = g.cfg.Instance + "/" + event.NewID()
	}
	token := c.token
	c.polled = g.now().UnixNano()
	c.mu.Unlock()
	if fresh {
		g.hub.await(token, c)
	}
	data.Namespace, data.Gateway, data.Instance, data.Session = g.cfg.Namespace, g.cfg.Gateway, g.cfg.Instance, token
	data.RemoteAddress = c.addr.String()
	about := subject(g.cfg.Namespace + "/" + data.KeyFingerprint)
	if data.Renewal != "" {
		about = event.About(c.device)
	}
	err := g.say(event.DeviceEnrollmentRequested, token+"/"+strconv.FormatUint(a.ID, 10), data, about)
	if err != nil {
		c.do(false, func(s *session.Session, _ time.Time, o *session.Output) { s.EnrollUndone(err, o) })
	}
}

// verdict fetches the verdict for the session's enrollment and passes it on.
func (c *conn) verdict(token string) {
	g := c.g
	ctx, cancel := context.WithTimeout(g.ctx, redisTimeout)
	defer cancel()
	v, err := g.ledger.Verdict(ctx, token)
	if err != nil {
		if !errs.Is(err, errs.NotFound) {
			g.log.Debug("verdict", "session", token, "err", err)
		}
		return
	}
	renewed, ok := g.judge.renewed(g.trust.Load(), v.Chain, c.device, g.now())
	c.do(false, func(s *session.Session, _ time.Time, o *session.Output) {
		s.Verdict(v, o)
		if p := s.Peer(); ok && p.Enrolled && renewed.fingerprint == p.Fingerprint {
			s.Renewed(renewed.serial, renewed.notAfter, renewed.renewBefore)
			c.fresh = true
		}
	})
}
