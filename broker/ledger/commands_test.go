package ledger

import (
	"reflect"
	"testing"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

func (e *env) ask(d event.Device, c Command) *CommandResult {
	e.Helper()
	r, err := e.l.Ask(e.ctx, d, c)
	if err != nil {
		e.Fatal(err)
	}
	return r
}

func (e *env) take(d event.Device, boot string) []Told {
	e.Helper()
	told, err := e.l.Take(e.ctx, []Session{{Device: event.Device{Namespace: "plant", Name: "other"}, BootID: boot}, {Device: d, BootID: boot, Epoch: 1}})
	if err != nil || len(told) != 2 || len(told[0]) != 0 {
		e.Fatalf("%+v, %v", told, err)
	}
	return told[1]
}

// testCommands: a command is told to one boot of a device, has one result, and ends with its deadline.
func testCommands(e *env) {
	d := event.Device{Namespace: "plant", Name: "press-7"}
	now := e.clock.now()
	invoke := Command{ID: "00000000000000a1", Kind: CommandInvoke, App: "sum", Function: "add", Payload: []byte{1, 2}, By: "ada", At: now, Deadline: now.Add(time.Minute)}
	if _, err := e.l.Ask(e.ctx, d, invoke); !errs.Is(err, errs.NotFound) {
		e.Fatalf("of a device that nobody knows: %v", err)
	}
	if err := e.l.PutDevice(e.ctx, d, DeviceFacts{Approved: true}, nil); err != nil {
		e.Fatal(err)
	}
	for _, bad := range []Command{
		{ID: "a1", Kind: CommandInvoke, App: "sum", Deadline: now}, {ID: invoke.ID, Kind: "Fly", Deadline: now}, {ID: invoke.ID, Kind: CommandMessage, Deadline: now},
		{ID: invoke.ID, Kind: CommandReboot, Deadline: now.Add(2 * MaxCommandLife)},
	} {
		if _, err := e.l.Ask(e.ctx, d, bad); !errs.Is(err, errs.Invalid) {
			e.Errorf("%+v: %v", bad, err)
		}
	}
	for range 2 { // asked twice is asked once
		if r := e.ask(d, invoke); r != nil {
			e.Fatalf("answered at once: %+v", r)
		}
	}
	message := Command{ID: "00000000000000a2", Kind: CommandMessage, App: "sum", Topic: "t", At: now.Add(time.Millisecond), Deadline: now.Add(time.Minute)}
	e.ask(d, message)
	want := []Told{{Command: invoke}, {Command: message}}
	if told := e.take(d, "b1"); !reflect.DeepEqual(told, want) {
		e.Fatalf("told %+v", told)
	}
	// Again in the same boot: the device knows the call, but a message is told once.
	want[1].Lost = true
	if told := e.take(d, "b1"); !reflect.DeepEqual(told, want) {
		e.Fatalf("told again %+v", told)
	}
	want[0].Lost = true // another boot might do it twice
	if told := e.take(d, "b2"); !reflect.DeepEqual(told, want) {
		e.Fatalf("told another boot %+v", told)
	}
	if r, err := e.l.Result(e.ctx, d, invoke.ID); r != nil || err != nil {
		e.Fatalf("%+v, %v", r, err)
	}
	r, fresh, err := e.l.Finish(e.ctx, d, invoke.ID, CommandResult{Status: "Done", Payload: []byte{3}}, false)
	if err != nil || !fresh || r.Command.App != "sum" || r.Command.Payload != nil || r.Command.By != "ada" {
		e.Fatalf("%+v, %v, %v", r, fresh, err)
	}
	for _, again := range []CommandResult{{Status: "Failed"}, {Status: "Done", Payload: []byte{3}}} {
		was, fresh, err := e.l.Finish(e.ctx, d, invoke.ID, again, false)
		if err != nil || fresh || !reflect.DeepEqual(was, r) {
			e.Fatalf("the second answer changed the first: %+v, %v, %v", was, fresh, err)
		}
	}
	if got := e.ask(d, invoke); !reflect.DeepEqual(got, r) {
		e.Fatalf("asked again: %+v", got)
	}
	if told := e.take(d, "b1"); len(told) != 1 {
		e.Fatalf("an answered command is told: %+v", told)
	}
	// The deadline is the clock's word.
	if r, fresh, err := e.l.Finish(e.ctx, d, message.ID, CommandResult{Status: "Failed"}, true); r != nil || fresh || err != nil {
		e.Fatalf("too early: %+v, %v, %v", r, fresh, err)
	}
	e.clock.add(2 * time.Minute)
	if told := e.take(d, "b1"); len(told) != 0 {
		e.Fatalf("told after the deadline: %+v", told)
	}
	var due []event.Timer
	for s := range e.l.Shards() {
		ts, err := e.l.Due(e.ctx, s, 10)
		if err != nil {
			e.Fatal(err)
		}
		for _, t := range ts {
			if t.Kind == DueCommand {
				due = append(due, t)
			}
		}
	}
	if len(due) != 1 || due[0].Name != message.ID || due[0].Device != d.Name {
		e.Fatalf("timers %+v", due)
	}
	if r, fresh, err := e.l.Finish(e.ctx, d, message.ID, CommandResult{Status: "Failed", Reason: "DeadlineExceeded"}, true); err != nil || !fresh || r.Reason != "DeadlineExceeded" {
		e.Fatalf("%+v, %v, %v", r, fresh, err)
	}
	open, results, err := e.l.CommandsOf(e.ctx, d)
	if err != nil || len(open) != 0 || len(results) != 2 || results[0].Command.ID != message.ID {
		e.Fatalf("%+v, %+v, %v", open, results, err)
	}
	if _, err := e.l.Result(e.ctx, d, "00000000000000ff"); !errs.Is(err, errs.NotFound) {
		e.Fatalf("of nobody's command: %v", err)
	}
	// Bounded: open ones and remembered ones.
	now = e.clock.now()
	for i := range MaxCommands {
		e.ask(d, Command{ID: hexID(i), Kind: CommandReboot, At: now, Deadline: now.Add(time.Minute)})
	}
	if _, err := e.l.Ask(e.ctx, d, Command{ID: hexID(1000), Kind: CommandReboot, Deadline: now.Add(time.Minute)}); !errs.Is(err, errs.Exhausted) {
		e.Fatalf("one more than fits: %v", err)
	}
	for i := range MaxCommands {
		if _, _, err := e.l.Finish(e.ctx, d, hexID(i), CommandResult{Status: "Done"}, false); err != nil {
			e.Fatal(err)
		}
	}
	if _, results, _ = e.l.CommandsOf(e.ctx, d); len(results) != MaxResults {
		e.Fatalf("%d results are remembered", len(results))
	}
	e.ask(d, Command{ID: hexID(2000), Kind: CommandReboot, At: now, Deadline: now.Add(time.Minute)})
	e.take(d, "b3")
}

func hexID(n int) string {
	const digits = "0123456789abcdef"
	b := []byte("1000000000000000")
	for i := len(b) - 1; n > 0; i, n = i-1, n>>4 {
		b[i] = digits[n&15]
	}
	return string(b)
}

// testOperations: each device counts once, in whatever order the words come.
func testOperations(e *env) {
	const id = "op1"
	note := func(device, status string) {
		e.Helper()
		if err := e.l.NoteOperation(e.ctx, "plant", id, device, status); err != nil {
			e.Fatal(err)
		}
	}
	if _, err := e.l.Operation(e.ctx, "plant", id); !errs.Is(err, errs.NotFound) {
		e.Fatal(err)
	}
	note("a", "asked")
	note("a", "asked")
	note("b", "Done") // its answer was faster
	note("b", "asked")
	note("a", "Failed")
	note("a", "Done")
	o, err := e.l.Operation(e.ctx, "plant", id)
	want := Operation{ID: id, Total: 2, Counts: map[string]int{"Done": 1, "Failed": 1}, Devices: map[string]string{"a": "Failed", "b": "Done"}}
	if err != nil || !reflect.DeepEqual(o, want) {
		e.Fatalf("%+v, %v", o, err)
	}
	if err := e.l.ListedOperation(e.ctx, "plant", id); err != nil {
		e.Fatal(err)
	}
	want.Listed, want.Finished = true, true
	if o, err = e.l.Operation(e.ctx, "plant", id); err != nil || !reflect.DeepEqual(o, want) {
		e.Fatalf("%+v, %v", o, err)
	}
}

func TestHexID(t *testing.T) {
	if hexID(0x1f) != "100000000000001f" {
		t.Fatal(hexID(0x1f))
	}
}
