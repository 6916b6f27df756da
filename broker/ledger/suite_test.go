package ledger

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger/testcluster"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

// clock is a clock that tests move.
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

// env is an empty ledger for one case.
type env struct {
	*testing.T
	l     *Ledger
	rdb   redis.UniversalClient
	clock *clock
	ctx   context.Context
	era   string
	seen  *seenKeys
}

// cases are the package's tests that need Redis. All run on one server and on a cluster.
func cases() map[string]func(*env) {
	return map[string]func(*env){
		"Commands":           testCommands,
		"Operations":         testOperations,
		"Hooks":              testHooks,
		"HookSource":         testHookSource,
		"Era":                testEra,
		"EraOfALostShard":    testEraOfALostShard,
		"Rollout":            testRollout,
		"Selection":          testSelection,
		"SelectionChanges":   testSelectionChanges,
		"BigShards":          testBigShards,
		"WalkResumes":        testWalkResumes,
		"StaleTarget":        testStaleTarget,
		"NewUID":             testNewUID,
		"RemoveApp":          testRemoveApp,
		"Stopped":            testStopped,
		"Hold":               testHold,
		"Pause":              testPause,
		"Refuse":             testRefuse,
		"Expire":             testExpire,
		"Decline":            testDecline,
		"Budget":             testBudget,
		"Fencing":            testFencing,
		"ReportsInAnyOrder":  testReportsInAnyOrder,
		"Replays":            testReplays,
		"RollbackAdopts":     testRollbackAdopts,
		"Regression":         testRegression,
		"WipeKeepsRunning":   testWipeKeepsRunning,
		"WipeHint":           testWipeHint,
		"ReportBounds":       testReportBounds,
		"Trap":               testTrap,
		"Telemetry":          testTelemetry,
		"Logs":               testLogs,
		"Cover":              testCover,
		"Due":                testDue,
		"Trace":              testTrace,
		"HoldShard":          testHoldShard,
		"Feed":               testFeed,
		"Settings":           testSettings,
		"Modules":            testModules,
		"Verdicts":           testVerdicts,
		"Once":               testOnce,
		"Pages":              testPages,
		"DeleteDevice":       testDeleteDevice,
		"UnknownRowsEnd":     testUnknownRowsEnd,
		"Namespaces":         testNamespaces,
		"Invalid":            testInvalid,
		"ScriptsAreReloaded": testScriptsAreReloaded,
		"RandomHistory":      testRandomHistory,
		"RandomWipe":         testRandomWipe,
		"FlatCost":           testFlatCost,
		"Concurrent":         testConcurrent,
	}
}

func runCases(t *testing.T, rdb redis.UniversalClient, without ...string) {
	seen := &seenKeys{seen: map[string]bool{}}
	for name, f := range cases() {
		if slices.Contains(without, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			testcluster.Wipe(t, rdb)
			e := newEnv(t, rdb)
			e.seen = seen
			var err error
			var created bool
			if e.era, created, err = e.l.Era(e.ctx); err != nil || !created {
				t.Fatalf("Era() => %q, %v, %v", e.era, created, err)
			}
			f(e)
			if !t.Failed() {
				e.consistent()
				e.keysAreKnown()
			}
		})
	}
	if !t.Failed() && len(without) == 0 && flag.Lookup("test.run").Value.String() == "" {
		seen.all(t)
	}
}

func newEnv(t *testing.T, rdb redis.UniversalClient) *env {
	c := &clock{t: time.UnixMilli(1_760_000_000_000).UTC()}
	return &env{T: t, l: New(rdb, Options{Now: c.now}), rdb: rdb, clock: c, ctx: t.Context()}
}

func TestSingle(t *testing.T) { runCases(t, testredis.Start(t).Client(t)) }

func TestCluster(t *testing.T) { runCases(t, testcluster.Start(t)) }

// must fails the test at an error.
func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// code fails the test when err has another code.
func (e *env) code(err error, want errs.Code) {
	e.Helper()
	if errs.CodeOf(err) != want {
		e.Fatalf("error %v has the code %q, want %q", err, errs.CodeOf(err), want)
	}
}

