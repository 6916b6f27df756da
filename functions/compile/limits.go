package compile

import "time"

// The limits of this package, all of them.
const (
	maxFiles    = 16
	maxName     = 64        // bytes of a file's name
	maxSource   = 256 << 10 // bytes of all files together
	maxModule   = 1 << 20   // bytes of a module
	maxLog      = 64 << 10  // bytes of what a compiler prints that are kept
	maxFindings = 200       // diagnostics that are kept
	minStack    = 256       // bytes
	maxStack    = 1 << 20
	maxPages    = 16

	parallel = 2  // compilations at once
	waiting  = 16 // that wait for their turn

	wallTime  = 30 * time.Second // of one compilation
	cpuTime   = 20               // seconds
	memory    = 1 << 30          // bytes of data; address space is not limited, for Node.js reserves far more than it uses
	fileSize  = 32 << 20         // bytes of one file that a compiler writes
	openFiles = 256

	minToken   = 16               // bytes of the service's token
	maxRequest = 4 * maxSource    // bytes of a request to the service: JSON may write one byte of source as six, of which few are
	maxReply   = 4 << 20          // bytes of its answer: a module in base64, a log, and what was found
	maxHeader  = 16 << 10         // bytes of a request's header
	readTime   = 10 * time.Second // of a request
	serveTime  = 5 * time.Minute  // of all of it: those that wait before, and the compilation

	cacheSize  = 64 << 20 // bytes of modules that are kept
	probeTime  = 5 * time.Second
	probeEvery = time.Minute // a tool that is missing is looked for again so often
)
