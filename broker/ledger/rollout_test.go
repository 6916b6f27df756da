package ledger

import (
	"fmt"
	"slices"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

func testEra(e *env) {
	again, created, err := e.l.Era(e.ctx)
	e.must(err)
	if created || again != e.era || len(again) != 16 {
		e.Fatalf("Era() => %q, %v, want %q", again, created, e.era)
	}
	_, _, err = New(e.rdb, Options{Shards: 4}).Era(e.ctx)
	e.code(err, errs.Conflict)
}

func testEraOfALostShard(e *env) {
	e.put(dev("a"), nil)
	shard := e.l.ShardOf(dev("a"))
	e.must(e.rdb.Del(e.ctx, e.l.keys.Era(shard)).Err())
	if _, err := e.l.Connect(e.ctx, e.connected(dev("a"), 1)); !errs.Is(err, errs.Stale) {
		e.Fatalf("Connect without an era => %v", err)
	}
	if d := e.desired(dev("a")); d.Complete || d.Era != "" {
		e.Fatalf("desired without an era is %+v", d)
	}
	next, created, err := e.l.Era(e.ctx)
	e.must(err)
	if !created || next == e.era {
		e.Fatalf("Era() => %q, %v after a shard lost its data in %q", next, created, e.era)
	}
	if d := e.desired(dev("a")); d.Complete || d.Era != next {
		e.Fatalf("desired in the new era is %+v", d)
	}
	e.put(dev("a"), nil)
	if d := e.desired(dev("a")); !d.Complete {
		e.Fatalf("desired after PutDevice is %+v", d)
	}
}

// testRollout is the whole way of a revision over three devices.
func testRollout(e *env) {
	ds := devs(3)
	for _, d := range ds {
		e.put(d, nil)
	}
	c := e.target(to(1, 1), Selection{All: true})
	same(e, "counts", c, Counts{Desired: 3, Away: 3})
	for i, d := range ds[:2] {
		same(e, "changes", e.connect(d, uint64(i+1)), []event.Change{{App: "blink", From: "away", To: "pending"}})
	}
	same(e, "counts", e.counts(), Counts{Desired: 3, Away: 1, Pending: 2})
	des := e.desired(ds[0])
	if len(des.Apps) != 0 || !des.Complete || !slices.Equal(des.Keep, []string{"blink"}) || des.Era != e.era {
		e.Fatalf("desired before the dispatch is %+v", des)
	}

	cand, err := e.l.Candidates(e.ctx, blink, 10)
	e.must(err)
	if len(cand) != 2 || cand[0].Board != "Host" || cand[0].Capabilities.ModuleMemory != 65536 {
		e.Fatalf("candidates are %+v", cand)
	}
	if n := e.dispatch(1, ds...); n != 2 {
		e.Fatalf("%d dispatched, want 2: the third is away", n)
	}
	if n := e.dispatch(1, ds...); n != 0 {
		e.Fatalf("%d dispatched again", n)
	}
	same(e, "counts", e.counts(), Counts{Desired: 3, Away: 1, InFlight: 2})
	des = e.desired(ds[0])
	want := to(1, 1)
	same(e, "desired", des.Apps, map[string]DesiredApp{"blink": {Revision: "blink-1", Digest: want.Digest, Size: want.Size,
		Manifest: want.Manifest, State: "Running", Attempt: 1}})
	versions, err := e.l.DesiredVersions(e.ctx, append(ds, dev("nobody")))
	e.must(err)
	if des.Version == 0 || !slices.Equal(versions, []uint64{des.Version, e.desired(ds[1]).Version, 0, 0}) {
		e.Fatalf("versions %v, desired has %d", versions, des.Version)
	}

	e.report(ds[0], 1, 1, true, one(event.AppState{State: "Fetching", Revision: "blink-1", Attempt: 1, Progress: 100}))
	e.wantSet(ds[0], SetInFlight)
	e.report(ds[0], 1, 2, false, one(event.AppState{State: "Running", Revision: "blink-1", Attempt: 1, Running: "blink-1"}))
	e.wantSet(ds[0], SetInFlight)
	same(e, "counts", e.counts(), Counts{Desired: 3, Away: 1, InFlight: 2, Running: 1})
	same(e, "changes", e.report(ds[0], 1, 3, false, running(1, 1)),
		[]event.Change{{App: "blink", From: "inflight", To: "done", State: "Running", Revision: "blink-1"}})
	same(e, "changes", e.report(ds[1], 2, 1, false, one(event.AppState{State: "Failed", Revision: "blink-1", Attempt: 1, Reason: "TrapLoop", Message: "unreachable"})),
		[]event.Change{{App: "blink", From: "inflight", To: "failed", State: "Failed", Revision: "blink-1", Reason: "TrapLoop", Message: "unreachable"}})
	same(e, "counts", e.counts(), Counts{Desired: 3, Away: 1, Ready: 1, Updated: 1, Running: 1, Failed: 1, Reasons: map[string]int{"TrapLoop": 1},
		Failing: []Failing{{"dev-0001", "blink-1", "TrapLoop", "unreachable"}}})
	same(e, "changes", e.disconnect(ds[0], 1), []event.Change{{App: "blink", From: "done", To: "lost", State: "Running", Revision: "blink-1"}})
	same(e, "counts", e.counts(), Counts{Desired: 3, Away: 1, Lost: 1, Updated: 1, Failed: 1, Reasons: map[string]int{"TrapLoop": 1},
		Failing: []Failing{{"dev-0001", "blink-1", "TrapLoop", "unreachable"}}})

	// The next revision: the failed one has another chance.
	c = e.target(to(2, 2), Selection{All: true})
	same(e, "counts", c, Counts{Desired: 3, Away: 2, Pending: 1})
	if d := e.desired(ds[1]); d.Apps["blink"].Revision != "blink-1" {
		e.Fatalf("desired before the dispatch is %+v", d)
	}
}

func testSelection(e *env) {
	terms := func(ts ...Term) Selection { return Selection{Terms: ts} }
	sels := []Selection{
		{}, {All: true}, {Names: []string{"d0", "d3", "none"}},
		terms(Term{"site", "In", []string{"a", "b"}}), terms(Term{"site", "NotIn", []string{"a"}}),
		terms(Term{"site", "Exists", nil}), terms(Term{"site", "DoesNotExist", nil}),
		terms(Term{"site", "In", []string{"a"}}, Term{"example.com/tier", "Exists", nil}),
		terms(Term{"example.com/tier", "Exists", nil}, Term{"site", "NotIn", []string{"b"}}),
		terms(Term{"site", "In", []string{""}}), terms(Term{"site", "In", nil}),
	}
	labels := []map[string]string{
		nil, {"site": "a"}, {"site": "b"}, {"site": "c"}, {"site": ""}, {"example.com/tier": "1"},
		{"site": "a", "example.com/tier": "1"}, {"site": "b", "example.com/tier": "2"}, {"site": "c", "example.com/tier": "2"},
	}
	check := func(when string, app App, s Selection) {
		e.Helper()
		got, _, err := e.l.AppDevices(e.ctx, app, "", "", 100)
		e.must(err)
		var want []event.Device
		for i, l := range labels {
			if d := dev(fmt.Sprintf("d%d", i)); twinSelects(s, d.Name, l) {
				want = append(want, d)
			}
		}
		if !slices.Equal(got, want) {
			e.Fatalf("%s, %+v selects %v, want %v", when, s, got, want)
		}
	}
	app := func(i int) App { return App{"farm", fmt.Sprintf("app-%d", i)} }
	target := func(i int, s Selection) {
		t := to(1, 1)
		_, err := e.l.SetTarget(e.ctx, app(i), t, s)
		e.must(err)
	}
	for i, s := range sels[:6] {
		target(i, s)
	}
	for i, l := range labels {
		e.put(dev(fmt.Sprintf("d%d", i)), l)
	}
	for i, s := range sels {
		if i >= 6 {
			target(i, s)
		}
		check("at first", app(i), s)
	}
	// Everything gets the labels of its neighbour, then every application the selection of its neighbour.
	labels = append(labels[1:], labels[0])
	for i, l := range labels {
		e.put(dev(fmt.Sprintf("d%d", i)), l)
	}
	for i, s := range sels {
		check("with other labels", app(i), s)
	}
	sels = append(sels[1:], sels[0])
	for i, s := range sels {
		target(i, s)
		check("with another selection", app(i), s)
	}
}

func testSelectionChanges(e *env) {
	a, b := dev("a"), dev("b")
	for i, d := range []event.Device{a, b} {
		e.put(d, nil)
		e.connect(d, uint64(i+1))
	}
	e.target(to(1, 1), Selection{Names: []string{"a", "b"}})
	e.dispatch(1, a, b)
	e.report(a, 1, 1, true, running(1, 1))
	e.report(b, 2, 1, true, running(1, 1))
	before := e.desired(b)
	c := e.target(to(1, 1), Selection{Names: []string{"a"}})
	same(e, "counts", c, Counts{Desired: 1, Ready: 1, Updated: 1, Running: 1})
	after := e.desired(b)
	if len(after.Apps) != 0 || len(after.Keep) != 0 || after.Version <= before.Version {
		e.Fatalf("desired of a device that is not selected any more: %+v, before %+v", after, before)
	}
	e.wantSet(b, "")
	// It says that the application is gone, and comes back.
	e.report(b, 2, 2, false, nil, "blink")
	c = e.target(to(1, 1), Selection{All: true})
	same(e, "counts", c, Counts{Desired: 2, Ready: 1, Updated: 1, Running: 1, Pending: 1})
}

func testBigShards(e *env) {
	e.l = New(e.rdb, Options{Now: e.clock.now, Shards: 1})
	e.wipe()
	n := 2*walkChunk + 17
	for _, d := range devs(n) {
		e.put(d, map[string]string{"i": d.Name[len(d.Name)-1:]})
	}
	same(e, "counts", e.target(to(1, 1), Selection{All: true}), Counts{Desired: n, Away: n})
	odd := Selection{Terms: []Term{{"i", "In", []string{"1", "3", "5", "7", "9"}}}}
	same(e, "counts", e.target(to(1, 2), odd), Counts{Desired: n / 2, Away: n / 2})
	e.must(e.l.RemoveApp(e.ctx, blink))
	same(e, "counts", e.counts(), Counts{})
}

func testWalkResumes(e *env) {
	for _, d := range devs(40) {
		e.put(d, nil)
	}
	e.target(to(1, 1), Selection{All: true})
	// A new target whose walk never came: as when the function was killed.
	shard := e.l.ShardOf(dev("dev-0000"))
	sels, err := e.l.selections("farm", Selection{All: true})
	e.must(err)
	_, err = e.l.run(e.ctx, "test", e.l.appCall(e.l.scripts.target, shard, blink, "2", "blink-2", `{"digest":"x","size":1,"manifest":{}}`,
		"Running", "0", "0", "0", 1000, "", sels[shard].text))
	e.must(err)
	if e.rdb.HGet(e.ctx, e.l.keys.App(shard, blink), "dirty").Val() != "1" {
		e.Fatal("the shard does not remember that it has to walk")
	}
	same(e, "counts", e.target(to(2, 2), Selection{All: true}), Counts{Desired: 40, Away: 40})
}

func testStaleTarget(e *env) {
	e.put(dev("a"), nil)
	e.target(to(2, 2), Selection{All: true})
	_, err := e.l.SetTarget(e.ctx, blink, to(1, 1), Selection{})
	e.code(err, errs.Stale)
	same(e, "counts", e.counts(), Counts{Desired: 1, Away: 1})
}

func testNewUID(e *env) {
	a := dev("a")
	e.put(a, nil)
	e.connect(a, 1)
	t := to(1, 7)
	t.UID = "one"
	e.target(t, Selection{All: true})
	e.must(e.l.Refuse(e.ctx, blink, 7, a, "InsufficientMemory", ""))
	e.wantSet(a, SetFailed)
	// The application was deleted and made anew while nobody looked: its sequence starts again.
	t.UID, t.Sequence = "two", 1
	same(e, "counts", e.target(t, Selection{All: true}), Counts{Desired: 1, Pending: 1})
}

func testRemoveApp(e *env) {
	ds := devs(5)
	for i, d := range ds {
		e.put(d, nil)
		e.connect(d, uint64(i+1))
	}
	e.target(to(1, 1), Selection{All: true})
	e.dispatch(1, ds...)
	e.report(ds[0], 1, 1, true, running(1, 1))
	for range 2 {
		e.must(e.l.RemoveApp(e.ctx, blink))
		same(e, "counts", e.counts(), Counts{})
		for _, d := range ds {
			if v := e.desired(d); len(v.Apps) != 0 || len(v.Keep) != 0 {
				e.Fatalf("desired of %s is %+v", d, v)
			}
		}
	}
	// Somebody with an old list does not bring it back.
	e.must(e.l.PutDevice(e.ctx, ds[0], DeviceFacts{Approved: true}, []App{blink}))
	if v := e.desired(ds[0]); len(v.Keep) != 0 {
		e.Fatalf("desired is %+v", v)
	}
	same(e, "counts", e.target(to(1, 1), Selection{All: true}), Counts{Desired: 5, Pending: 4, Ready: 1, Updated: 1, Running: 1})
}

func testStopped(e *env) {
	a := dev("a")
	e.put(a, nil)
	e.connect(a, 1)
	t := to(1, 1)
	e.target(t, Selection{All: true})
	e.dispatch(1, a)
	e.report(a, 1, 1, true, running(1, 1))
	e.wantSet(a, SetDone)
	t.Sequence, t.State = 2, StateStopped
	e.target(t, Selection{All: true})
	e.wantSet(a, SetPending)
	e.dispatch(2, a)
	if d := e.desired(a).Apps["blink"]; d.State != StateStopped || d.Attempt != 2 {
		e.Fatalf("desired is %+v", d)
	}
	e.report(a, 1, 2, false, one(event.AppState{State: "Stopping", Revision: "blink-1", Attempt: 2, Running: "blink-1"}))
	e.wantSet(a, SetInFlight)
	e.report(a, 1, 3, false, one(event.AppState{State: "Stopped", Revision: "blink-1", Attempt: 2}))
	e.wantSet(a, SetDone)
	same(e, "counts", e.counts(), Counts{Desired: 1, Ready: 1, Updated: 1})
}

func testHold(e *env) {
	a := dev("a")
	e.connect(a, 1)
	e.target(to(1, 1), Selection{All: true})
	hold := func(hold, approved bool) {
		e.must(e.l.PutDevice(e.ctx, a, DeviceFacts{Hold: hold, Approved: approved}, nil))
	}
	hold(true, true)
	e.wantSet(a, SetHeld)
	if n := e.dispatch(1, a); n != 0 {
		e.Fatal("dispatched to a held device")
	}
	v, err := e.l.Device(e.ctx, a)
	e.must(err)
	if v.Apps[0].Reason != "Held" {
		e.Fatalf("the reason is %+v", v.Apps[0])
	}
	hold(false, false)
	e.wantSet(a, SetHeld)
	hold(false, true)
	e.wantSet(a, SetPending)
	e.dispatch(1, a)
	hold(true, true)
	e.wantSet(a, SetInFlight) // told already
	e.report(a, 1, 1, true, running(1, 1))
	e.wantSet(a, SetDone)
	e.target(to(2, 2), Selection{All: true})
	e.wantSet(a, SetHeld)
}

func testPause(e *env) {
	a := dev("a")
	e.put(a, nil)
	e.connect(a, 1)
	t := to(1, 1)
	for _, stop := range []func(*Target){func(t *Target) { t.Paused = true }, func(t *Target) { t.Halted = true }} {
		p := t
		stop(&p)
		e.target(p, Selection{All: true})
		if n := e.dispatch(1, a); n != 0 {
			e.Fatalf("dispatched although %+v", p)
		}
	}
	v, err := e.l.Device(e.ctx, a)
	e.must(err)
	if !v.Apps[0].Halted || v.Apps[0].Paused {
		e.Fatalf("the view says %+v", v.Apps[0])
	}
	e.target(t, Selection{All: true})
	if n := e.dispatch(2, a); n != 0 {
		e.Fatal("dispatched with another sequence")
	}
	if n := e.dispatch(1, a); n != 1 {
		e.Fatal("not dispatched")
	}
}

func testRefuse(e *env) {
	a := dev("a")
	e.put(a, nil)
	e.connect(a, 1)
	e.target(to(1, 1), Selection{All: true})
	e.code(e.l.Refuse(e.ctx, blink, 2, a, "InsufficientMemory", "x"), errs.Stale)
	for range 2 {
		e.must(e.l.Refuse(e.ctx, blink, 1, a, "InsufficientMemory", "needs 12 pages"))
	}
	same(e, "counts", e.counts(), Counts{Desired: 1, Failed: 1, Reasons: map[string]int{"InsufficientMemory": 1},
		Failing: []Failing{{"a", "blink-1", "InsufficientMemory", "needs 12 pages"}}})
	if d := e.desired(a); len(d.Apps) != 0 {
		e.Fatalf("desired is %+v", d)
	}
	e.target(to(2, 2), Selection{All: true})
	e.wantSet(a, SetPending)
	e.dispatch(2, a)
	e.code(e.l.Refuse(e.ctx, blink, 2, a, "InsufficientMemory", ""), errs.Stale)
}

// testDecline: a device that has no place for one more application fails with that reason at once, and goes on when it
// has removed another one.
func testDecline(e *env) {
	a := dev("a")
	e.put(a, nil)
	e.connect(a, 1)
	e.report(a, 1, 1, true, map[string]event.AppState{"old": {State: "Running", Revision: "old-1", Attempt: 1, Running: "old-1", Confirmed: true}})
	e.target(to(1, 1), Selection{All: true})
	e.dispatch(1, a)
	answer := event.CommandCompleted{Device: a, App: "blink", Revision: "blink-1", Attempt: 1, Status: "Refused", Reason: "TooManyApps"}
	decline := func(c event.CommandCompleted) []event.Change {
		cs, err := e.l.Decline(e.ctx, c)
		e.must(err)
		return cs
	}
	for _, other := range []func(*event.CommandCompleted){
		func(c *event.CommandCompleted) { c.Attempt = 2 }, func(c *event.CommandCompleted) { c.Revision = "blink-2" }, func(c *event.CommandCompleted) { c.App = "else" },
	} {
		c := answer
		other(&c)
		if cs := decline(c); len(cs) != 0 {
			e.Fatalf("%+v => %v", c, cs)
		}
	}
	want := []event.Change{{App: "blink", From: "inflight", To: "failed", Revision: "blink-1", Reason: "TooManyApps"}}
	same(e, "changes", decline(answer), want)
	same(e, "changes again", decline(answer), want)
	same(e, "counts", e.counts(), Counts{Desired: 1, Failed: 1, Reasons: map[string]int{"TooManyApps": 1}, Failing: []Failing{{"a", "blink-1", "TooManyApps", ""}}})
	before := e.desired(a).Version
	e.report(a, 1, 2, false, nil, "old")
	e.wantSet(a, SetInFlight)
	if d := e.desired(a); d.Version == before || d.Apps["blink"].Revision != "blink-1" {
		e.Fatalf("the gateway does not look again: %+v", d)
	}
	e.report(a, 1, 3, true, running(1, 1))
	e.wantSet(a, SetDone)
	bad := answer
	bad.Reason = ""
	_, err := e.l.Decline(e.ctx, bad)
	e.code(err, errs.Invalid)
}

func testExpire(e *env) {
	a, b := dev("a"), dev("b")
	for i, d := range []event.Device{a, b} {
		e.put(d, nil)
		e.connect(d, uint64(i+1))
	}
	e.target(to(1, 1), Selection{All: true})
	e.dispatch(1, a, b)
	expire := func(d event.Device, seq uint64) []event.Change {
		cs, err := e.l.Expire(e.ctx, blink, d, seq)
		e.must(err)
		return cs
	}
	if cs := expire(a, 1); len(cs) != 0 {
		e.Fatalf("expired too early: %v", cs)
	}
	e.clock.add(time.Minute)
	if cs := expire(a, 2); len(cs) != 0 {
		e.Fatalf("expired for another sequence: %v", cs)
	}
	want := []event.Change{{App: "blink", From: "inflight", To: "failed", Revision: "blink-1", Reason: "DeadlineExceeded", Message: "the device did not get there in time"}}
	same(e, "changes", expire(a, 1), want)
	same(e, "changes again", expire(a, 1), want)
	e.wantSet(a, SetFailed)
	// Late, but it got there.
	e.report(a, 1, 1, true, running(1, 1))
	e.wantSet(a, SetDone)

	e.disconnect(b, 2)
	e.wantSet(b, SetInFlight)
	same(e, "changes", expire(b, 1), []event.Change{{App: "blink", From: "inflight", To: "away", Revision: "blink-1"}})
	if d := e.desired(b); d.Apps["blink"].Revision != "blink-1" {
		e.Fatalf("desired is %+v", d)
	}
	// It comes back with what it was told, and gets its time again.
	same(e, "changes", e.connect(b, 3), []event.Change{{App: "blink", From: "away", To: "inflight", Revision: "blink-1"}})
	if cs := expire(b, 1); len(cs) != 0 {
		e.Fatalf("expired at once: %v", cs)
	}
	e.clock.add(DefaultDeadline)
	if cs := expire(b, 1); len(cs) != 1 || cs[0].To != SetFailed {
		e.Fatalf("expire => %v", cs)
	}
}

func testBudget(e *env) {
	ds := devs(6)
	for i, d := range ds {
		e.put(d, nil)
		e.connect(d, uint64(i+1))
	}
	e.target(to(1, 1), Selection{All: true})
	admit := func(seq uint64, limit int, ds ...event.Device) []event.Device {
		e.Helper()
		out, err := e.l.Admit(e.ctx, blink, seq, limit, e.clock.now().Add(time.Minute), ds)
		e.must(err)
		return out
	}
	same(e, "admitted", admit(1, 2, ds...), ds[:2])
	same(e, "admitted again", admit(1, 2, ds...), ds[:2])
	same(e, "admitted by another", admit(1, 2, ds[2:]...), []event.Device{})
	e.dispatch(1, ds[0], ds[1])
	same(e, "while in flight", admit(1, 2, ds[2:]...), []event.Device{})
	e.report(ds[0], 1, 1, true, running(1, 1))
	same(e, "one is done", admit(1, 2, ds[2:]...), ds[2:3])
	e.report(ds[1], 2, 1, true, one(event.AppState{State: "Failed", Revision: "blink-1", Attempt: 1, Reason: "Trap"}))
	same(e, "one has failed", admit(1, 2, ds[3:]...), ds[3:4])
	e.must(e.l.Release(e.ctx, blink, ds[3]))
	same(e, "one was released", admit(1, 2, ds[4:]...), ds[4:5])
	// Places of devices that left unseen are found when it is full.
	e.dispatch(1, ds[2], ds[4])
	e.report(ds[2], 3, 1, true, running(1, 1))
	e.must(e.rdb.Del(e.ctx, e.l.keys.Freed(e.l.ShardOf(ds[2]), blink)).Err())
	same(e, "one left unseen", admit(1, 2, ds[5:]...), ds[5:])
	// Nobody keeps a place longer than its time.
	same(e, "full", admit(1, 2, ds[3]), []event.Device{})
	e.clock.add(time.Hour)
	same(e, "later", admit(1, 2, ds[3]), ds[3:4])
	same(e, "no places", admit(1, 0, ds[5]), []event.Device{})
	same(e, "another sequence", admit(2, 1, ds[0]), ds[:1])
}

func testRegression(e *env) {
	a := dev("a")
	e.put(a, nil)
	e.connect(a, 1)
	e.target(to(1, 1), Selection{All: true})
	e.dispatch(1, a)
	e.report(a, 1, 1, true, running(1, 1))
	// The device lost its storage: it is on its way again, with a deadline.
	e.report(a, 1, 2, true, nil)
	e.wantSet(a, SetInFlight)
	e.clock.add(DefaultDeadline)
	due := e.due()
	if !slices.ContainsFunc(due, func(t event.Timer) bool { return t.Kind == DueDeadline && t.Device == "a" && t.Name == "blink" }) {
		e.Fatalf("no deadline among %v", due)
	}
	// It runs again, and traps for good much later.
	e.report(a, 1, 3, true, running(1, 1))
	e.wantSet(a, SetDone)
	e.report(a, 1, 4, false, one(event.AppState{State: "Failed", Revision: "blink-1", Attempt: 1, Reason: "TrapLoop"}))
	e.wantSet(a, SetFailed)
}

// due gives out all timers of all shards, and finishes them.
func (e *env) due() []event.Timer {
	e.Helper()
	var out []event.Timer
	for s := range e.l.Shards() {
		ts, err := e.l.Due(e.ctx, s, 1000)
		e.must(err)
		e.must(e.l.DoneDue(e.ctx, s, ts))
		out = append(out, ts...)
	}
	return out
}

func testRollbackAdopts(e *env) {
	a, b := dev("a"), dev("b")
	for i, d := range []event.Device{a, b} {
		e.put(d, nil)
		e.connect(d, uint64(i+1))
	}
	e.target(to(1, 1), Selection{All: true})
	e.dispatch(1, a, b)
	e.report(a, 1, 1, true, running(1, 1))
	e.report(b, 2, 1, true, running(1, 1))
	e.target(to(2, 2), Selection{All: true})
	e.dispatch(2, a)
	e.report(a, 1, 2, false, one(event.AppState{State: "RolledBack", Revision: "blink-2", Attempt: 2, Running: "blink-1", Reason: "TrapLoop"}))
	e.wantSet(a, SetFailed)
	e.wantSet(b, SetPending)
	before := e.desired(b)
	// Back to the first: a has gone back by itself, b never left. Nobody has to be told anything.
	same(e, "counts", e.target(to(1, 3), Selection{All: true}), Counts{Desired: 2, Ready: 2, Updated: 2, Running: 2})
	if d := e.desired(a).Apps["blink"]; d.Revision != "blink-1" || d.Attempt != 3 {
		e.Fatalf("desired of a is %+v", d)
	}
	same(e, "desired of b", e.desired(b), before)
}
