package host

// #include "shim.h"
import "C"

import "time"

// State is a device as it sees itself, for tests and status lines.
type State struct {
	Session      string // Waiting, Connecting, Hello, Enrolling, Active; Ended when the device has
	Enrolled     bool   // the live session is one of an enrolled device
	Epoch        uint64
	EnrollReason string // why the last enrollment was pending or rejected; None
	LastError    string // why the last link ended
	BootID       [8]byte
	StateDigest  [8]byte
	SeenDesired  uint64
	Wall         time.Time // zero while it does not know

	Connects, Sessions, FramesIn, FramesOut, BadFrames, Chunks, Traps, Dropped, Queued uint32
	TelemetryAcked, LogsAcked, TrapsAcked                                              uint32

	Apps map[string]AppState
}

// AppState is one application.
type AppState struct {
	State, Revision, Running, Reason, Text string // State and Reason in the protocol's words
	Attempt                                uint64
	Confirmed                              bool
	Restarts, Progress, Traps              uint32
}

var sessions = map[C.wb_session_state]string{
	C.WB_SESSION_WAITING:    "Waiting",
	C.WB_SESSION_CONNECTING: "Connecting",
	C.WB_SESSION_HELLO:      "Hello",
	C.WB_SESSION_ENROLLING:  "Enrolling",
	C.WB_SESSION_ACTIVE:     "Active",
}

// State returns the device's state. It waits while a module executes.
func (d *Device) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.core == nil {
		return State{Session: "Ended"}
	}
	var c C.wb_stats
	C.wb_device_stats(d.core, &c)
	s := State{
		Session:      sessions[c.session],
		Enrolled:     bool(c.enrolled),
		Epoch:        uint64(c.epoch),
		EnrollReason: C.GoString(C.wb_reason_name(c.enroll_reason)),
		LastError:    C.GoString(C.wb_error_name(c.last_error)),
		SeenDesired:  uint64(c.seen_desired),
		Connects:     uint32(c.connects),
		Sessions:     uint32(c.sessions),
		FramesIn:     uint32(c.frames_in),
		FramesOut:    uint32(c.frames_out),
		BadFrames:    uint32(c.bad_frames),
		Chunks:       uint32(c.chunks),
		Traps:        uint32(c.traps),
		Dropped:      uint32(c.dropped),
		Queued:       uint32(c.queued),

		TelemetryAcked: uint32(c.telemetry_acked),
		LogsAcked:      uint32(c.logs_acked),
		TrapsAcked:     uint32(c.traps_acked),

		Apps: map[string]AppState{},
	}
	C.wb_device_boot_id(d.core, (*C.uint8_t)(&s.BootID[0]))
	C.wb_device_state_digest(d.core, (*C.uint8_t)(&s.StateDigest[0]))
	if ms := C.wb_device_wall(d.core); ms != 0 {
		s.Wall = time.UnixMilli(int64(ms))
	}
	for i := range apps {
		var a C.wb_app_info
		if C.wb_device_app(d.core, C.uint8_t(i), &a) < 0 {
			continue
		}
		s.Apps[C.GoString(&a.name[0])] = AppState{
			State:     C.GoString(C.wb_state_name(a.state)),
			Revision:  C.GoString(&a.revision[0]),
			Running:   C.GoString(&a.running[0]),
			Reason:    C.GoString(C.wb_reason_name(a.reason)),
			Text:      C.GoString(&a.text[0]),
			Attempt:   uint64(a.attempt),
			Confirmed: bool(a.confirmed),
			Restarts:  uint32(a.restarts),
			Progress:  uint32(a.progress),
			Traps:     uint32(a.traps),
		}
	}
	return s
}
