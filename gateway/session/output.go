package session

import (
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/protocol"
)

// Output is what a session wants done. It is filled by the session's methods and emptied by Reset, so that one
// Output serves many calls without allocation.
type Output struct {
	// Frames are whole frames for the device, in order.
	Frames []byte
	// Actions are for the world around, in order.
	Actions []Action
	// Refused, when not 0, is the code of an error among Frames; for counting.
	Refused protocol.Code
	// End, when its Reason is set, asks to close the connection after Frames are written.
	End End
}

// Reset empties o and keeps its memory.
func (o *Output) Reset() {
	o.Frames = o.Frames[:0]
	clear(o.Actions)
	o.Actions = o.Actions[:0]
	o.Refused = 0
	o.End = End{}
}

// End says why a session ends.
type End struct {
	// Reason is the word of event.Disconnected.
	Reason string
	// Cause is for the log; may be nil.
	Cause error
}

// Words of event.Disconnected.Reason.
const (
	EndClosed     = "Closed"     // the device said goodbye or closed the connection
	EndLost       = "Lost"       // the connection broke
	EndTimeout    = "Timeout"    // no frame for protocol.MissedHeartbeats intervals
	EndProtocol   = "Protocol"   // too many errors, or a stream that cannot be followed
	EndSuperseded = "Superseded" // a newer session of the device exists
	EndRevoked    = "Revoked"    //
	EndExpired    = "Expired"    // the certificate
	EndDrained    = "Drained"    // this gateway stops
	EndEnrolled   = "Enrolled"   // first contact that succeeded: the device comes back
	EndIdle       = "Idle"       // first contact that took too long
	EndBusy       = "Busy"       // this gateway has no room, or no Redis
	EndSlow       = "Slow"       // the device does not read
)

// Kind tells the actions apart.
type Kind uint8

// Kinds of actions.
const (
	// Claim: take the lease of the device, then call Claimed (or Close).
	Claim Kind = iota + 1
	// Enroll: post Data, an *event.EnrollmentRequest, whose instance, session and address the caller adds; then
	// call Verdict.
	Enroll
	// Connected: post Data, an *event.Connected, whose gateway and instance the caller adds.
	Connected
	// Reported, Trapped, Completed: post Data (*event.Reported, *event.Trapped, *event.CommandCompleted), then
	// call Durable with ID, when it is not 0.
	Reported
	Trapped
	Completed
	// Answered and Messaged: post Data (*event.CommandAnswer, *event.AppMessage), then call Durable with ID, when it is
	// not 0.
	Answered
	Messaged
	// Telemetry and Logs: pass on Seq and Records, which alias the frame's body; then call Durable with ID.
	Telemetry
	Logs
	// Chunk: answer the chunk request ID for Length bytes at Offset of the module Digest with SendChunk or
	// ChunkError.
	Chunk
	// Compare: compare desired with Apps and call Commands.
	Compare
	// Take: read the device's open commands and call Tell.
	Take
)

// Action is one thing to do. Which fields are set depends on Kind.
type Action struct {
	Kind    Kind
	ID      uint64 // of the device's frame
	Seq     uint64
	Offset  uint32
	Length  uint32
	Digest  [protocol.DigestSize]byte
	Records []byte
	Data    any
	// EventID is the deterministic part of the event's id: the same for the same fact, so that a frame sent
	// again becomes the same event.
	EventID string
}

// Flow is a kind of frames that are acknowledged when their event is durable. In each flow a device may have
// protocol.MaxInFlight frames that are not.
type Flow uint8

// The flows.
const (
	FlowReport Flow = iota
	FlowTrap
	FlowResult
	FlowTelemetry
	FlowLogs
	FlowMessage
	flows
)

// Peer is who is at the other end, as its certificate says.
type Peer struct {
	Device      event.Device // zero when not enrolled
	Enrolled    bool
	Fingerprint string    // lower-case hex SHA-256 of the session key's SubjectPublicKeyInfo
	Serial      string    // of the certificate
	NotAfter    time.Time // of the certificate; zero when not enrolled
	RenewBefore time.Time // from when on the device shall renew
}

// Settings are what the gateway decides for its sessions.
type Settings struct {
	Heartbeat time.Duration
	Frame     int    // largest body taken from an enrolled device
	Features  uint64 // protocol.Feature*
}
