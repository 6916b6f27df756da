package session

import "time"

// Limits of one session that are the gateway's own; the protocol's are in protocol/limits.go.
const (
	// firstReport is how long after its welcome a device may take to send its full report before it is asked,
	// and how long an answer to a report-request may take before it is asked again.
	firstReport = 10 * time.Second
	// commandAnswer is how long a command may be unanswered before it is sent again.
	commandAnswer = 30 * time.Second
	// commandEffect is how long an answered command may be without the effect that the comparison wants before
	// it is sent again; a refused one, too, is tried again so late, for its cause may have gone.
	commandEffect = 2 * time.Minute
	// maxSent bounds the commands remembered, which is all that one comparison can produce.
	maxSent = 64
	// maxCalls bounds the commands that were told and have no answer; further ones wait in the ledger.
	maxCalls = 16
	// messageQuiet is how long after a message no error means that the device took it.
	messageQuiet = time.Second
	// enrollPause is how long after an enroll that has no answer yet the next one is not taken.
	enrollPause = 500 * time.Millisecond
	// maxEnrolls is how often one session may ask for enrollment.
	maxEnrolls = 64
	// verdictPatience is how long an enroll or renew waits for its verdict before the device is told to ask
	// again.
	verdictPatience = 10 * time.Second
	// pendingRetry is when a device shall ask again whose enroll had no verdict in time.
	pendingRetry = 5 * time.Second
	// chunkOverhead is what a chunk's frame body holds beside the data, at most.
	chunkOverhead = 96
)
