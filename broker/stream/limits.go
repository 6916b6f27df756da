package stream

import "time"

// Limits and times of the broker. Options overrides those that a site may want to change.
const (
	// defaultConcurrency is how many deliveries of one Trigger are under way at once.
	defaultConcurrency = 32
	// defaultBacklog is how many events may wait for one Trigger; beyond it the ingress answers 429 to
	// events that this Trigger would get. Replies of subscribers may go to twice that.
	defaultBacklog = 100_000
	// defaultRecent is how many events the feed of recent events keeps, about.
	defaultRecent = 10_000
	// defaultDead is how many dead letters of one Trigger are kept, about; older ones are dropped.
	defaultDead = 10_000
	// defaultPosts is how many posts the ingress has under way at once; more are answered 503.
	defaultPosts = 4096
	// defaultHops is how many brokers and replies may follow one another before an event is refused.
	defaultHops = 32
	// defaultTimeout bounds one delivery when its Trigger does not.
	defaultTimeout = 30 * time.Second
	// defaultGrace is how long deliveries may go on after Run's context has ended.
	defaultGrace = 5 * time.Second
	// defaultRetry, defaultDelay: when a Trigger says nothing about delivery.
	defaultRetry = 10
	defaultDelay = 200 * time.Millisecond
	// maxBackoff caps the exponential and linear back-off.
	maxBackoff = 30 * time.Second
	// defaultRetryAfterMax caps what a subscriber may ask for with Retry-After.
	defaultRetryAfterMax = 5 * time.Minute

	// maxReply is the largest answer of a subscriber, bytes; a larger one fails the delivery.
	maxReply = 1 << 20
	// maxMessage is how much of a failed answer is kept with a dead letter, bytes.
	maxMessage = 1 << 10
	// maxRecentData is how much data an event may have to be in the feed whole, bytes.
	maxRecentData = 16 << 10
	// maxTriggers is how many Triggers one broker takes.
	maxTriggers = 256
	// maxFilterDepth bounds the nesting of filters.
	maxFilterDepth = 16

	// commitOps, commitBytes bound one transaction.
	commitOps   = 512
	commitBytes = 4 << 20
	// commitTimeout bounds one transaction; then the outcome is unknown and the post is answered 503.
	commitTimeout = 5 * time.Second
	// bodyTimeout bounds how long a post's body may take.
	bodyTimeout = 10 * time.Second

	// pollPeriod is how often inboxes are looked at.
	pollPeriod = 250 * time.Millisecond
	// duePeriod is how often parked retries of other brokers are looked for.
	duePeriod = 500 * time.Millisecond
	// alivePeriod, aliveTTL: how often a broker says that it lives, and how long that holds.
	alivePeriod = 700 * time.Millisecond
	aliveTTL    = 3 * time.Second
	// doubtLooks is after how many looks in a row (each alivePeriod) a queue that holds more than this
	// process knows of is read anew from its beginning.
	doubtLooks = 3
	// moveBatch is how many entries are taken over in one script.
	moveBatch = 128
	// dueBatch is how many parked retries become ready in one script.
	dueBatch = 128

	// breakerFailures is after how many failed connections in a row a Trigger's deliveries pause, but for
	// one probe at a time; breakerMin, breakerMax bound the pause between probes.
	breakerFailures = 8
	breakerMin      = 100 * time.Millisecond
	breakerMax      = 2 * time.Second
)
