package protocol

import (
	"encoding/hex"
	"fmt"
)

// sessions adds scenarios: frames that are right, in a session where they are not (or are).
func (s *sources) sessions() {
	hello, first, enrolled := helloMin(), welcomeFirst(), welcomeEnrolled()
	enroll := &Enroll{ID: 2, CSR: seq(0x30, 40)}
	pending := &EnrollResult{ID: 2, Refers: 2, Status: EnrollPending, Reason: ReasonAwaitingApproval, RetryAfter: 5000}
	accepted := &EnrollResult{ID: 3, Refers: 2, Status: EnrollAccepted, Chain: [][]byte{seq(0x30, 30)}}
	report := reportOf(nil)
	heartbeat := &Heartbeat{ID: 3, FreeMemory: 1, StateDigest: state8}
	bye := &Goodbye{ID: 9, Reason: GoodbyeShutdown}
	again := func(m Hello) *Hello { m.ID = 9; return &m }(*hello)

	for _, receiver := range []string{"gateway", "device"} {
		s.scenario("session-enroll-"+receiver, "first contact: pending, asked again, accepted", receiver, "ok", 0,
			hello, first, enroll, pending, &Enroll{ID: 3, CSR: seq(0x30, 40)}, accepted, &Goodbye{ID: 4, Reason: GoodbyeEnrolled})
		s.scenario("session-deploy-"+receiver, "an enrolled session: deploy, transfer, running, confirmed", receiver, "ok", 0,
			hello, enrolled, report, &Ack{ID: 2, Refers: 2}, deployMin(), &CommandResult{ID: 3, Refers: 2, Command: commandI, Status: CommandAccepted},
			&ChunkRequest{ID: 4, Digest: digest, Length: 1024}, &Error{ID: 3, Refers: 4, Code: CodeNotFound},
			&ChunkRequest{ID: 5, Digest: digest, Length: 1024}, &Chunk{ID: 4, Refers: 5, Digest: digest, Data: seq(0, 64), Total: 64},
			&Report{ID: 6, Version: 2, Apps: map[string]AppState{"hello": {State: StateRunning, Revision: "hello-1", Attempt: 1, Running: "hello-1"}}, StateDigest: state8},
			heartbeat, &HeartbeatAck{ID: 5, Refers: 3, Time: 1}, record(1), &Ack{ID: 6, Refers: 9}, bye)
	}
	for _, v := range []struct {
		name, comment, receiver string
		layer                   Layer
		frames                  []Message
	}{
		{"telemetry-before-hello", "hello comes first", "gateway", LayerState, []Message{record(1)}},
		{"enroll-before-hello", "hello comes first", "gateway", LayerState, []Message{enroll}},
		{"hello-twice-first-contact", "one hello a session", "gateway", LayerState, []Message{hello, first, again}},
		{"hello-twice-enrolled", "one hello a session", "gateway", LayerState, []Message{hello, enrolled, again}},
		{"enroll-when-enrolled", "renew is the message for this", "gateway", LayerState, []Message{hello, enrolled, enroll}},
		{"welcome-to-gateway", "only gateways send it", "gateway", LayerState, []Message{asDevice{first}}},
		{"command-to-gateway", "only gateways send it", "gateway", LayerState, []Message{hello, enrolled, asDevice{deployMin()}}},
		{"ack-to-gateway", "only gateways send it, also in first contact", "gateway", LayerState, []Message{hello, first, asDevice{&Ack{ID: 2, Refers: 1}}}},
		{"report-after-goodbye", "goodbye is the last", "gateway", LayerState, []Message{hello, enrolled, bye, report}},
		{"report-first-contact", "a device that is not enrolled may only enroll", "gateway", LayerAuth, []Message{hello, first, report}},
		{"heartbeat-first-contact", "nor heartbeat", "gateway", LayerAuth, []Message{hello, first, heartbeat}},
		{"renew-first-contact", "nor renew", "gateway", LayerAuth, []Message{hello, first, &Renew{ID: 2, CSR: []byte{0x30}}}},
		{"chunk-request-first-contact", "nor fetch modules", "gateway", LayerAuth, []Message{hello, first, &ChunkRequest{ID: 2, Digest: digest, Length: 1}}},
		{"telemetry-after-pending", "pending is not accepted", "gateway", LayerAuth, []Message{hello, first, enroll, pending, record(1)}},
		{"report-after-accepted", "the session stays what it was; the next one is enrolled", "gateway", LayerAuth, []Message{hello, first, enroll, accepted, report}},
		{"command-before-welcome", "welcome comes first", "device", LayerState, []Message{hello, deployMin()}},
		{"ack-before-welcome", "welcome comes first", "device", LayerState, []Message{hello, &Ack{ID: 1, Refers: 1}}},
		{"command-first-contact", "a device that is not enrolled takes no commands", "device", LayerState, []Message{hello, first, deployMin()}},
		{"chunk-first-contact", "nor modules", "device", LayerState, []Message{hello, first, &Chunk{ID: 2, Refers: 1, Digest: digest, Data: []byte{0}, Total: 1}}},
		{"welcome-twice", "one welcome a session", "device", LayerState, []Message{hello, enrolled, first}},
		{"hello-to-device", "only devices send it", "device", LayerState, []Message{hello, enrolled, asGateway{again}}},
		{"telemetry-to-device", "only devices send it", "device", LayerState, []Message{hello, enrolled, asGateway{record(1)}}},
		{"command-after-goodbye", "goodbye is the last", "device", LayerState, []Message{hello, enrolled, &Goodbye{ID: 2, Reason: GoodbyeDrain}, deployMin()}},
	} {
		code := CodeState
		if v.layer == LayerAuth {
			code = CodeAuth
		}
		s.scenario(string(v.layer)+"-"+v.name, v.comment, v.receiver, string(v.layer), code, v.frames...)
	}
	// The caps of a session.
	big := &MessageUp{ID: 2, App: "a", Topic: "t", Payload: make([]byte, 5000), Seq: 1}
	s.scenario("session-cap-enrolled", "the cap of welcome counts once enrolled", "gateway", "ok", 0, hello, enrolled, big)
	s.add("session-cap-first-contact", "the small cap stays in first contact: refused on the header", "expect: frame", "code: 1", "receiver: gateway",
		s.step(hello), s.step(first), "step: d2g 00001001")
	s.add("session-cap-before-hello", "and before hello", "expect: frame", "code: 1", "receiver: gateway", "step: d2g 00001001")
	s.add("session-cap-device", "a device's cap is what its hello says", "expect: frame", "code: 1", "receiver: device",
		s.step(hello), s.step(enrolled), "step: g2d 00000801")
}

// asDevice and asGateway are messages sent in the wrong direction.
type (
	asDevice  struct{ Message }
	asGateway struct{ Message }
)

func (s *sources) scenario(name, comment, receiver, expect string, code Code, frames ...Message) {
	lines := []string{"expect: " + expect}
	if code != 0 {
		lines = append(lines, fmt.Sprintf("code: %d", code))
	}
	lines = append(lines, "receiver: "+receiver)
	for _, m := range frames {
		lines = append(lines, s.step(m))
	}
	s.add(name, comment, lines...)
}

func (s *sources) step(m Message) string {
	way := direction(m.Type())
	switch wrong := m.(type) {
	case asDevice:
		way, m = "d2g", wrong.Message
	case asGateway:
		way, m = "g2d", wrong.Message
	case *Goodbye:
		if wrong.Reason == GoodbyeEnrolled || wrong.Reason == GoodbyeDrain {
			way = "g2d"
		}
	case *Error:
		way = "g2d"
	}
	return "step: " + way + " " + hex.EncodeToString(s.frame(m))
}
