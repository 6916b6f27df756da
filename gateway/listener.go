package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/protocol"
)

// alpn names the protocol in the TLS handshake (RFC 7301).
const alpn = "wasmbed/1"

// tlsConfig is TLS 1.3 with a client certificate that we judge ourselves after the handshake: a stranger's is
// let in to first contact, so the handshake itself must not refuse it. Nothing is judged in a callback of the
// handshake, because the judgement is made again on resumption and while the session lives.
//
// Curves: X25519 and P-256. Go would offer the hybrid ML-KEM first, which costs a fifth of the handshake rate
// here, and no device speaks it yet. Early data does not exist: crypto/tls takes none.
func tlsConfig(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		MaxVersion:       tls.VersionTLS13,
		GetCertificate:   certificate,
		ClientAuth:       tls.RequireAnyClientCert,
		NextProtos:       []string{alpn},
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
		Time:             now,
		// Records are cut by us (recordSize).
		DynamicRecordSizingDisabled: true,
	}
}

// certFile is the server's certificate, read again when the file changes.
type certFile struct {
	cert, key string
	mu        sync.Mutex
	mtime     time.Time
	current   atomic.Pointer[tls.Certificate]
}

// reload reads the pair when it is newer than the one held. A pair that does not load leaves the old one.
func (f *certFile) reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	st, err := os.Stat(f.cert)
	if err != nil {
		return errs.New(errs.Invalid, "server certificate: %w", err)
	}
	if f.current.Load() != nil && st.ModTime().Equal(f.mtime) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return errs.New(errs.Invalid, "server certificate: %w", err)
	}
	f.mtime = st.ModTime()
	f.current.Store(&pair)
	return nil
}

func (f *certFile) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c := f.current.Load()
	if c == nil {
		return nil, errs.New(errs.Unavailable, "no server certificate")
	}
	return c, nil
}

// admission counts the connections that are not authenticated, in all and per address.
type admission struct {
	mu    sync.Mutex
	total int
	first int // of total: in first contact
	addr  map[netip.Addr]int
}

func newAdmission() *admission { return &admission{addr: map[netip.Addr]int{}} }

// enter takes a place for a connection from addr, or says which cap is full.
func (a *admission) enter(addr netip.Addr, perAddress int) refusal {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.total >= addressTable:
		return refusedTotal
	case a.addr[addr] >= perAddress:
		return refusedAddress
	}
	a.total++
	a.addr[addr]++
	return refusedNot
}

func (a *admission) leave(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total--
	if a.addr[addr]--; a.addr[addr] <= 0 {
		delete(a.addr, addr)
	}
}

// stay keeps the place of a session in first contact, unless there are too many.
func (a *admission) stay() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.first >= maxFirstContact {
		return false
	}
	a.first++
	return true
}

func (a *admission) unstay() {
	a.mu.Lock()
	a.first--
	a.mu.Unlock()
}

// refusal says why a connection was turned away; a metric's label.
type refusal string

const (
	refusedNot       refusal = ""
	refusedTotal     refusal = "too-many"
	refusedAddress   refusal = "address-cap"
	refusedFirst     refusal = "first-contact-cap"
	refusedDevices   refusal = "device-cap"
	refusedHandshake refusal = "handshake"
	refusedALPN      refusal = "alpn"
	refusedRevoked   refusal = "revoked"
	refusedDraining  refusal = "draining"
	refusedRedis     refusal = "redis-away"
	refusedNoTrust   refusal = "no-trust"
	refusedDisabled  refusal = "disabled"
)

// accept runs the accept loop of the device listener until it is closed.
func (g *Gateway) accept(ctx context.Context, l net.Listener) error {
	var delay time.Duration
	for {
		nc, err := l.Accept()
		if err != nil {
			if g.closing.Load() || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of descriptors, most likely: what is connected goes on, new ones wait.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			g.log.Warn("accept", "err", err, "retry", delay)
			select {
			case <-time.After(delay):
				continue
			case <-ctx.Done():
				return nil
			}
		}
		delay = 0
		addr := remoteAddr(nc)
		if g.draining.Load() {
			g.refuse(nc, refusedDraining)
			continue
		}
		if r := g.admission.enter(addr, g.settings().preAuthPerAddress); r != refusedNot {
			g.refuse(nc, r)
			continue
		}
		g.conns.Add(1)
		go g.handshake(ctx, nc, addr)
	}
}

func (g *Gateway) refuse(nc net.Conn, r refusal) {
	g.metrics.refused.WithLabelValues(string(r)).Inc()
	if tc, ok := nc.(*net.TCPConn); ok {
		tc.SetLinger(0) // no TIME_WAIT for a herd of refused connections
	}
	nc.Close()
}

func remoteAddr(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// handshake does the TLS handshake and judges the certificate. Its goroutine ends with it, and with it its deep
// stack: an idle session has none.
func (g *Gateway) handshake(ctx context.Context, nc net.Conn, addr netip.Addr) {
	start := g.now()
	fail := func(r refusal) {
		g.admission.leave(addr)
		g.conns.Done()
		g.refuse(nc, r)
	}
	if tc, ok := nc.(*net.TCPConn); ok {
		tc.SetNoDelay(true)                                       // Go's default; without it a command costs a delayed ACK, 40 ms
		tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: false}) // heartbeats tell more, and sooner
	}
	nc.SetDeadline(time.Now().Add(protocol.HandshakeTimeout))
	s := &socket{Conn: nc, gate: g.gate}
	tc := tls.Server(s, g.tls)
	g.gate <- struct{}{}
	err := tc.HandshakeContext(context.WithoutCancel(ctx))
	<-g.gate
	s.gate = nil
	if err != nil {
		g.log.Debug("handshake", "remote", nc.RemoteAddr(), "err", err)
		fail(refusedHandshake)
		return
	}
	state := tc.ConnectionState()
	if state.NegotiatedProtocol != alpn {
		fail(refusedALPN)
		return
	}
	id := g.judge.identify(g.trust.Load(), state.PeerCertificates, g.now())
	kind := "full"
	if state.DidResume {
		kind = "resumed"
	}
	g.metrics.handshakes.WithLabelValues(kind).Inc()
	g.metrics.handshakeSeconds.Observe(g.now().Sub(start).Seconds())
	nc.SetDeadline(time.Time{})
	c := newConn(g, tc, s, addr, id)
	c.begin()
	if err := g.poller.add(c); err != nil {
		g.log.Error("a connection cannot be watched", "err", err)
		c.abort()
	}
	c.kick()
}
