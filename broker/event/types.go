// Package event is the public contract of Wasmbed's CloudEvents: every type, its data, who emits it and
// who consumes it. Types only ever gain fields; what breaks becomes a v2 emitted beside the v1.
package event

import (
	"encoding/json"
	"time"
)

// Types of the events that Wasmbed emits or takes. Reverse DNS, past tense, versioned.
const (
	// From the gateway.
	DeviceEnrollmentRequested = "io.wasmbed.device.enrollment.requested.v1" // data: EnrollmentRequest
	DeviceConnected           = "io.wasmbed.device.connected.v1"            // data: Connected
	DeviceDisconnected        = "io.wasmbed.device.disconnected.v1"         // data: Disconnected
	DeviceReported            = "io.wasmbed.device.reported.v1"             // data: Reported
	DeviceTrapped             = "io.wasmbed.device.trapped.v1"              // data: Trapped
	DeviceCommandCompleted    = "io.wasmbed.device.command.completed.v1"    // data: CommandCompleted
	DeviceCommandAnswered     = "io.wasmbed.device.command.answered.v1"     // data: CommandAnswer
	MessageReceived           = "io.wasmbed.message.received.v1"            // data: AppMessage
	TelemetryReceived         = "io.wasmbed.telemetry.received.v1"          // data: TelemetryBatch
	LogsReceived              = "io.wasmbed.logs.received.v1"               // data: LogBatch
	ModuleMissed              = "io.wasmbed.module.missed.v1"               // data: ModuleMiss
	TimerDue                  = "io.wasmbed.timer.due.v1"                   // data: Timer
	LedgerLost                = "io.wasmbed.ledger.lost.v1"                 // data: Lost
	GatewayChanged            = "io.wasmbed.gateway.changed.v1"             // data: GatewayInstance

	// From functions.
	DeviceEnrolled           = "io.wasmbed.device.enrolled.v1"            // data: EnrollmentVerdict
	DeviceEnrollmentPended   = "io.wasmbed.device.enrollment.pended.v1"   // data: EnrollmentVerdict
	DeviceEnrollmentRejected = "io.wasmbed.device.enrollment.rejected.v1" // data: EnrollmentVerdict
	DeviceRevoked            = "io.wasmbed.device.revoked.v1"             // data: EnrollmentVerdict
	DeviceStateChanged       = "io.wasmbed.device.state.changed.v1"       // data: StateChanged
	ApplicationRevised       = "io.wasmbed.application.revised.v1"        // data: Rollout
	RolloutStarted           = "io.wasmbed.rollout.started.v1"            // data: Rollout
	RolloutCompleted         = "io.wasmbed.rollout.completed.v1"          // data: Rollout
	RolloutFailed            = "io.wasmbed.rollout.failed.v1"             // data: Rollout
	CommandFinished          = "io.wasmbed.command.finished.v1"           // data: CommandOutcome
	RollbackDecided          = "io.wasmbed.rollback.decided.v1"           // data: Rollout

	// From the provisioner.
	BoardChangedType = "io.wasmbed.board.changed.v1" // data: BoardChanged

	// From people and outside systems, through the API.
	RollbackRequested = "io.wasmbed.rollback.requested.v1" // data: RollbackRequest
	CommandRequested  = "io.wasmbed.command.requested.v1"  // data: CommandRequest
	AuditRecorded     = "io.wasmbed.audit.recorded.v1"     // data: Audit
	DeployRequested   = "io.wasmbed.deploy.requested.v1"   // data: DeployRequest
	DeployAnswered    = "io.wasmbed.deploy.answered.v1"    // data: DeployOutcome

	ApplicationActionRequested = "io.wasmbed.application.action.requested.v1" // data: ApplicationAction
	DeviceActionRequested      = "io.wasmbed.device.action.requested.v1"      // data: DeviceAction
	ActionAnswered             = "io.wasmbed.action.answered.v1"              // data: ActionOutcome

	// About webhooks.
	WebhookTested              = "io.wasmbed.webhook.tested.v1"               // data: WebhookTest
	WebhookRedeliveryRequested = "io.wasmbed.webhook.redelivery.requested.v1" // data: WebhookRedelivery
	WebhookDisabled            = "io.wasmbed.webhook.disabled.v1"             // data: WebhookStopped
	WebhookPermitted           = "io.wasmbed.webhook.permitted.v1"            // data: WebhookPermission

	// From the CRD source, in the form of Knative's ApiServerSource, mode Reference.
	RefAdd    = "dev.knative.apiserver.ref.add"    // data: ObjectReference
	RefUpdate = "dev.knative.apiserver.ref.update" // data: ObjectReference
	RefDelete = "dev.knative.apiserver.ref.delete" // data: ObjectReference
)

