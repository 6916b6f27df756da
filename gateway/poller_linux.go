package gateway

import (
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"wasmbed.io/wasmbed/internal/errs"
)

// poller watches the sockets of idle sessions, so that they need no goroutine. A goroutine that waits in a TLS
// read keeps 8 KiB of stack, which would be a third of an idle session. Edge-triggered: a socket is added once,
// and its conn reads until there is nothing more (conn.kick keeps an edge that comes meanwhile).
type poller struct {
	fd   int
	stop int // eventfd

	done chan struct{}

	mu     sync.Mutex
	next   uint64
	conns  map[uint64]*conn
	closed bool
}

// newPoller starts a poller; close ends it.
func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, errs.New(errs.Internal, "epoll: %w", err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, stop, &unix.EpollEvent{Events: unix.EPOLLIN})
	}
	if err != nil {
		unix.Close(fd)
		return nil, errs.New(errs.Internal, "epoll: %w", err)
	}
	p := &poller{fd: fd, stop: stop, conns: map[uint64]*conn{}, done: make(chan struct{})}
	go p.run()
	return p, nil
}

func (p *poller) run() {
	defer close(p.done)
	events := make([]unix.EpollEvent, 256)
	ready := make([]*conn, 0, len(events))
	for {
		n, err := unix.EpollWait(p.fd, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		ready = ready[:0]
		stopped := false
		p.mu.Lock()
		for i := range events[:n] {
			token := uint64(uint32(events[i].Fd)) | uint64(uint32(events[i].Pad))<<32
			if token == 0 {
				stopped = true
			} else if c := p.conns[token]; c != nil {
				ready = append(ready, c)
			}
		}
		p.mu.Unlock()
		for _, c := range ready {
			c.kick()
		}
		clear(ready)
		if stopped {
			return
		}
	}
}

// add watches a conn's socket. From then on its reads do not block.
func (p *poller) add(c *conn) error {
	tc, ok := c.sock.Conn.(*net.TCPConn)
	if !ok {
		return nil // stays a blocking one
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return errs.New(errs.Internal, "socket: %w", err)
	}
	c.sock.raw = raw
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errs.New(errs.Unavailable, "the gateway stops")
	}
	p.next++
	c.token64 = p.next
	p.conns[c.token64] = c
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: int32(uint32(c.token64)), Pad: int32(uint32(c.token64 >> 32))}
	var ctl error
	if err := raw.Control(func(fd uintptr) { ctl = unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, int(fd), &ev) }); err != nil {
		return errs.New(errs.Unavailable, "socket: %w", err)
	}
	if ctl != nil {
		return errs.New(errs.Internal, "epoll: %w", ctl)
	}
	return nil
}

// remove forgets a conn. The kernel forgets its socket when it is closed.
func (p *poller) remove(c *conn) {
	p.mu.Lock()
	delete(p.conns, c.token64)
	p.mu.Unlock()
}

func (p *poller) close() {
	p.mu.Lock()
	again := p.closed
	p.closed = true
	p.mu.Unlock()
	if again {
		return
	}
	unix.Write(p.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-p.done
	unix.Close(p.stop)
	unix.Close(p.fd)
}

// readNow reads what is there; errWouldBlock when nothing is.
func (s *socket) readNow(b []byte) (int, error) {
	var n int
	var err error
	cerr := s.raw.Read(func(fd uintptr) bool {
		for {
			n, err = syscall.Read(int(fd), b)
			if err != syscall.EINTR {
				return true // done, whatever it was: waiting is the poller's
			}
		}
	})
	return readResult(n, err, cerr)
}
