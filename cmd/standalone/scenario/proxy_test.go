package scenario

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// balancer is the one address behind which several gateways stand: each connection goes to the next backend
// that answers. It can slow connections down and cut them.
type balancer struct {
	l        net.Listener
	mu       sync.Mutex
	backends []string
	next     int
	conns    map[net.Conn]bool
	// pause is how long each piece of at most 1 KiB towards the device waits, nanoseconds; 0 is full speed.
	pause atomic.Int64
	// down counts bytes towards devices.
	down atomic.Int64
}

func newBalancer(t *testing.T, backends ...string) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{l: l, backends: backends, conns: map[net.Conn]bool{}}
	go b.serve()
	t.Cleanup(func() {
		l.Close()
		b.cut()
	})
	return b
}

func (b *balancer) addr() string { return b.l.Addr().String() }

func (b *balancer) set(backends ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.backends = backends
}

func (b *balancer) serve() {
	for {
		c, err := b.l.Accept()
		if err != nil {
			return
		}
		go b.handle(c)
	}
}

func (b *balancer) dial() net.Conn {
	b.mu.Lock()
	backends, from := append([]string(nil), b.backends...), b.next
	b.next++
	b.mu.Unlock()
	for i := range backends {
		if s, err := net.DialTimeout("tcp", backends[(from+i)%len(backends)], time.Second); err == nil {
			return s
		}
	}
	return nil
}

func (b *balancer) handle(c net.Conn) {
	s := b.dial()
	if s == nil {
		c.Close()
		return
	}
	b.mu.Lock()
	b.conns[c], b.conns[s] = true, true
	b.mu.Unlock()
	var once sync.Once
	end := func() {
		once.Do(func() {
			c.Close()
			s.Close()
			b.mu.Lock()
			delete(b.conns, c)
			delete(b.conns, s)
			b.mu.Unlock()
		})
	}
	go func() {
		defer end()
		_, _ = io.Copy(s, c) // either side's end is the connection's end
	}()
	defer end()
	buf := make([]byte, 1024)
	for {
		n, err := s.Read(buf)
		if n > 0 {
			if d := b.pause.Load(); d > 0 {
				time.Sleep(time.Duration(d)) // the link's speed, not a wait for something to happen
			}
			b.down.Add(int64(n))
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut breaks every connection.
func (b *balancer) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		c.Close()
	}
}
