package affinity_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/broker/ledger/testcluster"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

const ttl = 30 * time.Second

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type env struct {
	*testing.T
	a     *affinity.Affinity
	l     *ledger.Ledger
	rdb   redis.UniversalClient
	clock *clock
	ctx   context.Context
	era   string
}

func cases() map[string]func(*env) {
	return map[string]func(*env){
		"Fencing": testFencing, "Renew": testRenew, "RenewMany": testRenewMany, "Expired": testExpired, "Wipe": testWipe,
		"Rewound": testRewound, "Instances": testInstances, "Wakes": testWakes, "LedgerWakes": testLedgerWakes,
		"Gap": testGap, "Invalid": testInvalid, "Once": testOneOwner,
	}
}

func run(t *testing.T, rdb redis.UniversalClient, without ...string) {
	for name, f := range cases() {
		if slices.Contains(without, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			testcluster.Wipe(t, rdb)
			c := &clock{t: time.UnixMilli(1_760_000_000_000).UTC()}
			l := ledger.New(rdb, ledger.Options{Now: c.now})
			e := &env{T: t, l: l, a: affinity.New(rdb, l.Keys(), affinity.Options{Now: c.now}), rdb: rdb, clock: c, ctx: t.Context()}
			e.newEra()
			f(e)
		})
	}
}

// TestInProcess: on the in-process server that standalone falls back to. It cannot drop connections on demand.
func TestInProcess(t *testing.T) {
	c := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { c.Close() })
	run(t, c, "Gap")
}

func TestSingle(t *testing.T) { run(t, testredis.Start(t).Client(t)) }

func TestCluster(t *testing.T) { run(t, testcluster.Start(t)) }

func (e *env) newEra() {
	e.Helper()
	era, created, err := e.l.Era(e.ctx)
	if err != nil || !created {
		e.Fatalf("Era() => %v, %v", created, err)
	}
	e.era = era
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *env) code(err error, want errs.Code) {
	e.Helper()
	if errs.CodeOf(err) != want {
		e.Fatalf("error %v has the code %q, want %q", err, errs.CodeOf(err), want)
	}
}

func dev(n int) event.Device {
	return event.Device{Namespace: "farm", Name: fmt.Sprintf("dev-%04d", n)}
}

func (e *env) acquire(d event.Device, instance string) uint64 {
	e.Helper()
	epoch, era, err := e.a.Acquire(e.ctx, d, instance, ttl)
	e.must(err)
	if era != e.era {
		e.Fatalf("era is %q, want %q", era, e.era)
	}
	return epoch
}

func (e *env) owner(d event.Device) (string, uint64) {
	e.Helper()
	i, n, err := e.a.Owner(e.ctx, d)
	if errs.Is(err, errs.NotFound) {
		return "", 0
	}
	e.must(err)
	return i, n
}

func (e *env) renew(instance string, ls ...affinity.Lease) []event.Device {
	e.Helper()
	lost, era, err := e.a.Renew(e.ctx, instance, ls, ttl)
	e.must(err)
	if era != e.era {
		e.Fatalf("era is %q, want %q", era, e.era)
	}
	return lost
}

func (e *env) next(s *affinity.Subscription) affinity.Wake {
	e.Helper()
	select {
	case w, ok := <-s.C():
		if !ok {
			e.Fatal("the subscription has ended")
		}
		return w
	case <-time.After(30 * time.Second):
		e.Fatal("no wake came")
	}
	return affinity.Wake{}
}

func testFencing(e *env) {
	a := dev(1)
	first := e.acquire(a, "gw-0")
	second := e.acquire(a, "gw-1")
	if second <= first {
		e.Fatalf("epochs %d, then %d", first, second)
	}
	// The end of the older session does not touch the newer one.
	e.must(e.a.Release(e.ctx, a, first))
	if i, n := e.owner(a); i != "gw-1" || n != second {
		e.Fatalf("owner is %q, %d", i, n)
	}
	if lost := e.renew("gw-0", affinity.Lease{Device: a, Epoch: first}); !slices.Equal(lost, []event.Device{a}) {
		e.Fatalf("lost %v", lost)
	}
	// Nor does another process with the right number.
	if lost := e.renew("gw-0", affinity.Lease{Device: a, Epoch: second}); !slices.Equal(lost, []event.Device{a}) {
		e.Fatalf("lost %v", lost)
	}
	e.must(e.a.Release(e.ctx, a, second))
	if i, _ := e.owner(a); i != "" {
		e.Fatalf("owner is %q after the release", i)
	}
	if third := e.acquire(a, "gw-0"); third <= second {
		e.Fatalf("epoch %d after %d", third, second)
	}
}

