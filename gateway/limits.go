package gateway

import "time"

// Every limit of the gateway that is not a setting of its Gateway object. The protocol's are in
// protocol/limits.go, the session machine's in session/limits.go, the uplink's in uplink/limits.go.
const (
	// recordSize is the largest TLS plaintext per record written to a device. A small device has a 4 KiB input
	// buffer for the plaintext, its content type and padding; the rest is air.
	recordSize = 4000

	// lingerBytes is how much a peer may still send after our goodbye before the connection is reset.
	lingerBytes = 256 << 10
	// goodbyeTimeout is how long a goodbye may take to leave before the connection is closed under it.
	goodbyeTimeout = 2 * time.Second

	// workerIdle is how long a goroutine that served a connection waits for the next one to serve.
	workerIdle = 100 * time.Millisecond

	// maxHandshaking bounds connections between accept and hello, of all addresses together.
	maxHandshaking = 8192
	// maxFirstContact bounds sessions that are not enrolled, of all addresses together.
	maxFirstContact = 4096
	// addressTable bounds the table of addresses with connections that are not authenticated. It can hold no
	// more than the connections above, and says so here.
	addressTable = maxHandshaking + maxFirstContact

	// chainCache is how many certificates' chain verifications are remembered. An entry is some 200 B.
	chainCache = 131072

	// maxOut is how many bytes may wait to be written to one device before the session is closed as one whose
	// device does not read. One frame is always taken.
	maxOut = 128 << 10

	// moduleCache is how many bytes of modules a gateway keeps.
	moduleCache = 64 << 20
	// maxModule is the largest module that is sent.
	maxModule = 16 << 20
	// maxLoads bounds modules being read from Redis at a time.
	maxLoads = 8
	// moduleMissEvery is how often one missing module is asked for.
	moduleMissEvery = 3 * time.Second
	// maxTransfers bounds the devices that are fetching modules at a time; others are answered with "busy".
	maxTransfers = 1024
	// transferIdle frees the transfer's slot of a device that stopped asking.
	transferIdle = 15 * time.Second

	// renewEvery is the tick of lease renewal; only sessions that spoke since the last one are renewed.
	renewEvery = time.Second
	// renewBatch is how many leases travel in one pipeline.
	renewBatch = 2048
	// leaseHeartbeats is a lease's life in heartbeat intervals. Longer than protocol.MissedHeartbeats, so that a device
	// that falls silent is told apart (Timeout) from a gateway that died (LeaseExpired).
	leaseHeartbeats = 4

	// maxClaims bounds concurrent Acquire calls, claimRetry is the pause after one failed.
	maxClaims  = 32
	claimRetry = 500 * time.Millisecond
	// claimPatience is how long a new session waits for its lease while Redis is away before it is told to
	// come back. Less than protocol.HelloTimeout, in which the device wants its welcome.
	claimPatience = 7 * time.Second
	// busyRetry is the retry-after of a session that was sent away for want of room or of Redis.
	busyRetry = 5 * time.Second
	// disabledRetryMin and disabledRetrySpread are when devices ask a gateway again that is switched off.
	disabledRetryMin    = 15 * time.Second
	disabledRetrySpread = 30 * time.Second

	// reconcileBatch is how many devices' desired are read in one pipeline, reconcileWorkers how many such
	// pipelines run at a time.
	reconcileBatch   = 128
	reconcileWorkers = 2
	// sweepEvery is the period in which every session's desired version is compared once, lest a wake was lost.
	sweepEvery = 30 * time.Second

	// rebuildGrace is how long after a new era what is missing in Redis counts as not rebuilt yet.
	rebuildGrace = time.Minute
	// settingsEvery is how often settings, trust anchors and the deny-list are read without being woken.
	settingsEvery = 2 * time.Second
	// registerEvery and registerTTL pace the process's own entry.
	registerEvery = 2 * time.Second
	registerTTL   = 10 * time.Second

	// shardTTL is the lease on a shard's timers, shardHoldEvery how often it is taken or kept.
	shardTTL       = 5 * time.Second
	shardHoldEvery = 1500 * time.Millisecond
	// dueMax is how many timers of one shard are taken per tick.
	dueMax = 256
	// leaseGrace is how long, after start or after Redis was away, expired leases are let be: their gateways
	// could not renew either, and do so within a renewal tick.
	leaseGrace = 5 * time.Second

	// verdictPoll is how often a waiting session's verdict is looked for, lest its wake was lost.
	verdictPoll = 2 * time.Second

	// redisTimeout bounds one round of calls to Redis.
	redisTimeout = 3 * time.Second
	// readyAge is how old the last good answer of a part may be for readiness.
	readyAge = 6 * time.Second
)

// Defaults of the Gateway object's settings, used until (and where) it says something else.
const (
	defaultMaxDevices        = 100000
	defaultPreAuthPerAddress = 256
)
