// Package session is the gateway's end of one device's connection as a state machine: it is fed with frames
// and with what the world answers, and says what to send and what to do. There is no network, no clock and no
// goroutine in it, so every rule of SPEC that concerns a gateway is tested without them.
//
// A Session is not safe for concurrent use; the gateway holds a lock around every call.
package session

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/protocol"
)

// phase is where a session stands.
type phase uint8

const (
	phaseHello  phase = iota // nothing heard yet
	phaseClaim               // hello heard, waiting for the lease; no welcome yet
	phaseFirst               // welcomed, not enrolled: only enroll
	phaseOpen                // welcomed and enrolled
	phaseClosed              // goodbye said or heard
)

// Session is one device's session. The zero value is not useful; see New.
type Session struct {
	set  Settings
	peer Peer

	phase    phase
	claimed  bool // the lease is ours in era
	claiming bool // Claim was asked for and not answered
	heard    bool // something came since the last TakeHeard

	opened   int64     // Unix ns
	since    time.Time // enrolled and on the record
	lastSeen int64     // Unix ns

	nextID uint64 // of our frames
	errors int    // error frames sent
	flight [flows]uint8

	epoch    uint64
	era      string // 16 hex digits
	boot     [protocol.BootIDSize]byte
	features uint64
	hello    *hello

	apps      map[string]protocol.AppState
	full      bool // apps is all that the device holds
	digest    [protocol.StateDigestSize]byte
	version   uint64 // of the last report
	seen      uint64 // its SeenDesired
	asked     int64  // when a full report was asked for; 0: nothing outstanding
	held      *heldReport
	compared  bool   // a comparison was made
	desired   uint64 // version of the last comparison
	sent      []sentCommand
	calls     []call                       // told, not answered
	answers   [][protocol.CommandSize]byte // the last that were answered
	enrolling *enrolling                   // first contact or renewal; nil otherwise
}

// hello is what a device said of itself.
type hello struct {
	id              uint64
	board, firmware string
	caps            protocol.Capabilities
}

// heldReport waits for the lease.
type heldReport struct {
	id     uint64
	report *protocol.Report
}

type enrolling struct {
	nonce   []byte
	refers  uint64 // of the last enroll or renew; 0: none
	asked   int64  // when; 0: not waiting for a verdict
	count   int
	renewal bool
}

// New starts a session with a peer whose TLS handshake is done.
func New(set Settings, peer Peer, now time.Time) *Session {
	return &Session{set: set, peer: peer, opened: now.UnixNano(), lastSeen: now.UnixNano()}
}

// Feed takes the body of one frame. Body is not kept, but the Records of out's actions alias it.
func (s *Session) Feed(now time.Time, body []byte, out *Output) {
	if s.phase == phaseClosed {
		return // after goodbye nothing counts
	}
	s.lastSeen = now.UnixNano()
	s.heard = true
	t, id, err := protocol.PeekType(body)
	if err != nil {
		_, err = protocol.Decode(body) // which finds the layer
	} else if refused := s.allowed(t); refused != nil {
		// Whether it may come at all is judged after whether it can be read (SPEC §4).
		if _, err = protocol.Decode(body); err == nil {
			err = refused
		}
	} else {
		err = s.take(now, t, id, body, out)
	}
	if err != nil {
		if t == protocol.TypeError || t == protocol.TypeGoodbye {
			s.phase = phaseClosed // never answered by an error (SPEC §15)
			out.End = End{Reason: EndProtocol, Cause: err}
			return
		}
		s.refuse(id, err, out)
	}
	if s.phase == phaseOpen && !s.claimed && !s.claiming {
		s.claim(out) // a sign of life: worth a lease again
	}
}

// allowed decides by phase which messages may come (SPEC §8).
func (s *Session) allowed(t protocol.Type) error {
	switch s.phase {
	case phaseHello:
		return protocol.PhaseHello.GatewayAccepts(t)
	case phaseFirst:
		return protocol.PhaseFirstContact.GatewayAccepts(t)
	case phaseClaim:
		if t != protocol.TypeError && t != protocol.TypeGoodbye {
			return &protocol.WireError{Layer: protocol.LayerState, Code: protocol.CodeState, Text: t.String() + " before welcome"}
		}
	}
	return protocol.PhaseEnrolled.GatewayAccepts(t)
}

