package ledger

import (
	"fmt"
	"slices"

	"wasmbed.io/wasmbed/broker/event"
)

func testWipeKeepsRunning(e *env) {
	ds := devs(5)
	rebuild := func(seq uint64) {
		for i, d := range ds {
			e.connect(d, uint64(i+1))
		}
		e.target(to(2, seq), Selection{All: true})
		for _, d := range ds {
			e.put(d, nil)
		}
	}
	rebuild(2)
	e.dispatch(2, ds...)
	say := func() {
		e.report(ds[0], 1, 1, true, running(2, 2))                                                                                                 // done
		e.report(ds[1], 2, 1, true, one(event.AppState{State: "Fetching", Revision: "blink-2", Attempt: 2, Running: "blink-1"}))                   // in flight
		e.report(ds[2], 3, 1, true, one(event.AppState{State: "Failed", Revision: "blink-2", Attempt: 2, Reason: "Trap"}))                         // failed
		e.report(ds[3], 4, 1, true, one(event.AppState{State: "RolledBack", Revision: "blink-2", Attempt: 2, Running: "blink-1", Reason: "Trap"})) // failed
		e.report(ds[4], 5, 1, true, running(2, 1))                                                                                                 // done, of an earlier attempt
	}
	say()
	before, err := e.l.Dump(e.ctx)
	e.must(err)

	e.wipe()
	rebuild(2)
	if d := e.desired(ds[0]); len(d.Apps) != 0 || !d.Complete || !slices.Equal(d.Keep, []string{"blink"}) {
		e.Fatalf("desired before the device has said anything is %+v", d)
	}
	// What was in flight has no deadline mark that fires before its time, and nothing is woken for an adoption.
	say()
	after, err := e.l.Dump(e.ctx)
	e.must(err)
	// The attempt of a device that has the revision is that of the target now.
	d := before.Devices[ds[4].String()].Desired["blink"]
	same(e, "desired of dev-0004", after.Devices[ds[4].String()].Desired["blink"], d)
	same(e, "the ledger after the wipe", after, before)
}

// testWipeHint: PutDevice comes before SetTarget, and the device is not told to remove anything.
func testWipeHint(e *env) {
	a := dev("a")
	e.connect(a, 1)
	e.report(a, 1, 1, true, running(1, 1))
	if d := e.desired(a); d.Complete {
		e.Fatalf("desired is %+v", d)
	}
	e.must(e.l.PutDevice(e.ctx, a, DeviceFacts{Approved: true}, []App{blink, {"other", "x"}}))
	if d := e.desired(a); !d.Complete || !slices.Equal(d.Keep, []string{"blink"}) {
		e.Fatalf("desired is %+v", d)
	}
	same(e, "counts", e.target(to(1, 1), Selection{All: true}), Counts{Desired: 1, Ready: 1, Updated: 1, Running: 1})
	if d := e.desired(a); d.Apps["blink"].Revision != "blink-1" || len(d.Keep) != 0 {
		e.Fatalf("desired is %+v", d)
	}
	// The hint was wrong: the target says so.
	e.must(e.l.PutDevice(e.ctx, a, DeviceFacts{Approved: true}, []App{{"farm", "ghost"}}))
	if d := e.desired(a); !slices.Equal(d.Keep, []string{"ghost"}) {
		e.Fatalf("desired is %+v", d)
	}
	_, err := e.l.SetTarget(e.ctx, App{"farm", "ghost"}, to(1, 1), Selection{Names: []string{"b"}})
	e.must(err)
	if d := e.desired(a); len(d.Keep) != 0 {
		e.Fatalf("desired is %+v", d)
	}
}

func testFlatCost(e *env) {
	calls := func(f func()) int {
		before := e.commands()
		f()
		return e.commands() - before
	}
	e.target(to(1, 1), Selection{All: true})
	measure := func(d event.Device, epoch uint64) int {
		return calls(func() {
			e.put(d, map[string]string{"site": "a"})
			e.connect(d, epoch)
			e.dispatch(1, d)
			e.report(d, epoch, 1, true, running(1, 1))
			e.disconnect(d, epoch)
			e.must(e.l.DeleteDevice(e.ctx, d))
		})
	}
	probe := dev("probe")
	few := measure(probe, 1)
	for i, d := range devs(400) {
		e.put(d, map[string]string{"site": "a"})
		if i%2 == 0 {
			e.connect(d, uint64(i+10))
		}
	}
	if many := measure(probe, 10000); many > few+2 {
		e.Fatalf("%d commands for one device in an empty fleet, %d in one of 400", few, many)
	}
}

// commands counts the commands that all servers have carried out, those inside scripts included.
func (e *env) commands() int {
	e.Helper()
	sum := 0
	for _, info := range e.infos("commandstats") {
		for _, line := range lines(info) {
			var name string
			var n int
			if _, err := fmt.Sscanf(line, "cmdstat_%s", &name); err == nil && !isHousekeeping(line) {
				if _, err := fmt.Sscanf(afterCalls(line), "%d", &n); err == nil {
					sum += n
				}
			}
		}
	}
	return sum
}
