package session

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/protocol"
)

// sentCommand remembers what the device was told.
type sentCommand struct {
	id       [protocol.CommandSize]byte
	at       int64 // Unix ns
	frame    uint64
	answered bool
	refused  bool
	app      string
	revision string
	attempt  uint64
}

var errBusy = errs.New(errs.Exhausted, "too many frames wait for the broker")

// enter counts a frame that waits for its event to be durable.
func (s *Session) enter(f Flow) error {
	if s.flight[f] >= protocol.MaxInFlight {
		return errBusy
	}
	s.flight[f]++
	return nil
}

// Durable says that the frame id of the flow is durable: the device is told.
func (s *Session) Durable(f Flow, id uint64, out *Output) {
	if s.flight[f] > 0 {
		s.flight[f]--
	}
	if s.phase == phaseClosed {
		return
	}
	ack := protocol.Ack{ID: s.id(), Refers: id}
	b, err := protocol.Append(out.Frames, &ack)
	if err == nil {
		out.Frames = b
	}
}

// Undone says that the frame id of the flow was not taken, or was refused for good by the broker.
func (s *Session) Undone(f Flow, id uint64, err error, out *Output) {
	if s.flight[f] > 0 {
		s.flight[f]--
	}
	if s.phase != phaseClosed {
		s.refuse(id, err, out)
	}
}

// records passes on a batch of telemetry or logs. The hot path: it allocates nothing.
func (s *Session) records(k Kind, f Flow, feature uint64, body []byte, out *Output) error {
	var (
		seq, id uint64
		raw     []byte
		err     error
	)
	if k == Telemetry {
		seq, id, raw, _, err = protocol.DecodeTelemetryRaw(body)
	} else {
		seq, id, raw, _, err = protocol.DecodeLogsRaw(body)
	}
	if err != nil {
		return err
	}
	if s.features&feature == 0 {
		return errNotSpoken
	}
	if err := s.enter(f); err != nil {
		return err
	}
	out.Actions = append(out.Actions, Action{Kind: k, ID: id, Seq: seq, Records: raw})
	return nil
}

var errNotSpoken = &protocol.WireError{Layer: protocol.LayerState, Code: protocol.CodeState, Text: "the feature was not agreed on"}

// heartbeat answers, and asks for a report when the device holds something else than it said.
func (s *Session) heartbeat(now time.Time, m *protocol.Heartbeat, out *Output) error {
	s.send(&protocol.HeartbeatAck{ID: s.id(), Refers: m.ID, Time: uint64(now.UnixMilli())}, out)
	if [protocol.StateDigestSize]byte(m.StateDigest) != s.digest && s.asked == 0 && s.flight[FlowReport] == 0 {
		s.AskReport(now, out)
	}
	return nil
}

// report merges what the device holds and passes it on.
func (s *Session) report(now time.Time, m *protocol.Report, out *Output) error {
	if err := s.enter(FlowReport); err != nil {
		return err
	}
	if !s.claimed {
		// Its event needs the epoch of the new lease. One report can wait; a device has no reason to send more.
		if s.held != nil {
			s.flight[FlowReport]--
			return errBusy
		}
		s.held = &heldReport{id: m.ID, report: m}
		return nil
	}
	if m.Version >= s.version || m.Full { // an older one is a repetition that only wants its ack
		held := len(s.apps)
		s.merge(m)
		if len(s.apps) < held || len(m.Removed) > 0 {
			s.forgetRefused()
		}
	}
	e := &event.Reported{
		Device: s.peer.Device, Epoch: s.epoch, Era: s.era, Version: m.Version, SeenDesired: s.seenIn(m), Full: m.Full,
		Removed: m.Removed, StateDigest: hex.EncodeToString(m.StateDigest), Time: now,
	}
	if len(m.Apps) > 0 {
		e.Apps = make(map[string]event.AppState, len(m.Apps))
		for name, a := range m.Apps {
			e.Apps[name] = appState(a)
		}
	}
	out.Actions = append(out.Actions, Action{Kind: Reported, ID: m.ID, Data: e, EventID: s.eventID(fmt.Sprintf("report/%d", m.Version))})
	if m.Full {
		s.asked = 0
		out.Actions = append(out.Actions, Action{Kind: Compare})
	} else if s.asked == 0 && (!s.full || m.Version == s.version && [protocol.StateDigestSize]byte(m.StateDigest) != s.digest) {
		s.AskReport(now, out) // what the reports add up to is not what the device holds
	}
	return nil
}