// take handles an allowed frame.
func (s *Session) take(now time.Time, t protocol.Type, id uint64, body []byte, out *Output) error {
	switch t {
	case protocol.TypeTelemetry:
		return s.records(Telemetry, FlowTelemetry, protocol.FeatureTelemetry, body, out)
	case protocol.TypeLogs:
		return s.records(Logs, FlowLogs, protocol.FeatureLogs, body, out)
	}
	m, err := protocol.Decode(body)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *protocol.Heartbeat:
		return s.heartbeat(now, m, out)
	case *protocol.ChunkRequest:
		return s.chunkRequest(m, out)
	case *protocol.Hello:
		return s.greet(now, m, out)
	case *protocol.Enroll:
		return s.enroll(now, m, out)
	case *protocol.Renew:
		return s.renew(now, m, out)
	case *protocol.Report:
		return s.report(now, m, out)
	case *protocol.Trap:
		return s.trap(now, m, out)
	case *protocol.CommandResult:
		if c := s.call(m.Command); c != nil && m.Status != protocol.CommandAccepted {
			return s.answered(now, c, m.ID, m.Status, m.Reason, m.Text, nil, out)
		}
		return s.commandResult(now, m, out)
	case *protocol.InvokeResult:
		return s.invokeResult(now, m, out)
	case *protocol.MessageUp:
		return s.messageUp(now, m, out)
	case *protocol.Goodbye:
		s.phase = phaseClosed
		out.End = End{Reason: EndClosed}
		return nil
	case *protocol.Error:
		s.deviceRefused(now, m)
		s.callRefused(now, m, out)
		return nil
	}
	return errNotSpoken
}

// refuse answers a frame with an error, and with goodbye when SPEC §15 says so or there were too many.
func (s *Session) refuse(id uint64, err error, out *Output) {
	m := protocol.Error{ID: s.id(), Refers: id, Code: protocol.CodeInternal}
	var w *protocol.WireError
	over := false
	switch {
	case errors.As(err, &w):
		m.Code, m.Text = w.Code, clip(w.Text)
		switch w.Layer {
		case protocol.LayerCBOR, protocol.LayerAuth:
			over = true
		case protocol.LayerSchema, protocol.LayerState:
			over = s.phase != phaseOpen
		}
	case errs.Is(err, errs.Exhausted), errs.Is(err, errs.Unavailable), errs.Is(err, errs.Deadline):
		m.Code = protocol.CodeBusy
	}
	s.send(&m, out)
	out.Refused = m.Code
	if m.Code == protocol.CodeBusy || m.Code == protocol.CodeNotFound {
		return // for reasons of ours, not the device's
	}
	if s.errors++; over || s.errors >= protocol.MaxErrors {
		s.goodbye(protocol.GoodbyeProtocol, 0, m.Text, EndProtocol, err, out)
	}
}

// Broken says that the stream of frames cannot be followed any more (protocol.Reader), or has ended.
func (s *Session) Broken(err error, out *Output) {
	if s.phase == phaseClosed {
		if out.End.Reason == "" {
			out.End = End{Reason: EndClosed}
		}
		return
	}
	var w *protocol.WireError
	if !errors.As(err, &w) {
		s.phase = phaseClosed
		out.End = End{Reason: EndLost, Cause: err}
		return
	}
	out.Refused = w.Code
	s.send(&protocol.Error{ID: s.id(), Code: w.Code, Text: clip(w.Text)}, out)
	s.goodbye(protocol.GoodbyeProtocol, 0, w.Text, EndProtocol, err, out)
}

// Close says goodbye for a reason of the gateway's.
func (s *Session) Close(reason protocol.GoodbyeReason, retryAfter time.Duration, text string, out *Output) {
	if s.phase == phaseClosed {
		return
	}
	s.goodbye(reason, retryAfter, text, endOf(reason), nil, out)
}

func endOf(r protocol.GoodbyeReason) string {
	switch r {
	case protocol.GoodbyeShutdown, protocol.GoodbyeDrain:
		return EndDrained
	case protocol.GoodbyeSuperseded:
		return EndSuperseded
	case protocol.GoodbyeRevoked:
		return EndRevoked
	case protocol.GoodbyeExpired:
		return EndExpired
	case protocol.GoodbyeIdle:
		return EndTimeout
	case protocol.GoodbyeEnrolled:
		return EndEnrolled
	case protocol.GoodbyeBusy:
		return EndBusy
	}
	return EndProtocol
}

