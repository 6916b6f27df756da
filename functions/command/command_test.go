package command

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

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
	now time.Time

	mu     sync.Mutex
	posted []ce.Event
}

func (b *bench) Post(_ context.Context, e ce.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.posted = append(b.posted, e)
	return nil
}

func start(t *testing.T, devices int) *bench {
	b := &bench{T: t, now: time.Now().Truncate(time.Millisecond)}
	b.l = ledger.New(testredis.Start(t).Client(t), ledger.Options{Now: func() time.Time { return b.now }})
	b.f = New(Deps{Ledger: b.l, Sink: b, Now: func() time.Time { return b.now }, Log: slog.New(slog.DiscardHandler)})
	if _, _, err := b.l.Era(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range devices {
		labels := map[string]string{"line": fmt.Sprint(i % 2)}
		if err := b.l.PutDevice(t.Context(), device(i), ledger.DeviceFacts{Approved: true, Labels: labels}, nil); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func device(i int) event.Device {
	return event.Device{Namespace: ns, Name: fmt.Sprintf("d-%03d", i)}
}

func (b *bench) event(typ, id string, data any) ce.Event {
	b.Helper()
	e, err := event.New(typ, "/test", "s", id, data, event.In(ns), event.At(b.now))
	if err != nil {
		b.Fatal(err)
	}
	return e
}

func (b *bench) handle(e ce.Event) *ce.Event {
	b.Helper()
	out, err := b.f.Handle(b.Context(), e)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func (b *bench) outcome(e *ce.Event) event.CommandOutcome {
	b.Helper()
	if e == nil || e.Type() != event.CommandFinished {
		b.Fatalf("no outcome: %v", e)
	}
	o, err := event.Data[event.CommandOutcome](*e)
	if err != nil {
		b.Fatal(err)
	}
	return o
}

func request() event.CommandRequest {
	return event.CommandRequest{Namespace: ns, Kind: "Invoke", Devices: []string{"d-000"}, Application: "sum", Function: "add", Payload: []byte("1"), By: "ada"}
}

// TestOnce: however often request, answer and deadline come, there is one command and one outcome.
func TestOnce(t *testing.T) {
	b := start(t, 1)
	e := b.event(event.CommandRequested, "r1", request())
	for range 3 {
		if out := b.handle(e); out != nil {
			t.Fatalf("an outcome before there is one: %v", out)
		}
	}
	open, _, err := b.l.CommandsOf(t.Context(), device(0))
	if err != nil || len(open) != 1 || open[0].By != "ada" || !open[0].Deadline.Equal(b.now.Add(defaultLife)) {
		t.Fatalf("%+v, %v", open, err)
	}
	early := b.event(event.TimerDue, "t1", event.Timer{Kind: "command", Namespace: ns, Name: open[0].ID, Device: "d-000"})
	if out := b.handle(early); out != nil {
		t.Fatalf("the deadline has not come: %v", out)
	}
	answer := event.CommandAnswer{Device: device(0), Command: open[0].ID, Kind: "Invoke", Status: "Done", Payload: []byte("2"), Time: b.now.Add(time.Second)}
	first := b.handle(b.event(event.DeviceCommandAnswered, "a1", answer))
	if o := b.outcome(first); o.Status != "Done" || string(o.Payload) != "2" || o.Function != "add" || o.By != "ada" {
		t.Fatalf("%+v", o)
	}
	b.now = b.now.Add(time.Hour)
	answer.Status = "Failed"
	for _, again := range []ce.Event{b.event(event.DeviceCommandAnswered, "a2", answer), early, e} {
		out := b.handle(again)
		if out == nil || out.ID() != first.ID() || b.outcome(out).Status != "Done" {
			t.Fatalf("%s: %v", again.Type(), out)
		}
	}
}

func TestDeadline(t *testing.T) {
	b := start(t, 1)
	b.handle(b.event(event.CommandRequested, "r1", request()))
	open, _, err := b.l.CommandsOf(t.Context(), device(0))
	if err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(defaultLife + time.Millisecond)
	out := b.handle(b.event(event.TimerDue, "t1", event.Timer{Kind: "command", Namespace: ns, Name: open[0].ID, Device: "d-000"}))
	if o := b.outcome(out); o.Status != "Failed" || o.Reason != "DeadlineExceeded" {
		t.Fatalf("%+v", o)
	}
	if out := b.handle(b.event(event.TimerDue, "t2", event.Timer{Kind: "status", Namespace: ns, Name: "d-000"})); out != nil {
		t.Fatalf("another function's timer: %v", out)
	}
}

func TestRefused(t *testing.T) {
	b := start(t, 1)
	r := request()
	r.Devices = []string{"nobody"}
	if o := b.outcome(b.handle(b.event(event.CommandRequested, "r0", r))); o.Status != "Refused" || o.Reason != "UnknownDevice" {
		t.Fatalf("%+v", o)
	}
	for i, change := range []func(*event.CommandRequest){
		func(r *event.CommandRequest) { r.Kind = "Fly" },
		func(r *event.CommandRequest) { r.Function = "" },
		func(r *event.CommandRequest) { r.Devices = nil },
		func(r *event.CommandRequest) { r.All = true },
		func(r *event.CommandRequest) { r.Devices, r.Selector = nil, "a in (" },
		func(r *event.CommandRequest) { r.ID = "xyz" },
		func(r *event.CommandRequest) { r.Kind, r.Topic = "Message", "" },
		func(r *event.CommandRequest) { r.Deadline = b.now.Add(100 * time.Hour) },
	} {
		r := request()
		change(&r)
		if _, err := b.f.Handle(t.Context(), b.event(event.CommandRequested, fmt.Sprint("bad", i), r)); !errs.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// TestMany: a selection is worked off in pages, each device once, and the operation counts the outcomes.
func TestMany(t *testing.T) {
	b := start(t, 2*page+11)
	r := request()
	r.Devices, r.Selector, r.Operation = nil, "line=1", "op1"
	e := b.event(event.CommandRequested, "r1", r)
	pages := 0
	for next := &e; next != nil; pages++ {
		cause := *next
		next = b.handle(cause)
		if again := b.handle(cause); (again == nil) != (next == nil) || next != nil && again.ID() != next.ID() {
			t.Fatalf("a page that comes again asks for another page: %v, %v", next, again)
		}
	}
	o, err := b.l.Operation(t.Context(), ns, "op1")
	if err != nil || pages != 3 || !o.Listed || o.Total != page+5 || o.Counts["asked"] != o.Total || o.Devices["d-001"] != "asked" {
		t.Fatalf("%d pages, %+v, %v", pages, o.Counts, err)
	}
	for name := range o.Devices {
		d := event.Device{Namespace: ns, Name: name}
		open, _, err := b.l.CommandsOf(t.Context(), d)
		if err != nil || len(open) != 1 {
			t.Fatalf("%s: %+v, %v", name, open, err)
		}
		b.handle(b.event(event.DeviceCommandAnswered, "a-"+name, event.CommandAnswer{Device: d, Command: open[0].ID, Status: "Done", Time: b.now}))
	}
	if o, err = b.l.Operation(t.Context(), ns, "op1"); err != nil || !o.Finished || o.Counts["Done"] != o.Total {
		t.Fatalf("%+v, %v", o, err)
	}
}
