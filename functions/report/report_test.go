package report

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testredis"
)

const ns = "plant"

type bench struct {
	*testing.T
	f   *Function
	l   *ledger.Ledger
	a   *affinity.Affinity
	set *client.Set
	now time.Time
	n   int
	era string
}

func start(t *testing.T) *bench {
	b := &bench{T: t, set: client.NewMemory(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return b.now }
	rdb := testredis.Start(t).Client(t)
	b.l = ledger.New(rdb, ledger.Options{Now: clock})
	b.a = affinity.New(rdb, b.l.Keys(), affinity.Options{Now: clock})
	b.f = New(Deps{Client: b.set, Ledger: b.l, Now: clock, Log: slog.New(slog.DiscardHandler)})
	era, _, err := b.l.Era(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.era = era
	return b
}

func (b *bench) handle(typ string, data any) *ce.Event {
	b.Helper()
	b.n++
	mk := event.New
	if typ == event.TelemetryReceived || typ == event.LogsReceived {
		mk = event.NewCBOR
	}
	e, err := mk(typ, "/gw", "", fmt.Sprint("e", b.n), data)
	if err != nil {
		b.Fatal(err)
	}
	reply, err := b.f.Handle(b.Context(), e)
	if err != nil {
		b.Fatalf("%s: %v", typ, err)
	}
	again, err := b.f.Handle(b.Context(), e)
	if err != nil {
		b.Fatalf("%s again: %v", typ, err)
	}
	if (reply == nil) != (again == nil) || reply != nil && (reply.ID() != again.ID() || string(reply.Data()) != string(again.Data())) {
		b.Errorf("%s: the second answer differs: %v, %v", typ, reply, again)
	}
	return reply
}

func (b *bench) device(name string) event.Device {
	b.Helper()
	o, err := b.set.Devices.Create(b.Context(), &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha1.DeviceSpec{Board: "B", Approval: v1alpha1.ApprovalApproved}})
	if err != nil {
		b.Fatal(err)
	}
	d := event.Device{Namespace: ns, Name: name}
	if err := b.l.PutDevice(b.Context(), d, ledger.DeviceFacts{Board: "B", Approved: true, UID: string(o.UID)}, nil); err != nil {
		b.Fatal(err)
	}
	return d
}

func (b *bench) connect(d event.Device) uint64 {
	b.Helper()
	epoch, era, err := b.a.Acquire(b.Context(), d, "gw-1", time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	b.handle(event.DeviceConnected, event.Connected{Device: d, Gateway: "main", Instance: "gw-1", Epoch: epoch, Era: era, BootID: "b1", Board: "B", Firmware: "1.0",
		Capabilities: event.Capabilities{ModuleMemory: 1000, Apps: 2, ABI: 1, Permissions: []string{"log"}}, Time: b.now})
	return epoch
}

func (b *bench) status(d event.Device) v1alpha1.DeviceStatus {
	b.Helper()
	b.handle(event.TimerDue, event.Timer{Kind: "status", Namespace: d.Namespace, Name: d.Name})
	o, err := b.set.Devices.Get(b.Context(), d.Namespace, d.Name)
	if err != nil {
		b.Fatal(err)
	}
	return o.Status
}

func (b *bench) online(s v1alpha1.DeviceStatus, status, reason string) {
	b.Helper()
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionOnline)
	if c == nil || string(c.Status) != status || c.Reason != reason || s.Online != status {
		b.Errorf("Online is %+v (%s), want %s %s", c, s.Online, status, reason)
	}
}

func (b *bench) notices(reason string) []corev1.Event {
	evs, _, err := b.set.Events.List(b.Context(), ns, client.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	var out []corev1.Event
	for _, e := range evs {
		if e.Reason == reason {
			out = append(out, e)
		}
	}
	return out
}

func TestDeviceStatus(t *testing.T) {
	b := start(t)
	d := b.device("press-1")
	b.online(b.status(d), "False", "NeverConnected")
	app := ledger.App{Namespace: ns, Name: "app"}
	target := ledger.Target{Sequence: 1, Revision: "app-1", Digest: "sha256:" + fmt.Sprintf("%064d", 1)}
	if _, err := b.l.SetTarget(t.Context(), app, target, ledger.Selection{All: true}); err != nil {
		t.Fatal(err)
	}
	epoch := b.connect(d)
	s := b.status(d)
	b.online(s, "True", "Connected")
	if s.Gateway != "main" || s.Firmware != "1.0" || s.BootID != "b1" || s.Apps != "0/1" || s.Capabilities == nil || s.Capabilities.ModuleMemory != 1000 || s.LastSeen == nil {
		t.Errorf("%+v", s)
	}
	report := func(version uint64, st event.AppState) *ce.Event {
		return b.handle(event.DeviceReported, event.Reported{Device: d, Epoch: epoch, Era: b.era, Version: version, Full: true, Apps: map[string]event.AppState{"app": st}, StateDigest: "00", Time: b.now})
	}
	if reply := report(1, event.AppState{State: "Running", Revision: "app-1", Running: "app-1", Confirmed: true}); reply == nil || reply.Type() != event.DeviceStateChanged || reply.Subject() != d.String() {
		t.Errorf("%v", reply)
	}
	if s := b.status(d); s.Apps != "1/1" || s.AppsReady != 1 {
		t.Errorf("%+v", s)
	}
	// An older report, and one of another era: nothing.
	report(1, event.AppState{State: "Failed", Revision: "app-1"})
	b.handle(event.DeviceReported, event.Reported{Device: d, Epoch: epoch, Era: "0000000000000000", Version: 9, Full: true, StateDigest: "00", Time: b.now})
	if s := b.status(d); s.Apps != "1/1" {
		t.Errorf("%+v", s)
	}
	if reply := report(2, event.AppState{State: "Failed", Revision: "app-1", Reason: "TrapLoop", Message: "3 traps", Attempt: 1}); reply == nil {
		t.Error("no reply")
	}
	if n := b.notices("ApplicationFailed"); len(n) != 1 || n[0].InvolvedObject.Name != "press-1" || n[0].Count != 1 {
		t.Errorf("%+v", n)
	}

	// A heartbeat alone is not written; a status that does not differ neither.
	o, _ := b.set.Devices.Get(t.Context(), ns, "press-1")
	b.status(d)
	if p, _ := b.set.Devices.Get(t.Context(), ns, "press-1"); p.ResourceVersion == o.ResourceVersion {
		t.Error("the failed application is not in the status")
	}
	o, _ = b.set.Devices.Get(t.Context(), ns, "press-1")
	b.now = b.now.Add(time.Minute)
	if _, _, err := b.a.Renew(t.Context(), "gw-1", []affinity.Lease{{Device: d, Epoch: epoch, LastSeen: b.now}}, time.Hour); err != nil {
		t.Fatal(err)
	}
	b.status(d)
	if p, _ := b.set.Devices.Get(t.Context(), ns, "press-1"); p.ResourceVersion != o.ResourceVersion {
		t.Error("a heartbeat was written into the status")
	}
	b.handle(event.DeviceDisconnected, event.Disconnected{Device: d, Instance: "gw-1", Epoch: epoch, Era: b.era, Reason: "Closed", Time: b.now})
	s = b.status(d)
	b.online(s, "False", "Disconnected")
	if !s.LastSeen.Time.Equal(b.now) {
		t.Errorf("last seen %v", s.LastSeen)
	}

	// The ledger is lost: nobody knows, until the device returns.
	fresh := start(t)
	b.l, b.a, b.era = fresh.l, fresh.a, fresh.era
	b.f.d.Ledger = fresh.l
	b.online(b.status(d), "Unknown", "NotHeardSinceLedgerLost")
	fresh.now = b.now
	b.connect(d)
	b.online(b.status(d), "True", "Connected")

	// Of a device that is gone nothing is written.
	b.handle(event.TimerDue, event.Timer{Kind: "status", Namespace: ns, Name: "nobody"})
}

func TestTrapsAndCommands(t *testing.T) {
	b := start(t)
	d := b.device("press-1")
	b.connect(d)
	for seq := range uint64(3) {
		b.handle(event.DeviceTrapped, event.Trapped{Device: d, BootID: "b1", Seq: seq + 1, App: "app", Revision: "app-1", Reason: "Trap", Where: "wasmbed_timer", Message: "unreachable", Time: b.now})
		b.now = b.now.Add(2 * time.Minute)
	}
	n := b.notices("Trapped")
	if len(n) != 1 || n[0].Count != 3 || n[0].Message != "application app, revision app-1 trapped in wasmbed_timer: Trap: unreachable" {
		t.Errorf("%+v", n)
	}
	b.handle(event.DeviceCommandCompleted, event.CommandCompleted{Device: d, Command: "01", Status: "Done"})
	b.handle(event.DeviceCommandCompleted, event.CommandCompleted{Device: d, Command: "02", Status: "Refused", Reason: "TooManyApps"})
	if n := b.notices("CommandRefused"); len(n) != 1 {
		t.Errorf("%+v", n)
	}
}

func TestTelemetryAndLogs(t *testing.T) {
	b := start(t)
	d := b.device("press-1")
	boot := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	b.handle(event.TelemetryReceived, event.TelemetryBatch{Devices: []event.TelemetryDevice{{Namespace: ns, Name: d.Name, BootID: boot, Seq: 1, Records: []byte{0x81, 0x84, 0x00, 0x61, 'a', 0x61, 'n', 0xf9, 0x3e, 0x00}}}})
	got, _, err := b.l.Telemetry(t.Context(), d, "0", 10)
	if err != nil || len(got) != 1 || got[0].Value != 1.5 || got[0].App != "a" {
		t.Errorf("%+v %v", got, err)
	}
	b.handle(event.LogsReceived, event.LogBatch{Devices: []event.TelemetryDevice{{Namespace: ns, Name: d.Name, BootID: boot, Seq: 1, Records: []byte{0x81, 0x84, 0x00, 0x61, 'a', 0x02, 0x62, 'h', 'i'}}}})
	logs, _, err := b.l.Logs(t.Context(), d, "0", 10)
	if err != nil || len(logs) != 1 || logs[0].Text != "hi" {
		t.Errorf("%+v %v", logs, err)
	}
	e, _ := event.New(event.TelemetryReceived, "/gw", "", "x", nil)
	if _, err := b.f.Handle(t.Context(), e); !errs.Is(err, errs.Invalid) {
		t.Errorf("telemetry without data: %v", err)
	}
}

func TestStatusOfAFleetIsPaced(t *testing.T) {
	b := start(t)
	const n = statusBurst + 50
	ask := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			e, _ := event.New(event.TimerDue, "/gw", "", fmt.Sprint(i), event.Timer{Kind: "status", Namespace: ns, Name: fmt.Sprint("d-", i)})
			if _, err := b.f.Handle(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask(0, n)
	later := func() (n int) {
		for s := range b.l.Shards() {
			due, err := b.l.Due(t.Context(), s, 1000)
			if err != nil {
				t.Fatal(err)
			}
			n += len(due)
		}
		return n
	}
	if n := later(); n != 0 {
		t.Errorf("%d are due at once", n)
	}
	b.now = b.now.Add(3 * statusAgain)
	if got := later(); got != n-statusBurst {
		t.Errorf("%d come again, want %d", got, n-statusBurst)
	}
	// Who was promised a time has it then, however many came meanwhile.
	b.now = b.now.Add(time.Second)
	later()
	ask(n, 2*n)
	ask(statusBurst, n)
	b.now = b.now.Add(3 * statusAgain)
	if got := later(); got != n-statusBurst {
		t.Errorf("%d come again after the second round, want %d", got, n-statusBurst)
	}
}

func TestPaceFollowsWhatWritesTake(t *testing.T) {
	p, now := newPacer(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	turns := func(n int) (ok int) {
		for i := range n {
			if _, yes := p.turn(event.Device{Namespace: ns, Name: fmt.Sprint(now, i)}, now); yes {
				ok++
			}
		}
		return ok
	}
	if n := turns(100); n != statusParallel {
		t.Errorf("%d writes under way", n)
	}
	for range statusParallel {
		p.done(time.Second)
	}
	if p.every != statusMost {
		t.Errorf("%s between slow writes", p.every)
	}
	now = now.Add(time.Minute)
	for range 50 {
		if turns(1) != 1 {
			t.Fatal("no turn after a while of none")
		}
		p.done(time.Millisecond)
		now = now.Add(time.Minute)
	}
	if p.every != statusLeast {
		t.Errorf("%s between quick writes", p.every)
	}
	// Who is woken early keeps the time that was promised.
	for turns(1) == 1 {
	}
	who := event.Device{Namespace: ns, Name: "late"}
	at, _ := p.turn(who, now)
	if again, ok := p.turn(who, now.Add(time.Millisecond)); ok || !again.Equal(at) {
		t.Errorf("promised %s, then %s, %v", at, again, ok)
	}
}

// TestADeclineFailsTheDevice: a device that says no to an application has no instance that could report a failure.
func TestADeclineFailsTheDevice(t *testing.T) {
	b := start(t)
	d := b.device("full")
	ctx, app := b.Context(), ledger.App{Namespace: ns, Name: "third"}
	if err := b.l.PutDevice(ctx, d, ledger.DeviceFacts{Board: "B", Approved: true}, nil); err != nil {
		t.Fatal(err)
	}
	b.handle(event.DeviceConnected, event.Connected{Device: d, Epoch: 1, Era: b.era, BootID: "b", Board: "B", Time: b.now})
	if _, err := b.l.SetTarget(ctx, app, ledger.Target{Sequence: 1, Revision: "third-1", Digest: "sha256:x", Size: 1}, ledger.Selection{All: true}); err != nil {
		t.Fatal(err)
	}
	if n, err := b.l.Dispatch(ctx, app, 1, b.now.Add(time.Hour), []event.Device{d}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	reply := b.handle(event.DeviceCommandCompleted, event.CommandCompleted{Device: d, App: "third", Revision: "third-1", Attempt: 1, Command: "01", Status: "Refused", Reason: "TooManyApps", Time: b.now})
	if reply == nil {
		t.Fatal("nothing moved")
	}
	said, err := event.Data[event.StateChanged](*reply)
	if err != nil || len(said.Changes) != 1 || said.Changes[0].To != ledger.SetFailed || said.Changes[0].Reason != "TooManyApps" {
		t.Fatalf("%+v %v", said, err)
	}
}
