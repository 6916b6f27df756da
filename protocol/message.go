package protocol

// Type is the number of a message, key 0 of every body. Numbers are never reused.
type Type uint8

// The messages of wasmbed/1. "d→g" is device to gateway.
const (
	TypeHello          Type = 1  // d→g first frame of a session
	TypeWelcome        Type = 2  // g→d answer to hello
	TypeError          Type = 3  // both a frame was refused; the session may live on
	TypeGoodbye        Type = 4  // both the sender closes after this frame
	TypeEnroll         Type = 5  // d→g first contact: CSR, claim, evidence
	TypeEnrollResult   Type = 6  // g→d answer to enroll and to renew
	TypeRenew          Type = 7  // d→g certificate renewal inside an enrolled session
	TypeHeartbeat      Type = 10 // d→g
	TypeHeartbeatAck   Type = 11 // g→d
	TypeAck            Type = 12 // g→d the frame with that id is durable
	TypeCommand        Type = 20 // g→d
	TypeCommandResult  Type = 21 // d→g
	TypeChunkRequest   Type = 22 // d→g
	TypeChunk          Type = 23 // g→d
	TypeReport         Type = 30 // d→g
	TypeReportRequest  Type = 31 // g→d
	TypeTrap           Type = 32 // d→g
	TypeTelemetry      Type = 40 // d→g
	TypeLogs           Type = 41 // d→g
	TypeInvoke         Type = 50 // g→d call an exported function
	TypeInvokeResult   Type = 51 // d→g
	TypeMessageDown    Type = 52 // g→d message to an app
	TypeMessageUp      Type = 53 // d→g message from an app
	TypeAttestRequest  Type = 60 // g→d reserved: ask for fresh evidence in a live session
	TypeAttestEvidence Type = 61 // d→g reserved
)

// Hello opens a session. A device without a valid operational certificate sends it too, and may then
// only enroll.
type Hello struct {
	ID           uint64       `cbor:"1,keyasint"`           // correlation id, unique in the session and sender, from 1
	Versions     []uint8      `cbor:"2,keyasint"`           // protocol versions spoken, ascending; 1 today
	Features     uint64       `cbor:"3,keyasint,omitempty"` // bit set, see Feature*
	BootID       []byte       `cbor:"4,keyasint"`           // 8 random bytes made at each boot
	Board        string       `cbor:"5,keyasint"`
	Firmware     string       `cbor:"6,keyasint"`
	Capabilities Capabilities `cbor:"7,keyasint"`
	Era          []byte       `cbor:"8,keyasint,omitempty"`  // era of the last desired version seen, 8 bytes
	SeenDesired  uint64       `cbor:"9,keyasint,omitempty"`  // n of the last desired version applied
	StateDigest  []byte       `cbor:"10,keyasint,omitempty"` // 8 bytes, see SPEC "State digest"
}

// Capabilities says what a device can hold. Bytes unless said otherwise.
type Capabilities struct {
	ModuleMemory uint32   `cbor:"1,keyasint"`           // RAM for one instance: linear memory, stack, runtime's own
	ModuleSize   uint32   `cbor:"2,keyasint"`           // largest module that a slot holds
	Chunk        uint32   `cbor:"3,keyasint"`           // largest chunk data the device takes
	Frame        uint32   `cbor:"4,keyasint"`           // largest body the device takes
	Apps         uint8    `cbor:"5,keyasint"`           // applications at once
	ABI          uint8    `cbor:"6,keyasint"`           // module ABI version
	Permissions  []string `cbor:"7,keyasint,omitempty"` // host function groups that exist on this board
}

// Welcome answers hello.
type Welcome struct {
	ID          uint64 `cbor:"1,keyasint"`
	Refers      uint64 `cbor:"2,keyasint"` // id of the hello
	Version     uint8  `cbor:"3,keyasint"`
	Features    uint64 `cbor:"4,keyasint,omitempty"`
	Time        uint64 `cbor:"5,keyasint"`           // Unix time, milliseconds
	Heartbeat   uint32 `cbor:"6,keyasint"`           // interval, milliseconds
	Epoch       uint64 `cbor:"7,keyasint,omitempty"` // session epoch; absent before enrollment
	Era         []byte `cbor:"8,keyasint,omitempty"`
	Frame       uint32 `cbor:"9,keyasint"` // largest body the gateway takes from now on
	Nonce       []byte `cbor:"10,keyasint,omitempty"`
	Enrolled    bool   `cbor:"11,keyasint"`           // false: only enroll is allowed
	RenewBefore uint64 `cbor:"12,keyasint,omitempty"` // Unix ms; renew the certificate when time passes it
}

