package protocol

import (
	"fmt"
	"strconv"
)

// The words of the enums: what the ledger, the CRDs, the API and the UI show. A parser takes exactly what
// String gives for a known value; for an unknown one String gives the type's name and the number.

var typeWords = map[Type]string{
	TypeHello: "Hello", TypeWelcome: "Welcome", TypeError: "Error", TypeGoodbye: "Goodbye", TypeEnroll: "Enroll",
	TypeEnrollResult: "EnrollResult", TypeRenew: "Renew", TypeHeartbeat: "Heartbeat", TypeHeartbeatAck: "HeartbeatAck",
	TypeAck: "Ack", TypeCommand: "Command", TypeCommandResult: "CommandResult", TypeChunkRequest: "ChunkRequest",
	TypeChunk: "Chunk", TypeReport: "Report", TypeReportRequest: "ReportRequest", TypeTrap: "Trap",
	TypeTelemetry: "Telemetry", TypeLogs: "Logs", TypeInvoke: "Invoke", TypeInvokeResult: "InvokeResult",
	TypeMessageDown: "MessageDown", TypeMessageUp: "MessageUp", TypeAttestRequest: "AttestRequest",
	TypeAttestEvidence: "AttestEvidence",
}

var codeWords = map[Code]string{
	CodeFrame: "Frame", CodeCBOR: "CBOR", CodeSchema: "Schema", CodeUnknownType: "UnknownType", CodeState: "State",
	CodeAuth: "Auth", CodeVersion: "Version", CodeNotFound: "NotFound", CodeBusy: "Busy", CodeInternal: "Internal",
}

var goodbyeWords = map[GoodbyeReason]string{
	GoodbyeShutdown: "Shutdown", GoodbyeDrain: "Drain", GoodbyeSuperseded: "Superseded", GoodbyeRevoked: "Revoked",
	GoodbyeExpired: "Expired", GoodbyeProtocol: "Protocol", GoodbyeIdle: "Idle", GoodbyeEnrolled: "Enrolled",
	GoodbyeBusy: "Busy",
}

var enrollWords = map[EnrollStatus]string{
	EnrollAccepted: "Accepted", EnrollPending: "Pending", EnrollRejected: "Rejected",
}

var verbWords = map[Verb]string{
	VerbDeploy: "Deploy", VerbUpdate: "Update", VerbStart: "Start", VerbStop: "Stop", VerbRemove: "Remove",
	VerbRollback: "Rollback", VerbReboot: "Reboot",
}

var commandWords = map[CommandStatus]string{
	CommandAccepted: "Accepted", CommandDone: "Done", CommandRefused: "Refused", CommandFailed: "Failed",
}

var stateWords = map[State]string{
	StateFetching: "Fetching", StateStaged: "Staged", StateStarting: "Starting", StateRunning: "Running",
	StateStopping: "Stopping", StateStopped: "Stopped", StateFailed: "Failed", StateRolledBack: "RolledBack",
}

var reasonWords = map[Reason]string{
	ReasonNone: "", ReasonTrap: "Trap", ReasonOutOfBounds: "OutOfBounds", ReasonStackOverflow: "StackOverflow",
	ReasonTimeout: "Timeout", ReasonInstructionLimit: "InstructionLimit", ReasonDivideByZero: "DivideByZero",
	ReasonTrapLoop: "TrapLoop", ReasonDigestMismatch: "DigestMismatch", ReasonNotWasm: "NotWasm",
	ReasonMissingImport: "MissingImport", ReasonPermissionDenied: "PermissionDenied",
	ReasonInsufficientMemory: "InsufficientMemory", ReasonModuleTooLarge: "ModuleTooLarge",
	ReasonStorageFull: "StorageFull", ReasonStorageError: "StorageError", ReasonTransferTimeout: "TransferTimeout",
	ReasonNoEntryPoint: "NoEntryPoint", ReasonExit: "Exit", ReasonTooManyApps: "TooManyApps",
	ReasonUnsupported: "Unsupported", ReasonUnknownApp: "UnknownApp", ReasonDeadlineExceeded: "DeadlineExceeded",
	ReasonUnreachableDevice: "UnreachableDevice", ReasonPowerLoss: "PowerLoss", ReasonNotPaired: "NotPaired",
	ReasonClaimInvalid: "ClaimInvalid", ReasonNameTaken: "NameTaken", ReasonKeyMismatch: "KeyMismatch",
	ReasonAttestationFailed: "AttestationFailed", ReasonRejected: "Rejected", ReasonRevoked: "Revoked",
	ReasonAwaitingApproval: "AwaitingApproval", ReasonBadRequest: "BadRequest",
}

func word[T ~uint8](words map[T]string, v T, kind string) string {
	if w, ok := words[v]; ok {
		return w
	}
	return kind + strconv.Itoa(int(v))
}

func parse[T ~uint8](words map[T]string, s, kind string) (T, error) {
	for v, w := range words {
		if w == s {
			return v, nil
		}
	}
	return 0, fmt.Errorf("protocol: no %s %q", kind, s)
}

func (t Type) String() string          { return word(typeWords, t, "Type") }
func (c Code) String() string          { return word(codeWords, c, "Code") }
func (r GoodbyeReason) String() string { return word(goodbyeWords, r, "GoodbyeReason") }
func (s EnrollStatus) String() string  { return word(enrollWords, s, "EnrollStatus") }
func (v Verb) String() string          { return word(verbWords, v, "Verb") }
func (s CommandStatus) String() string { return word(commandWords, s, "CommandStatus") }
func (s State) String() string         { return word(stateWords, s, "State") }

// String is empty for ReasonNone.
func (r Reason) String() string { return word(reasonWords, r, "Reason") }

// ParseType returns the type of a word.
func ParseType(s string) (Type, error) { return parse(typeWords, s, "type") }

// ParseCode returns the error code of a word.
func ParseCode(s string) (Code, error) { return parse(codeWords, s, "code") }

// ParseGoodbyeReason returns the goodbye reason of a word.
func ParseGoodbyeReason(s string) (GoodbyeReason, error) {
	return parse(goodbyeWords, s, "goodbye reason")
}

// ParseEnrollStatus returns the enrollment verdict of a word.
func ParseEnrollStatus(s string) (EnrollStatus, error) {
	return parse(enrollWords, s, "enrollment status")
}

// ParseVerb returns the verb of a word.
func ParseVerb(s string) (Verb, error) { return parse(verbWords, s, "verb") }

// ParseCommandStatus returns the command status of a word.
func ParseCommandStatus(s string) (CommandStatus, error) {
	return parse(commandWords, s, "command status")
}

// ParseState returns the instance state of a word.
func ParseState(s string) (State, error) { return parse(stateWords, s, "state") }

// ParseReason returns the reason of a word; the empty word is ReasonNone.
func ParseReason(s string) (Reason, error) { return parse(reasonWords, s, "reason") }
