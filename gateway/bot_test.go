package gateway

import (
	"crypto/sha256"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wasmbed.io/wasmbed/protocol"
)

// bot is a device that lives by itself: it connects and connects again, beats, reports, fetches and runs what it
// is told to. It counts what must not happen too often.
type bot struct {
	t     testing.TB
	w     *world
	name  string
	cert  tls.Certificate
	boot  []byte
	addrs func() []net.Addr // gateways behind "the same address"

	sessions atomic.Int32 // welcomes
	commands atomic.Int32
	lost     atomic.Int32 // connections that ended without goodbye
	byes     atomic.Int32
	beats    atomic.Int32 // heartbeats that were answered

	mu      sync.Mutex
	apps    map[string]protocol.AppState
	unacked map[uint64]bool // reports of this session
	bad     map[string]bool // revisions that do not run

	stop chan struct{}
	done chan struct{}
}

func (w *world) bot(name string, addrs func() []net.Addr) *bot {
	d := w.device(name)
	b := &bot{t: w.t, w: w, name: name, cert: d.cert, boot: []byte("boot0001"), addrs: addrs, apps: map[string]protocol.AppState{}, bad: map[string]bool{},
		stop: make(chan struct{}), done: make(chan struct{})}
	go b.run()
	w.t.Cleanup(b.end)
	return b
}

func (b *bot) end() {
	select {
	case <-b.stop:
	default:
		close(b.stop)
	}
	<-b.done
}

func (b *bot) run() {
	defer close(b.done)
	wait := time.Duration(0)
	for n := 0; ; n++ {
		select {
		case <-time.After(wait):
		case <-b.stop:
			return
		}
		addrs := b.addrs()
		wait = 20*time.Millisecond + rand.N(30*time.Millisecond) // jitter; SPEC's seconds would only make the test slow
		if after := b.session(addrs[rand.IntN(len(addrs))]); after > 0 {
			wait = after
		}
	}
}

// session is one connection; it returns the retry-after of the goodbye.
func (b *bot) session(addr net.Addr) time.Duration {
	d := &device{t: b.t, w: b.w, name: b.name, cert: b.cert, boot: b.boot, mu: new(sync.Mutex)}
	if err := d.dial(addr); err != nil {
		return 0
	}
	defer d.conn.Close()
	d.hello()
	var beat <-chan time.Time
	fetching := map[uint64]*protocol.Command{}
	again := make(chan *protocol.Command, 16)
	have := map[string][]byte{}
	ask := func(c *protocol.Command) {
		id := d.id64()
		fetching[id] = c
		d.send(&protocol.ChunkRequest{ID: id, Digest: c.Digest, Offset: uint32(len(have[c.App])), Length: 1024})
	}
	b.mu.Lock()
	b.unacked = nil
	b.mu.Unlock()
	for {
		select {
		case <-b.stop:
			return 0
		case <-beat:
			sum := b.digest()
			d.send(&protocol.Heartbeat{ID: d.id64(), StateDigest: sum[:]})
		case c := <-again:
			ask(c)
		case m, ok := <-d.in:
			if !ok {
				b.lost.Add(1)
				return 0
			}
			switch m := m.(type) {
			case *protocol.Welcome:
				b.sessions.Add(1)
				tick := time.NewTicker(time.Duration(m.Heartbeat) * time.Millisecond)
				defer tick.Stop()
				beat = tick.C
				b.report(d)
			case *protocol.HeartbeatAck:
				b.beats.Add(1)
			case *protocol.ReportRequest:
				b.report(d)
			case *protocol.Ack:
				b.mu.Lock()
				delete(b.unacked, m.Refers)
				b.mu.Unlock()
			case *protocol.Goodbye:
				b.byes.Add(1)
				return max(time.Duration(m.RetryAfter)*time.Millisecond, time.Millisecond)
			case *protocol.Command:
				b.commands.Add(1)
				d.send(&protocol.CommandResult{ID: d.id64(), Refers: m.ID, Command: m.Command, Status: protocol.CommandAccepted})
				switch m.Verb {
				case protocol.VerbRemove:
					b.mu.Lock()
					delete(b.apps, m.App)
					b.mu.Unlock()
					b.report(d)
				case protocol.VerbDeploy, protocol.VerbUpdate, protocol.VerbRollback:
					have[m.App] = nil
					b.set(m.App, func(s *protocol.AppState) {
						s.State, s.Revision, s.Attempt, s.Confirmed = protocol.StateFetching, m.Revision, m.Attempt, false
					})
					b.report(d)
					ask(m)
				}
			case *protocol.Error:
				if c := fetching[m.Refers]; c != nil {
					delete(fetching, m.Refers)
					time.AfterFunc(30*time.Millisecond, func() { again <- c })
				}
			case *protocol.Chunk:
				c := fetching[m.Refers]
				delete(fetching, m.Refers)
				have[c.App] = append(have[c.App], m.Data...)
				if len(have[c.App]) < int(c.Size) {
					ask(c)
					continue
				}
				if sum := sha256.Sum256(have[c.App]); string(sum[:]) != string(c.Digest) {
					b.t.Errorf("%s: other bytes came", b.name)
				}
				b.set(c.App, func(s *protocol.AppState) {
					if b.bad[c.Revision] {
						s.State, s.Reason = protocol.StateRolledBack, protocol.ReasonTrapLoop
						if s.Running == "" {
							s.State = protocol.StateFailed
						}
						return
					}
					*s = protocol.AppState{State: protocol.StateRunning, Revision: c.Revision, Attempt: c.Attempt, Running: c.Revision, Confirmed: true}
				})
				b.report(d)
			}
		}
	}
}

func (b *bot) digest() [8]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return protocol.StateDigest(b.apps)
}

func (b *bot) set(app string, f func(*protocol.AppState)) {
	b.mu.Lock()
	s := b.apps[app]
	f(&s)
	b.apps[app] = s
	b.mu.Unlock()
}

func (b *bot) report(d *device) {
	b.mu.Lock()
	d.mu.Lock()
	d.apps = make(map[string]protocol.AppState, len(b.apps))
	for k, v := range b.apps {
		d.apps[k] = v
	}
	d.mu.Unlock()
	b.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	id := d.report() // under the lock: the ack must not come before the report is on the list
	if b.unacked == nil {
		b.unacked = map[uint64]bool{}
	}
	b.unacked[id] = true
}

// quiet reports whether every report of the present session was acknowledged.
func (b *bot) quiet() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unacked != nil && len(b.unacked) == 0
}

func (b *bot) running(app string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.apps[app].Running
}