// Error refuses one frame.
type Error struct {
	ID     uint64 `cbor:"1,keyasint"`
	Refers uint64 `cbor:"2,keyasint,omitempty"` // id of the refused frame, when it could be read
	Code   Code   `cbor:"3,keyasint"`
	Text   string `cbor:"4,keyasint,omitempty"`
}

// Goodbye announces that its sender closes.
type Goodbye struct {
	ID         uint64        `cbor:"1,keyasint"`
	Reason     GoodbyeReason `cbor:"2,keyasint"`
	RetryAfter uint32        `cbor:"3,keyasint,omitempty"` // milliseconds; the device adds its own jitter
	Text       string        `cbor:"4,keyasint,omitempty"`
}

// Enroll asks for an operational certificate. The CSR's key MUST be the key of the TLS session.
type Enroll struct {
	ID       uint64    `cbor:"1,keyasint"`
	CSR      []byte    `cbor:"2,keyasint"`           // PKCS #10, DER
	Name     string    `cbor:"3,keyasint,omitempty"` // wished device name (RFC 1123 label)
	Claim    []byte    `cbor:"4,keyasint,omitempty"`
	Evidence *Evidence `cbor:"5,keyasint,omitempty"`
}

// Evidence binds a firmware measurement to the session's nonce (RFC 9334 "Evidence").
type Evidence struct {
	Format      uint8  `cbor:"1,keyasint"` // 1: ECDSA P-256, SHA-256, ASN.1 DER, over the SPEC's to-be-signed bytes
	Nonce       []byte `cbor:"2,keyasint"` // welcome's nonce
	Measurement []byte `cbor:"3,keyasint"` // SHA-256 of the firmware image
	Signature   []byte `cbor:"4,keyasint"`
}

// EnrollResult answers enroll and renew.
type EnrollResult struct {
	ID         uint64       `cbor:"1,keyasint"`
	Refers     uint64       `cbor:"2,keyasint"`
	Status     EnrollStatus `cbor:"3,keyasint"`
	Chain      [][]byte     `cbor:"4,keyasint,omitempty"` // DER, leaf first
	Reason     Reason       `cbor:"5,keyasint,omitempty"`
	RetryAfter uint32       `cbor:"6,keyasint,omitempty"` // milliseconds
	Text       string       `cbor:"7,keyasint,omitempty"`
}

// Renew asks for a new certificate for the session's identity.
type Renew struct {
	ID  uint64 `cbor:"1,keyasint"`
	CSR []byte `cbor:"2,keyasint"`
}

// Heartbeat says that the device lives and what it holds.
type Heartbeat struct {
	ID          uint64 `cbor:"1,keyasint"`
	Uptime      uint64 `cbor:"2,keyasint"` // milliseconds since boot
	FreeMemory  uint32 `cbor:"3,keyasint"`
	StateDigest []byte `cbor:"4,keyasint"` // 8 bytes
	Queued      uint32 `cbor:"5,keyasint,omitempty"`
	Dropped     uint32 `cbor:"6,keyasint,omitempty"` // records dropped since boot because the queue was full
}

// HeartbeatAck answers a heartbeat.
type HeartbeatAck struct {
	ID     uint64 `cbor:"1,keyasint"`
	Refers uint64 `cbor:"2,keyasint"`
	Time   uint64 `cbor:"3,keyasint"`
}

// Ack says that the frame Refers is durable: the device may forget it.
type Ack struct {
	ID     uint64 `cbor:"1,keyasint"`
	Refers uint64 `cbor:"2,keyasint"`
}

