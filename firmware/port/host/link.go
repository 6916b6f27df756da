package host

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"reflect"
	"sync"
	"time"
)

// linkError is why a link ended, as the core's port wants it.
type linkError int

// The values of wb_link_state and of the link callbacks (firmware/core/include/wasmbed/port.h).
const (
	linkConnecting linkError = 0
	linkConnected  linkError = 1
	linkIO         linkError = -4
	linkAgain      linkError = -5
	linkClosed     linkError = -6
	linkAuth       linkError = -11
	linkTimeout    linkError = -12
)

// DialFunc opens the byte stream below TLS. Tests cut it.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// link is one connection to a gateway. The device's goroutine calls state, send, recv and close, which never wait; a reader
// goroutine lives as long as the connection, a writer only while there is something to write.
type link struct {
	wake   func() // tells the device's goroutine that something changed
	ended  func(connected bool, err error)
	cancel context.CancelFunc
	done   *sync.WaitGroup // of the device: counts the link's goroutines

	mu      sync.Mutex
	status  linkError
	conn    *tls.Conn
	in      []byte        // what was read and not yet taken; the reader waits until it is empty
	taken   chan struct{} // capacity 1: in is empty again
	out     []byte        // what waits for the writer
	writing bool
	full    bool // send had to refuse something
	closed  bool
}

// openLink begins to connect. ended hears why the link ended, and whether it ever stood, for a log; not when we closed it.
func openLink(dial DialFunc, address string, config *tls.Config, done *sync.WaitGroup, wake func(), ended func(bool, error)) *link {
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{wake: wake, ended: ended, cancel: cancel, done: done, taken: make(chan struct{}, 1)}
	done.Go(func() {
		defer cancel()
		err := l.run(ctx, dial, address, config)
		l.fail(err)
	})
	return l
}

// run connects and reads until the end.
func (l *link) run(ctx context.Context, dial DialFunc, address string, config *tls.Config) error {
	conn, err := connect(ctx, dial, address, config)
	if err != nil {
		return err
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		_ = conn.NetConn().Close()
		return context.Canceled
	}
	l.conn, l.status = conn, linkConnected
	l.mu.Unlock()
	l.wake()
	buf := make([]byte, readBuffer)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			l.mu.Lock()
			l.in = buf[:n]
			l.mu.Unlock()
			l.wake()
			select {
			case <-l.taken:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return err
		}
	}
}

func connect(ctx context.Context, dial DialFunc, address string, config *tls.Config) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

// fail ends the link. What was read before is still delivered: the reader only comes here when in is empty.
func (l *link) fail(err error) {
	l.mu.Lock()
	closed, conn := l.closed, l.conn
	l.status, l.in = statusOf(err), nil
	l.mu.Unlock()
	if closed {
		return // close does the rest
	}
	if conn != nil {
		_ = conn.NetConn().Close()
	}
	l.ended(conn != nil, err)
	l.wake()
}

// state never reports the end before everything that was read has been taken.
func (l *link) state() linkError {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// recv returns how many bytes it copied, or an error.
func (l *link) recv(buf []byte) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.in) == 0 {
		if l.status < 0 {
			return int(l.status)
		}
		return int(linkAgain)
	}
	n := copy(buf, l.in)
	l.in = l.in[n:]
	if len(l.in) == 0 {
		l.taken <- struct{}{} // never waits: one buffer is on its way at a time
	}
	return n
}

// send returns how many bytes it took, or an error.
func (l *link) send(data []byte) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.status < 0:
		return int(l.status)
	case l.status == linkConnecting:
		return int(linkAgain)
	}
	n := min(len(data), sendBuffer-len(l.out))
	if n < len(data) {
		l.full = true
	}
	if n == 0 {
		return int(linkAgain)
	}
	l.out = append(l.out, data[:n]...)
	if !l.writing {
		l.writing = true
		l.done.Go(l.write)
	}
	return n
}

// write sends until nothing is left. Of its errors the reader hears too, and it may have the better one: an alert
// that says why.
func (l *link) write() {
	for {
		l.mu.Lock()
		data, conn := l.out, l.conn
		l.out = nil
		full := l.full
		l.full = false
		if len(data) == 0 {
			l.writing = false
			closed := l.closed
			l.mu.Unlock()
			if closed {
				_ = conn.Close()
			}
			return
		}
		l.mu.Unlock()
		if full {
			l.wake()
		}
		_, _ = conn.Write(data)
	}
}

// close forgets the link. What send took is still sent if the peer takes it soon.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed, l.status, l.in = true, linkClosed, nil
	if l.conn == nil {
		l.cancel()
		return
	}
	_ = l.conn.SetDeadline(time.Now().Add(closeTimeout)) // ends the reader, and a writer whose peer does not read
	l.cancel()
	if !l.writing {
		l.writing = true
		l.done.Go(l.write)
	}
}

// ready reports whether the core has something to take or room to send into, if it waits for that.
func (l *link) ready(read, write bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return read && len(l.in) > 0 || write && l.status == linkConnected && len(l.out) < sendBuffer
}

// cut ends the connection at once, as when power goes.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.status, l.in, l.out = true, linkClosed, nil, nil
	l.cancel()
	if l.conn != nil {
		_ = l.conn.NetConn().Close()
	}
}

// statusOf says what the core needs to know of an error: was it our certificate, or only the network?
func statusOf(err error) linkError {
	var refused *tls.CertificateVerificationError
	if errors.As(err, &refused) {
		// The gateway's certificate, not ours: another certificate of ours would not help.
		return linkIO
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" && refusesCertificate(op.Err) {
		return linkAuth
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return linkTimeout
	}
	return linkClosed
}

// refusesCertificate reports whether a TLS alert is about the client's certificate (RFC 8446, 6.2). crypto/tls has no exported
// type for a received alert outside of QUIC; it is a number.
func refusesCertificate(alert error) bool {
	v := reflect.ValueOf(alert)
	if v.Kind() != reflect.Uint8 {
		return false
	}
	switch v.Uint() {
	case 42, 43, 44, 45, 46, 48, 49, 116: // bad, unsupported, revoked, expired, unknown, unknown CA, access denied, required
		return true
	}
	return false
}