func (s *Session) goodbye(reason protocol.GoodbyeReason, retryAfter time.Duration, text, end string, cause error, out *Output) {
	s.send(&protocol.Goodbye{ID: s.id(), Reason: reason, RetryAfter: millis(retryAfter), Text: clip(text)}, out)
	s.phase = phaseClosed
	out.End = End{Reason: end, Cause: cause}
}

// id numbers our frames from 1.
func (s *Session) id() uint64 { s.nextID++; return s.nextID }

// send appends a frame. A frame that cannot be encoded breaks a limit, which is our fault: it is left out and
// the end says so, for a session that skips frames is worse than one that starts again.
func (s *Session) send(m protocol.Message, out *Output) {
	b, err := protocol.Append(out.Frames, m)
	out.Frames = b
	if err != nil {
		s.phase = phaseClosed
		out.End = End{Reason: EndProtocol, Cause: errs.New(errs.Internal, "%s cannot be sent: %w", m.Type(), err)}
	}
}

// greet answers hello: an enrolled device's with a claim, whose answer is the welcome; a stranger's at once.
func (s *Session) greet(now time.Time, m *protocol.Hello, out *Output) error {
	if !slices.Contains(m.Versions, version) {
		err := &protocol.WireError{Layer: protocol.LayerState, Code: protocol.CodeVersion, Text: "only version 1 is spoken here"}
		s.send(&protocol.Error{ID: s.id(), Refers: m.ID, Code: err.Code, Text: err.Text}, out)
		s.goodbye(protocol.GoodbyeProtocol, 0, err.Text, EndProtocol, err, out)
		return nil
	}
	copy(s.boot[:], m.BootID)
	s.features = m.Features & s.set.Features
	s.hello = &hello{id: m.ID, board: m.Board, firmware: m.Firmware, caps: m.Capabilities}
	if s.peer.Enrolled {
		s.phase = phaseClaim
		s.claim(out)
		return nil
	}
	s.phase = phaseFirst
	s.enrolling = &enrolling{nonce: newNonce()}
	s.send(&protocol.Welcome{
		ID: s.id(), Refers: m.ID, Version: version, Features: s.features, Time: uint64(now.UnixMilli()),
		Heartbeat: millis(s.set.Heartbeat), Frame: protocol.PreAuthFrame, Nonce: s.enrolling.nonce,
	}, out)
	return nil
}

// version is the protocol version spoken.
const version = 1

// Claimed says that the lease is ours. The first time it is the welcome; after the ledger was lost the device
// notices nothing but a report-request.
func (s *Session) Claimed(now time.Time, epoch uint64, era string, out *Output) {
	if s.phase != phaseClaim && s.phase != phaseOpen {
		return
	}
	first := s.phase == phaseClaim
	s.claiming = false
	s.claimed, s.epoch, s.era = true, epoch, era
	s.compared, s.desired = false, 0
	if first {
		s.phase = phaseOpen
		s.lastSeen = now.UnixNano() // the device waited for us, not we for it
		s.asked = now.UnixNano()    // SPEC: a full report follows the welcome
		s.send(&protocol.Welcome{
			ID: s.id(), Refers: s.hello.id, Version: version, Features: s.features, Time: uint64(now.UnixMilli()),
			Heartbeat: millis(s.set.Heartbeat), Epoch: epoch, Era: eraBytes(era), Frame: uint32(s.set.Frame),
			Enrolled: true, RenewBefore: unixMilli(s.peer.RenewBefore),
		}, out)
	}
	s.announce(now, !first, out)
	out.Actions = append(out.Actions, Action{Kind: Take})
	if h := s.held; h != nil {
		s.held = nil
		s.flight[FlowReport]--
		if err := s.report(now, h.report, out); err != nil {
			s.refuse(h.id, err, out)
		}
	} else if !first {
		s.AskReport(now, out)
	}
}

func (s *Session) announce(now time.Time, again bool, out *Output) {
	if !again {
		s.since = now // a session that is announced again is not a new one
	}
	c := &event.Connected{
		Device: s.peer.Device, Epoch: s.epoch, Era: s.era, BootID: hex.EncodeToString(s.boot[:]), Board: s.hello.board,
		Firmware: s.hello.firmware, Capabilities: event.Capabilities(s.hello.caps), Serial: s.peer.Serial,
		Time: s.since, Announced: again,
	}
	if !s.peer.NotAfter.IsZero() {
		at := s.peer.NotAfter
		c.NotAfter = &at
	}
	out.Actions = append(out.Actions, Action{Kind: Connected, Data: c, EventID: s.eventID("connected")})
}