// Command changes one application on the device. Idempotent by Command.
type Command struct {
	ID       uint64    `cbor:"1,keyasint"`
	Command  []byte    `cbor:"2,keyasint"` // 8 bytes; equal for the same intent sent again
	Verb     Verb      `cbor:"3,keyasint"`
	App      string    `cbor:"4,keyasint,omitempty"`
	Revision string    `cbor:"5,keyasint,omitempty"`
	Attempt  uint64    `cbor:"6,keyasint,omitempty"` // the rollout's sequence; a failed revision is tried again only with a larger one
	Digest   []byte    `cbor:"7,keyasint,omitempty"` // SHA-256 of the module
	Size     uint32    `cbor:"8,keyasint,omitempty"`
	Manifest *Manifest `cbor:"9,keyasint,omitempty"`
	Era      []byte    `cbor:"10,keyasint,omitempty"`
	Desired  uint64    `cbor:"11,keyasint,omitempty"` // n of the desired version this command carries out
	Deadline uint32    `cbor:"12,keyasint,omitempty"` // milliseconds from receipt
}

// Manifest is what to run and inside which limits.
type Manifest struct {
	MemoryPages  uint32            `cbor:"1,keyasint"`           // 64 KiB pages
	Stack        uint32            `cbor:"2,keyasint"`           // bytes
	CallTimeout  uint32            `cbor:"3,keyasint"`           // milliseconds per call
	Instructions uint64            `cbor:"4,keyasint,omitempty"` // per call; 0: no such limit
	Permissions  []string          `cbor:"5,keyasint,omitempty"` // host function groups
	Config       map[string]string `cbor:"6,keyasint,omitempty"`
	Timers       []Timer           `cbor:"7,keyasint,omitempty"`
	HealthWindow uint32            `cbor:"8,keyasint"`            // milliseconds on trial before confirmed
	MaxTraps     uint32            `cbor:"9,keyasint"`            // this many traps …
	TrapPeriod   uint32            `cbor:"10,keyasint"`           // … within so many milliseconds are a trap loop
	Signature    []byte            `cbor:"11,keyasint,omitempty"` // reserved: COSE_Sign1
	Sequence     uint64            `cbor:"12,keyasint,omitempty"` // reserved: anti-rollback
}

// Timer calls the module's timer entry point periodically.
type Timer struct {
	ID     uint32 `cbor:"1,keyasint"`
	Period uint32 `cbor:"2,keyasint"` // milliseconds
}

// CommandResult says how a command ended. Acknowledged.
type CommandResult struct {
	ID      uint64        `cbor:"1,keyasint"`
	Refers  uint64        `cbor:"2,keyasint,omitempty"`
	Command []byte        `cbor:"3,keyasint"`
	Status  CommandStatus `cbor:"4,keyasint"`
	Reason  Reason        `cbor:"5,keyasint,omitempty"`
	Text    string        `cbor:"6,keyasint,omitempty"`
}

// ChunkRequest pulls a piece of a module.
type ChunkRequest struct {
	ID     uint64 `cbor:"1,keyasint"`
	Digest []byte `cbor:"2,keyasint"`
	Offset uint32 `cbor:"3,keyasint"`
	Length uint32 `cbor:"4,keyasint"`
}

// Chunk answers a chunk request.
type Chunk struct {
	ID     uint64 `cbor:"1,keyasint"`
	Refers uint64 `cbor:"2,keyasint"`
	Digest []byte `cbor:"3,keyasint"`
	Offset uint32 `cbor:"4,keyasint"`
	Data   []byte `cbor:"5,keyasint"`
	Total  uint32 `cbor:"6,keyasint"` // size of the module
}

// Report is what the device holds: all of it (Full) or what changed. Acknowledged.
type Report struct {
	ID          uint64              `cbor:"1,keyasint"`
	Version     uint64              `cbor:"2,keyasint"` // grows with every report of the session, from 1
	Full        bool                `cbor:"3,keyasint"`
	Era         []byte              `cbor:"4,keyasint,omitempty"`
	SeenDesired uint64              `cbor:"5,keyasint,omitempty"`
	Apps        map[string]AppState `cbor:"6,keyasint,omitempty"`
	Removed     []string            `cbor:"7,keyasint,omitempty"` // apps that are gone (delta only)
	StateDigest []byte              `cbor:"8,keyasint"`           // of the whole state after this report
}

