package trace

import "time"

// The package's limits, all of them. What is kept is a help for people, never a record: everything here may be lost.
const (
	// KeepFor is how long a trace can be read, from its first span.
	KeepFor = time.Hour
	// MaxSpans of one trace; what is over is counted. MaxTraces and maxStored (spans of all traces) are kept roughly:
	// the oldest traces go. A span takes about 500 bytes of Redis, so all of them about 25 MB.
	MaxSpans  = 1024
	MaxTraces = 2000
	maxStored = 50_000
	// MaxFollowed is how many devices (or other members of a large set) one trace follows in full.
	MaxFollowed = 16

	maxQueue     = 4096                   // spans that wait to be written, in this process
	maxBatch     = 256                    // spans of one write
	flushEvery   = 200 * time.Millisecond // a span is visible after it
	writeTimeout = 2 * time.Second        // of one write to Redis
	tidyEvery    = 10 * time.Second       // between two looks at MaxTraces, over all processes
	otlpTimeout  = 10 * time.Second       // of one post, when the environment does not say

	// Traces that nobody asked for - a device connects, an object's status changes - are begun at this pace at most.
	ambientPerSecond = 1
	ambientBurst     = 20

	maxValue      = 256              // bytes of an attribute
	maxAttributes = 24               // of a span
	maxMark       = 253 + 1 + 253    // bytes of a mark: namespace/name
	maxLookup     = 512              // bytes of what is looked for
	annotated     = 10 * time.Minute // how long after it was written an annotation counts
	maxAnnotation = 128              // bytes
)
