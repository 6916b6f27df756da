package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/broker/ledger/testcluster"
	"wasmbed.io/wasmbed/protocol"
)

func all(bots []*bot, f func(*bot) bool) func() bool {
	return func() bool {
		for _, b := range bots {
			if !f(b) {
				return false
			}
		}
		return true
	}
}

// bots starts n devices. They beat slowly: hundreds of them share the machine with everything else.
func (w *world) bots(n int, addrs func() []net.Addr) []*bot {
	w.t.Helper()
	if n >= 40 {
		w.fill(5 * time.Second)
		eventually(w.t, "the gateways know the new interval", func() bool { return w.settled(5 * time.Second) })
	}
	bots := make([]*bot, n)
	for i := range bots {
		bots[i] = w.bot(fmt.Sprintf("press-%03d", i), addrs)
	}
	eventually(w.t, "all devices are connected and have reported", all(bots, (*bot).quiet))
	return bots
}

// rollout has an application wanted on all devices, as deploy does.
func (w *world) rollout(app string, n int, module []byte, bots []*bot) {
	w.t.Helper()
	ctx := w.t.Context()
	sum := sha256.Sum256(module)
	a := ledger.App{Namespace: testNS, Name: app}
	target := ledger.Target{Sequence: uint64(n), Revision: fmt.Sprintf("%s-%d", app, n), Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(module)),
		Manifest: ledger.Manifest{MemoryPages: 1, Stack: 4096, CallTimeout: time.Second, HealthWindow: time.Second, MaxTraps: 3, TrapPeriod: time.Minute}}
	var devices []event.Device
	for _, b := range bots {
		d := event.Device{Namespace: testNS, Name: b.name}
		devices = append(devices, d)
		if err := w.ledger.PutDevice(ctx, d, ledger.DeviceFacts{Board: "Host", Approved: true}, nil); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := w.ledger.SetTarget(ctx, a, target, ledger.Selection{All: true}); err != nil {
		w.t.Fatal(err)
	}
	left := len(devices)
	eventually(w.t, "dispatched", func() bool {
		n, err := w.ledger.Dispatch(ctx, a, target.Sequence, time.Now().Add(time.Minute), devices)
		left -= n
		return err == nil && left <= 0
	})
}

// TestGatewayDies: one of two gateways under 200 devices is gone from one moment to the next. All are back on
// the other, nothing is deployed twice, and what the dead one held is cleaned up.
func TestGatewayDies(t *testing.T) {
	w := newWorld(t)
	g1, g2 := w.gateway(), w.gateway()
	var dead atomic.Bool
	addrs := func() []net.Addr {
		if dead.Load() {
			return []net.Addr{g2.TLSAddr()}
		}
		return []net.Addr{g1.TLSAddr(), g2.TLSAddr()}
	}
	bots := w.bots(200, addrs)
	module := make([]byte, 3000)
	rand.Read(module)
	w.putModule(module)
	w.rollout("hello", 1, module, bots)
	eventually(t, "it runs everywhere", all(bots, func(b *bot) bool { return b.running("hello") == "hello-1" && b.quiet() }))
	if g1.hub.devicesOpen() == 0 || g2.hub.devicesOpen() == 0 {
		t.Fatal("all devices are on one gateway")
	}
	commands := func() (n int32) {
		for _, b := range bots {
			n += b.commands.Load()
		}
		return n
	}
	if n := commands(); n != 200 {
		t.Fatalf("%d commands for 200 devices", n)
	}

	dead.Store(true)
	g1.die()
	eventually(t, "all devices are on the other gateway", func() bool { return g2.hub.devicesOpen() == 200 })
	eventually(t, "all have reported there", all(bots, (*bot).quiet))
	eventually(t, "the ledger has them all there", func() bool {
		for _, b := range bots {
			v, err := w.ledger.Device(t.Context(), event.Device{Namespace: testNS, Name: b.name})
			if err != nil || !v.Online || v.Instance != g2.Instance() {
				return false
			}
		}
		return true
	})
	if n := commands(); n != 200 {
		t.Fatalf("%d commands: something was deployed twice", n)
	}
}

// die ends the process's part as kill -9 does: no goodbye, no release, no flush.
func (g *Gateway) die() {
	g.closing.Store(true)
	g.tlsListener.Close()
	g.httpListener.Close()
	g.stop() // no loop, no Redis call of its own any more
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	g.uplink.Close(ctx)
	for _, c := range g.hub.list(nil) {
		c.abort()
	}
}

// TestLeaseOfADeadGateway: a device that does not come back is said to be gone by who keeps its shard.
func TestLeaseOfADeadGateway(t *testing.T) {
	w := newWorld(t)
	g1, _ := w.gateway(), w.gateway()
	d := w.device("press-1")
	welcome := d.open(g1.TLSAddr())
	d.report()
	next[*protocol.Ack](d)
	g1.die()
	eventually(t, "the lease lapses and is said", func() bool {
		for _, e := range w.broker.all(event.DeviceDisconnected) {
			if v := data[event.Disconnected](t, e); v.Reason == "LeaseExpired" && v.Epoch == welcome.Epoch && v.Device == d.ref() {
				return true
			}
		}
		return false
	})
	eventually(t, "the ledger knows", func() bool {
		v, err := w.ledger.Device(t.Context(), d.ref())
		return err == nil && !v.Online
	})
}