// forgetRefused has what the device refused said again at the next comparison: it has more room now.
func (s *Session) forgetRefused() {
	s.sent = slices.DeleteFunc(s.sent, func(c sentCommand) bool { return c.refused })
}

// seenIn is the desired version that the device has seen, when it speaks of the era that we are in: versions
// of different eras say nothing about one another.
func (s *Session) seenIn(m *protocol.Report) uint64 {
	if hex.EncodeToString(m.Era) != s.era {
		return 0
	}
	return m.SeenDesired
}

func (s *Session) merge(m *protocol.Report) {
	if m.Full {
		s.apps, s.full = m.Apps, true
	} else {
		if s.apps == nil && len(m.Apps) > 0 {
			s.apps = make(map[string]protocol.AppState, len(m.Apps))
		}
		maps.Copy(s.apps, m.Apps)
		for _, name := range m.Removed {
			delete(s.apps, name)
		}
	}
	for name, a := range s.apps {
		if a.Text != "" { // nobody reads it here, and there are many of us
			a.Text = ""
			s.apps[name] = a
		}
	}
	s.version = m.Version
	s.digest = protocol.StateDigest(s.apps)
}

func appState(a protocol.AppState) event.AppState {
	return event.AppState{
		State: a.State.String(), Revision: a.Revision, Attempt: a.Attempt, Running: a.Running, Confirmed: a.Confirmed,
		Reason: a.Reason.String(), Message: a.Text, Restarts: a.Restarts, Progress: a.Progress, Traps: a.Traps,
	}
}

// Apps returns what the device holds, and whether that is all of it. The map must not be changed, nor read
// outside of the lock.
func (s *Session) Apps() (map[string]protocol.AppState, bool) { return s.apps, s.full }

func (s *Session) trap(now time.Time, m *protocol.Trap, out *Output) error {
	if err := s.enter(FlowTrap); err != nil {
		return err
	}
	e := &event.Trapped{
		Device: s.peer.Device, BootID: hex.EncodeToString(s.boot[:]), Seq: m.Seq, App: m.App, Revision: m.Revision,
		Reason: m.Reason.String(), Where: m.Where, Message: m.Text, Time: now,
	}
	out.Actions = append(out.Actions, Action{Kind: Trapped, ID: m.ID, Data: e,
		EventID: fmt.Sprintf("%s/%x/trap/%d", s.peer.Device.Name, s.boot, m.Seq)})
	return nil
}

func (s *Session) commandResult(now time.Time, m *protocol.CommandResult, out *Output) error {
	return s.completed(now, m.ID, m.Command, m.Status, m.Reason, m.Text, nil, out)
}

func (s *Session) completed(now time.Time, id uint64, command []byte, status protocol.CommandStatus, reason protocol.Reason, text string, payload []byte, out *Output) error {
	if err := s.enter(FlowResult); err != nil {
		return err
	}
	e := &event.CommandCompleted{
		Device: s.peer.Device, Command: hex.EncodeToString(command), Status: status.String(), Reason: reason.String(),
		Message: text, Payload: payload, Time: now,
	}
	for i := range s.sent {
		if c := &s.sent[i]; string(c.id[:]) == string(command) {
			c.answered, c.at = true, now.UnixNano()
			c.refused = status == protocol.CommandRefused
			e.App, e.Revision, e.Attempt = c.app, c.revision, c.attempt
		}
	}
	out.Actions = append(out.Actions, Action{Kind: Completed, ID: id, Data: e,
		EventID: s.eventID(fmt.Sprintf("command/%x/%d", command, status))})
	return nil
}