// Unclaimed says that the lease is gone, though nobody newer has it: the ledger was lost. The device is asked
// for a report, and its next frame, whatever it is, makes the session claim again. Not before: a half-dead
// connection must not take the device from the session that it has elsewhere.
func (s *Session) Unclaimed(now time.Time, out *Output) {
	if s.phase != phaseOpen || !s.claimed {
		return
	}
	s.claimed = false
	s.AskReport(now, out)
}

// ClaimFailed says that the lease could not be had. An open session tries again with its next frame; one that
// waits for its welcome must be closed.
func (s *Session) ClaimFailed() { s.claiming = false }

func (s *Session) claim(out *Output) {
	s.claiming = true
	out.Actions = append(out.Actions, Action{Kind: Claim})
}

// AskReport asks for a full report.
func (s *Session) AskReport(now time.Time, out *Output) {
	if s.phase != phaseOpen {
		return
	}
	s.asked = now.UnixNano()
	s.send(&protocol.ReportRequest{ID: s.id()}, out)
}

// Tick looks at what time alone brings about: silence, a lapsed certificate, answers that are missing.
func (s *Session) Tick(now time.Time, out *Output) {
	n := now.UnixNano()
	switch s.phase {
	case phaseClosed:
		return
	case phaseFirst:
		s.tickFirst(n, out)
		return
	case phaseHello:
		if n-s.opened > int64(protocol.HelloTimeout) {
			s.goodbye(protocol.GoodbyeIdle, 0, "no hello came", EndIdle, nil, out)
		}
		return
	case phaseClaim:
		return // whoever claims has a deadline
	}
	if !s.peer.NotAfter.IsZero() && now.After(s.peer.NotAfter) {
		s.Close(protocol.GoodbyeExpired, 0, "the certificate has lapsed", out)
		return
	}
	if n-s.lastSeen > int64(protocol.MissedHeartbeats*s.set.Heartbeat) {
		s.Close(protocol.GoodbyeIdle, 0, "no frame came", out)
		return
	}
	if s.asked != 0 && n-s.asked > int64(firstReport) {
		s.AskReport(now, out)
	}
	if e := s.enrolling; e != nil && e.asked != 0 && n-e.asked > int64(verdictPatience) {
		s.verdictLate(out)
	}
	s.tickCalls(now, out)
	for i := range s.sent {
		if c := &s.sent[i]; !c.answered && n-c.at > int64(commandAnswer) {
			out.Actions = append(out.Actions, Action{Kind: Compare})
			break
		}
	}
}

// Seen returns when the last frame came.
func (s *Session) Seen() time.Time { return time.Unix(0, s.lastSeen) }

// TakeHeard reports whether a frame came since the last call.
func (s *Session) TakeHeard() bool {
	h := s.heard
	s.heard = false
	return h
}

// Open reports whether the device is enrolled and welcomed, and the session is not over.
func (s *Session) Open() bool { return s.phase == phaseOpen }

// First reports whether this is a first contact that was welcomed.
func (s *Session) First() bool { return s.phase == phaseFirst }

// Greeted reports whether hello was heard.
func (s *Session) Greeted() bool { return s.hello != nil }

// Closed reports whether goodbye was said or heard.
func (s *Session) Closed() bool { return s.phase == phaseClosed }

// Lease returns the epoch and era of the lease, and whether it is held.
func (s *Session) Lease() (epoch uint64, era string, held bool) { return s.epoch, s.era, s.claimed }

// Peer returns who is at the other end.
func (s *Session) Peer() Peer { return s.peer }

// BootID returns the device's boot id.
func (s *Session) BootID() [protocol.BootIDSize]byte { return s.boot }

// eventID names a fact of this session: device, boot, era, epoch, and what.
func (s *Session) eventID(what string) string {
	return fmt.Sprintf("%s/%x/%s/%d/%s", s.peer.Device.Name, s.boot, s.era, s.epoch, what)
}

// Waiting reports whether an enroll or renew has no verdict yet.
func (s *Session) Waiting() bool {
	return s.phase != phaseClosed && s.enrolling != nil && s.enrolling.refers != 0
}

// Announce says device.connected again, when the first one found no room.
func (s *Session) Announce(now time.Time, out *Output) {
	if s.phase == phaseOpen && s.claimed {
		s.announce(now, true, out)
	}
}
