package ledger

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

var (
	histories = flag.Int("histories", 5, "random histories that are wiped")
	firstSeed = flag.Int("first-seed", 0, "seed of the first random history")
)

// world is the truth outside of Redis: the CRDs, and the devices.
type world struct {
	rnd     *rand.Rand
	objects map[string]DeviceFacts // Device objects
	apps    map[string]appObject   // Application objects
	devices map[string]*device     // real devices
	epoch   uint64
}

type appObject struct {
	target Target
	sel    Selection
}

type device struct {
	epoch, version uint64
	online         bool
	apps           map[string]event.AppState
}

func newWorld(seed uint64) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 99)), objects: map[string]DeviceFacts{}, apps: map[string]appObject{}, devices: map[string]*device{}}
	for i := range 10 {
		w.devices[fmt.Sprintf("d%d", i)] = &device{apps: map[string]event.AppState{}}
	}
	return w
}

func (w *world) some(m []string) string { return m[w.rnd.IntN(len(m))] }

func (w *world) names() []string { return slices.Sorted(maps.Keys(w.devices)) }

func (w *world) selection() Selection {
	switch w.rnd.IntN(5) {
	case 0:
		return Selection{Names: w.names()[:w.rnd.IntN(8)]}
	case 1:
		return Selection{Terms: []Term{{"site", "In", []string{"a", "b"}}}}
	case 2:
		return Selection{Terms: []Term{{"site", "NotIn", []string{"a"}}, {"tier", "DoesNotExist", nil}}}
	}
	return Selection{All: true}
}

// step does one random thing to the world and tells the ledger.
func (e *env) step(w *world) {
	e.Helper()
	name := w.some(w.names())
	d, it := dev(name), w.devices[name]
	app := App{"farm", w.some([]string{"blink", "count"})}
	obj, there := w.apps[app.Name]
	switch op := w.rnd.IntN(30); op {
	case 0, 1: // a Device object is made or changed
		f := DeviceFacts{Board: "Host", Approved: w.rnd.IntN(15) > 0, Hold: w.rnd.IntN(15) == 0, Labels: map[string]string{}, UID: "u" + name}
		if s := w.some([]string{"a", "b", "c", ""}); s != "" {
			f.Labels["site"] = s
		}
		if w.rnd.IntN(4) == 0 {
			f.Labels["tier"] = "1"
		}
		w.objects[name] = f
		e.must(e.l.PutDevice(e.ctx, d, f, nil))
	case 2: // or deleted
		if w.rnd.IntN(3) == 0 {
			delete(w.objects, name)
			e.must(e.l.DeleteDevice(e.ctx, d))
			it.online, it.apps = false, map[string]event.AppState{}
		}
	case 3: // an Application has a new revision, state or selection, or stops
		n := w.rnd.IntN(3) + 1
		obj.target = to(n, obj.target.Sequence+1)
		if w.rnd.IntN(6) == 0 {
			obj.target.State = StateStopped
		}
		if !there || w.rnd.IntN(3) == 0 {
			obj.sel = w.selection()
		}
		w.apps[app.Name] = obj
		_, err := e.l.SetTarget(e.ctx, app, obj.target, obj.sel)
		e.must(err)
	case 5:
		if there {
			obj.target.Paused, obj.target.Halted = w.rnd.IntN(4) == 0, w.rnd.IntN(6) == 0
			if w.rnd.IntN(2) == 0 {
				obj.sel = w.selection()
			}
			w.apps[app.Name] = obj
			_, err := e.l.SetTarget(e.ctx, app, obj.target, obj.sel)
			e.must(err)
		}
	case 6:
		if w.rnd.IntN(5) == 0 {
			delete(w.apps, app.Name)
			e.must(e.l.RemoveApp(e.ctx, app))
		}
	case 7, 8: // a device comes
		w.epoch++
		it.epoch, it.version, it.online = w.epoch, 1, true
		_, err := e.l.Connect(e.ctx, e.connected(d, it.epoch))
		e.must(err)
		e.report(d, it.epoch, it.version, true, it.apps)
	case 9: // and goes
		if it.online {
			it.online = false
			e.disconnect(d, it.epoch)
		}
	case 4, 10, 11, 12: // the planner
		if there {
			cs, err := e.l.Candidates(e.ctx, app, w.rnd.IntN(6)+1)
			e.must(err)
			var ds []event.Device
			for _, c := range cs {
				ds = append(ds, c.Device)
			}
			until := e.clock.now().Add(time.Minute)
			ds, err = e.l.Admit(e.ctx, app, obj.target.Sequence, 4, until, ds)
			e.must(err)
			_, err = e.l.Dispatch(e.ctx, app, obj.target.Sequence, until, ds)
			e.must(err)
		}
	case 13:
		if there {
			err := e.l.Refuse(e.ctx, app, obj.target.Sequence, d, "InsufficientMemory", "")
			if err != nil && !errs.Is(err, errs.Stale) {
				e.Fatal(err)
			}
		}
	case 14:
		e.clock.add(time.Duration(w.rnd.IntN(40)) * time.Second)
		for _, t := range e.due() {
			if t.Kind == DueDeadline {
				if a, ok := w.apps[t.Name]; ok {
					_, err := e.l.Expire(e.ctx, App{t.Namespace, t.Name}, dev(t.Device), a.target.Sequence)
					e.must(err)
				}
			}
		}
	default: // a device works on what it shall do, or something happens to it
		if !it.online {
			return
		}
		des := e.desired(d)
		var removed []string
		for name := range it.apps {
			if _, ok := des.Apps[name]; !ok && des.Complete && !slices.Contains(des.Keep, name) {
				delete(it.apps, name)
				removed = append(removed, name)
			}
		}
		changed := map[string]event.AppState{}
		for name, a := range des.Apps {
			s := w.progress(it.apps[name], a)
			it.apps[name], changed[name] = s, s
		}
		it.version++
		if w.rnd.IntN(4) == 0 {
			e.report(d, it.epoch, it.version, true, it.apps)
		} else {
			slices.Sort(removed)
			e.report(d, it.epoch, it.version, false, changed, removed...)
		}
	}
}