// Extension attributes.
const (
	ExtPartitionKey = "partitionkey" // namespace/name of the device
	ExtTraceParent  = "traceparent"
	ExtKind         = "kind"      // of ApiServerSource events
	ExtName         = "name"      // likewise
	ExtNamespace    = "namespace" // likewise; also set on every io.wasmbed event
	ExtEra          = "era"       // the ledger's era, 16 hex digits
	ExtTimerKind    = "timerkind" // of TimerDue: advance, deadline, status, command, certificate, webhook, webhooksource
	ExtHops         = "hookhops"  // how many webhooks an event has come through
)

// Device names a device. Its String is namespace/name, the subject of its events.
type Device struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (d Device) String() string { return d.Namespace + "/" + d.Name }

// EnrollmentRequest is what an unenrolled device asks for, or an enrolled one that renews.
type EnrollmentRequest struct {
	Namespace      string `json:"namespace"`            // the gateway's
	Gateway        string `json:"gateway"`              // Gateway object
	Instance       string `json:"instance"`             // gateway process that waits for the verdict
	Session        string `json:"session"`              // where the verdict goes
	KeyFingerprint string `json:"keyFingerprint"`       // lower-case hex SHA-256 of the session key's SPKI
	CSR            []byte `json:"csr"`                  // DER
	WantedName     string `json:"wantedName,omitempty"` //
	Renewal        string `json:"renewal,omitempty"`    // device name when an enrolled session renews
	Claim          []byte `json:"claim,omitempty"`      //
	Board          string `json:"board"`                //
	Firmware       string `json:"firmware"`             //
	Nonce          []byte `json:"nonce"`                // the session's
	EvidenceFormat uint8  `json:"evidenceFormat,omitempty"`
	Measurement    []byte `json:"measurement,omitempty"`
	Signature      []byte `json:"signature,omitempty"`
	EvidenceNonce  []byte `json:"evidenceNonce,omitempty"`
	RemoteAddress  string `json:"remoteAddress,omitempty"`
}

// EnrollmentVerdict says what became of a request.
type EnrollmentVerdict struct {
	Device         Device `json:"device"`
	KeyFingerprint string `json:"keyFingerprint"`
	Status         string `json:"status"` // Accepted, Pending, Rejected, Revoked
	Reason         string `json:"reason,omitempty"`
	Message        string `json:"message,omitempty"`
}

// Connected opens a session on the record.
type Connected struct {
	Device       Device       `json:"device"`
	Gateway      string       `json:"gateway"`  // Gateway object
	Instance     string       `json:"instance"` // process
	Epoch        uint64       `json:"epoch"`
	Era          string       `json:"era"`
	BootID       string       `json:"bootId"`
	Board        string       `json:"board"`
	Firmware     string       `json:"firmware"`
	Capabilities Capabilities `json:"capabilities"`
	Serial       string       `json:"serial,omitempty"`    // certificate
	NotAfter     *time.Time   `json:"notAfter,omitempty"`  // certificate
	Time         time.Time    `json:"time"`                // when the session began
	Announced    bool         `json:"announced,omitempty"` // said again after the ledger was lost; not a new session
}

// Capabilities is what the device can hold, bytes unless said otherwise.
type Capabilities struct {
	ModuleMemory uint32   `json:"moduleMemory"`
	ModuleSize   uint32   `json:"moduleSize"`
	Chunk        uint32   `json:"chunk"`
	Frame        uint32   `json:"frame"`
	Apps         uint8    `json:"apps"`
	ABI          uint8    `json:"abi"`
	Permissions  []string `json:"permissions,omitempty"`
}

