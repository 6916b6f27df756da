package reconcile

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/protocol"
)

func want(app string, n, attempt int, state string) ledger.DesiredApp {
	return ledger.DesiredApp{
		Revision: fmt.Sprintf("%s-%d", app, n), Digest: "sha256:" + strings.Repeat(fmt.Sprintf("%02x", n), 32), Size: 100,
		Manifest: ledger.Manifest{MemoryPages: 1, Stack: 4096, CallTimeout: time.Second, HealthWindow: time.Second, MaxTraps: 3, TrapPeriod: time.Minute},
		State:    state, Attempt: uint64(attempt),
	}
}

// device models SPEC §11: it carries commands out at once and fails what it is told to fail.
type device struct {
	apps  map[string]protocol.AppState
	bad   map[string]bool // revisions that do not run
	ran   map[string]int  // how often (revision, attempt) was tried
	fails int
}

func (d *device) do(c protocol.Command) {
	a, there := d.apps[c.App]
	switch c.Verb {
	case protocol.VerbRemove:
		delete(d.apps, c.App)
		return
	case protocol.VerbStop:
		if there && (c.Digest == nil || a.Revision == c.Revision) {
			rev := a.Revision
			if a.State == protocol.StateRolledBack {
				rev = a.Running
			}
			d.apps[c.App] = protocol.AppState{State: protocol.StateStopped, Revision: rev, Attempt: a.Attempt}
			return
		}
		if c.Digest == nil {
			return
		}
		if d.bad[c.Revision] {
			d.ran[fmt.Sprint(c.Revision, "/", c.Attempt)]++
			d.apps[c.App] = protocol.AppState{State: protocol.StateFailed, Revision: c.Revision, Attempt: c.Attempt, Reason: protocol.ReasonNotWasm}
			return
		}
		d.apps[c.App] = protocol.AppState{State: protocol.StateStopped, Revision: c.Revision, Attempt: c.Attempt}
		return
	}
	if !d.bad[c.Revision] {
		d.apps[c.App] = protocol.AppState{State: protocol.StateRunning, Revision: c.Revision, Attempt: c.Attempt, Running: c.Revision, Confirmed: true}
		return
	}
	d.ran[fmt.Sprint(c.Revision, "/", c.Attempt)]++
	next := protocol.AppState{State: protocol.StateFailed, Revision: c.Revision, Attempt: c.Attempt, Reason: protocol.ReasonTrap}
	if there && a.Running != "" && !d.bad[a.Running] {
		next.State, next.Running = protocol.StateRolledBack, a.Running
	}
	d.apps[c.App] = next
}

// agrees says whether the device holds what is wanted, or gave it up.
func agrees(w ledger.DesiredApp, a protocol.AppState, there bool) bool {
	gaveUp := there && a.Revision == w.Revision && a.Attempt >= w.Attempt && (a.State == protocol.StateFailed || a.State == protocol.StateRolledBack)
	if w.State == ledger.StateStopped {
		return there && (a.State == protocol.StateStopped && a.Revision == w.Revision || gaveUp && a.Running == "")
	}
	return there && (a.Running == w.Revision || gaveUp)
}

