package serial

import (
	"io"
	"sync"
)

// outlet is what waits for the port: whole frames only. It never makes its users wait, since whoever waits for a
// port that nobody reads at the other end could not see that the device begins anew.
type outlet struct {
	mu     sync.Mutex
	wake   *sync.Cond
	buf    []byte
	gen    uint64 // of the connection whose payload is taken
	closed bool
}

func newOutlet() *outlet {
	o := &outlet{}
	o.wake = sync.NewCond(&o.mu)
	return o
}

// control puts a control frame behind what waits. A port that takes nothing loses it: the device asks again.
func (o *outlet) control(frame ...byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.buf)+len(frame) <= maxDown {
		o.buf = append(o.buf, frame...)
		o.wake.Signal()
	}
}

// payload puts payload of connection gen behind what waits; that of an earlier connection is dropped.
func (o *outlet) payload(gen uint64, p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if gen == o.gen {
		o.buf = appendPayload(o.buf, p)
		o.wake.Signal()
	}
}

// begin drops what waits, which is of no use to a device that asks for a connection, and takes gen's payload
// from now on.
func (o *outlet) begin(gen uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf, o.gen = o.buf[:0], gen
}

func (o *outlet) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.wake.Signal()
}

// run writes to w until it fails or the outlet is closed.
func (o *outlet) run(w io.Writer) error {
	var spare []byte
	for {
		o.mu.Lock()
		for len(o.buf) == 0 && !o.closed {
			o.wake.Wait()
		}
		if o.closed {
			o.mu.Unlock()
			return nil
		}
		out := o.buf
		o.buf = spare[:0]
		o.mu.Unlock()
		if _, err := w.Write(out); err != nil {
			return err
		}
		spare = out
	}
}

// readPort hands what comes from the port to take until it fails.
func readPort(port io.Reader, take func([]byte) bool) error {
	idle := 0
	for {
		buf := make([]byte, readSize)
		n, err := port.Read(buf)
		if n > 0 {
			idle = 0
			if !take(buf[:n]) {
				return nil
			}
		}
		if err != nil {
			return err
		}
		if n == 0 {
			if idle++; idle > 100 {
				return io.ErrNoProgress
			}
		}
	}
}