// deviceRefused hears that the device could not take one of our frames. A refused command counts as answered:
// it is tried again, but not at once.
func (s *Session) deviceRefused(now time.Time, m *protocol.Error) {
	for i := range s.sent {
		if c := &s.sent[i]; m.Refers != 0 && c.frame == m.Refers {
			c.answered, c.at = true, now.UnixNano()
		}
	}
}

// Commands takes the outcome of a comparison: what the device must be told so that it comes to hold the
// desired of that version. What it was told already and has answered, or may still answer, is not said again.
func (s *Session) Commands(now time.Time, desired uint64, plan []protocol.Command, out *Output) (sent int) {
	if s.phase != phaseOpen {
		return 0
	}
	s.compared, s.desired = true, desired
	n := now.UnixNano()
	next := make([]sentCommand, 0, min(len(plan), maxSent))
	for i := range plan {
		c := &plan[i]
		if len(next) == maxSent {
			break // the rest follows when these have had their effect
		}
		id := [protocol.CommandSize]byte(c.Command)
		if old := s.find(id); old != nil {
			patience := int64(commandAnswer)
			if old.answered {
				patience = int64(commandEffect)
			}
			if n-old.at <= patience {
				next = append(next, *old)
				continue
			}
		}
		c.ID = s.id()
		c.Era, c.Desired = eraBytes(s.era), desired
		start := len(out.Frames)
		s.send(c, out)
		told := sentCommand{id: id, at: n, frame: c.ID, app: c.App, revision: c.Revision, attempt: c.Attempt}
		if len(out.Frames)-start-protocol.HeaderSize > int(s.hello.caps.Frame) {
			// SPEC §3: it is not sent, and the platform says so in the device's place.
			out.Frames = out.Frames[:start]
			told.answered = true
			s.tooLarge(now, c, out)
		}
		next = append(next, told)
		sent++
	}
	s.sent = next
	if len(next) == 0 {
		s.sent = nil
	}
	return sent
}

func (s *Session) tooLarge(now time.Time, c *protocol.Command, out *Output) {
	e := &event.CommandCompleted{
		Device: s.peer.Device, Command: hex.EncodeToString(c.Command), App: c.App, Revision: c.Revision, Attempt: c.Attempt,
		Status: protocol.CommandRefused.String(), Reason: protocol.ReasonUnsupported.String(),
		Message: fmt.Sprintf("the command does not fit into the device's frame of %d bytes", s.hello.caps.Frame), Time: now,
	}
	out.Actions = append(out.Actions, Action{Kind: Completed, Data: e, EventID: s.eventID(fmt.Sprintf("command/%x/large", c.Command))})
}

func (s *Session) find(id [protocol.CommandSize]byte) *sentCommand {
	for i := range s.sent {
		if s.sent[i].id == id {
			return &s.sent[i]
		}
	}
	return nil
}

// Compared returns the desired version of the last comparison, and whether there was one in this era.
func (s *Session) Compared() (uint64, bool) { return s.desired, s.compared }

// chunkRequest asks the world for module bytes, no more than the device can take.
func (s *Session) chunkRequest(m *protocol.ChunkRequest, out *Output) error {
	n := min(m.Length, s.hello.caps.Chunk, s.hello.caps.Frame-chunkOverhead)
	out.Actions = append(out.Actions, Action{Kind: Chunk, ID: m.ID, Offset: m.Offset, Length: n, Digest: [protocol.DigestSize]byte(m.Digest)})
	return nil
}

// SendChunk answers the chunk request id. Data is copied.
func (s *Session) SendChunk(id uint64, digest []byte, offset uint32, data []byte, total uint32, out *Output) {
	if s.phase == phaseOpen {
		s.send(&protocol.Chunk{ID: s.id(), Refers: id, Digest: digest, Offset: offset, Data: data, Total: total}, out)
	}
}

// ChunkError refuses the chunk request id.
func (s *Session) ChunkError(id uint64, code protocol.Code, text string, out *Output) {
	if s.phase == phaseOpen {
		s.refuse(id, &protocol.WireError{Code: code, Text: text}, out)
	}
}
