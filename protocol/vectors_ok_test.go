package protocol

import (
	"fmt"
	"math"
	"strings"
)

func seq(from byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

var (
	bootID   = seq(1, BootIDSize)
	era      = seq(0xe0, EraSize)
	commandI = seq(0xc0, CommandSize)
	digest   = seq(0x10, DigestSize)
	nonce    = seq(0x40, NonceSize)
	state8   = unhex("c19a797fa1fd590c") // of a device without applications
)

func helloMin() *Hello {
	return &Hello{ID: 1, Versions: []byte{1}, BootID: bootID, Board: "Host", Firmware: "1.0.0",
		Capabilities: Capabilities{ModuleMemory: 1 << 20, ModuleSize: 1 << 16, Chunk: 1024, Frame: 2048, Apps: 2, ABI: 1}}
}

func welcomeFirst() *Welcome {
	return &Welcome{ID: 1, Refers: 1, Version: 1, Time: 1_767_225_600_000, Heartbeat: 10_000, Frame: DefaultFrame, Nonce: nonce}
}

func welcomeEnrolled() *Welcome {
	return &Welcome{ID: 1, Refers: 1, Version: 1, Features: 0x1f, Time: 1_767_225_600_000, Heartbeat: 10_000, Epoch: 7, Era: era,
		Frame: DefaultFrame, Enrolled: true, RenewBefore: 1_767_629_000_000}
}

func manifestMin() *Manifest {
	return &Manifest{MemoryPages: 1, Stack: 4096, CallTimeout: 1000, HealthWindow: 2000, MaxTraps: 3, TrapPeriod: 60_000}
}

func deployMin() *Command {
	return &Command{ID: 2, Command: commandI, Verb: VerbDeploy, App: "hello", Revision: "hello-1", Attempt: 1, Digest: digest,
		Size: 4242, Manifest: manifestMin()}
}

func reportOf(apps map[string]AppState) *Report {
	d := StateDigest(apps)
	return &Report{ID: 2, Version: 1, Full: true, Apps: apps, StateDigest: d[:]}
}

func record(v float64) *Telemetry {
	return &Telemetry{ID: 9, Seq: 41, Records: []TelemetryRecord{{Time: 1_767_225_600_123, App: "hello", Name: "temperature", Value: v}}}
}

func logLine(level uint8, text string) *Logs {
	return &Logs{ID: 9, Seq: 1, Records: []LogRecord{{Time: 1_767_225_600_123, App: "hello", Level: level, Text: text}}}
}

// messages adds each message with the required fields alone and with all.
func (s *sources) messages() {
	s.ok("hello-minimal", "the example of SPEC §20, without features", helloMin())
	full := helloMin()
	full.Versions, full.Features, full.Era, full.SeenDesired, full.StateDigest = []byte{1, 2, 7}, 0x3f, era, 1234567, state8
	full.Board, full.Firmware = "RenodeArduinoNano33Ble", "2.0.0-rc.1+zephyr.3.4.0"
	full.Capabilities.Permissions = []string{"log", "clock", "telemetry", "message", "kv", "gpio", "sensor", "timer", "random"}
	s.ok("hello-full", "every field", full)
	s.ok("welcome-first-contact", "to a device that is not enrolled", welcomeFirst())
	s.ok("welcome-enrolled", "to an enrolled device", welcomeEnrolled())
	s.ok("error-minimal", "the refused frame could not be read", &Error{ID: 1, Code: CodeCBOR})
	s.ok("error-full", "every field", &Error{ID: 77, Refers: 76, Code: CodeNotFound, Text: "no such module here yet"})
	s.ok("goodbye-minimal", "no retry-after", &Goodbye{ID: 3, Reason: GoodbyeEnrolled})
	s.ok("goodbye-full", "every field", &Goodbye{ID: 900, Reason: GoodbyeDrain, RetryAfter: 3500, Text: "this gateway stops"})
	s.ok("enroll-minimal", "CSR alone (not a real one: the codec does not look inside)", &Enroll{ID: 2, CSR: seq(0x30, 40)})
	s.ok("enroll-full", "every field", &Enroll{ID: 2, CSR: seq(0x30, 60), Name: "pump-7.hall", Claim: seq(0x80, 16),
		Evidence: &Evidence{Format: 1, Nonce: nonce, Measurement: digest, Signature: seq(0x30, 70)}})
	s.ok("enroll-result-accepted", "a chain of two", &EnrollResult{ID: 2, Refers: 2, Status: EnrollAccepted, Chain: [][]byte{seq(0x30, 30), seq(0x31, 30)}})
	s.ok("enroll-result-pending", "somebody has to approve", &EnrollResult{ID: 2, Refers: 2, Status: EnrollPending, Reason: ReasonAwaitingApproval, RetryAfter: 5000})
	s.ok("enroll-result-pending-at-once", "retry-after 0: ask again now", &EnrollResult{ID: 3, Refers: 2, Status: EnrollPending})
	s.ok("enroll-result-rejected", "every field but the chain", &EnrollResult{ID: 2, Refers: 2, Status: EnrollRejected, Reason: ReasonNotPaired, RetryAfter: 600_000, Text: "the pairing window is closed"})
	s.ok("renew", "every field", &Renew{ID: 12, CSR: seq(0x30, 40)})
	s.ok("heartbeat-minimal", "nothing queued", &Heartbeat{ID: 4, FreeMemory: 4096, StateDigest: state8})
	s.ok("heartbeat-full", "every field", &Heartbeat{ID: 4, Uptime: 86_400_000, FreeMemory: 65_536, StateDigest: state8, Queued: 12, Dropped: 3})
	s.ok("heartbeat-ack", "every field", &HeartbeatAck{ID: 5, Refers: 4, Time: 1_767_225_610_000})
	s.ok("ack", "the example of SPEC §20", &Ack{ID: 1, Refers: 30})
	s.ok("ack-large-ids", "the largest ids", &Ack{ID: math.MaxUint64, Refers: 1 << 32})
	s.commands()
	s.ok("chunk-request", "the first piece", &ChunkRequest{ID: 5, Digest: digest, Length: 1024})
	s.ok("chunk-request-offset", "a later piece", &ChunkRequest{ID: 6, Digest: digest, Offset: 66_000, Length: 32_768})
	s.ok("chunk", "the last piece of a module", &Chunk{ID: 6, Refers: 6, Digest: digest, Offset: 4096, Data: seq(0, 146), Total: 4242})
	s.reports()
	s.ok("report-request", "only an id", &ReportRequest{ID: 8})
	s.ok("trap-minimal", "no place", &Trap{ID: 7, Seq: 1, App: "trapper", Revision: "trapper-2", Reason: ReasonOutOfBounds})
	s.ok("trap-full", "every field", &Trap{ID: 7, Seq: 300, App: "trapper", Revision: "trapper-2", Reason: ReasonTrap, Where: "wasmbed_timer", Text: "unreachable"})
	s.streams()
	s.ok("invoke-minimal", "no payload", &Invoke{ID: 9, Command: commandI, App: "counter", Function: "reset", Deadline: 1000})
	s.ok("invoke-full", "every field", &Invoke{ID: 9, Command: commandI, App: "counter", Function: "add", Payload: []byte{0, 1, 2, 255}, Deadline: 60_000})
	s.ok("invoke-result-done", "with payload", &InvokeResult{ID: 10, Refers: 9, Command: commandI, Status: CommandDone, Payload: []byte("42")})
	s.ok("invoke-result-done-empty", "the function returned nothing", &InvokeResult{ID: 10, Refers: 9, Command: commandI, Status: CommandDone})
	s.ok("invoke-result-failed", "a trap", &InvokeResult{ID: 10, Refers: 9, Command: commandI, Status: CommandFailed, Reason: ReasonDivideByZero, Text: "integer divide by zero"})
	s.ok("message-down", "every field", &MessageDown{ID: 11, App: "hello", Topic: "set/interval", Payload: []byte("250")})
	s.ok("message-down-empty", "no payload", &MessageDown{ID: 11, App: "hello", Topic: "ping"})
	s.ok("message-up", "every field", &MessageUp{ID: 12, App: "hello", Topic: "état/λ", Payload: []byte{0xff}, Seq: 3})
	s.ok("message-up-empty", "no payload", &MessageUp{ID: 12, App: "h", Topic: "t", Seq: 1})
}

func (s *sources) commands() {
	s.ok("command-deploy-minimal", "the required fields", deployMin())
	c := deployMin()
	c.Verb, c.Attempt, c.Era, c.Desired, c.Deadline = VerbUpdate, 3, era, 99, 300_000
	c.Manifest = &Manifest{MemoryPages: 2, Stack: 8192, CallTimeout: 500, Instructions: 1_000_000,
		Permissions: []string{"log", "telemetry", "kv"}, Config: map[string]string{"zz": "last", "interval": "250", "b": "", "aa": "Grüße"},
		Timers: []Timer{{ID: 0, Period: 1000}, {ID: 7, Period: 60_000}}, HealthWindow: 10_000, MaxTraps: 3, TrapPeriod: 60_000,
		Signature: seq(0xd2, 20), Sequence: 5}
	s.ok("command-update-full", "every field; config keys sorted shorter first", c)
	c = deployMin()
	c.Verb = VerbRollback
	s.ok("command-rollback", "back to an earlier revision", c)
	s.ok("command-start", "app alone", &Command{ID: 3, Command: commandI, Verb: VerbStart, App: "hello", Revision: "hello-1"})
	s.ok("command-stop", "app alone", &Command{ID: 3, Command: commandI, Verb: VerbStop, App: "hello"})
	c = deployMin()
	c.Verb = VerbStop
	s.ok("command-stop-whole", "bring the revision and leave it stopped", c)
	s.ok("command-remove", "app alone", &Command{ID: 3, Command: commandI, Verb: VerbRemove, App: "hello", Era: era, Desired: 100})
	s.ok("command-reboot", "no app", &Command{ID: 3, Command: commandI, Verb: VerbReboot})
	s.ok("command-unknown-verb", "taken by the codec; the device answers Refused, Unsupported", &Command{ID: 3, Command: commandI, Verb: 200, App: "hello"})
	s.ok("command-result-accepted", "taken", &CommandResult{ID: 4, Refers: 2, Command: commandI, Status: CommandAccepted})
	s.ok("command-result-done", "after a reconnect: without refers", &CommandResult{ID: 4, Command: commandI, Status: CommandDone})
	s.ok("command-result-refused", "every field", &CommandResult{ID: 4, Refers: 2, Command: commandI, Status: CommandRefused, Reason: ReasonTooManyApps, Text: "2 of 2 used"})
	s.ok("command-result-unknown-reason", "reasons may grow: taken", &CommandResult{ID: 4, Command: commandI, Status: CommandFailed, Reason: 250})
}

func (s *sources) reports() {
	s.ok("report-empty", "a device without applications", reportOf(nil))
	r := reportOf(map[string]AppState{
		"hello":   {State: StateRunning, Revision: "hello-2", Attempt: 2, Running: "hello-2", Confirmed: true, Restarts: 1, Traps: 1},
		"b":       {State: StateFetching, Revision: "b-1", Attempt: 1, Progress: 4096},
		"counter": {State: StateRolledBack, Revision: "counter-3", Attempt: 4, Running: "counter-2", Reason: ReasonTrapLoop, Text: "unreachable in wasmbed_timer"},
		"failing": {State: StateFailed, Revision: "failing-1", Attempt: 1, Reason: ReasonMissingImport, Text: "env.abort"},
		"stopped": {State: StateStopped, Revision: "stopped-1", Attempt: 1},
	})
	r.Era, r.SeenDesired = era, 99
	s.ok("report-full", "applications sorted shorter name first", r)
	d := reportOf(map[string]AppState{"hello": {State: StateRunning, Revision: "hello-2", Attempt: 2, Running: "hello-2"}})
	d.Full, d.Version, d.Removed = false, 5, []string{"b", "counter"}
	s.ok("report-delta", "one on trial, two removed", d)
	apps := map[string]AppState{}
	for i := range MaxApps {
		apps[fmt.Sprintf("app-%d", i)] = AppState{State: StateStaged, Revision: fmt.Sprintf("app-%d-1", i), Attempt: 1}
	}
	s.ok("report-16-apps", "the most applications", reportOf(apps))
	long := strings.Repeat("a", MaxName)
	s.ok("report-long-names", "the longest names; lengths take two bytes", reportOf(map[string]AppState{
		long: {State: StateRunning, Revision: strings.Repeat("r", MaxRevision), Running: strings.Repeat("r", MaxRevision)},
		"z":  {State: StateStarting, Revision: "z.1-x"}}))
}

func (s *sources) streams() {
	for _, f := range []struct {
		name, comment string
		v             float64
	}{
		{"zero", "f90000", 0}, {"minus-zero", "f98000 keeps its sign", math.Copysign(0, -1)}, {"half", "1.5 fits 16 bits", 1.5},
		{"half-largest", "65504", 65504}, {"half-smallest", "2^-24, subnormal", 0x1p-24}, {"single-above-half", "65536 needs 32 bits", 65536},
		{"single", "0.1 rounded to 32 bits", float64(float32(0.1))}, {"single-below-half", "2^-25 needs 32 bits", 0x1p-25},
		{"double", "21.3 needs 64 bits", 21.3}, {"double-largest", "the largest", math.MaxFloat64}, {"integer", "42 is still a float", 42},
	} {
		s.ok("telemetry-"+f.name, f.comment, record(f.v))
	}
	s.ok("telemetry-unknown-time", "the device does not know the time yet", &Telemetry{ID: 2, Seq: 1, Records: []TelemetryRecord{{App: "hello", Name: "n", Value: 1}}})
	many := &Telemetry{ID: 10, Seq: 42}
	for i := range MaxRecords {
		many.Records = append(many.Records, TelemetryRecord{Time: uint64(1_767_225_600_000 + i), App: "hello", Name: "counter", Value: float64(i)})
	}
	s.ok("telemetry-256-records", "the largest batch", many)
	s.ok("logs-one", "a line of an application", logLine(2, "hello, world"))
	s.ok("logs-four", "every level; the firmware itself; an empty text", &Logs{ID: 9, Seq: 5, Records: []LogRecord{
		{Time: 0, Level: 1, Text: "boot"}, {Time: 1, App: "a", Level: 2}, {Time: 2, App: "a", Level: 3, Text: "日本語 \n\t\"quoted\""}, {Time: 3, App: "a", Level: 4, Text: strings.Repeat("x", MaxText)}}})
}

// lenient adds what a receiver takes though no sender of today writes it so.
func (s *sources) lenient() {
	ack := &Ack{ID: 1, Refers: 30}
	s.means("unknown-key", "a key of a later version is ignored", s.with(ack, 1, "18c8 63616263"), ack)
	s.means("unknown-key-negative", "a negative key is an unknown key", s.with(ack, 2, "20 01 21 40"), ack)
	s.means("unknown-key-nested", "arrays, maps with text keys, bytes, booleans, floats in an unknown key", s.with(ack, 1, "03 85 a2 6161 01 6162 f5 420102 fb3fb999999999999a f97e00 f97c00"), ack)
	s.means("unknown-key-depth-8", "the deepest nesting", s.with(ack, 1, "03"+rep("81", 7)+"01"), ack)
	s.means("unknown-key-array-1024", "the longest array", s.with(ack, 1, "03 990400"+rep("00", 1024)), ack)
	pairs := ""
	for i := range 64 {
		if i < 24 {
			pairs += fmt.Sprintf("%02x00", i)
		} else {
			pairs += fmt.Sprintf("18%02x00", i)
		}
	}
	s.means("unknown-key-map-64", "the largest map", s.with(ack, 1, "03 b840"+pairs), ack)
	s.means("unknown-key-in-capabilities", "nested maps may grow, too", s.patched(helloMin(), "07a6", "07a7", "0601", "0601 1864 8101"), helloMin())
	bye := &Goodbye{ID: 3, Reason: GoodbyeEnrolled}
	s.means("explicit-zero", "an optional key may hold 0 or be empty; leaving it out is the usual form", s.with(bye, 2, "03 00 04 60"), bye)
	staged := reportOf(map[string]AppState{"a": {State: StateStaged, Revision: "a-1"}})
	s.means("explicit-false", "likewise a boolean and a text", s.patched(staged, "a2 0102 0263 612d31", "a4 0102 0263 612d31 0460 05f4"), staged)
	s.means("explicit-empty", "likewise a map and an array", grow(2, s.patched(reportOf(nil), "03f5 08", "03f5 06a0 0780 08")), reportOf(nil))
	s.ok("unknown-error-code", "codes may grow: treated as Internal", &Error{ID: 1, Code: 99})
	s.ok("unknown-goodbye-reason", "reasons may grow: treated as Shutdown", &Goodbye{ID: 1, Reason: 99})
	h := helloMin()
	h.Features = math.MaxUint64
	s.ok("unknown-feature-bits", "bits may grow: both sides use what both have", h)
	s.ok("unknown-evidence-format", "the codec takes it, the verifier refuses it", &Enroll{ID: 2, CSR: []byte{0x30}, Evidence: &Evidence{Format: 200, Nonce: nonce, Measurement: digest, Signature: []byte{1}}})
}
