package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

func testDue(e *env) {
	t := func(kind, name, device string, in time.Duration) event.Timer {
		return event.Timer{Kind: kind, Namespace: "farm", Name: name, Device: device, Due: e.clock.now().Add(in)}
	}
	for _, x := range []event.Timer{t(DueAdvance, "blink", "", time.Second), t(DueDeadline, "blink", "a", 2*time.Second), t(DueStatus, "a", "", 3*time.Second)} {
		e.must(e.l.MarkDue(e.ctx, x))
	}
	e.code(e.l.MarkDue(e.ctx, t("sometimes", "a", "", 0)), errs.Invalid)
	take := func() []string {
		e.Helper()
		var out []string
		for s := range e.l.Shards() {
			ts, err := e.l.Due(e.ctx, s, 10)
			e.must(err)
			for _, x := range ts {
				if x.Shard != s || x.Namespace != "farm" {
					e.Fatalf("timer %+v of shard %d", x, s)
				}
				out = append(out, x.Kind)
			}
		}
		slices.Sort(out)
		return out
	}
	done := func(x event.Timer) {
		e.Helper()
		for s := range e.l.Shards() {
			e.must(e.l.DoneDue(e.ctx, s, []event.Timer{x}))
		}
	}
	same(e, "at once", take(), []string(nil))
	e.clock.add(2 * time.Second)
	same(e, "after 2 s", take(), []string{"advance", "deadline"})
	same(e, "given out", take(), []string(nil))
	e.keysAreKnown()
	done(t(DueAdvance, "blink", "", 0))
	// A mark that is made while the timer is out is not lost.
	e.must(e.l.MarkDue(e.ctx, t(DueDeadline, "blink", "a", time.Minute)))
	done(t(DueDeadline, "blink", "a", 0))
	e.clock.add(ClaimTime)
	same(e, "nobody finished the others", take(), []string{"status"})
	e.clock.add(ClaimTime)
	same(e, "it comes again", take(), []string{"status"})
	done(t(DueStatus, "a", "", 0))
	e.clock.add(time.Minute)
	same(e, "the new mark", take(), []string{"deadline"})
	done(t(DueDeadline, "blink", "a", 0))
	// An earlier time stays.
	e.must(e.l.MarkDue(e.ctx, t(DueAdvance, "blink", "", time.Second)))
	e.must(e.l.MarkDue(e.ctx, t(DueAdvance, "blink", "", time.Hour)))
	e.clock.add(time.Second)
	same(e, "the earlier one", take(), []string{"advance"})
	done(t(DueAdvance, "blink", "", 0))

	// What devices do marks their timers.
	a := dev("a")
	e.put(a, nil)
	e.connect(a, 1)
	e.due()
	e.clock.add(StatusDelay)
	e.due()
	e.target(to(1, 1), Selection{All: true})
	e.dispatch(1, a)
	e.report(a, 1, 1, true, running(1, 1))
	same(e, "now", take(), []string{"advance"})
	e.clock.add(StatusDelay)
	same(e, "after the delay", take(), []string{"status"})
	e.clock.add(ClaimTime)
	e.due()
	e.clock.add(time.Hour)
	same(e, "no deadline is left", take(), []string(nil))
}

func testHoldShard(e *env) {
	hold := func(who string) bool {
		ok, err := e.l.HoldShard(e.ctx, 3, who, 150*time.Millisecond)
		e.must(err)
		return ok
	}
	if !hold("one") || hold("two") || !hold("one") {
		e.Fatal("the shard is not held by the first alone")
	}
	for deadline := time.Now().Add(10 * time.Second); !hold("two"); {
		if time.Now().After(deadline) {
			e.Fatal("the hold does not end")
		}
	}
	if hold("one") {
		e.Fatal("two hold the shard")
	}
	_, err := e.l.HoldShard(e.ctx, 99, "one", time.Second)
	e.code(err, errs.Invalid)
}