// TestConverges: from any state a device comes to hold any desired state that it can hold, in few rounds; then
// there is nothing to say any more; and nothing is tried twice under one attempt.
func TestConverges(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		apps := []string{"a", "b", "c"}
		d := &device{apps: map[string]protocol.AppState{}, bad: map[string]bool{}, ran: map[string]int{}}
		for _, a := range apps {
			for n := range 4 {
				d.bad[fmt.Sprintf("%s-%d", a, n)] = r.IntN(4) == 0
			}
			rev, attempt := fmt.Sprintf("%s-%d", a, r.IntN(4)), uint64(r.IntN(3))
			s := protocol.AppState{State: protocol.State(1 + r.IntN(8)), Revision: rev, Attempt: attempt}
			switch s.State {
			case protocol.StateRunning:
				s.Running = rev
			case protocol.StateFailed:
				s.Reason = protocol.ReasonTrap
			case protocol.StateRolledBack:
				s.Reason, s.Running = protocol.ReasonTrap, a+"-9"
			}
			if r.IntN(4) > 0 {
				d.apps[a] = s
			}
		}
		des := ledger.Desired{Era: "e", Version: 1, Apps: map[string]ledger.DesiredApp{}, Complete: true}
		for _, a := range apps {
			switch r.IntN(4) {
			case 0:
				des.Apps[a] = want(a, r.IntN(4), 1+r.IntN(3), ledger.StateStopped)
			case 1, 2:
				des.Apps[a] = want(a, r.IntN(4), 1+r.IntN(3), ledger.StateRunning)
			}
		}
		rounds := 0
		for ; rounds < 8; rounds++ {
			cmds, bad := Plan(des, d.apps)
			if len(bad) > 0 {
				t.Fatalf("seed %d: bad %v", seed, bad)
			}
			if again, _ := Plan(des, d.apps); !reflect.DeepEqual(cmds, again) {
				t.Fatalf("seed %d: two plans of the same", seed)
			}
			if len(cmds) == 0 {
				break
			}
			for _, c := range cmds {
				if a, ok := d.apps[c.App]; ok && c.Digest != nil && a.Revision == c.Revision && a.Attempt >= c.Attempt &&
					(a.State == protocol.StateFailed || a.State == protocol.StateRolledBack) {
					t.Fatalf("seed %d: %s told again to a device that gave it up: %+v", seed, c.Revision, a)
				}
				d.do(c)
			}
		}
		if rounds == 8 {
			t.Fatalf("seed %d: no end of commands", seed)
		}
		for name, a := range d.apps {
			if _, ok := des.Apps[name]; !ok {
				t.Fatalf("seed %d: %s should be gone: %+v", seed, name, a)
			}
		}
		for name, w := range des.Apps {
			a, there := d.apps[name]
			inProgress := there && a.Revision == w.Revision && a.Attempt >= w.Attempt && a.State <= protocol.StateStarting
			if !agrees(w, a, there) && !(inProgress && w.State == ledger.StateRunning) {
				t.Fatalf("seed %d: %s wants %+v, has %+v", seed, name, w, a)
			}
		}
		for k, n := range d.ran {
			if n > 1 {
				t.Fatalf("seed %d: %s was tried %d times", seed, k, n)
			}
		}
	}
}

