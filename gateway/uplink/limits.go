package uplink

import "time"

// Limits of the way up. All queues are bounded: what does not fit is refused to the device, which keeps it.
const (
	// maxQueued bounds events (reports, traps, connects …) that wait, maxQueuedBytes their data.
	maxQueued      = 65536
	maxQueuedBytes = 64 << 20
	// reserved is the part of maxQueued that only lifecycle events may use, so that a flood of reports cannot
	// keep a disconnect from being said.
	reserved = 8192
	// eventPosters is how many batches of events are under way at a time, eventBatch and eventBatchBytes the
	// largest of them. The broker takes at most 1024 events and 1 MiB.
	eventPosters    = 4
	eventBatch      = 256
	eventBatchBytes = 512 << 10

	// recordFlush is how long telemetry or log records wait for company, recordBatch how many bytes make a
	// batch full. A batch may exceed recordBatch by one frame.
	recordFlush = 20 * time.Millisecond
	recordBatch = 192 << 10
	// recordEntries bounds the frames in a batch; the catalogue's decoder takes 65536 array elements.
	recordEntries = 16384
	// recordReady is how many full batches may wait, recordPosters how many are under way, per kind.
	recordReady   = 16
	recordPosters = 2

	// postTimeout bounds one post.
	postTimeout = 15 * time.Second
	// retryMin and retryMax bound the back-off while the broker is away.
	retryMin = 50 * time.Millisecond
	retryMax = 3 * time.Second
)
