// Package serial is the bridge's side of the serial line (docs/spec/serial.md): it gives a board without a
// network one TCP connection to its gateway. What passes is TLS; the bridge sees and needs no key.
// firmware/port/zephyr/serial_line.c is the device's side.
package serial

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Dial connects to the gateway.
type Dial func(ctx context.Context) (net.Conn, error)

// Bridge serves the board behind port until the port ends (nil for io.EOF, else its error) or ctx does (nil).
// One connection at a time, dialled when the board asks for one, within DialTimeout. When it returns, the
// connection is closed, and so is the port if it is an io.Closer: nothing else would end a read of it.
func Bridge(ctx context.Context, port io.ReadWriter, dial Dial, log *slog.Logger) error {
	b := &bridge{dial: dial, log: log, dialTimeout: DialTimeout, out: newOutlet(), events: make(chan event), done: make(chan struct{})}
	return b.run(ctx, port)
}

// event is what the other goroutines tell the loop.
type event struct {
	port []byte   // bytes from the port, or
	gen  uint64   // of this attempt or connection:
	conn net.Conn // dialled
	err  error    // could not be dialled, or ended
	dial bool     // which of the two
}

type bridge struct {
	dial        Dial
	log         *slog.Logger
	dialTimeout time.Duration

	out    *outlet
	events chan event
	done   chan struct{} // closed when the loop has ended
	work   sync.WaitGroup

	// The loop's own.
	in      decoder
	gen     uint64 // counts attempts
	nonce   byte   // of the attempt or the connection
	win     window // what the device grants before the connection stands
	conn    *conn  // stands
	stop    context.CancelFunc
	dialing bool
}

func (b *bridge) run(ctx context.Context, port io.ReadWriter) error {
	ended := make(chan error, 2)
	var io sync.WaitGroup
	io.Go(func() {
		ended <- readPort(port, func(p []byte) bool { return b.tell(event{port: p}) })
	})
	b.work.Go(func() {
		if err := b.out.run(port); err != nil {
			ended <- err
		}
	})
	// A device that asked before anybody listened, or whose bridge went away, learns at once that it must ask anew.
	b.out.control(dle, wordClosed)
	err := b.loop(ctx, ended)
	close(b.done)
	b.drop()
	b.out.close()
	if c, ok := port.(interface{ Close() error }); ok {
		if cerr := c.Close(); err == nil && cerr != nil && !errors.Is(cerr, net.ErrClosed) {
			err = cerr
		}
		io.Wait()
		b.work.Wait()
	}
	return err
}

func (b *bridge) loop(ctx context.Context, ended <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			if err == nil || errors.Is(err, io.EOF) || ctx.Err() != nil {
				return nil
			}
			return err
		case e := <-b.events:
			switch {
			case e.port != nil:
				b.in.feed(e.port, b.payload, func(word, arg byte) { b.command(ctx, word, arg) })
			case e.dial:
				b.dialled(e)
			default:
				b.lost(e)
			}
		}
	}
}

// tell hands an event to the loop; false: the loop has ended.
func (b *bridge) tell(e event) bool {
	select {
	case b.events <- e:
		return true
	case <-b.done:
		return false
	}
}

func (b *bridge) command(ctx context.Context, word, arg byte) {
	switch word {
	case wordOpen:
		b.open(ctx, arg)
	case wordClosed:
		b.close()
	case wordPing:
		// Only for the connection that the device means: after anything that made the two disagree it must know.
		if b.conn != nil && arg == b.nonce {
			b.out.control(dle, wordAnswer, arg)
		} else {
			b.out.control(dle, wordClosed)
		}
	case wordWindow:
		b.win.grant(arg)
		if b.conn != nil {
			b.conn.grant(arg)
		}
	}
}

// drop ends whatever there is, at once and without a word to the device.
func (b *bridge) drop() {
	if b.stop != nil {
		b.stop()
		b.stop = nil
	}
	b.dialing = false
	if b.conn != nil {
		b.conn.end(false)
		b.conn = nil
	}
}

// open begins a fresh connection: a device that asks has none any more, whatever this side thinks.
func (b *bridge) open(ctx context.Context, nonce byte) {
	if b.conn != nil {
		b.log.Info("the board begins anew")
	}
	b.drop()
	b.gen++
	b.nonce, b.win, b.dialing = nonce, window{}, true
	b.out.begin(b.gen)
	dialCtx, stop := context.WithTimeout(ctx, b.dialTimeout)
	b.stop = stop
	gen := b.gen
	result := make(chan event, 1)
	go func() {
		c, err := b.dial(dialCtx)
		result <- event{gen: gen, conn: c, err: err, dial: true}
	}()
	b.work.Go(func() {
		var e event
		select {
		case e = <-result:
		case <-dialCtx.Done():
			// Does not wait for a dial that minds no context, but takes what it brings later.
			e = event{gen: gen, err: dialCtx.Err(), dial: true}
			go func() {
				if late := <-result; late.conn != nil {
					late.conn.Close()
				}
			}()
		}
		if !b.tell(e) && e.conn != nil {
			e.conn.Close()
		}
	})
}

func (b *bridge) dialled(e event) {
	if e.gen != b.gen || !b.dialing {
		if e.conn != nil {
			e.conn.Close()
		}
		return
	}
	b.dialing = false
	b.stop()
	b.stop = nil
	if e.err != nil {
		b.log.Warn("the gateway cannot be reached", "error", e.err)
		b.out.control(dle, wordFailed, b.nonce)
		return
	}
	b.log.Info("connected", "gateway", e.conn.RemoteAddr())
	b.conn = newConn(e.conn, e.gen, b.out, b.win, func(gen uint64, err error) { b.tell(event{gen: gen, err: err}) })
	b.out.control(dle, wordUp, b.nonce)
	b.work.Go(b.conn.down)
	b.work.Go(b.conn.up)
}

// lost: the gateway's side ended.
func (b *bridge) lost(e event) {
	if b.conn == nil || e.gen != b.gen {
		return
	}
	b.log.Info("closed by the gateway", "error", e.err)
	b.drop()
	b.out.control(dle, wordClosed)
}

// close: the device's side ended; what it sent before is still delivered.
func (b *bridge) close() {
	if b.conn != nil {
		b.log.Info("closed by the board")
		b.conn.end(true)
		b.conn = nil
	}
	b.drop()
}

func (b *bridge) payload(p []byte) {
	if b.conn != nil && !b.conn.send(p) {
		b.log.Warn("closed: the gateway does not take what the board sends")
		b.drop()
		b.out.control(dle, wordClosed)
	}
}
