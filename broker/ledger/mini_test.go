package ledger

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// TestInProcess runs the cases on the in-process server that standalone falls back to when there is no Redis. Left
// out are those that take long, and what it does not have: keys that end by themselves, and command statistics.
func TestInProcess(t *testing.T) {
	c := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { c.Close() })
	runCases(t, c, "HoldShard", "FlatCost", "RandomHistory", "BigShards")
}
