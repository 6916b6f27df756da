package blob

// Format.
const (
	Version    = 1
	HeaderSize = 16   // bytes
	MaxBody    = 4080 // bytes
	MaxSize    = HeaderSize + MaxBody
)

// Limits of fields, bytes unless said otherwise; those of firmware/port/zephyr/provision.h.
const (
	MaxBoard  = 32
	MaxName   = 63
	MaxHost   = 253 // gateway host and server name
	MaxTrust  = 2   // anchors
	MaxClaim  = 64
	MinSeed   = 32
	MaxSeed   = 64
	MaxPrefix = 30 // bits
)

// Limits of CBOR, the core's (firmware/core/src/cbor.h).
const (
	maxDepth = 8    // nested arrays and maps; the body's map is level 1
	maxArray = 1024 // elements
	maxMap   = 64   // pairs
)
