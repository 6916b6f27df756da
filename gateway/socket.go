package gateway

import (
	"io"
	"net"
	"syscall"
)

// gate bounds the handshakes that compute at a time to the cores. It is given back while a handshake waits for
// its client, so a client that stalls holds nothing but its place in the caps, and started handshakes are
// finished before new ones are begun.
type gate chan struct{}

// socket is the TCP connection under TLS.
type socket struct {
	net.Conn
	gate gate            // set during the handshake, and owned by its goroutine: reads give the gate back
	raw  syscall.RawConn // set when a poller watches the socket: reads do not block

	corked bool // owned by the writer
	held   *outBuffer
}

func (s *socket) Read(b []byte) (int, error) {
	switch {
	case s.gate != nil:
		<-s.gate
		n, err := s.Conn.Read(b)
		s.gate <- struct{}{}
		return n, err
	case s.raw != nil:
		return s.readNow(b)
	}
	return s.Conn.Read(b)
}

// errWouldBlock says that there is nothing to read. TLS takes a temporary error as one after which reading goes
// on where it was.
var errWouldBlock error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing to read" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// readResult makes a read's result of the system call's and of the connection's.
func readResult(n int, err, cerr error) (int, error) {
	switch {
	case cerr != nil: // closed, or past a deadline
		return 0, cerr
	case err == syscall.EAGAIN:
		return 0, errWouldBlock
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// cork makes the following writes wait for uncork, so that several TLS records leave in one write.
func (s *socket) cork() { s.corked, s.held = true, buffers.Get().(*outBuffer) }

func (s *socket) uncork() error {
	b := s.held
	s.corked, s.held = false, nil
	_, err := s.Conn.Write(b.b)
	b.b = b.b[:0]
	buffers.Put(b)
	return err
}

func (s *socket) Write(b []byte) (int, error) {
	if !s.corked {
		return s.Conn.Write(b)
	}
	s.held.b = append(s.held.b, b...)
	return len(b), nil
}