func dev(name string) event.Device { return event.Device{Namespace: "farm", Name: name} }

func devs(n int) []event.Device {
	out := make([]event.Device, n)
	for i := range out {
		out[i] = dev(fmt.Sprintf("dev-%04d", i))
	}
	return out
}

var blink = App{"farm", "blink"}

// to makes a target of revision blink-<n>, sequence seq.
func to(n int, seq uint64) Target {
	return Target{Sequence: seq, Revision: fmt.Sprintf("blink-%d", n), Digest: fmt.Sprintf("sha256:%064d", n), Size: int64(1000 + n),
		Manifest: Manifest{MemoryPages: 1, Stack: 4096, CallTimeout: time.Second, Permissions: []string{"log"},
			HealthWindow: 2 * time.Second, MaxTraps: 3, TrapPeriod: time.Minute}}
}

func (e *env) target(t Target, s Selection) Counts {
	e.Helper()
	c, err := e.l.SetTarget(e.ctx, blink, t, s)
	e.must(err)
	return c
}

func (e *env) put(d event.Device, labels map[string]string) {
	e.Helper()
	e.must(e.l.PutDevice(e.ctx, d, DeviceFacts{Board: "Host", Labels: labels, Approved: true, UID: "uid-" + d.Name}, nil))
}

func (e *env) connect(d event.Device, epoch uint64) []event.Change {
	e.Helper()
	cs, err := e.l.Connect(e.ctx, e.connected(d, epoch))
	e.must(err)
	return cs
}

func (e *env) connected(d event.Device, epoch uint64) event.Connected {
	return event.Connected{Device: d, Gateway: "gw", Instance: "gw-0", Epoch: epoch, Era: e.era, BootID: "b1", Board: "Host",
		Firmware: "1.0", Capabilities: event.Capabilities{ModuleMemory: 65536, Apps: 4, Permissions: []string{"log"}}, Time: e.clock.now()}
}

func (e *env) disconnect(d event.Device, epoch uint64) []event.Change {
	e.Helper()
	cs, _, err := e.l.Disconnect(e.ctx, event.Disconnected{Device: d, Instance: "gw-0", Epoch: epoch, Era: e.era, Reason: "Closed", Time: e.clock.now()})
	e.must(err)
	return cs
}

func (e *env) report(d event.Device, epoch, version uint64, full bool, apps map[string]event.AppState, removed ...string) []event.Change {
	e.Helper()
	cs, err := e.l.Report(e.ctx, event.Reported{Device: d, Epoch: epoch, Era: e.era, Version: version, Full: full, Apps: apps, Removed: removed, Time: e.clock.now()})
	e.must(err)
	return cs
}

func one(a event.AppState) map[string]event.AppState { return map[string]event.AppState{"blink": a} }

func running(n int, attempt uint64) map[string]event.AppState {
	r := fmt.Sprintf("blink-%d", n)
	return one(event.AppState{State: "Running", Revision: r, Attempt: attempt, Running: r, Confirmed: true})
}

func (e *env) set(d event.Device) string {
	e.Helper()
	v, err := e.l.Device(e.ctx, d)
	e.must(err)
	for _, a := range v.Apps {
		if a.App == "blink" {
			return a.Set
		}
	}
	return ""
}

func (e *env) wantSet(d event.Device, set string) {
	e.Helper()
	if got := e.set(d); got != set {
		e.Fatalf("%s is in set %q, want %q", d, got, set)
	}
}

func (e *env) counts() Counts {
	e.Helper()
	c, err := e.l.Counts(e.ctx, blink)
	e.must(err)
	return c
}

func (e *env) desired(d event.Device) Desired {
	e.Helper()
	v, err := e.l.Desired(e.ctx, d)
	e.must(err)
	return v
}

func (e *env) dispatch(seq uint64, ds ...event.Device) int {
	e.Helper()
	n, err := e.l.Dispatch(e.ctx, blink, seq, e.clock.now().Add(time.Minute), ds)
	e.must(err)
	return n
}