// Disconnected closes a session on the record, unless a newer epoch exists.
type Disconnected struct {
	Device   Device    `json:"device"`
	Instance string    `json:"instance"`
	Epoch    uint64    `json:"epoch"`
	Era      string    `json:"era"`
	Reason   string    `json:"reason"` // e.g. Closed, Timeout, LeaseExpired, Superseded, Drained, Revoked
	Time     time.Time `json:"time"`
}

// AppState is one application on a device, in words (protocol.State, protocol.Reason).
type AppState struct {
	State     string `json:"state"`
	Revision  string `json:"revision"`
	Attempt   uint64 `json:"attempt,omitempty"`
	Running   string `json:"running,omitempty"`
	Confirmed bool   `json:"confirmed,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Message   string `json:"message,omitempty"`
	Restarts  uint32 `json:"restarts,omitempty"`
	Progress  uint32 `json:"progress,omitempty"`
	Traps     uint32 `json:"traps,omitempty"`
}

// Reported is a device's report. (Epoch, Version) orders the reports of one era.
type Reported struct {
	Device      Device              `json:"device"`
	Epoch       uint64              `json:"epoch"`
	Era         string              `json:"era"`
	Version     uint64              `json:"version"`
	SeenDesired uint64              `json:"seenDesired,omitempty"`
	Full        bool                `json:"full"`
	Apps        map[string]AppState `json:"apps,omitempty"`
	Removed     []string            `json:"removed,omitempty"`
	StateDigest string              `json:"stateDigest"`
	Time        time.Time           `json:"time"`
}

// Trapped is one wasm fault on a device. (BootID, Seq) names it.
type Trapped struct {
	Device   Device    `json:"device"`
	BootID   string    `json:"bootId"`
	Seq      uint64    `json:"seq"`
	App      string    `json:"app"`
	Revision string    `json:"revision"`
	Reason   string    `json:"reason"`
	Where    string    `json:"where,omitempty"`
	Message  string    `json:"message,omitempty"`
	Time     time.Time `json:"time"`
}

// CommandCompleted is a device's word on a command.
type CommandCompleted struct {
	Device   Device    `json:"device"`
	Command  string    `json:"command"`            // hex
	App      string    `json:"app,omitempty"`      // App, Revision and Attempt of the command, when this session sent it
	Revision string    `json:"revision,omitempty"` //
	Attempt  uint64    `json:"attempt,omitempty"`  //
	Status   string    `json:"status"`             // Accepted, Done, Refused, Failed
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message,omitempty"`
	Payload  []byte    `json:"payload,omitempty"`
	Time     time.Time `json:"time"`
}

// TelemetryBatch carries the records of one or more devices of one gateway. On the wire of the broker
// it is CBOR (datacontenttype application/cbor), keys as the cbor tags say.
type TelemetryBatch struct {
	Devices []TelemetryDevice `json:"devices" cbor:"1,keyasint"`
}

// TelemetryDevice is one frame of one device, its records still as the device wrote them.
type TelemetryDevice struct {
	Namespace string `json:"namespace" cbor:"1,keyasint"`
	Name      string `json:"name" cbor:"2,keyasint"`
	BootID    []byte `json:"bootId" cbor:"3,keyasint"`
	Seq       uint64 `json:"seq" cbor:"4,keyasint"`     // of the first record
	Records   []byte `json:"records" cbor:"5,keyasint"` // CBOR array of protocol.TelemetryRecord or LogRecord
}

// LogBatch is TelemetryBatch for log lines.
type LogBatch = TelemetryBatch

// ModuleMiss says that a gateway needs a module's bytes that Redis does not hold.
type ModuleMiss struct {
	Namespace string `json:"namespace"`
	Digest    string `json:"digest"` // sha256:<hex>
}

