package host

import "time"

// Limits of a host device in one place. What a board's table would say of a real one.
const (
	apps         = 4                // applications at once
	moduleSize   = 512 << 10        // bytes of a slot: as many as an inline module may have
	moduleMemory = 1<<20 + 64<<10   // bytes of RAM for one instance: 16 pages and a stack
	pageSize     = 64 << 10         // of linear memory
	frameIn      = 8192             // largest body that the device takes
	frameOut     = 2048             // largest body that it sends
	scratch      = 8192             // largest manifest, key-value store and CSR
	queueBytes   = 4096             // ring of telemetry; logs and messages have half
	readBuffer   = 4096             // of one connection
	sendBuffer   = 16 << 10         // bytes that a connection takes before link_send says EAGAIN
	dialTimeout  = 30 * time.Second // TCP and TLS; the core has its own, which is usually shorter
	closeTimeout = time.Second      // for sending what is left when a link is closed
	maxPolls     = 64               // devices of one process that execute at the same moment
	pins         = 32               // simulated pins
	maxChain     = 8                // certificates
)
