package stream

// Every key of the broker. All carry the hash tag {broker}, so they live in one slot of a Redis Cluster and
// one transaction can store an event for all its Triggers: an event is accepted for all of them or for none.
// The price is that one Redis node carries all events of an installation; it can store many times what the
// HTTP side can take, so the node is not what ends first.
//
// Why no consumer groups: every broker process has a queue of its own per Trigger. It alone reads it, and it
// holds in memory what it is delivering, so nothing needs a pending list, an acknowledgement or a claim: an
// entry that exists is not done, one that is done is deleted. What is accepted here is delivered from
// memory, without being read back. When a process has died, whoever lives moves its queues into their own in
// one script. Per event and Trigger that is two small commands, XADD and XDEL; a group needs XREADGROUP and XACK
// besides, writes each claim into the append-only file (one more fsync under appendfsync always), and has to
// be made again when Redis has lost everything.
const (
	// recentKey: stream, capped (Options.Recent). Written by accept. Fields e (stored event), m (names of
	// the Triggers that got it), x ("1": data left out for its size). For people, never for delivery.
	recentKey = "{broker}:recent"

	// triggersKey: set of the names of all Triggers that ever were served, sinks with sinkSuffix.
	triggersKey = "{broker}:triggers"

	// consumersKey: set of the broker processes that may have queues. Written in every transaction that
	// stores an event; a process leaves it when its queues are gone.
	consumersKey = "{broker}:consumers"
)

// queueKey: stream, one per Trigger and broker process. What waits and what is being delivered; deleted when
// it is done, parked or dead. Fields e (stored event), and on a later attempt a (attempts made) and t (first
// accepted, Unix ms).
func queueKey(trigger, consumer string) string { return "{broker}:q:" + trigger + ":" + consumer }

// inboxKey: stream like a queue, of nobody: whoever comes first moves it into their queue. Written by a
// process that ends and by Redeliver.
func inboxKey(trigger string) string { return "{broker}:inbox:" + trigger }

// retryKey: sorted set, parked delivery → when it is due, Unix ms. Members are process/entry.
func retryKey(trigger string) string { return "{broker}:retry:" + trigger }

// parkedKey: hash, parked delivery → "attempts accepted\n" + stored event.
func parkedKey(trigger string) string { return "{broker}:parked:" + trigger }

// deadKey: stream, capped (Options.Dead). Fields e, a, t as in the queue, s (HTTP status, 0: none), r
// (reason), m (message).
func deadKey(trigger string) string { return "{broker}:dead:" + trigger }

// aliveKey: string with a TTL of seconds, set by a broker process while it lives.
func aliveKey(consumer string) string { return "{broker}:alive:" + consumer }

// sinkSuffix marks the queue of events that go to a Trigger's dead letter sink.
const sinkSuffix = "#sink"