// TestFlushAll: Redis loses everything. No session ends, nothing is deployed again, and what the gateways can
// rebuild is what it was.
func TestFlushAll(t *testing.T) {
	w := newWorld(t)
	g1, g2 := w.gateway(), w.gateway()
	bots := w.bots(40, func() []net.Addr { return []net.Addr{g1.TLSAddr(), g2.TLSAddr()} })
	module := make([]byte, 3000)
	rand.Read(module)
	w.putModule(module)
	w.rollout("hello", 1, module, bots)
	eventually(t, "it runs everywhere", all(bots, func(b *bot) bool { return b.running("hello") == "hello-1" && b.quiet() }))
	era := g1.Counts().Era
	view := func() map[string]string {
		out := map[string]string{}
		for _, b := range bots {
			v, err := w.ledger.Device(t.Context(), event.Device{Namespace: testNS, Name: b.name})
			if err != nil {
				return nil
			}
			var apps string
			for _, a := range v.Apps {
				if a.Reported != nil {
					apps += fmt.Sprintf(" %s=%s/%s/%v", a.App, a.Reported.State, a.Reported.Revision, a.Reported.Confirmed)
				}
			}
			out[b.name] = fmt.Sprintf("%v %s %s%s", v.Online, v.Instance, v.BootID, apps)
		}
		return out
	}
	before := view()

	testcluster.Wipe(t, w.rdb)
	eventually(t, "another era", func() bool { return g1.Counts().Era != era && g1.Counts().Era == g2.Counts().Era })
	w.fill(5 * time.Second)
	eventually(t, "reported is what it was", func() bool {
		now := view()
		for k, v := range before {
			if now[k] != v {
				return false
			}
		}
		return true
	})
	if n := len(w.broker.all(event.LedgerLost)); n != 2 { // the empty one at the start, and this
		t.Fatalf("ledger.lost was said %d times", n)
	}
	for _, b := range bots {
		if b.sessions.Load() != 1 || b.commands.Load() != 1 {
			t.Fatalf("%s: %d sessions, %d commands", b.name, b.sessions.Load(), b.commands.Load())
		}
	}
	announced := 0
	for _, e := range w.broker.all(event.DeviceConnected) {
		if data[event.Connected](t, e).Announced {
			announced++
		}
	}
	if announced < len(bots) {
		t.Fatalf("%d of %d sessions were announced", announced, len(bots))
	}
	// deploy tells the new ledger what it wants; the devices have it.
	w.putModule(module)
	w.rollout2(t, "hello", module, bots)
	eventually(t, "all done", func() bool {
		n, err := w.ledger.Counts(t.Context(), ledger.App{Namespace: testNS, Name: "hello"})
		return err == nil && n.Ready == len(bots)
	})
	for _, b := range bots {
		if b.commands.Load() != 1 {
			t.Fatalf("%s was told again", b.name)
		}
	}
}

// rollout2 is deploy's rebuild: the same target as before, nothing to dispatch.
func (w *world) rollout2(t *testing.T, app string, module []byte, bots []*bot) {
	t.Helper()
	sum := sha256.Sum256(module)
	for _, b := range bots {
		if err := w.ledger.PutDevice(t.Context(), event.Device{Namespace: testNS, Name: b.name}, ledger.DeviceFacts{Board: "Host", Approved: true},
			[]ledger.App{{Namespace: testNS, Name: app}}); err != nil {
			t.Fatal(err)
		}
	}
	target := ledger.Target{Sequence: 1, Revision: app + "-1", Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(module)),
		Manifest: ledger.Manifest{MemoryPages: 1, Stack: 4096, CallTimeout: time.Second, HealthWindow: time.Second, MaxTraps: 3, TrapPeriod: time.Minute}}
	if _, err := w.ledger.SetTarget(t.Context(), ledger.App{Namespace: testNS, Name: app}, target, ledger.Selection{All: true}); err != nil {
		t.Fatal(err)
	}
}