func testRenew(e *env) {
	a, b := dev(1), dev(2)
	ea, eb := e.acquire(a, "gw-0"), e.acquire(b, "gw-0")
	e.must(e.a.Release(e.ctx, b, eb))
	e.must(e.l.PutDevice(e.ctx, a, ledger.DeviceFacts{}, nil))
	e.clock.add(20 * time.Second)
	seen := e.clock.now().Add(-time.Second)
	if lost := e.renew("gw-0", affinity.Lease{Device: a, Epoch: ea, LastSeen: seen}, affinity.Lease{Device: b, Epoch: eb}); !slices.Equal(lost, []event.Device{b}) {
		e.Fatalf("lost %v", lost)
	}
	v, err := e.l.Device(e.ctx, a)
	e.must(err)
	if !v.LastSeen.Equal(seen) {
		e.Fatalf("last seen %v, want %v", v.LastSeen, seen)
	}
	e.clock.add(20 * time.Second)
	if x, err := e.a.Expired(e.ctx, e.l.ShardOf(a), 10); err != nil || len(x) != 0 {
		e.Fatalf("expired %v, %v", x, err)
	}
	if lost := e.renew("gw-0"); len(lost) != 0 {
		e.Fatalf("lost %v", lost)
	}
}

func testRenewMany(e *env) {
	var ls []affinity.Lease
	for i := range 3000 {
		d := dev(i)
		ls = append(ls, affinity.Lease{Device: d, Epoch: e.acquire(d, "gw-0"), LastSeen: e.clock.now()})
	}
	e.acquire(dev(7), "gw-1")
	e.acquire(dev(2999), "gw-1")
	lost := e.renew("gw-0", ls...)
	slices.SortFunc(lost, func(a, b event.Device) int { return len(a.Name+b.Name) - len(b.Name+a.Name) })
	if len(lost) != 2 || !slices.Contains(lost, dev(7)) || !slices.Contains(lost, dev(2999)) {
		e.Fatalf("lost %v", lost)
	}
}

func testExpired(e *env) {
	a, b := dev(1), dev(1)
	for i := 2; e.l.ShardOf(b) != e.l.ShardOf(a) || b == a; i++ {
		b = dev(i)
	}
	shard := e.l.ShardOf(a)
	ea, eb := e.acquire(a, "gw-0"), e.acquire(b, "gw-1")
	e.clock.add(ttl)
	got, err := e.a.Expired(e.ctx, shard, 10)
	e.must(err)
	if want := []affinity.ExpiredLease{{Device: a, Instance: "gw-0", Epoch: ea}, {Device: b, Instance: "gw-1", Epoch: eb}}; !slices.Equal(got, want) {
		e.Fatalf("expired %v, want %v", got, want)
	}
	// b is renewed, late, and a is taken, before they are dropped.
	if lost := e.renew("gw-1", affinity.Lease{Device: b, Epoch: eb}); len(lost) != 0 {
		e.Fatalf("lost %v", lost)
	}
	e.must(e.a.DropExpired(e.ctx, shard, got[1:]))
	if i, _ := e.owner(b); i != "gw-1" {
		e.Fatalf("owner is %q", i)
	}
	e.must(e.a.DropExpired(e.ctx, shard, got[:1]))
	if i, _ := e.owner(a); i != "" {
		e.Fatalf("owner is %q after the drop", i)
	}
	if got, err := e.a.Expired(e.ctx, shard, 10); err != nil || len(got) != 0 {
		e.Fatalf("expired %v, %v", got, err)
	}
	if lost := e.renew("gw-0", affinity.Lease{Device: a, Epoch: ea}); !slices.Equal(lost, []event.Device{a}) {
		e.Fatalf("a lease that was dropped is renewed")
	}
}

