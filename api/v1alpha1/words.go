package v1alpha1

// Condition types.
const (
	ConditionReady       = "Ready"       // Application, Gateway, Webhook
	ConditionDisabled    = "Disabled"    // Webhook
	ConditionProgressing = "Progressing" // Application
	ConditionRolledBack  = "RolledBack"  // Application
	ConditionEnrolled    = "Enrolled"    // Device
	ConditionOnline      = "Online"      // Device
	ConditionValid       = "Valid"       // Module
	ConditionProvisioned = "Provisioned" // Device with an emulation
)

// Finalizers. An object leaves only when the function that made something of it has undone that.
const (
	FinalizerDeploy = "wasmbed.io/deploy" // Application, Device: out of the ledger
	FinalizerEnroll = "wasmbed.io/enroll" // Device, Gateway: denied, its settings gone
	FinalizerBoard  = "wasmbed.io/board"  // Device with an emulation: its board and what it stored are gone (the provisioner's)
)

// Labels that functions set on what they create.
const (
	LabelApplication = "wasmbed.io/application" // on Revisions and on Modules made from inline bytes
	LabelBoard       = "wasmbed.io/board"       // on Devices made at first contact
	LabelManagedBy   = "app.kubernetes.io/managed-by"
)

// AnnotationRollbackTo on an Application asks for a rollback, for those who speak to Kubernetes alone: its value is a revision's
// name, or empty for the last one that was complete. It is taken away once it was heard.
const AnnotationRollbackTo = "wasmbed.io/rollback-to"

// Host function groups.
const (
	PermissionLog       Permission = "log"
	PermissionClock     Permission = "clock"
	PermissionTelemetry Permission = "telemetry"
	PermissionMessage   Permission = "message"
	PermissionKV        Permission = "kv"
	PermissionGPIO      Permission = "gpio"
	PermissionSensor    Permission = "sensor"
	PermissionTimer     Permission = "timer"
	PermissionRandom    Permission = "random"
)

// Emulation states.
const (
	EmulationRunning = "Running"
	EmulationStopped = "Stopped"
)

// Backends of an emulation.
const (
	BackendHost   = "host"
	BackendQEMU   = "qemu"
	BackendRenode = "renode"
)

// Engines of an emulation.
const (
	EngineProcess = "process"
	EngineDocker  = "docker"
)

// Transports of an emulation.
const (
	TransportEthernet = "Ethernet"
	TransportSerial   = "Serial"
)

// Phases of an emulated board.
const (
	BoardPending  = "Pending"
	BoardStarting = "Starting"
	BoardBooted   = "Booted"
	BoardRunning  = "Running"
	BoardStopped  = "Stopped"
	BoardFailed   = "Failed"
)

// Approval of devices that ask inside a pairing window.
const (
	PairingManual    = "Manual"
	PairingAutomatic = "Automatic"
)

// Attestation modes.
const (
	AttestationNone    = "None"
	AttestationRequire = "Require"
)

// Reasons of a rollout (RolloutStatus.Reason).
const (
	RolloutSpecChanged = "SpecChanged"
	RolloutFailed      = "RolloutFailed"
	RolloutRequested   = "Requested"
)

// SecretTypeWebhook is the type of Secrets that Webhooks and WebhookSources may name. No other is used for them, so
// that nobody who may make a Webhook makes a key of a Secret that is for something else.
const SecretTypeWebhook = "wasmbed.io/webhook"

// Formats of what a Webhook posts.
const (
	FormatStructured = "CloudEventsStructured"
	FormatBinary     = "CloudEventsBinary"
	FormatJSON       = "JSON"
)

// Handshakes of a Webhook.
const (
	HandshakeAsk     = "Ask"
	HandshakeRequire = "Require"
	HandshakeNone    = "None"
)

// Schemes by which requests to a WebhookSource are verified.
const (
	SchemeStandard = "StandardWebhooks"
	SchemeGitHub   = "GitHub"
	SchemeToken    = "Token"
)
