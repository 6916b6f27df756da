package session

import (
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/protocol"
)

// CallKind tells the commands apart that somebody asked for.
type CallKind string

// Kinds of calls, in the words of event.CommandRequest.
const (
	CallInvoke  CallKind = "Invoke"
	CallMessage CallKind = "Message"
	CallReboot  CallKind = "Reboot"
)

// Call is a command to be told to the device.
type Call struct {
	ID       [protocol.CommandSize]byte
	Kind     CallKind
	App      string
	Function string // Invoke
	Topic    string // Message
	Payload  []byte
	Left     time.Duration // until the deadline
	// Lost: it must not be told, for another boot of the device may have carried it out, and nobody will ever know.
	Lost bool
}

// call is one that was told and has no answer yet.
type call struct {
	id    [protocol.CommandSize]byte
	frame uint64
	at    int64 // Unix ns
	kind  CallKind
	app   string
}

func (s *Session) call(id []byte) *call {
	for i := range s.calls {
		if string(s.calls[i].id[:]) == string(id) {
			return &s.calls[i]
		}
	}
	return nil
}

// Room is how many more calls may be told.
func (s *Session) Room() int { return maxCalls - len(s.calls) }

// Tell tells the device what somebody asked for. What was told in this session and waits is not told again. Those for
// which there is no room wait for a Take to come.
func (s *Session) Tell(now time.Time, calls []Call, out *Output) (told int) {
	if s.phase != phaseOpen {
		return 0
	}
	for i := range calls {
		c := &calls[i]
		if s.call(c.ID[:]) != nil || slices.Contains(s.answers, c.ID) {
			continue
		}
		mine := call{id: c.ID, at: now.UnixNano(), kind: c.Kind, app: c.App}
		switch {
		case c.Lost && c.Kind == CallReboot:
			_ = s.answer(now, &mine, 0, protocol.CommandDone, 0, "the device has restarted", nil, out)
			continue
		case c.Lost:
			_ = s.answer(now, &mine, 0, protocol.CommandFailed, protocol.ReasonPowerLoss, "the session or the device ended before it answered; it is not told again", nil, out)
			continue
		case len(s.calls) == maxCalls:
			return told
		case c.Kind == CallInvoke && s.features&protocol.FeatureInvoke == 0, c.Kind == CallMessage && s.features&protocol.FeatureMessages == 0:
			_ = s.answer(now, &mine, 0, protocol.CommandRefused, protocol.ReasonUnsupported, "the device's firmware does not offer it", nil, out)
			continue
		}
		start := len(out.Frames)
		mine.frame = s.id()
		switch c.Kind {
		case CallInvoke:
			s.send(&protocol.Invoke{ID: mine.frame, Command: c.ID[:], App: c.App, Function: c.Function, Payload: c.Payload, Deadline: max(1, millis(c.Left))}, out)
		case CallMessage:
			s.send(&protocol.MessageDown{ID: mine.frame, App: c.App, Topic: c.Topic, Payload: c.Payload}, out)
		default:
			s.send(&protocol.Command{ID: mine.frame, Command: c.ID[:], Verb: protocol.VerbReboot, Deadline: max(1, millis(c.Left))}, out)
		}
		if n := len(out.Frames) - start - protocol.HeaderSize; n > int(s.hello.caps.Frame) {
			out.Frames = out.Frames[:start]
			_ = s.answer(now, &mine, 0, protocol.CommandRefused, protocol.ReasonUnsupported,
				fmt.Sprintf("%d bytes do not fit into the device's frame of %d", n, s.hello.caps.Frame), nil, out)
			continue
		}
		s.calls = append(s.calls, mine)
		told++
	}
	return told
}

