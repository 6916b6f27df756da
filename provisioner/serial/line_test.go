package serial

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// pipe is one direction of a line in memory: it takes everything and gives what it has.
type pipe struct {
	mu     sync.Mutex
	wake   *sync.Cond
	buf    []byte
	closed bool
}

func newPipe() *pipe {
	p := &pipe{}
	p.wake = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, io.ErrClosedPipe
	}
	p.buf = append(p.buf, b...)
	p.wake.Broadcast()
	return len(b), nil
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.buf) == 0 && !p.closed {
		p.wake.Wait()
	}
	if len(p.buf) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.buf)
	p.buf = p.buf[n:]
	return n, nil
}

// take empties the pipe.
func (p *pipe) take() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.buf
	p.buf = nil
	return b
}

func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.wake.Broadcast()
	return nil
}

// port is the bridge's end of a line.
type port struct{ in, out *pipe }

func newPort() port { return port{newPipe(), newPipe()} }

func (p port) Read(b []byte) (int, error)  { return p.in.Read(b) }
func (p port) Write(b []byte) (int, error) { return p.out.Write(b) }
func (p port) Close() error                { return errors.Join(p.in.Close(), p.out.Close()) }

// peer is the gateway's end of one connection.
type peer struct {
	net.Conn
	mu     sync.Mutex
	got    []byte
	closed bool
}

func (g *peer) collect() {
	buf := make([]byte, 512)
	for {
		n, err := g.Conn.Read(buf)
		g.mu.Lock()
		g.got = append(g.got, buf[:n]...)
		g.closed = err != nil
		g.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (g *peer) take() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.got
	g.got = nil
	return b
}

func (g *peer) ended() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// gateway answers dials as told.
type gateway struct {
	mu    sync.Mutex
	next  []bool // outcomes of the next dials
	peers []*peer
	serve func(*peer)
}

var errRefused = errors.New("refused")

func (g *gateway) dial(context.Context) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.next) == 0 {
		return nil, errors.New("nobody expected a dial")
	}
	ok := g.next[0]
	g.next = g.next[1:]
	if !ok {
		return nil, errRefused
	}
	near, far := net.Pipe()
	p := &peer{Conn: far}
	g.peers = append(g.peers, p)
	go g.serve(p)
	return near, nil
}

func (g *gateway) plan(ok ...bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next = append(g.next, ok...)
}
