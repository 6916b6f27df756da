package docker

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/folder"
)

// relay carries the connections of a board to its gateway.
type relay struct {
	ln      net.Listener
	address string
	dial    func(ctx context.Context, address string) (net.Conn, error)
	log     *slog.Logger
	stop    context.CancelFunc
	work    sync.WaitGroup
}

// relayed makes the board's relay, when its Spec has one, in place of the last.
func (b *board) relayed(e *Engine, s provisioner.Spec) error {
	b.unrelay()
	if s.Relay.Path == "" {
		return nil
	}
	ln, err := folder.Listen(b.folder(), s.Relay.Path)
	if err != nil {
		return errs.New(errs.Internal, "board %s: its way to the gateway: %w", b.id, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &relay{ln: ln, address: s.Relay.Address, dial: e.o.Dial, log: e.o.Log.With("board", b.id), stop: stop}
	r.work.Go(func() { r.accept(ctx) })
	b.mu.Lock()
	defer b.mu.Unlock()
	b.relay = r
	return nil
}

// unrelay ends the board's relay and its connections.
func (b *board) unrelay() {
	b.mu.Lock()
	r := b.relay
	b.relay = nil
	b.mu.Unlock()
	if r != nil {
		r.stop()
		r.ln.Close()
		r.work.Wait()
	}
}

// accept takes connections until the listener is closed.
func (r *relay) accept(ctx context.Context) {
	room := make(chan struct{}, maxRelayed)
	for {
		c, err := r.ln.Accept()
		if err != nil {
			if ctx.Err() == nil {
				r.log.Error("a board cannot reach its gateway any more", "cause", err)
			}
			return
		}
		select {
		case room <- struct{}{}:
			r.work.Go(func() {
				defer func() { <-room }()
				r.carry(ctx, c)
			})
		default: // a device has one session, and the next while that ends
			r.log.Warn("a board has too many connections", "limit", maxRelayed)
			c.Close()
		}
	}
}

// carry copies in both directions until both have ended, or the relay has.
func (r *relay) carry(ctx context.Context, board net.Conn) {
	defer board.Close()
	dctx, cancel := context.WithTimeout(ctx, dialGateway)
	gateway, err := r.dial(dctx, r.address)
	cancel()
	if err != nil {
		r.log.Info("the gateway cannot be reached for a board", "gateway", r.address, "cause", err)
		return
	}
	defer gateway.Close()
	defer context.AfterFunc(ctx, func() { board.Close(); gateway.Close() })()
	var both sync.WaitGroup
	both.Go(func() { oneWay(gateway, board) })
	both.Go(func() { oneWay(board, gateway) })
	both.Wait()
}

// oneWay copies and hands on the end. After an error the other direction ends too.
func oneWay(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
		return
	}
	to.Close()
	from.Close()
}