// progress is a device's next state of an application.
func (w *world) progress(s event.AppState, a DesiredApp) event.AppState {
	next := event.AppState{Revision: a.Revision, Attempt: a.Attempt, Running: s.Running}
	if s.Revision == a.Revision && s.Attempt == a.Attempt && (s.State == "Failed" || s.State == "RolledBack") {
		return s
	}
	if a.State == StateStopped {
		next.State, next.Running = w.some([]string{"Stopping", "Stopped"}), ""
		return next
	}
	switch w.rnd.IntN(8) {
	case 0:
		next.State, next.Progress = "Fetching", 77
	case 1:
		next.State, next.Running = "Running", a.Revision
	case 2, 3, 6, 7:
		next.State, next.Running, next.Confirmed = "Running", a.Revision, true
	case 4:
		next.State, next.Reason, next.Running = "Failed", w.some([]string{"Trap", "Timeout"}), ""
	case 5:
		if s.Running != "" && s.Running != a.Revision {
			next.State, next.Reason = "RolledBack", "TrapLoop"
		} else {
			next.State = "Starting"
		}
	}
	return next
}

// testRandomHistory: after every step of a random history the sets are what the twin says.
func testRandomHistory(e *env) {
	w := newWorld(20 + uint64(*firstSeed))
	sets := map[string]int{}
	for i := range 800 {
		e.step(w)
		if i%8 != 0 {
			continue
		}
		e.consistent()
		for app := range w.apps {
			c, err := e.l.Counts(e.ctx, App{"farm", app})
			e.must(err)
			for s, n := range map[string]int{SetDone: c.Ready, SetLost: c.Lost, SetInFlight: c.InFlight, SetPending: c.Pending, SetAway: c.Away, SetFailed: c.Failed, SetHeld: c.Held} {
				sets[s] += n
			}
		}
	}
	for _, s := range Sets() {
		if sets[s] == 0 && *firstSeed == 0 {
			e.Errorf("the history does not reach set %s: %v", s, sets)
		}
	}
}