func testFeed(e *env) {
	ds := devs(4)
	none, from, err := e.l.Feed(e.ctx, nil, 0)
	e.must(err)
	if len(none) != 0 || len(from) != e.l.Shards() {
		e.Fatalf("the feed begins with %v at %v", none, from)
	}
	for i, d := range ds {
		e.put(d, nil)
		e.connect(d, uint64(i+1))
		e.clock.add(time.Second)
	}
	e.target(to(1, 1), Selection{All: true})
	e.dispatch(1, ds...)
	e.report(ds[0], 1, 1, true, one(event.AppState{State: "Failed", Revision: "blink-1", Attempt: 1, Reason: "Trap", Message: "x"}))
	all, next, err := e.l.Feed(e.ctx, from, time.Minute)
	e.must(err)
	kinds := map[string]int{}
	for i, f := range all {
		kinds[f.Kind+" "+f.From+">"+f.To]++
		if i > 0 && f.Time.Before(all[i-1].Time) || f.Device.Namespace != "farm" || f.Shard != e.l.ShardOf(f.Device) {
			e.Fatalf("entry %d is %+v", i, f)
		}
	}
	same(e, "kinds", kinds, map[string]int{"put >": 4, "connected >": 4, "set >pending": 4, "set pending>inflight": 4, "set inflight>failed": 1})
	last := all[slices.IndexFunc(all, func(f FeedEntry) bool { return f.To == SetFailed })]
	if last.Reason != "Trap" || last.State != "Failed" || last.Message != "x" || last.App != "blink" {
		e.Fatalf("the failure is %+v", last)
	}
	again, _, err := e.l.Feed(e.ctx, next, 10*time.Millisecond)
	e.must(err)
	if len(again) != 0 {
		e.Fatalf("said again: %+v", again)
	}
	// Who waits is told.
	got := make(chan []FeedEntry, 1)
	go func() {
		fs, _, _ := e.l.Feed(e.ctx, next, 30*time.Second)
		got <- fs
	}()
	e.disconnect(ds[1], 2)
	select {
	case fs := <-got:
		if len(fs) == 0 || fs[0].Kind != "disconnected" || fs[0].Reason != "Closed" {
			e.Fatalf("told %+v", fs)
		}
	case <-time.After(20 * time.Second):
		e.Fatal("nothing was told")
	}
	_, _, err = e.l.Feed(e.ctx, []string{"1"}, 0)
	e.code(err, errs.Invalid)
}

func testSettings(e *env) {
	_, err := e.l.Gateway(e.ctx, "farm", "gw")
	e.code(err, errs.NotFound)
	g := GatewaySettings{Namespace: "farm", Name: "gw", Address: "gw.example:8081", Heartbeat: 10 * time.Second, CertificateLife: time.Hour, MaxDevices: 7,
		PairingUntil: e.clock.now(), PairingApproval: "Manual"}
	e.must(e.l.PutGateway(e.ctx, g))
	got, err := e.l.Gateway(e.ctx, "farm", "gw")
	e.must(err)
	same(e, "settings", got, g)
	_, err = e.l.Gateway(e.ctx, "other", "gw")
	e.code(err, errs.NotFound)
	e.keysAreKnown()
	e.must(e.l.DeleteGateway(e.ctx, "farm", "gw"))
	_, err = e.l.Gateway(e.ctx, "farm", "gw")
	e.code(err, errs.NotFound)

	_, err = e.l.Trust(e.ctx, "farm")
	e.code(err, errs.NotFound)
	e.must(e.l.PutTrust(e.ctx, "farm", []byte("pem")))
	pem, err := e.l.Trust(e.ctx, "farm")
	e.must(err)
	if string(pem) != "pem" {
		e.Fatalf("trust is %q", pem)
	}
	key := strings.Repeat("ab", 32)
	e.must(e.l.Deny(e.ctx, "farm", key, "Revoked"))
	for ns, want := range map[string]map[string]string{"farm": {key: "Revoked"}, "other": {}} {
		m, err := e.l.Denied(e.ctx, ns)
		e.must(err)
		same(e, "denied in "+ns, m, want)
	}
	e.keysAreKnown()
	e.must(e.l.Allow(e.ctx, "farm", key))
	if m, err := e.l.Denied(e.ctx, "farm"); err != nil || len(m) != 0 {
		e.Fatalf("denied are %v, %v", m, err)
	}
}

