package v1alpha1

// Condition types.
const (
	ConditionReady       = "Ready"       // Application, Gateway
	ConditionProgressing = "Progressing" // Application
	ConditionRolledBack  = "RolledBack"  // Application
	ConditionEnrolled    = "Enrolled"    // Device
	ConditionOnline      = "Online"      // Device
	ConditionValid       = "Valid"       // Module
)

// Finalizers. An object leaves only when the function that made something of it has undone that.
const (
	FinalizerDeploy = "wasmbed.io/deploy" // Application, Device: out of the ledger
	FinalizerEnroll = "wasmbed.io/enroll" // Device, Gateway: denied, its settings gone
)

// Labels that functions set on what they create.
const (
	LabelApplication = "wasmbed.io/application" // on Revisions and on Modules made from inline bytes
	LabelBoard       = "wasmbed.io/board"       // on Devices made at first contact
	LabelManagedBy   = "app.kubernetes.io/managed-by"
)

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
