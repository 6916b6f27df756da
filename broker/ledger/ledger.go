// Package ledger keeps, in Redis, what every device shall do (desired) and what it does (reported), the work
// sets and counters of the applications' rollouts, their deadlines, and the views' feeds. All of it can be
// rebuilt from the CRDs and the devices; docs/spec/redis.md lists the keys and the scripts.
//
// Everything of one device lives in one shard, one Redis Cluster slot, and every change of a device is one
// script: row, work sets, counters, due marks, feed and the wake of the gateway that holds it.
//
// All methods may be called concurrently. Errors are *errs.Error: Unavailable or Deadline when Redis does not
// answer, Invalid for arguments that can never work, others where the method says so.
package ledger

import (
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
)

// Options are the ledger's settings. Zero values are defaults.
type Options struct {
	Now    func() time.Time // default time.Now; also the clock inside the scripts
	Shards int              // default DefaultShards; the same in every process on one Redis
}

// Ledger is a handle; it holds no state but script digests.
type Ledger struct {
	scripts
	rdb  redis.UniversalClient
	now  func() time.Time
	keys Keys
}

// New returns a ledger on a Redis, single or cluster. It does not connect.
func New(rdb redis.UniversalClient, o Options) *Ledger {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Shards <= 0 {
		o.Shards = DefaultShards
	}
	return &Ledger{rdb: rdb, now: o.Now, keys: Keys{shards: o.Shards}, scripts: loadScripts()}
}

// Shards returns the number of shards.
func (l *Ledger) Shards() int { return l.keys.shards }

// ShardOf returns the shard of a device, 0 … Shards-1.
func (l *Ledger) ShardOf(d event.Device) int { return l.keys.ShardOf(d) }

// Keys returns the names of the keys.
func (l *Ledger) Keys() Keys { return l.keys }