func testModules(e *env) {
	b := []byte("\x00asm")
	sum := sha256.Sum256(b)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	_, err := e.l.Module(e.ctx, "farm", digest)
	e.code(err, errs.NotFound)
	e.code(e.l.PutModule(e.ctx, "farm", digest, []byte("other")), errs.Invalid)
	e.must(e.l.PutModule(e.ctx, "farm", digest, b))
	got, err := e.l.Module(e.ctx, "farm", digest)
	e.must(err)
	if string(got) != string(b) {
		e.Fatalf("the module is %q", got)
	}
	_, err = e.l.Module(e.ctx, "other", digest)
	e.code(err, errs.NotFound)
}

func testVerdicts(e *env) {
	_, err := e.l.Verdict(e.ctx, "s1")
	e.code(err, errs.NotFound)
	v := Verdict{Status: "Accepted", Chain: [][]byte{{1}, {2}}, RetryAfter: time.Second, Device: dev("a")}
	e.must(e.l.PutVerdict(e.ctx, "gw-0", "s1", v))
	got, err := e.l.Verdict(e.ctx, "s1")
	e.must(err)
	same(e, "verdict", got, v)
	e.code(e.l.PutVerdict(e.ctx, "gw-0", "s 1", v), errs.Invalid)
}

func testOnce(e *env) {
	for i, want := range []struct {
		first bool
		value string
	}{{true, ""}, {false, ""}, {false, "done"}} {
		first, value, err := e.l.Once(e.ctx, "/src", "id")
		e.must(err)
		if first != want.first || value != want.value {
			e.Fatalf("Once %d => %v, %q", i, first, value)
		}
		if i == 1 {
			e.must(e.l.SetOnce(e.ctx, "/src", "id", "done"))
		}
	}
	if first, _, err := e.l.Once(e.ctx, "/src\x00id", ""); err != nil || !first {
		e.Fatalf("another event is %v, %v", first, err)
	}
}

func testPages(e *env) {
	ds := devs(25)
	for i, d := range ds {
		e.put(d, nil)
		if i%2 == 0 {
			e.connect(d, uint64(i+1))
		}
	}
	e.target(to(1, 1), Selection{All: true})
	var names []string
	pages := 0
	for after := ""; ; pages++ {
		vs, next, err := e.l.Devices(e.ctx, "farm", after, 10)
		e.must(err)
		for _, v := range vs {
			names = append(names, v.Device.Name)
		}
		if after = next; next == "" {
			break
		}
	}
	if len(names) != 25 || pages != 2 || !slices.IsSorted(names) {
		e.Fatalf("%d pages of %v", pages+1, names)
	}
	got, next, err := e.l.AppDevices(e.ctx, blink, SetPending, "dev-0003", 3)
	e.must(err)
	same(e, "pending", got, []event.Device{dev("dev-0004"), dev("dev-0006"), dev("dev-0008")})
	if next != "dev-0008" {
		e.Fatalf("next is %q", next)
	}
	_, _, err = e.l.AppDevices(e.ctx, blink, "nowhere", "", 3)
	e.code(err, errs.Invalid)
	for _, n := range []int{1, 5, 12, 13, 100} {
		cs, err := e.l.Candidates(e.ctx, blink, n)
		e.must(err)
		if len(cs) != min(n, 13) {
			e.Fatalf("%d candidates of 13, asked for %d", len(cs), n)
		}
	}
	vs, _, err := e.l.Devices(e.ctx, "elsewhere", "", 10)
	e.must(err)
	if len(vs) != 0 {
		e.Fatalf("devices of another namespace: %+v", vs)
	}
}

