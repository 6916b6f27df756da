package ledger

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strconv"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
)

// Era returns the ledger's era, 16 hex digits, and makes one when there is none, or when a shard has lost its
// data. created is true for the one caller that made it, which then posts event.LedgerLost. Besides the
// general errors: Conflict when the ledger in Redis has another number of shards.
//
// Each shard has a copy of the era, because a script sees its own slot only. A new era is copied to the
// shards, then marked ready; a ready era with a shard that has no copy is a shard that lost its data.
func (l *Ledger) Era(ctx context.Context) (era string, created bool, err error) {
	broken := ""
	for range 4 {
		fresh := make([]byte, 8)
		if _, err := rand.Read(fresh); err != nil {
			return "", false, errs.New(errs.Internal, "ledger: era: %w", err)
		}
		v, err := l.run(ctx, "era", call{l.scripts.era, []string{l.keys.LedgerEra()},
			[]any{hex.EncodeToString(fresh), l.keys.shards, broken}})
		if err != nil {
			return "", created, err
		}
		era, created = str(v, 0), created || num(v, 3) == 1
		if n := num(v, 1); n != l.keys.shards {
			return "", false, errs.New(errs.Conflict, "ledger: Redis holds a ledger of %d shards, this process is set to %d", n, l.keys.shards).
				WithMend("start every process with the same number of shards, or empty Redis: it is rebuilt")
		}
		copies, err := l.copies(ctx)
		if err != nil {
			return "", created, err
		}
		ready := str(v, 2) == "1"
		var calls []call
		lost := false
		for i, c := range copies {
			if c != era {
				lost = lost || (ready && c == "")
				calls = append(calls, call{l.scripts.copy, []string{l.keys.Era(i)}, []any{c, era}})
			}
		}
		if lost {
			broken = era
			continue
		}
		res, err := l.pipe(ctx, "era", calls)
		if err != nil {
			return "", created, err
		}
		raced := false
		for _, r := range res {
			raced = raced || num(r, 0) == 0
		}
		if raced {
			continue
		}
		if !ready {
			v, err := l.run(ctx, "era", call{l.scripts.ready, []string{l.keys.LedgerEra()}, []any{era}})
			if err != nil {
				return "", created, err
			}
			if num(v, 0) == 0 {
				continue
			}
		}
		return era, created, nil
	}
	return "", created, errs.New(errs.Unavailable, "ledger: the era changes all the time")
}

// copies reads the shards' copies of the era.
func (l *Ledger) copies(ctx context.Context) ([]string, error) {
	p := l.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, l.keys.shards)
	for i := range cmds {
		cmds[i] = p.Get(ctx, l.keys.Era(i))
	}
	_, _ = p.Exec(ctx)
	out := make([]string, len(cmds))
	for i, c := range cmds {
		v, err := c.Result()
		if err != nil && err != redis.Nil {
			return nil, wrap(err, "era of shard "+strconv.Itoa(i))
		}
		out[i] = v
	}
	return out, nil
}