// TestRedisAway: Redis is gone for a while, and comes back empty. Sessions go on meanwhile.
func TestRedisAway(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	bots := w.bots(10, func() []net.Addr { return []net.Addr{g.TLSAddr()} })
	d := w.device("late")
	w.broker.away.Store(true) // the embedded broker lives on Redis
	w.redis.Kill()
	eventually(t, "not ready", func() bool { return !g.Ready().Ready })
	b := bots[0]
	b.set("x", func(s *protocol.AppState) {
		*s = protocol.AppState{State: protocol.StateRunning, Revision: "x-1", Attempt: 1, Running: "x-1"}
	})
	// The other digest makes the gateway ask; the report stays unacknowledged.
	eventually(t, "a report waits", func() bool { return !b.quiet() })
	if err := d.dial(g.TLSAddr()); err != nil { // a new session waits for its lease
		t.Fatal(err)
	}
	d.hello()
	before := make([]int32, len(bots))
	for i, b := range bots {
		before[i] = b.beats.Load()
	}
	for i, b := range bots {
		eventually(t, "heartbeats go to and fro", func() bool { return b.beats.Load() > before[i]+4 })
	}
	if n := g.hub.devicesOpen(); n != 10 {
		t.Fatalf("%d sessions are left", n)
	}
	w.redis.Restart(t)
	w.broker.away.Store(false)
	if !next[*protocol.Welcome](d).Enrolled {
		t.Fatal("not welcomed")
	}
	go d.live(100*time.Millisecond, d.conn)
	w.fill(time.Second)
	eventually(t, "the report is durable", b.quiet)
	eventually(t, "ready", func() bool { return g.Ready().Ready })
	eventually(t, "all leases are back", func() bool {
		for _, b := range bots {
			if _, _, err := g.affinity.Owner(t.Context(), event.Device{Namespace: testNS, Name: b.name}); err != nil {
				return false
			}
		}
		return true
	})
	for _, b := range bots {
		if b.sessions.Load() != 1 {
			t.Fatalf("%s: %d sessions", b.name, b.sessions.Load())
		}
	}
	for _, e := range w.broker.all(event.DeviceDisconnected) {
		t.Errorf("said to be gone: %+v", data[event.Disconnected](t, e))
	}
}

// TestDrain: a gateway is told to stop. Its devices are told to go, spread over time, and all find the other.
func TestDrain(t *testing.T) {
	w := newWorld(t)
	g1, g2 := w.gateway(), w.gateway()
	var gone atomic.Bool
	bots := w.bots(50, func() []net.Addr {
		if gone.Load() {
			return []net.Addr{g2.TLSAddr()}
		}
		return []net.Addr{g1.TLSAddr()}
	})
	d := w.device("press-x")
	d.open(g1.TLSAddr())
	gone.Store(true)
	start := time.Now()
	resp, err := http.Post("http://"+g1.HTTPAddr().String()+"/drain", "", nil)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()
	if bye := next[*protocol.Goodbye](d); bye.Reason != protocol.GoodbyeDrain || bye.RetryAfter > 100 {
		t.Fatalf("%+v", bye)
	}
	<-g1.done
	if took := time.Since(start); took > 5*time.Second {
		t.Fatalf("took %v", took)
	}
	eventually(t, "all are on the other", func() bool { return g2.hub.devicesOpen() == 50 })
	for _, b := range bots {
		if b.byes.Load() != 1 || b.lost.Load() != 0 {
			t.Fatalf("%s: %d goodbyes, %d lost connections", b.name, b.byes.Load(), b.lost.Load())
		}
	}
	drained := 0
	for _, e := range w.broker.all(event.DeviceDisconnected) {
		if data[event.Disconnected](t, e).Reason == "Drained" {
			drained++
		}
	}
	if drained != 51 {
		t.Fatalf("%d sessions were said to be drained", drained)
	}
	var states []string
	for _, e := range w.broker.all(event.GatewayChanged) {
		if v := data[event.GatewayInstance](t, e); v.Instance == g1.Instance() && (len(states) == 0 || states[len(states)-1] != v.State) {
			states = append(states, v.State)
		}
	}
	if fmt.Sprint(states) != "[Up Draining Down]" {
		t.Fatalf("%v", states)
	}
	is, err := g2.affinity.Instances(t.Context())
	if err != nil || len(is) != 1 || is[0].ID != g2.Instance() {
		t.Fatalf("%+v %v", is, err)
	}
}

func TestTimers(t *testing.T) {
	w := newWorld(t)
	w.gateway()
	w.gateway() // two of them, and still each timer once
	for i := range 20 {
		err := w.ledger.MarkDue(t.Context(), event.Timer{Kind: ledger.DueAdvance, Namespace: testNS, Name: fmt.Sprintf("app-%d", i)})
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all timers are posted", func() bool { return len(w.broker.all(event.TimerDue)) >= 20 })
	eventually(t, "and done", func() bool {
		for s := range w.ledger.Shards() {
			n, err := w.rdb.ZCard(t.Context(), w.ledger.Keys().Due(s)).Result()
			if err != nil || n != 0 {
				return false
			}
		}
		return true
	})
	seen := map[string]int{}
	for _, e := range w.broker.all(event.TimerDue) {
		v := data[event.Timer](t, e)
		seen[v.Name]++
		if event.Extension(e, "timerkind") != "advance" || event.Namespace(e) != testNS || e.Subject() != testNS+"/"+v.Name {
			t.Fatalf("%v", e)
		}
	}
	if len(seen) != 20 || len(w.broker.all(event.TimerDue)) != 20 {
		t.Fatalf("%v", seen)
	}
}