func testNamespaces(e *env) {
	d := event.Device{Namespace: "other", Name: "a"}
	e.put(dev("a"), nil)
	e.connect(d, 1)
	_, err := e.l.SetTarget(e.ctx, App{"third", "x"}, to(1, 1), Selection{All: true})
	e.must(err)
	got, err := e.l.Namespaces(e.ctx)
	e.must(err)
	same(e, "namespaces", got, []string{"farm", "other", "third"})
	// Equal names in two namespaces have nothing to do with each other.
	e.put(d, nil)
	e.target(to(1, 1), Selection{All: true})
	same(e, "counts", e.counts(), Counts{Desired: 1, Away: 1})
	if v := e.desired(d); len(v.Keep) != 0 {
		e.Fatalf("desired is %+v", v)
	}
	e.must(e.l.DeleteDevice(e.ctx, d))
	e.must(e.l.RemoveApp(e.ctx, App{"third", "x"}))
	got, err = e.l.Namespaces(e.ctx)
	e.must(err)
	same(e, "namespaces", got, []string{"farm"})
}

func testInvalid(e *env) {
	bad := event.Device{Namespace: "farm", Name: "a|b"}
	for what, err := range map[string]error{
		"PutDevice":    e.l.PutDevice(e.ctx, bad, DeviceFacts{}, nil),
		"label":        e.l.PutDevice(e.ctx, dev("a"), DeviceFacts{Labels: map[string]string{"a b": "c"}}, nil),
		"DeleteDevice": e.l.DeleteDevice(e.ctx, event.Device{Name: "a"}),
		"RemoveApp":    e.l.RemoveApp(e.ctx, App{"farm", "{x}"}),
		"target":       second(e.l.SetTarget(e.ctx, blink, Target{Revision: "r"}, Selection{})),
		"state":        second(e.l.SetTarget(e.ctx, blink, Target{Sequence: 1, Revision: "r", State: "Walking"}, Selection{})),
		"operator":     second(e.l.SetTarget(e.ctx, blink, to(1, 1), Selection{Terms: []Term{{"a", "Near", nil}}})),
		"Desired":      second(e.l.Desired(e.ctx, bad)),
		"Connect":      second(e.l.Connect(e.ctx, event.Connected{Device: dev("a"), Era: e.era})),
		"other":        second(e.l.Dispatch(e.ctx, blink, 1, e.clock.now(), []event.Device{{Namespace: "other", Name: "a"}})),
		"Due":          second(e.l.Due(e.ctx, -1, 1)),
	} {
		if !errs.Is(err, errs.Invalid) {
			e.Errorf("%s => %v", what, err)
		}
	}
	e.code(e.l.PutDevice(e.ctx, dev("a"), DeviceFacts{Labels: func() map[string]string {
		m := map[string]string{}
		for i := range MaxLabels + 1 {
			m[fmt.Sprint("l", i)] = ""
		}
		return m
	}()}, nil), errs.TooLarge)
	if ks := e.keys(); len(ks) != e.l.Shards()+1 {
		e.Fatalf("invalid calls left keys: %v", ks)
	}
}

func second[T any](_ T, err error) error { return err }

// testScriptsAreReloaded: a server that has forgotten the scripts gets them again, in pipelines too.
func testScriptsAreReloaded(e *env) {
	e.put(dev("a"), nil)
	e.each(flushScripts)
	e.target(to(1, 1), Selection{All: true})
	e.each(flushScripts)
	if _, err := e.l.DesiredMany(e.ctx, devs(20)); err != nil {
		e.Fatal(err)
	}
	e.each(flushScripts)
	same(e, "counts", e.counts(), Counts{Desired: 1, Away: 1})
}
