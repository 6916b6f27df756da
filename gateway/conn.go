package gateway

import (
	"context"
	"crypto/tls"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/gateway/session"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/protocol"
)

// conn carries one session: it reads frames and feeds them to the state machine, does what that asks for, and
// writes what it says. There is one reader and at most one writer at a time, and both exist only while there is
// something to read or to write, so an idle session costs its TLS state and little more.
type conn struct {
	g    *Gateway
	tls  *tls.Conn
	sock *socket
	addr netip.Addr
	why  stranger

	token64 uint64           // the poller's
	reading atomic.Int32     // idle, busy, or busy and kicked again
	r       *protocol.Reader // the reader's

	device      event.Device // zero when not enrolled; like the next two, never changes
	fingerprint string
	heartbeat   time.Duration // as this session was told

	mu      sync.Mutex // guards what follows
	s       session.Session
	end     session.End // of a session that is over; Reason set once
	out     *outBuffer  // frames that wait to be written; nil: none
	writing bool
	gone    bool  // finish has run
	closeBy int64 // Unix ns: when the connection is closed after a goodbye; 0: not yet

	place  bool // holds a place among the connections that are not authenticated
	stays  bool // holds a place in first contact
	dirty  bool // heard of since the last renewal that worked
	unsaid bool // device.connected could not be queued
	moving bool // holds one of the transfers' slots
	moved  int64
	chunks uint8  // chunk requests being answered
	token  string // of enrollment; empty: none
	polled int64  // when the verdict was last looked for
	fresh  bool   // has a newer certificate than its handshake showed

	following *following        // a dispatch whose trace follows this device; mostly nil
	asked     map[string]asking // commands whose trace does, by id; mostly nil
}

// outBuffer is a pooled buffer of frames.
type outBuffer struct{ b []byte }

var (
	buffers = sync.Pool{New: func() any { return new(outBuffer) }}
	outputs = sync.Pool{New: func() any { return new(session.Output) }}
)

func newConn(g *Gateway, tc *tls.Conn, s *socket, addr netip.Addr, id identity) *conn {
	set := g.settings()
	c := &conn{g: g, tls: tc, sock: s, addr: addr, why: id.why, device: id.device, fingerprint: id.fingerprint, heartbeat: set.heartbeat, place: true}
	c.r = protocol.NewReader(tc)
	c.s = *session.New(session.Settings{Heartbeat: set.heartbeat, Frame: set.frame, Features: features}, session.Peer{
		Device: id.device, Enrolled: id.enrolled, Fingerprint: id.fingerprint, Serial: id.serial,
		NotAfter: id.notAfter, RenewBefore: id.renewBefore,
	}, g.now())
	return c
}

// features are what this gateway speaks beside the obligatory.
const features = protocol.FeatureTelemetry | protocol.FeatureLogs | protocol.FeatureRenew | protocol.FeatureInvoke | protocol.FeatureMessages

// do calls f with the session under its lock, queues what it says, and carries out what it asks for. Inline
// says that the caller may block on the device: then the caller writes, else a writer is started.
func (c *conn) do(inline bool, f func(s *session.Session, now time.Time, o *session.Output)) {
	o := outputs.Get().(*session.Output)
	now := c.g.now()
	c.mu.Lock()
	f(&c.s, now, o)
	write := c.took(o)
	c.mu.Unlock()
	c.after(o, write, inline)
}

// took takes over an output's frames and end. It reports whether the caller has become the writer. Under mu.
func (c *conn) took(o *session.Output) (write bool) {
	if o.Refused != 0 {
		c.g.metrics.errors[uint8(o.Refused)].Inc()
		if o.Refused == protocol.CodeBusy {
			c.g.metrics.busy.Inc()
		}
	}
	if len(o.Frames) > 0 && !c.gone {
		if c.out == nil {
			c.out = buffers.Get().(*outBuffer)
		}
		if len(c.out.b) > 0 && len(c.out.b)+len(o.Frames) > maxOut && o.End.Reason == "" {
			o.End = session.End{Reason: session.EndSlow, Cause: errs.New(errs.Exhausted, "%d bytes wait to be written", len(c.out.b))}
		} else {
			c.out.b = append(c.out.b, o.Frames...)
			if !c.writing {
				c.writing, write = true, true
			}
		}
	}
	if o.End.Reason != "" && c.end.Reason == "" {
		c.end = o.End
		c.closeBy = time.Now().Add(protocol.CloseAfterGoodbye).UnixNano() // the peer has so long to close
		if o.End.Reason == session.EndSlow {
			c.closeBy = 1 // nothing can be said to a device that does not read
		}
	}
	return write
}