// Timer is a deadline of a shard that has come.
type Timer struct {
	Kind      string    `json:"kind"` // advance, deadline, status, command, certificate, webhook
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`             // application (advance, deadline) or device (status)
	Device    string    `json:"device,omitempty"` // deadline
	Shard     int       `json:"shard"`
	Due       time.Time `json:"due"`

	Trace string `json:"-"` // traceparent of the work that marked it, which the event carries on
}

// Lost says that the ledger was empty and has a new era.
type Lost struct {
	Era string `json:"era"`
	By  string `json:"by"`
}

// GatewayInstance says that a gateway process came, changed or went.
type GatewayInstance struct {
	Namespace string `json:"namespace"`
	Gateway   string `json:"gateway"`
	Instance  string `json:"instance"`
	State     string `json:"state"` // Up, Draining, Down
	Devices   int    `json:"devices"`
}

// BoardChanged is an emulated board, as the provisioner sees it now. Sequence orders what is said about one
// Device: it is the time in Unix microseconds, or one more than the last, whichever is greater, so that it
// rises over the provisioner's lives. UID is that of the Device object: a word about its predecessor of the
// same name changes nothing.
type BoardChanged struct {
	Device     Device    `json:"device"`
	UID        string    `json:"uid"`
	Generation int64     `json:"generation"` // of the Device that this answers
	Sequence   int64     `json:"sequence"`
	Removed    bool      `json:"removed,omitempty"` // the board is gone, and with it all that it stored
	Phase      string    `json:"phase,omitempty"`   // Pending, Starting, Booted, Running, Stopped, Failed
	Backend    string    `json:"backend,omitempty"` // host, qemu, renode
	Engine     string    `json:"engine,omitempty"`  // process, docker
	Transport  string    `json:"transport,omitempty"`
	Endpoint   string    `json:"endpoint,omitempty"`  // of its serial line or monitor
	Instance   string    `json:"instance,omitempty"`  // container or process
	Image      string    `json:"image,omitempty"`     // digest of the firmware
	Resets     int64     `json:"resets,omitempty"`    // carried out
	PowerCuts  int64     `json:"powerCuts,omitempty"` // carried out
	Restarts   int64     `json:"restarts,omitempty"`  // of the backend, by itself
	Reason     string    `json:"reason,omitempty"`
	Message    string    `json:"message,omitempty"`
	Since      time.Time `json:"since"` // of the phase
}

// StateChanged says which applications of a device moved between the work sets of their rollouts.
type StateChanged struct {
	Device  Device   `json:"device"`
	Changes []Change `json:"changes"`
}

// Change is one application's move on one device.
type Change struct {
	App      string `json:"app"`
	From     string `json:"from,omitempty"` // work set: pending, away, inflight, done, lost, failed, held
	To       string `json:"to,omitempty"`
	State    string `json:"state,omitempty"`
	Revision string `json:"revision,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Message  string `json:"message,omitempty"`
}

// Rollout is a revision crossing the fleet.
type Rollout struct {
	Namespace   string         `json:"namespace"`
	Application string         `json:"application"`
	Generation  int64          `json:"generation"`
	Sequence    uint64         `json:"sequence"` // of rollouts of this application; the devices' "attempt"
	From        string         `json:"from,omitempty"`
	To          string         `json:"to"`
	Reason      string         `json:"reason,omitempty"`
	Message     string         `json:"message,omitempty"`
	Counts      map[string]int `json:"counts,omitempty"`
	Reasons     map[string]int `json:"reasons,omitempty"`
}

// RollbackRequest asks to go back. To empty: the last revision whose rollout completed.
type RollbackRequest struct {
	Namespace   string `json:"namespace"`
	Application string `json:"application"`
	To          string `json:"to,omitempty"`
	Reason      string `json:"reason,omitempty"`
	By          string `json:"by,omitempty"`
}

// DeployRequest asks to set an application's module: Module or OCI; or, with Spec, to make the application or give it
// that spec, as a PUT of the REST API does.
type DeployRequest struct {
	Namespace   string          `json:"namespace"`
	Application string          `json:"application"`
	Module      string          `json:"module"`         // Module object's name
	OCI         string          `json:"oci,omitempty"`  // reference of an artifact with its digest: registry/name@sha256:…
	Spec        json.RawMessage `json:"spec,omitempty"` // of the Application; Module and OCI go before the module in it
	Reason      string          `json:"reason,omitempty"`
	By          string          `json:"by,omitempty"`
}

// ObjectReference is the data of the ref events.
type ObjectReference struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
}

// Audit is one mutation through the REST API: who did what, and when. It happened.
type Audit struct {
	User      string    `json:"user"`
	Groups    []string  `json:"groups,omitempty"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Namespace string    `json:"namespace,omitempty"`
	Name      string    `json:"name,omitempty"`
	What      string    `json:"what"`
	Value     string    `json:"value,omitempty"`
	Address   string    `json:"address,omitempty"` // of the caller
	Time      time.Time `json:"time"`
}