// TestTable is the table of SPEC §10.5.
func TestTable(t *testing.T) {
	st := func(s protocol.State, rev string, attempt uint64, running string) *protocol.AppState {
		return &protocol.AppState{State: s, Revision: rev, Attempt: attempt, Running: running}
	}
	for _, c := range []struct {
		name  string
		want  *ledger.DesiredApp
		has   *protocol.AppState
		verb  protocol.Verb
		whole bool
	}{
		{"not wanted", nil, st(protocol.StateRunning, "a-1", 1, "a-1"), protocol.VerbRemove, false},
		{"not there", ptr(want("a", 2, 2, "Running")), nil, protocol.VerbDeploy, true},
		{"runs", ptr(want("a", 2, 2, "Running")), st(protocol.StateRunning, "a-2", 2, "a-2"), 0, false},
		{"runs from a smaller attempt", ptr(want("a", 2, 5, "Running")), st(protocol.StateRunning, "a-2", 2, "a-2"), 0, false},
		{"went back to it", ptr(want("a", 1, 3, "Running")), st(protocol.StateRolledBack, "a-2", 2, "a-1"), 0, false},
		{"on its way", ptr(want("a", 2, 2, "Running")), st(protocol.StateFetching, "a-2", 2, "a-1"), 0, false},
		{"on its way, smaller attempt", ptr(want("a", 2, 3, "Running")), st(protocol.StateFetching, "a-2", 2, "a-1"), protocol.VerbUpdate, true},
		{"stopped", ptr(want("a", 2, 2, "Running")), st(protocol.StateStopped, "a-2", 2, ""), protocol.VerbStart, true},
		{"failed", ptr(want("a", 2, 2, "Running")), st(protocol.StateFailed, "a-2", 2, ""), 0, false},
		{"rolled back", ptr(want("a", 2, 2, "Running")), st(protocol.StateRolledBack, "a-2", 2, "a-1"), 0, false},
		{"failed before", ptr(want("a", 2, 3, "Running")), st(protocol.StateFailed, "a-2", 2, ""), protocol.VerbUpdate, true},
		{"newer", ptr(want("a", 3, 3, "Running")), st(protocol.StateRunning, "a-2", 2, "a-2"), protocol.VerbUpdate, true},
		{"newer pre-empts", ptr(want("a", 3, 3, "Running")), st(protocol.StateFetching, "a-2", 2, "a-1"), protocol.VerbUpdate, true},
		{"older", ptr(want("a", 1, 3, "Running")), st(protocol.StateRunning, "a-2", 2, "a-2"), protocol.VerbRollback, true},
		{"stop", ptr(want("a", 2, 2, "Stopped")), st(protocol.StateRunning, "a-2", 2, "a-2"), protocol.VerbStop, true},
		{"stands", ptr(want("a", 2, 2, "Stopped")), st(protocol.StateStopped, "a-2", 2, ""), 0, false},
		{"stop, not there", ptr(want("a", 2, 2, "Stopped")), nil, protocol.VerbStop, true},
		{"stop, another", ptr(want("a", 2, 2, "Stopped")), st(protocol.StateRunning, "a-1", 1, "a-1"), protocol.VerbStop, true},
		{"stop, given up, the former runs", ptr(want("a", 2, 2, "Stopped")), st(protocol.StateRolledBack, "a-2", 2, "a-1"), protocol.VerbStop, false},
		{"stop, given up, nothing runs", ptr(want("a", 2, 2, "Stopped")), st(protocol.StateFailed, "a-2", 2, ""), 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := ledger.Desired{Apps: map[string]ledger.DesiredApp{}, Complete: true}
			if c.want != nil {
				d.Apps["a"] = *c.want
			}
			has := map[string]protocol.AppState{}
			if c.has != nil {
				has["a"] = *c.has
			}
			got, _ := Plan(d, has)
			if c.verb == 0 {
				if len(got) != 0 {
					t.Fatalf("%+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Verb != c.verb || (got[0].Digest != nil) != c.whole {
				t.Fatalf("%+v", got)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func TestIncompleteDesiredRemovesNothing(t *testing.T) {
	has := map[string]protocol.AppState{"a": {State: protocol.StateRunning, Revision: "a-1", Running: "a-1"}, "b": {State: protocol.StateRunning, Revision: "b-1", Running: "b-1"}}
	if got, _ := Plan(ledger.Desired{}, has); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	got, _ := Plan(ledger.Desired{Complete: true, Keep: []string{"a"}}, has)
	if len(got) != 1 || got[0].App != "b" || got[0].Verb != protocol.VerbRemove {
		t.Fatalf("%+v", got)
	}
}

func TestIDs(t *testing.T) {
	id := func(w ledger.DesiredApp, has map[string]protocol.AppState) string {
		got, bad := Plan(ledger.Desired{Apps: map[string]ledger.DesiredApp{"a": w}, Complete: true}, has)
		if len(got) != 1 || len(bad) > 0 {
			t.Fatalf("%+v %v", got, bad)
		}
		return string(got[0].Command)
	}
	w := want("a", 2, 2, "Running")
	base := id(w, nil)
	if id(w, map[string]protocol.AppState{"a": {State: protocol.StateRunning, Revision: "a-1", Running: "a-1"}}) != base {
		t.Fatal("the same intent has two ids")
	}
	seen := map[string]bool{base: true}
	w2 := w
	w2.Attempt = 3
	w3 := w
	w3.Manifest.Stack++
	w4 := w
	w4.Digest = strings.Replace(w.Digest, "02", "03", 1)
	w5 := w
	w5.State = "Stopped"
	for i, o := range []ledger.DesiredApp{w2, w3, w4, w5} {
		if k := id(o, nil); seen[k] {
			t.Fatalf("%d: another intent has the same id", i)
		} else {
			seen[k] = true
		}
	}
}

func TestUnusableDesiredIsNamed(t *testing.T) {
	for i, f := range []func(*ledger.DesiredApp){
		func(w *ledger.DesiredApp) { w.Digest = "sha256:12" },
		func(w *ledger.DesiredApp) { w.Size = 0 },
		func(w *ledger.DesiredApp) { w.Size = 1 << 40 },
		func(w *ledger.DesiredApp) { w.Revision = "Not a name" },
		func(w *ledger.DesiredApp) { w.Manifest.MaxTraps = 0 },
	} {
		w := want("a", 1, 1, "Running")
		f(&w)
		got, bad := Plan(ledger.Desired{Apps: map[string]ledger.DesiredApp{"a": w, "b": want("b", 1, 1, "Running")}}, nil)
		if len(got) != 1 || got[0].App != "b" || len(bad) != 1 || bad[0] != "a" {
			t.Fatalf("%d: %+v %v", i, got, bad)
		}
	}
}