func testWipe(e *env) {
	a := dev(1)
	for range 20 {
		e.acquire(a, "gw-0")
	}
	ea := e.acquire(a, "gw-0")
	testcluster.Wipe(e, e.rdb)
	lost, era, err := e.a.Renew(e.ctx, "gw-0", []affinity.Lease{{Device: a, Epoch: ea}}, ttl)
	e.must(err)
	if era != "" || len(lost) != 1 {
		e.Fatalf("after the wipe: era %q, lost %v", era, lost)
	}
	if _, era, err := e.a.Renew(e.ctx, "gw-0", nil, ttl); err != nil || era != "" {
		e.Fatalf("era %q, %v", era, err)
	}
	_, era, err = e.a.Acquire(e.ctx, a, "gw-0", ttl)
	e.must(err)
	if era != "" {
		e.Fatalf("acquired in era %q", era)
	}
	before := e.era
	e.newEra()
	if e.era == before {
		e.Fatal("the era is the same")
	}
	e.acquire(a, "gw-0")
}

// testRewound: Redis comes back without its last seconds, and with a counter lower than what it gave.
func testRewound(e *env) {
	a, b := dev(1), dev(1)
	for i := 2; e.l.ShardOf(b) != e.l.ShardOf(a) || b == a; i++ {
		b = dev(i)
	}
	k := e.l.Keys()
	old := e.acquire(a, "gw-0")
	counter := e.rdb.Get(e.ctx, k.Epoch(e.l.ShardOf(a))).Val()
	for range 5 {
		e.acquire(a, "gw-1")
	}
	live := e.acquire(a, "gw-1")
	e.must(e.rdb.Set(e.ctx, k.Epoch(e.l.ShardOf(a)), counter, 0).Err())
	e.must(e.rdb.HSet(e.ctx, k.Owner(a), "i", "gw-0", "e", old).Err())
	if lost := e.renew("gw-1", affinity.Lease{Device: a, Epoch: live}); len(lost) != 0 {
		e.Fatalf("a live session lost %v", lost)
	}
	if i, n := e.owner(a); i != "gw-1" || n != live {
		e.Fatalf("owner is %q, %d", i, n)
	}
	if n := e.acquire(b, "gw-0"); n <= live {
		e.Fatalf("epoch %d after %d", n, live)
	}
}

func testInstances(e *env) {
	up := func(id string) {
		e.Helper()
		e.must(e.a.Register(e.ctx, affinity.Instance{ID: id, Namespace: "farm", Gateway: "gw", Address: "x:8081", Devices: 3, State: "Up", Started: e.clock.now()}, ttl))
	}
	ids := func() []string {
		e.Helper()
		is, err := e.a.Instances(e.ctx)
		e.must(err)
		var out []string
		for _, i := range is {
			out = append(out, i.ID)
		}
		return out
	}
	up("gw-1")
	up("gw-0")
	if got := ids(); !slices.Equal(got, []string{"gw-0", "gw-1"}) {
		e.Fatalf("instances %v", got)
	}
	e.clock.add(20 * time.Second)
	up("gw-1")
	e.clock.add(20 * time.Second)
	if got := ids(); !slices.Equal(got, []string{"gw-1"}) {
		e.Fatalf("instances %v", got)
	}
	e.clock.add(5 * time.Minute)
	up("gw-2")
	if n := e.rdb.HLen(e.ctx, e.l.Keys().Instances()).Val(); n != 1 {
		e.Fatalf("%d entries in the registry", n)
	}
	e.must(e.a.Unregister(e.ctx, "gw-2"))
	if got := ids(); len(got) != 0 {
		e.Fatalf("instances %v", got)
	}
}

// Cases that listen have process names of their own: on a cluster a wake of the case before may come late.
func testWakes(e *env) {
	zero, err := e.a.Subscribe(e.ctx, "wakes-0")
	e.must(err)
	one, err := e.a.Subscribe(e.ctx, "wakes-1")
	e.must(err)
	a := dev(1)
	e.acquire(a, "wakes-0")
	second := e.acquire(a, "wakes-1")
	if w := e.next(zero); w != (affinity.Wake{Kind: affinity.WakeSuperseded, Device: a, Epoch: second}) {
		e.Fatalf("wake %+v", w)
	}
	e.must(e.l.PutVerdict(e.ctx, "wakes-1", "s1", ledger.Verdict{Status: "Accepted"}))
	if w := e.next(one); w != (affinity.Wake{Kind: affinity.WakeVerdict, Session: "s1"}) {
		e.Fatalf("wake %+v", w)
	}
	e.must(e.l.Deny(e.ctx, "farm", "abcd", "Revoked"))
	for _, s := range []*affinity.Subscription{zero, one} {
		if w := e.next(s); w.Kind != affinity.WakeSettings {
			e.Fatalf("wake %+v", w)
		}
	}
	// What does not change wakes nobody: the next wake is the verdict's.
	e.must(e.l.Deny(e.ctx, "farm", "abcd", "Revoked"))
	e.must(e.l.PutVerdict(e.ctx, "wakes-0", "s2", ledger.Verdict{}))
	if w := e.next(zero); w.Kind != affinity.WakeVerdict {
		e.Fatalf("wake %+v", w)
	}
	e.must(e.a.Disconnect(e.ctx, a, "wakes-0", 7, 1500*time.Millisecond))
	if w := e.next(zero); w != (affinity.Wake{Kind: affinity.WakeDisconnect, Device: a, Epoch: 7, RetryAfter: 1500 * time.Millisecond}) {
		e.Fatalf("wake %+v", w)
	}
	e.must(zero.Close())
	if _, ok := <-zero.C(); ok {
		e.Fatal("the channel is open after Close")
	}
}

