package protocol

import "time"

// Sizes of frames, in bytes of the body (without the 4-byte header).
const (
	HeaderSize   = 4     // big-endian body length
	PreAuthFrame = 4096  // cap of what a gateway takes until its welcome with enrolled = true
	DefaultFrame = 16384 // a gateway's cap in welcome unless configured
	MinFrame     = 2048  // smallest cap that either side may announce
	MaxFrame     = 65536 // largest cap that either side may announce
)

// Limits of CBOR decoding, for known and unknown keys alike.
const (
	MaxDepth = 8    // nested arrays and maps; the body's map is depth 1
	MaxArray = 1024 // elements
	MaxMap   = 64   // pairs
)

// Limits of fields. Strings and byte strings in bytes.
const (
	MaxName         = 63    // application and device names, see validName
	MaxRevision     = 80    // application name, "-", number, with room for a suffix
	MaxBoard        = 32    //
	MaxFirmware     = 64    // version text
	MaxText         = 256   // every human text, and a log line
	MaxWhere        = 128   // trap location
	MaxVersions     = 8     // protocol versions in hello
	MaxPermissions  = 16    //
	MaxPermission   = 32    //
	MaxApps         = 16    // applications on one device
	MaxConfig       = 32    // config entries
	MaxConfigKey    = 64    //
	MaxConfigValue  = 256   //
	MaxTimers       = 8     //
	MaxRecords      = 256   // telemetry or log records in one frame
	MaxMetric       = 64    // telemetry record name
	MaxTopic        = 128   //
	MaxFunction     = 64    // exported function of invoke
	MaxPayload      = 16384 // invoke, its result, messages; the frame cap applies as well
	MaxChunk        = 32768 // chunk data; the device's own limit applies as well
	MaxModule       = 1 << 24
	MaxCSR          = 2048 // DER
	MaxChain        = 4    // certificates in enroll-result
	MaxCertificate  = 4096 // DER
	MaxClaim        = 64
	MaxSignature    = 512 // evidence
	MaxManifestSig  = 512 // COSE_Sign1 of a manifest (reserved)
	MaxMemoryPages  = 1024
	BootIDSize      = 8
	EraSize         = 8
	CommandSize     = 8
	StateDigestSize = 8
	DigestSize      = 32 // SHA-256
	NonceSize       = 32
)

// Rules of a session.
const (
	MaxInFlight       = 8    // acknowledged frames of one kind that a device has sent and not seen acknowledged
	MaxChunkRequests  = 4    // chunk requests outstanding
	MaxErrors         = 16   // error frames that a side sends in one session before goodbye(Protocol)
	MaxTrialBoots     = 3    // boots on trial without being confirmed before PowerLoss
	MaxInvokesKept    = 8    // invoke results that a device remembers
	TLSRecord         = 4000 // most application data a gateway puts into one TLS record, bytes
	MissedHeartbeats  = 3    // intervals without any frame after which the link counts as dead
	MinHeartbeatMilli = 100
	MaxHeartbeatMilli = 3_600_000
)

// Timeouts and back-off. A device uses its uptime clock for all of them.
const (
	HandshakeTimeout  = 20 * time.Second // TCP accepted until the TLS handshake is done
	HelloTimeout      = 10 * time.Second // handshake done until hello; and hello until welcome
	FirstContactIdle  = 60 * time.Second // between frames of a session that is not enrolled
	FirstContactLife  = 10 * time.Minute // a whole session that is not enrolled
	WriteTimeout      = 20 * time.Second // a peer that takes no bytes for so long is gone
	ChunkTimeout      = 10 * time.Second // chunk request until its chunk, then ask again
	TransferTimeout   = 60 * time.Second // connected, asking, and no new byte: TransferTimeout
	BackoffFirst      = 1 * time.Second  // reconnect and resend back-off: first …
	BackoffMax        = 60 * time.Second // … doubling up to
	EnrollRetry       = 1 * time.Second  // least time between two enrolls while pending
	RejectedRetry     = 60 * time.Second // least wait after rejected
	NotFoundRetry     = 1 * time.Second  // chunk answered NotFound or Busy: first wait, doubling up to BackoffMax
	ProgressInterval  = 1 * time.Second  // least time between two reports that differ only in progress
	DefaultHeartbeat  = 10 * time.Second
	RenewRetry        = 60 * time.Second // after a renewal that failed
	StableAfter       = 60 * time.Second // session of so long resets the reconnect back-off
	DrainSpread       = 10 * time.Second // a draining gateway spreads its goodbyes over at most this
	CloseAfterGoodbye = 2 * time.Second  // the sender of goodbye waits so long for the peer to close
)
