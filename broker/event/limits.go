package event

import "time"

// Limits of the CloudEvents that Wasmbed reads and writes.
const (
	// MaxEvent is the largest body of one event or one batch, bytes. A larger one is errs.TooLarge.
	MaxEvent = 1 << 20
	// MaxBatch is the largest number of events in one batch.
	MaxBatch = 1024
	// MaxAttributes is the largest size of all context attributes of one event together (names and
	// values, as in the HTTP binding), bytes.
	MaxAttributes = 16 << 10
	// maxAnswer is how much of an answer's body is read, for the error message, bytes.
	maxAnswer = 4 << 10
	// parallelPosts is how many single posts a Sink has under way when it must split a batch.
	parallelPosts = 16
	// postTimeout bounds one post when the caller's context has no deadline.
	postTimeout = 30 * time.Second
)