// testLedgerWakes: whatever changes a device's desired wakes the gateway process that holds it.
func testLedgerWakes(e *env) {
	s, err := e.a.Subscribe(e.ctx, "ledger-0")
	e.must(err)
	a, app := dev(1), ledger.App{Namespace: "farm", Name: "blink"}
	epoch := e.acquire(a, "ledger-0")
	woken := func(what string) {
		e.Helper()
		if w := e.next(s); w != (affinity.Wake{Kind: affinity.WakeDesired, Device: a, Epoch: epoch}) {
			e.Fatalf("%s: wake %+v", what, w)
		}
		d, err := e.l.Desired(e.ctx, a)
		e.must(err)
		e.Logf("%s: version %d, %d applications, complete %v", what, d.Version, len(d.Apps), d.Complete)
	}
	put := func() { e.must(e.l.PutDevice(e.ctx, a, ledger.DeviceFacts{Approved: true}, nil)) }
	put()
	woken("complete")
	put()
	_, err = e.l.Connect(e.ctx, event.Connected{Device: a, Era: e.era, Epoch: epoch, Time: e.clock.now()})
	e.must(err)
	target := ledger.Target{Sequence: 1, Revision: "blink-1", Digest: "sha256:00"}
	_, err = e.l.SetTarget(e.ctx, app, target, ledger.Selection{All: true})
	e.must(err)
	n, err := e.l.Dispatch(e.ctx, app, 1, e.clock.now().Add(time.Minute), []event.Device{a})
	if err != nil || n != 1 {
		e.Fatalf("%d dispatched, %v", n, err)
	}
	woken("dispatch")
	_, err = e.l.SetTarget(e.ctx, app, target, ledger.Selection{Names: []string{"other"}})
	e.must(err)
	woken("not selected any more")
	e.must(e.l.DeleteDevice(e.ctx, a))
	woken("deleted")
}

// testGap: after Redis dropped the connections, a subscription connects again and says that wakes may be lost.
func testGap(e *env) {
	s, err := e.a.Subscribe(e.ctx, "gap-0")
	e.must(err)
	kill := func(ctx context.Context, c *redis.Client) error {
		return c.Do(ctx, "client", "kill", "type", "pubsub").Err()
	}
	if c, ok := e.rdb.(*redis.ClusterClient); ok {
		e.must(c.ForEachMaster(e.ctx, kill))
	} else {
		e.must(kill(e.ctx, e.rdb.(*redis.Client)))
	}
	if w := e.next(s); w.Kind != affinity.WakeAll {
		e.Fatalf("wake %+v", w)
	}
	e.must(e.l.PutVerdict(e.ctx, "gap-0", "s1", ledger.Verdict{}))
	for w := e.next(s); w.Kind != affinity.WakeVerdict; w = e.next(s) {
		if w.Kind != affinity.WakeAll {
			e.Fatalf("wake %+v", w)
		}
	}
}

