package session

import (
	"testing"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/protocol"
)

func (r *rig) tell(calls ...Call) []protocol.Message {
	r.t.Helper()
	return r.call(func(o *Output) { r.s.Tell(r.now, calls, o) })
}

func (r *rig) answers() []*event.CommandAnswer {
	r.t.Helper()
	var out []*event.CommandAnswer
	for _, a := range r.actions(Answered) {
		out = append(out, a.Data.(*event.CommandAnswer))
	}
	return out
}

func (r *rig) one(status, reason string) *event.CommandAnswer {
	r.t.Helper()
	got := r.answers()
	if len(got) != 1 || got[0].Status != status || got[0].Reason != reason {
		r.t.Fatalf("answers %+v, want one %s (%s)", got, status, reason)
	}
	return got[0]
}

func openRig(t *testing.T) *rig {
	r := newRig(t, true)
	r.feed(r.hello())
	r.call(func(o *Output) { r.s.Claimed(r.now, 7, testEra, o) })
	if len(r.actions(Take)) != 1 {
		t.Fatal("a new session does not look for commands")
	}
	return r
}

func invoke(n byte) Call {
	return Call{ID: [8]byte{n}, Kind: CallInvoke, App: "sum", Function: "add", Payload: []byte{1}, Left: 5 * time.Second}
}

func TestInvoke(t *testing.T) {
	r := openRig(t)
	said := r.tell(invoke(1))
	if len(said) != 1 {
		t.Fatalf("said %+v", said)
	}
	m, ok := said[0].(*protocol.Invoke)
	if !ok || m.App != "sum" || m.Function != "add" || m.Deadline != 5000 || m.Command[0] != 1 {
		t.Fatalf("%+v", said[0])
	}
	if said := r.tell(invoke(1)); len(said) != 0 {
		t.Fatalf("told twice: %+v", said)
	}
	result := &protocol.InvokeResult{ID: 9, Refers: m.ID, Command: m.Command, Status: protocol.CommandDone, Payload: []byte{2}}
	r.feed(result)
	if a := r.one("Done", ""); string(a.Payload) != "\x02" || a.Command != "0100000000000000" || a.App != "sum" {
		t.Fatalf("%+v", a)
	}
	if said := r.call(func(o *Output) { r.s.Durable(FlowResult, 9, o) }); len(said) != 1 {
		t.Fatalf("not acknowledged: %+v", said)
	}
	if said := r.tell(invoke(1)); len(said) != 0 { // the ledger has not heard of the answer yet
		t.Fatalf("told again: %+v", said)
	}
	// A result of a call that an earlier session told.
	r.feed(&protocol.InvokeResult{ID: 10, Refers: 77, Command: []byte{8, 0, 0, 0, 0, 0, 0, 0}, Status: protocol.CommandFailed, Reason: protocol.ReasonTrap, Text: "unreachable"})
	if a := r.one("Failed", "Trap"); a.Message != "unreachable" {
		t.Fatalf("%+v", a)
	}
}

// TestCallsThatAreNotTold: what another boot was told, what the device cannot take, and what it does not offer.
func TestCallsThatAreNotTold(t *testing.T) {
	r := openRig(t)
	lost := invoke(2)
	lost.Lost = true
	r.tell(lost)
	r.one("Failed", "PowerLoss")
	reboot := Call{ID: [8]byte{3}, Kind: CallReboot, Left: time.Second, Lost: true}
	r.tell(reboot)
	r.one("Done", "")
	big := invoke(4)
	big.Payload = make([]byte, 5000)
	if said := r.tell(big); len(said) != 0 {
		t.Fatalf("said %d frames", len(said))
	}
	r.one("Refused", "Unsupported")
	m := r.tell(invoke(5))[0].(*protocol.Invoke)
	r.feed(&protocol.Error{ID: 11, Refers: m.ID, Code: protocol.CodeBusy, Text: "no room"})
	r.one("Refused", "InsufficientMemory")
	r.s.features &^= protocol.FeatureInvoke
	r.tell(invoke(6))
	r.one("Refused", "Unsupported")
}

func TestMessageDown(t *testing.T) {
	r := openRig(t)
	message := func(n byte) Call {
		return Call{ID: [8]byte{n}, Kind: CallMessage, App: "sum", Topic: "t", Payload: []byte("x"), Left: time.Second}
	}
	m, ok := r.tell(message(1))[0].(*protocol.MessageDown)
	if !ok || m.Topic != "t" {
		t.Fatalf("%+v", m)
	}
	r.feed(&protocol.Error{ID: 12, Refers: m.ID, Code: protocol.CodeNotFound})
	r.one("Refused", "UnknownApp")
	r.tell(message(2))
	r.call(func(o *Output) { r.s.Tick(r.now.Add(messageQuiet/2), o) })
	if got := r.answers(); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	r.call(func(o *Output) { r.s.Tick(r.now.Add(2*messageQuiet), o) })
	r.one("Done", "")
}

func TestReboot(t *testing.T) {
	r := openRig(t)
	c, ok := r.tell(Call{ID: [8]byte{1}, Kind: CallReboot, Left: time.Second})[0].(*protocol.Command)
	if !ok || c.Verb != protocol.VerbReboot {
		t.Fatalf("%+v", c)
	}
	r.feed(&protocol.CommandResult{ID: 13, Refers: c.ID, Command: c.Command, Status: protocol.CommandAccepted})
	if got := r.answers(); len(got) != 0 {
		t.Fatalf("accepted is no answer: %+v", got)
	}
	r.feed(&protocol.CommandResult{ID: 14, Refers: c.ID, Command: c.Command, Status: protocol.CommandRefused, Reason: protocol.ReasonUnsupported})
	r.one("Refused", "Unsupported")
}

// TestRoomForCalls: the rest waits in the ledger, and is taken when there is room.
func TestRoomForCalls(t *testing.T) {
	r := openRig(t)
	var calls []Call
	for i := range maxCalls + 3 {
		calls = append(calls, invoke(byte(i+1)))
	}
	said := r.tell(calls...)
	if len(said) != maxCalls || r.s.Room() != 0 {
		t.Fatalf("said %d, room %d", len(said), r.s.Room())
	}
	m := said[0].(*protocol.Invoke)
	r.feed(&protocol.InvokeResult{ID: 9, Refers: m.ID, Command: m.Command, Status: protocol.CommandDone})
	if len(r.actions(Take)) != 1 {
		t.Fatal("room, and nobody looks for what waits")
	}
	// Deadlines passed: only one is open in the ledger.
	r.s.DropCalls(map[[8]byte]bool{{5}: true})
	if r.s.Room() != maxCalls-1 {
		t.Fatalf("room %d", r.s.Room())
	}
}

func TestMessageUp(t *testing.T) {
	r := openRig(t)
	r.feed(&protocol.MessageUp{ID: 20, App: "sum", Topic: "alarm", Payload: []byte("hot"), Seq: 3})
	got := r.actions(Messaged)
	if len(got) != 1 || got[0].ID != 20 || got[0].Data.(*event.AppMessage).Topic != "alarm" || got[0].EventID == "" {
		t.Fatalf("%+v", got)
	}
	r.s.features &^= protocol.FeatureMessages
	if said := r.feed(&protocol.MessageUp{ID: 21, App: "sum", Topic: "alarm", Seq: 4}); len(said) != 1 || said[0].Type() != protocol.TypeError {
		t.Fatalf("%+v", said)
	}
}
