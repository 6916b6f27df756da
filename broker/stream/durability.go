package stream

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
)

// Durability is what a Redis promises of an accepted event.
type Durability struct {
	Known      bool   // false: the Redis does not tell (CONFIG is not allowed)
	AppendOnly bool   //
	Fsync      string // always, everysec, no
	Policy     string // maxmemory-policy
	MaxMemory  int64  // bytes; 0: no limit
}

// GetDurability asks a Redis. A Redis that answers but does not tell is no error.
func GetDurability(ctx context.Context, rdb redis.UniversalClient) (Durability, error) {
	if err := rdb.Ping(ctx).Err(); err != nil {
		return Durability{}, errs.New(errs.Unavailable, "redis: %w", err)
	}
	var d Durability
	for _, name := range []string{"appendonly", "appendfsync", "maxmemory-policy", "maxmemory"} {
		m, err := rdb.ConfigGet(ctx, name).Result()
		if err != nil || m[name] == "" {
			return Durability{}, nil
		}
		switch name {
		case "appendonly":
			d.AppendOnly = m[name] == "yes"
		case "appendfsync":
			d.Fsync = m[name]
		case "maxmemory-policy":
			d.Policy = m[name]
		case "maxmemory":
			d.MaxMemory, _ = strconv.ParseInt(m[name], 10, 64)
		}
	}
	d.Known = true
	return d, nil
}

// Strong reports whether an accepted event survives the loss of power, and nothing evicts it.
func (d Durability) Strong() bool {
	return d.Known && d.AppendOnly && d.Fsync == "always" && !d.evicts()
}

func (d Durability) evicts() bool { return d.MaxMemory > 0 && d.Policy != "noeviction" }

// String is one sentence or two for people.
func (d Durability) String() string {
	var s string
	switch {
	case !d.Known:
		s = "redis does not tell how durable it is: an accepted event survives what your Redis survives"
	case !d.AppendOnly:
		s = "redis keeps no append-only file: accepted events that are not yet delivered are lost when redis ends (appendonly yes, appendfsync always)"
	case d.Fsync == "always":
		s = "an accepted event is on redis' disk before it is accepted: it survives kill -9 and power cuts (appendfsync always)"
	case d.Fsync == "everysec":
		s = "an accepted event survives the end of redis, and all but about the last second a power cut (appendfsync everysec)"
	default:
		s = fmt.Sprintf("an accepted event survives the end of redis, and a power cut when the kernel had written it (appendfsync %s)", d.Fsync)
	}
	if d.Known && d.evicts() {
		s += "; but redis may evict events when it is full (maxmemory-policy " + d.Policy + ", set noeviction)"
	}
	return s
}

// usedMemory returns the bytes that Redis uses and its own limit.
func usedMemory(ctx context.Context, rdb redis.UniversalClient) (used, limit int64, err error) {
	info, err := rdb.Info(ctx, "memory").Result()
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(info) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch k {
		case "used_memory":
			used, _ = strconv.ParseInt(v, 10, 64)
		case "maxmemory":
			limit, _ = strconv.ParseInt(v, 10, 64)
		}
	}
	return used, limit, nil
}

// isFull reports whether Redis refused a command for want of memory.
func isFull(err error) bool {
	return err != nil && (strings.HasPrefix(err.Error(), "OOM ") || strings.HasPrefix(err.Error(), "EXECABORT"))
}
