package protocol

// Feature bits of hello and welcome; both sides use what both have set.
const (
	FeatureInvoke    uint64 = 1 << 0
	FeatureMessages  uint64 = 1 << 1
	FeatureTelemetry uint64 = 1 << 2
	FeatureLogs      uint64 = 1 << 3
	FeatureRenew     uint64 = 1 << 4
	FeatureAttest    uint64 = 1 << 5
)

// Code is an error code of the wire.
type Code uint8

// Error codes. A closed set per version; an unknown code is treated as CodeInternal.
const (
	CodeFrame       Code = 1 // length over the cap, or zero
	CodeCBOR        Code = 2 // not well-formed, not deterministic, over a decode limit
	CodeSchema      Code = 3 // well-formed, but not this message
	CodeUnknownType Code = 4
	CodeState       Code = 5 // not allowed now
	CodeAuth        Code = 6 // not allowed for this identity
	CodeVersion     Code = 7 // no common version
	CodeNotFound    Code = 8 // e.g. a module that the gateway does not have (yet): ask again later
	CodeBusy        Code = 9
	CodeInternal    Code = 10
)

// GoodbyeReason says why a side closes.
type GoodbyeReason uint8

// Goodbye reasons.
const (
	GoodbyeShutdown   GoodbyeReason = 1 // the sender stops
	GoodbyeDrain      GoodbyeReason = 2 // go to another gateway behind the same address
	GoodbyeSuperseded GoodbyeReason = 3 // a newer session of this identity exists
	GoodbyeRevoked    GoodbyeReason = 4
	GoodbyeExpired    GoodbyeReason = 5 // certificate
	GoodbyeProtocol   GoodbyeReason = 6 // an error before it
	GoodbyeIdle       GoodbyeReason = 7
	GoodbyeEnrolled   GoodbyeReason = 8 // come back with the new certificate
	GoodbyeBusy       GoodbyeReason = 9
)

// EnrollStatus is the verdict on an enrollment.
type EnrollStatus uint8

// Enrollment verdicts.
const (
	EnrollAccepted EnrollStatus = 1
	EnrollPending  EnrollStatus = 2 // ask again after retry-after, in this or another session
	EnrollRejected EnrollStatus = 3
)

// Verb says what a command does to an application.
type Verb uint8

// Verbs.
const (
	VerbDeploy   Verb = 1 // install and start, the app is not there
	VerbUpdate   Verb = 2 // stage into the other slot, start on trial
	VerbStart    Verb = 3
	VerbStop     Verb = 4
	VerbRemove   Verb = 5
	VerbRollback Verb = 6 // go back to the previous slot when Revision is there, else as update
	VerbReboot   Verb = 7
)

// CommandStatus is how a command ended, or that it was taken.
type CommandStatus uint8

// Command statuses.
const (
	CommandAccepted CommandStatus = 1 // taken; its progress shows in reports
	CommandDone     CommandStatus = 2
	CommandRefused  CommandStatus = 3 // nothing was changed; Reason says why
	CommandFailed   CommandStatus = 4
)

// State is where an instance stands.
type State uint8

// Instance states (DESIGN: a module's life).
const (
	StateFetching   State = 1
	StateStaged     State = 2
	StateStarting   State = 3
	StateRunning    State = 4
	StateStopping   State = 5
	StateStopped    State = 6
	StateFailed     State = 7 // nothing executes
	StateRolledBack State = 8 // Revision was given up, Running executes
)

// Reason is the closed set of causes that a device reports. The names of Reason.String are the words
// used in the ledger, the CRDs, the API and the UI.
type Reason uint8

// Reasons.
const (
	ReasonNone               Reason = 0
	ReasonTrap               Reason = 1  // unreachable or an explicit abort
	ReasonOutOfBounds        Reason = 2  // memory access
	ReasonStackOverflow      Reason = 3  // wasm operand or call stack
	ReasonTimeout            Reason = 4  // a call ran longer than the manifest allows
	ReasonInstructionLimit   Reason = 5  //
	ReasonDivideByZero       Reason = 6  // and integer overflow of a division
	ReasonTrapLoop           Reason = 7  // too many traps in the period
	ReasonDigestMismatch     Reason = 8  //
	ReasonNotWasm            Reason = 9  // does not load
	ReasonMissingImport      Reason = 10 // imports what does not exist here
	ReasonPermissionDenied   Reason = 11 // imports what the manifest does not permit
	ReasonInsufficientMemory Reason = 12 //
	ReasonModuleTooLarge     Reason = 13 //
	ReasonStorageFull        Reason = 14 //
	ReasonStorageError       Reason = 15 //
	ReasonTransferTimeout    Reason = 16 //
	ReasonNoEntryPoint       Reason = 17 // the module exports no start
	ReasonExit               Reason = 18 // start or a handler returned an error
	ReasonTooManyApps        Reason = 19 //
	ReasonUnsupported        Reason = 20 // verb, ABI or manifest field that the device does not have
	ReasonUnknownApp         Reason = 21 //
	ReasonDeadlineExceeded   Reason = 22 //
	ReasonUnreachableDevice  Reason = 23 // said by the platform, never by a device
	ReasonPowerLoss          Reason = 24 // on trial when power was lost, too often
	ReasonNotPaired          Reason = 30 // enrollment: no pairing window and no claim
	ReasonClaimInvalid       Reason = 31
	ReasonNameTaken          Reason = 32 // the name belongs to another key
	ReasonKeyMismatch        Reason = 33 // the CSR's key is not the session's, or not the pinned one
	ReasonAttestationFailed  Reason = 34
	ReasonRejected           Reason = 35 // by a person or a policy
	ReasonRevoked            Reason = 36
	ReasonAwaitingApproval   Reason = 37
	ReasonBadRequest         Reason = 38 // malformed CSR and the like
)