// AppState is one application on the device.
type AppState struct {
	State     State  `cbor:"1,keyasint"`
	Revision  string `cbor:"2,keyasint"`           // the revision that State speaks of
	Attempt   uint64 `cbor:"3,keyasint,omitempty"` // of Revision
	Running   string `cbor:"4,keyasint,omitempty"` // the revision that executes now; absent: none
	Confirmed bool   `cbor:"5,keyasint,omitempty"` // Running only: the health window has passed
	Reason    Reason `cbor:"6,keyasint,omitempty"` // Failed and RolledBack
	Text      string `cbor:"7,keyasint,omitempty"`
	Restarts  uint32 `cbor:"8,keyasint,omitempty"`
	Progress  uint32 `cbor:"9,keyasint,omitempty"`  // Fetching: bytes held
	Traps     uint32 `cbor:"10,keyasint,omitempty"` // since this revision started
}

// ReportRequest asks for a full report.
type ReportRequest struct {
	ID uint64 `cbor:"1,keyasint"`
}

// Trap is one wasm fault. Acknowledged.
type Trap struct {
	ID       uint64 `cbor:"1,keyasint"`
	Seq      uint64 `cbor:"2,keyasint"` // per boot, from 1; with the boot id it names the trap
	App      string `cbor:"3,keyasint"`
	Revision string `cbor:"4,keyasint"`
	Reason   Reason `cbor:"5,keyasint"`
	Where    string `cbor:"6,keyasint,omitempty"` // entry point or function
	Text     string `cbor:"7,keyasint,omitempty"`
}

// Telemetry is a batch of records. Acknowledged.
type Telemetry struct {
	ID      uint64            `cbor:"1,keyasint"`
	Seq     uint64            `cbor:"2,keyasint"` // of the first record, per boot, from 1
	Records []TelemetryRecord `cbor:"3,keyasint"`
}

// TelemetryRecord is one measured value, a CBOR array of four.
type TelemetryRecord struct {
	_     struct{} `cbor:",toarray"`
	Time  uint64   // Unix ms as the device knows it; 0 when it does not yet
	App   string
	Name  string
	Value float64 // shortest float that keeps the value
}

// Logs is a batch of log lines. Acknowledged.
type Logs struct {
	ID      uint64      `cbor:"1,keyasint"`
	Seq     uint64      `cbor:"2,keyasint"`
	Records []LogRecord `cbor:"3,keyasint"`
}

// LogRecord is one line, a CBOR array of four.
type LogRecord struct {
	_     struct{} `cbor:",toarray"`
	Time  uint64
	App   string // empty: the firmware itself
	Level uint8  // 1 debug, 2 info, 3 warning, 4 error
	Text  string
}

// Invoke calls an exported function of a running module with bytes.
type Invoke struct {
	ID       uint64 `cbor:"1,keyasint"`
	Command  []byte `cbor:"2,keyasint"`
	App      string `cbor:"3,keyasint"`
	Function string `cbor:"4,keyasint"`
	Payload  []byte `cbor:"5,keyasint,omitempty"`
	Deadline uint32 `cbor:"6,keyasint"`
}

// InvokeResult answers invoke.
type InvokeResult struct {
	ID      uint64        `cbor:"1,keyasint"`
	Refers  uint64        `cbor:"2,keyasint"`
	Command []byte        `cbor:"3,keyasint"`
	Status  CommandStatus `cbor:"4,keyasint"`
	Reason  Reason        `cbor:"5,keyasint,omitempty"`
	Payload []byte        `cbor:"6,keyasint,omitempty"`
	Text    string        `cbor:"7,keyasint,omitempty"`
}

// MessageDown carries a message to an application. Not acknowledged, never sent again.
type MessageDown struct {
	ID      uint64 `cbor:"1,keyasint"`
	App     string `cbor:"2,keyasint"`
	Topic   string `cbor:"3,keyasint"`
	Payload []byte `cbor:"4,keyasint,omitempty"`
}

// MessageUp carries a message from an application. Acknowledged.
type MessageUp struct {
	ID      uint64 `cbor:"1,keyasint"`
	App     string `cbor:"2,keyasint"`
	Topic   string `cbor:"3,keyasint"`
	Payload []byte `cbor:"4,keyasint,omitempty"`
	Seq     uint64 `cbor:"5,keyasint"` // per boot, from 1; with the boot id it names the message
}