// answer says what became of a call. frame is the device's that says so; 0: the gateway's own word.
func (s *Session) answer(now time.Time, c *call, frame uint64, status protocol.CommandStatus, reason protocol.Reason, text string, payload []byte, out *Output) error {
	if frame != 0 {
		if err := s.enter(FlowResult); err != nil {
			return err
		}
	}
	e := &event.CommandAnswer{
		Device: s.peer.Device, Command: hex.EncodeToString(c.id[:]), Kind: string(c.kind), App: c.app, Status: status.String(),
		Message: text, Payload: payload, Time: now,
	}
	if reason != 0 {
		e.Reason = reason.String()
	}
	out.Actions = append(out.Actions, Action{Kind: Answered, ID: frame, Data: e,
		EventID: fmt.Sprintf("%s/answer/%x/%s", s.peer.Device.Name, c.id, status)})
	if len(s.answers) == 2*maxCalls {
		s.answers = append(s.answers[:0], s.answers[maxCalls:]...)
	}
	s.answers = append(s.answers, c.id) // the ledger does not know it yet
	return nil
}

// answered is answer for a call that was told: it is forgotten, and there is room for the next.
func (s *Session) answered(now time.Time, c *call, frame uint64, status protocol.CommandStatus, reason protocol.Reason, text string, payload []byte, out *Output) error {
	if err := s.answer(now, c, frame, status, reason, text, payload, out); err != nil {
		return err
	}
	full := len(s.calls) == maxCalls
	for i := range s.calls {
		if s.calls[i].id == c.id {
			s.calls = append(s.calls[:i], s.calls[i+1:]...)
			break
		}
	}
	if full {
		out.Actions = append(out.Actions, Action{Kind: Take})
	}
	return nil
}

// invokeResult passes a result on, also one of a call that an earlier session told.
func (s *Session) invokeResult(now time.Time, m *protocol.InvokeResult, out *Output) error {
	if s.features&protocol.FeatureInvoke == 0 {
		return errNotSpoken
	}
	if c := s.call(m.Command); c != nil {
		return s.answered(now, c, m.ID, m.Status, m.Reason, m.Text, m.Payload, out)
	}
	c := call{id: [protocol.CommandSize]byte(m.Command), kind: CallInvoke}
	return s.answer(now, &c, m.ID, m.Status, m.Reason, m.Text, m.Payload, out)
}

// callRefused hears that the device could not take a call.
func (s *Session) callRefused(now time.Time, m *protocol.Error, out *Output) {
	for i := range s.calls {
		c := s.calls[i]
		if m.Refers == 0 || c.frame != m.Refers {
			continue
		}
		reason := protocol.ReasonBadRequest
		switch m.Code {
		case protocol.CodeNotFound:
			reason = protocol.ReasonUnknownApp
		case protocol.CodeUnknownType:
			reason = protocol.ReasonUnsupported
		case protocol.CodeBusy:
			reason = protocol.ReasonInsufficientMemory
		}
		_ = s.answered(now, &c, 0, protocol.CommandRefused, reason, m.Text, nil, out)
		return
	}
}

// tickCalls takes the silence after a message for its delivery: an error would have come by now.
func (s *Session) tickCalls(now time.Time, out *Output) {
	for i := 0; i < len(s.calls); i++ {
		if c := s.calls[i]; c.kind == CallMessage && now.UnixNano()-c.at > int64(messageQuiet) {
			_ = s.answered(now, &c, 0, protocol.CommandDone, 0, "", nil, out)
			i--
		}
	}
}

// DropCalls forgets calls whose deadline has passed: the ledger has their outcome. open are those that have none.
func (s *Session) DropCalls(open map[[protocol.CommandSize]byte]bool) {
	kept := s.calls[:0]
	for _, c := range s.calls {
		if open[c.id] {
			kept = append(kept, c)
		}
	}
	s.calls = kept
}

// messageUp passes a module's message on.
func (s *Session) messageUp(now time.Time, m *protocol.MessageUp, out *Output) error {
	if s.features&protocol.FeatureMessages == 0 {
		return errNotSpoken
	}
	if err := s.enter(FlowMessage); err != nil {
		return err
	}
	e := &event.AppMessage{Device: s.peer.Device, BootID: hex.EncodeToString(s.boot[:]), Seq: m.Seq, Application: m.App, Topic: m.Topic, Payload: m.Payload, Time: now}
	out.Actions = append(out.Actions, Action{Kind: Messaged, ID: m.ID, Data: e,
		EventID: fmt.Sprintf("%s/%x/message/%d", s.peer.Device.Name, s.boot, m.Seq)})
	return nil
}