// testOneOwner: many fight for a device; the one with the highest epoch has it.
func testOneOwner(e *env) {
	a := dev(1)
	var wg sync.WaitGroup
	var mu sync.Mutex
	highest, winner := uint64(0), ""
	for i := range 20 {
		wg.Go(func() {
			id := fmt.Sprintf("gw-%d", i)
			epoch, _, err := e.a.Acquire(e.ctx, a, id, ttl)
			if err != nil {
				e.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if epoch == highest {
				e.Errorf("epoch %d was given twice", epoch)
			}
			if epoch > highest {
				highest, winner = epoch, id
			}
		})
	}
	wg.Wait()
	if i, n := e.owner(a); i != winner || n != highest {
		e.Fatalf("owner %q with %d, want %q with %d", i, n, winner, highest)
	}
}

func testInvalid(e *env) {
	_, _, err := e.a.Acquire(e.ctx, event.Device{Namespace: "farm", Name: "a b"}, "gw-0", ttl)
	e.code(err, errs.Invalid)
	_, _, err = e.a.Acquire(e.ctx, dev(1), "gw 0", ttl)
	e.code(err, errs.Invalid)
	_, _, err = e.a.Renew(e.ctx, "gw-0", nil, 0)
	e.code(err, errs.Invalid)
	_, err = e.a.Expired(e.ctx, 99, 1)
	e.code(err, errs.Invalid)
	_, err = e.a.Subscribe(e.ctx, "")
	e.code(err, errs.Invalid)
	e.code(e.a.Register(e.ctx, affinity.Instance{}, ttl), errs.Invalid)
}

func TestOutage(t *testing.T) {
	s := testredis.Start(t)
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, DialTimeout: time.Second, DialerRetries: 1})
	t.Cleanup(func() { rdb.Close() })
	a := affinity.New(rdb, ledger.New(rdb, ledger.Options{}).Keys(), affinity.Options{})
	ctx := t.Context()
	everything := func() map[string]error {
		_, _, acquire := a.Acquire(ctx, dev(1), "gw-0", ttl)
		_, _, renew := a.Renew(ctx, "gw-0", []affinity.Lease{{Device: dev(1), Epoch: 1}, {Device: dev(2), Epoch: 1}}, ttl)
		_, _, owner := a.Owner(ctx, dev(1))
		_, expired := a.Expired(ctx, 0, 5)
		_, instances := a.Instances(ctx)
		return map[string]error{"Acquire": acquire, "Renew": renew, "Owner": owner, "Expired": expired, "Instances": instances,
			"Release": a.Release(ctx, dev(1), 1), "Register": a.Register(ctx, affinity.Instance{ID: "gw-0"}, ttl),
			"DropExpired": a.DropExpired(ctx, 0, []affinity.ExpiredLease{{Device: dev(1), Epoch: 1}})}
	}
	away := func() {
		t.Helper()
		for what, err := range everything() {
			if !errs.Is(err, errs.Unavailable) {
				t.Errorf("%s => %v", what, err)
			}
		}
	}
	s.Kill()
	away()
	if _, err := a.Subscribe(ctx, "gw-0"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Subscribe => %v", err)
	}
	s.Restart(t)
	for end := time.Now().Add(20 * time.Second); rdb.Ping(ctx).Err() != nil; {
		if time.Now().After(end) {
			t.Fatal("the client does not find Redis again")
		}
	}
	sub, err := a.Subscribe(ctx, "gw-0")
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range everything() {
		if err != nil && !errs.Is(err, errs.NotFound) {
			t.Errorf("%s => %v", what, err)
		}
	}
	s.Kill()
	away()
	s.Restart(t)
	select {
	case w := <-sub.C():
		if w.Kind != affinity.WakeAll {
			t.Errorf("wake %+v", w)
		}
	case <-time.After(30 * time.Second):
		t.Error("the subscription does not come back")
	}
	if err := sub.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkRenew renews 10,000 leases in one call. An operation is a lease.
func BenchmarkRenew(b *testing.B) {
	rdb := testredis.Start(b).Client(b)
	l := ledger.New(rdb, ledger.Options{})
	if _, _, err := l.Era(b.Context()); err != nil {
		b.Fatal(err)
	}
	a := affinity.New(rdb, l.Keys(), affinity.Options{})
	var ls []affinity.Lease
	for i := range 10000 {
		epoch, _, err := a.Acquire(b.Context(), dev(i), "gw-0", ttl)
		if err != nil {
			b.Fatal(err)
		}
		ls = append(ls, affinity.Lease{Device: dev(i), Epoch: epoch, LastSeen: time.Now()})
	}
	b.ResetTimer()
	for i := 0; i < b.N; i += len(ls) {
		if lost, _, err := a.Renew(b.Context(), "gw-0", ls, ttl); err != nil || len(lost) > 0 {
			b.Fatal(len(lost), err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}