// after does what stands outside of the lock, and gives the output back.
func (c *conn) after(o *session.Output, write, inline bool) {
	if write {
		if inline {
			c.write()
		} else {
			go c.write()
		}
	}
	for i := range o.Actions {
		c.act(&o.Actions[i])
	}
	o.Reset()
	outputs.Put(o)
}

// write writes what waits until nothing does.
func (c *conn) write() {
	for {
		c.mu.Lock()
		b := c.out
		c.out = nil
		if b == nil {
			c.writing = false
			over := c.end.Reason != ""
			c.mu.Unlock()
			if over {
				c.tls.CloseWrite() // after goodbye; the error is the reader's to find
			}
			return
		}
		c.mu.Unlock()
		err := c.writeRecords(b.b)
		c.g.metrics.bytesOut.Add(float64(len(b.b)))
		if cap(b.b) <= maxOut {
			b.b = b.b[:0]
			buffers.Put(b)
		}
		if err != nil {
			c.mu.Lock()
			c.out, c.writing = nil, false
			c.mu.Unlock()
			c.abort()
			return
		}
	}
}

// writeRecords writes b in TLS records that a small device can take, and in one write to the socket.
func (c *conn) writeRecords(b []byte) error {
	c.sock.Conn.SetWriteDeadline(time.Now().Add(protocol.WriteTimeout))
	if len(b) <= recordSize {
		_, err := c.tls.Write(b)
		return err
	}
	c.sock.cork()
	for len(b) > 0 {
		n := min(len(b), recordSize)
		if _, err := c.tls.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return c.sock.uncork()
}

// States of reading.
const (
	readIdle int32 = iota
	readBusy
	readAgain // busy, and something came meanwhile
	readOver
)

// kick has the connection read, by a worker, unless one is at it: then that one looks again.
func (c *conn) kick() {
	for {
		switch s := c.reading.Load(); s {
		case readIdle:
			if c.reading.CompareAndSwap(s, readBusy) {
				c.g.work(c)
				return
			}
		case readBusy:
			if c.reading.CompareAndSwap(s, readAgain) {
				return
			}
		default:
			return
		}
	}
}

// abort closes the connection under the session, and has its reader find out.
func (c *conn) abort() {
	c.sock.Conn.Close()
	c.kick()
}

// serve reads until there is nothing to read or the session is over, of which it owns the end.
func (c *conn) serve() {
	for {
		if over := c.read(); over {
			c.reading.Store(readOver)
			c.finish()
			return
		}
		if c.reading.CompareAndSwap(readBusy, readIdle) {
			return
		}
		c.reading.Store(readBusy) // it was kicked
	}
}

// read takes frames while there are any, and reports whether the session is over.
func (c *conn) read() (over bool) {
	for {
		body, err := c.r.Next()
		if err == errWouldBlock {
			return false
		}
		if err != nil {
			c.do(true, func(s *session.Session, _ time.Time, o *session.Output) { s.Broken(err, o) })
			c.linger()
			return true
		}
		c.feed(body)
		t := frameType(body)
		if t == protocol.TypeHello || t == protocol.TypeHeartbeat {
			c.r.Release() // an idle session holds no buffer
		}
		if t == protocol.TypeHello || t == protocol.TypeGoodbye {
			c.mu.Lock()
			end, open := c.end.Reason, c.s.Open()
			c.mu.Unlock()
			if open {
				c.r.SetCap(c.g.settings().frame)
			}
			if end == session.EndClosed {
				return true
			}
		}
	}
}

// linger takes what the peer still sends after our goodbye to a broken stream, for a moment: to close a socket
// with unread bytes resets the connection, and that would lose the goodbye.
func (c *conn) linger() {
	c.mu.Lock()
	reason := c.end.Reason
	c.mu.Unlock()
	if reason != session.EndProtocol {
		return
	}
	c.sock.Conn.SetReadDeadline(time.Now().Add(protocol.CloseAfterGoodbye))
	io.CopyN(io.Discard, c.sock.Conn, lingerBytes)
}

// feed gives one frame to the session.
func (c *conn) feed(body []byte) {
	m := c.g.metrics
	m.frames[frameType(body)].Inc()
	m.bytesIn.Add(float64(len(body) + protocol.HeaderSize))
	o := outputs.Get().(*session.Output)
	now := c.g.now()
	c.mu.Lock()
	c.s.Feed(now, body, o)
	write := c.took(o)
	c.mu.Unlock()
	c.after(o, write, true)
}

// begin decides whether the peer may speak at all.
func (c *conn) begin() {
	g := c.g
	g.hub.add(c)
	t := g.trust.Load()
	_, denied := t.deniedReason(c.fingerprint)
	switch {
	case g.draining.Load():
		c.close(protocol.GoodbyeDrain, g.spread(), "")
	case g.settings().disabled:
		g.metrics.refused.WithLabelValues(string(refusedDisabled)).Inc()
		c.close(protocol.GoodbyeBusy, disabledRetry(), "this gateway is switched off")
	case denied:
		g.metrics.refused.WithLabelValues(string(refusedRevoked)).Inc()
		c.close(protocol.GoodbyeRevoked, 0, "")
	case c.why == strangerNoTrust:
		// Whoever it is cannot be known yet. To treat an enrolled device as a stranger would make it enroll.
		g.metrics.refused.WithLabelValues(string(refusedNoTrust)).Inc()
		c.close(protocol.GoodbyeBusy, busyRetry, "the gateway has no trust anchors yet")
	case c.why != strangerNone:
		g.metrics.strangers.WithLabelValues(string(c.why)).Inc()
		if c.stays = g.admission.stay(); !c.stays {
			g.metrics.refused.WithLabelValues(string(refusedFirst)).Inc()
			c.close(protocol.GoodbyeBusy, busyRetry, "too many devices in first contact")
		}
	}
}

// close says goodbye.
func (c *conn) close(reason protocol.GoodbyeReason, retryAfter time.Duration, text string) {
	c.do(false, func(s *session.Session, _ time.Time, o *session.Output) { s.Close(reason, retryAfter, text, o) })
}

// finish is the end of a session, once, by its reader.
func (c *conn) finish() {
	g := c.g
	c.mu.Lock()
	end := c.end
	epoch, era, held := c.s.Lease()
	c.gone = true
	writing := c.writing
	place, stays, moving, token := c.place, c.stays, c.moving, c.token
	c.place, c.stays, c.moving, c.token = false, false, false, ""
	c.mu.Unlock()

	if writing {
		// Somebody is still writing the goodbye. It has its time, then the socket goes.
		c.sock.Conn.SetWriteDeadline(time.Now().Add(goodbyeTimeout))
		time.AfterFunc(goodbyeTimeout, func() { c.sock.Conn.Close() })
	} else {
		c.tls.Close()
	}
	if place {
		g.admission.leave(c.addr)
	}
	if stays {
		g.admission.unstay()
	}
	if moving {
		g.transfers.leave()
	}
	g.poller.remove(c)
	g.hub.remove(c, c.device, token)
	g.metrics.ended.WithLabelValues(end.Reason).Inc()
	g.log.Debug("session ended", "device", c.device, "reason", end.Reason, "cause", end.Cause, "epoch", epoch)
	if epoch > 0 && end.Reason != session.EndSuperseded {
		g.disconnected(c.device, epoch, era, held, end.Reason)
	}
	g.conns.Done()
}

// disconnected puts the end of an enrolled session on the record. When the event finds no room the lease is
// left to lapse, so that whoever keeps the shard says it later.
func (g *Gateway) disconnected(d event.Device, epoch uint64, era string, held bool, reason string) {
	now := g.now()
	data := event.Disconnected{Device: d, Instance: g.cfg.Instance, Epoch: epoch, Era: era, Reason: reason, Time: now}
	id := event.DeriveID(d.String(), era, strconv.FormatUint(epoch, 10), "disconnected")
	if err := g.say(event.DeviceDisconnected, id, data, event.About(d)); err != nil {
		g.log.Warn("disconnect not said", "device", d, "err", err)
		return
	}
	if !held {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
	defer cancel()
	if err := g.affinity.Release(ctx, d, epoch); err != nil {
		g.log.Debug("lease not released; it lapses", "device", d, "err", err)
	}
}
