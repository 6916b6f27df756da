package serial

import (
	"net"
	"sync"
	"time"
)

// conn is one connection to the gateway with its two goroutines. They end when it is closed; post tells the
// bridge once how it ended.
type conn struct {
	net  net.Conn
	gen  uint64
	out  *outlet
	post func(gen uint64, err error)

	mu      sync.Mutex
	wake    *sync.Cond // for both: credit, bytes to send, the end
	win     window
	pending []byte
	finish  bool // send what waits, then close
	dead    bool
}

func newConn(c net.Conn, gen uint64, out *outlet, win window, post func(uint64, error)) *conn {
	k := &conn{net: c, gen: gen, out: out, win: win, post: post}
	k.wake = sync.NewCond(&k.mu)
	return k
}

// grant moves the device's window.
func (k *conn) grant(arg byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.win.grant(arg)
	k.wake.Broadcast()
}

// send queues bytes for the gateway; false: it has not taken maxUpstream bytes of earlier ones.
func (k *conn) send(p []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.pending)+len(p) > maxUpstream {
		return false
	}
	k.pending = append(k.pending, p...)
	k.wake.Broadcast()
	return true
}

// end closes after what waits was sent (bounded by WriteTimeout), or at once.
func (k *conn) end(flush bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.finish = true
	if !flush {
		k.dead = true
		k.net.Close()
	}
	k.wake.Broadcast()
}

// credit waits until the device has room and returns for how many bytes; 0 when the connection ended.
func (k *conn) credit() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.win.limit <= k.win.sent && !k.dead {
		k.wake.Wait()
	}
	if k.dead {
		return 0
	}
	return k.win.limit - k.win.sent
}

// down carries the gateway's bytes to the port.
func (k *conn) down() {
	buf := make([]byte, readSize)
	for {
		room := k.credit()
		if room == 0 {
			return
		}
		n, err := k.net.Read(buf[:min(room, readSize)])
		if n > 0 {
			k.mu.Lock()
			k.win.sent += int64(n)
			k.mu.Unlock()
			k.out.payload(k.gen, buf[:n])
		}
		if err != nil {
			k.fail(err)
			return
		}
	}
}

// up carries the device's bytes to the gateway.
func (k *conn) up() {
	var spare []byte
	for {
		k.mu.Lock()
		for len(k.pending) == 0 && !k.finish && !k.dead {
			k.wake.Wait()
		}
		if k.dead || len(k.pending) == 0 {
			k.dead = true
			k.wake.Broadcast()
			k.mu.Unlock()
			k.net.Close()
			return
		}
		out := k.pending
		k.pending = spare[:0]
		k.mu.Unlock()
		err := k.net.SetWriteDeadline(time.Now().Add(WriteTimeout))
		if err == nil {
			_, err = k.net.Write(out)
		}
		if err != nil {
			k.fail(err)
			return
		}
		spare = out
	}
}

func (k *conn) fail(err error) {
	k.mu.Lock()
	first := !k.dead
	k.dead = true
	k.wake.Broadcast()
	k.mu.Unlock()
	k.net.Close()
	if first {
		k.post(k.gen, err)
	}
}