// testRandomWipe: after a random history, wiped and told again by CRDs and devices, the ledger is what it was.
func testRandomWipe(e *env) {
	for seed := uint64(*firstSeed); seed < uint64(*firstSeed+*histories); seed++ {
		e.wipe()
		w := newWorld(seed)
		for range 250 {
			e.step(w)
		}
		// Devices say all once more, so that both sides hold their last word.
		say := func() {
			for _, n := range w.names() {
				if it := w.devices[n]; it.online {
					it.version++
					e.report(dev(n), it.epoch, it.version, true, it.apps)
				}
			}
		}
		say()
		before := e.rebuildable(w)

		e.wipe()
		steps := []func(){}
		for n, f := range w.objects {
			steps = append(steps, func() {
				var hint []App
				for a, o := range w.apps {
					if twinSelects(o.sel, n, f.Labels) {
						hint = append(hint, App{"farm", a})
					}
				}
				e.must(e.l.PutDevice(e.ctx, dev(n), f, hint))
			})
		}
		for n, o := range w.apps {
			steps = append(steps, func() {
				_, err := e.l.SetTarget(e.ctx, App{"farm", n}, o.target, o.sel)
				e.must(err)
			})
		}
		for _, n := range w.names() {
			if it := w.devices[n]; it.online {
				w.epoch++
				it.epoch, it.version = w.epoch, 1
				steps = append(steps, func() {
					e.connect(dev(n), it.epoch)
					e.report(dev(n), it.epoch, 1, true, it.apps)
				})
			}
		}
		w.rnd.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		for _, f := range steps {
			f()
			// At no time may anything that runs and is wanted be taken off a device.
			for n, it := range w.devices {
				des := e.desired(dev(n))
				for app := range it.apps {
					o, ok := w.apps[app]
					f, known := w.objects[n]
					_, wanted := des.Apps[app]
					if ok && known && twinSelects(o.sel, n, f.Labels) && des.Complete && !wanted && !slices.Contains(des.Keep, app) {
						e.Fatalf("seed %d: while rebuilding, %s would lose %s", seed, n, app)
					}
				}
			}
		}
		e.consistent()
		same(e, fmt.Sprintf("seed %d: rebuilt", seed), e.rebuildable(w), before)
	}
}

// rebuildable is the part of a Dump that CRDs and devices know. What they do not know:
//   - what an offline device reported, so also whether it has what is wanted;
//   - refusals and deadlines that passed, which the planner finds again;
//   - an older revision's desired on a device that waits: it is kept instead;
//   - sessions that were not there at the wipe.
func (e *env) rebuildable(w *world) map[string]any {
	e.Helper()
	d, err := e.l.Dump(e.ctx)
	e.must(err)
	out := map[string]any{}
	for n, x := range d.Devices {
		name := n[len("farm/"):]
		if _, known := w.objects[name]; !known && !w.devices[name].online {
			continue
		}
		apps := map[string]any{}
		for _, app := range []string{"blink", "count"} {
			set, des := x.Sets[app], x.Desired[app]
			if set == "" {
				continue
			}
			o := w.apps[app].target
			rep := x.Reported[app]
			stops := rep.State == "Stopping" || rep.State == "Stopped"
			worked := rep.Revision == o.Revision && rep.Attempt == o.Sequence && stops == (o.State == StateStopped)
			switch {
			case !x.Online:
				apps[app] = "offline"
				continue
			case (set == SetFailed || set == SetInFlight) && !worked:
				set = "waits"
			case set == SetFailed && rep.State != "Failed" && rep.State != "RolledBack":
				set = SetInFlight // its deadline has passed, and will again
			case set == SetPending || set == SetHeld:
				set = "waits"
			}
			if set == "waits" {
				des = DesiredApp{}
			}
			if set == SetDone {
				des.Attempt = 0 // of whichever rollout brought it there
			}
			apps[app] = []any{set, des, x.Reported[app]}
		}
		x.Sets, x.Desired, x.Keep, x.Reported = nil, nil, nil, nil
		if !x.Online {
			x.Firmware, x.Gateway, x.BootID, x.Capabilities = "", "", "", event.Capabilities{}
		}
		out[n] = []any{x, apps}
	}
	for n, a := range d.Apps {
		out["app "+n] = []any{a.Counts.Desired, a.Counts.Ready, a.Counts.Running, len(a.Members)}
	}
	return out
}
