package ledger

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// Feed returns what changed since from, and where to go on. from has a place per shard: "$" for now, "0" for all
// that is kept, or what the call before returned; nil is "$" for all. When there is nothing it waits for at most
// block. Entries are in the order of their time; those of one device are in their order. The feed is a view's
// help, not a record: each shard keeps about FeedLength entries.
func (l *Ledger) Feed(ctx context.Context, from []string, block time.Duration) ([]FeedEntry, []string, error) {
	if from == nil {
		from = slices.Repeat([]string{"$"}, l.keys.shards)
	}
	if len(from) != l.keys.shards {
		return nil, from, errs.New(errs.Invalid, "ledger: feed of %d shards from %d places", l.keys.shards, len(from))
	}
	for _, id := range from {
		if id != "$" && !streamID(id) {
			return nil, from, errs.New(errs.Invalid, "ledger: %q is not a place in a feed", id)
		}
	}
	from, err := l.feedPlaces(ctx, slices.Clone(from))
	if err != nil {
		return nil, from, err
	}
	// The wait is cut in pieces, so that the context's end is seen, and because a cluster cannot wait for
	// several slots at once.
	end := time.Now().Add(min(block, feedBlockMax))
	for {
		left := time.Until(end)
		out, err := l.feedRead(ctx, from, min(left, time.Second))
		if err != nil || len(out) > 0 || left <= 0 {
			return out, from, err
		}
		if err := ctx.Err(); err != nil {
			return nil, from, wrap(err, "feed")
		}
	}
}

// feedPlaces turns every "$" into the id of the shard's last entry.
func (l *Ledger) feedPlaces(ctx context.Context, from []string) ([]string, error) {
	p := l.rdb.Pipeline()
	cmds := make([]*redis.XMessageSliceCmd, len(from))
	n := 0
	for i, id := range from {
		if id == "$" {
			cmds[i] = p.XRevRangeN(ctx, l.keys.Feed(i), "+", "-", 1)
			n++
		}
	}
	if n == 0 {
		return from, nil
	}
	_, _ = p.Exec(ctx)
	for i, c := range cmds {
		if c == nil {
			continue
		}
		v, err := c.Result()
		if err != nil {
			return from, wrap(err, "feed")
		}
		from[i] = "0"
		if len(v) > 0 {
			from[i] = v[0].ID
		}
	}
	return from, nil
}

// feedRead reads all shards once and moves from on. On one server it waits there; on a cluster it looks several
// times a second.
func (l *Ledger) feedRead(ctx context.Context, from []string, block time.Duration) ([]FeedEntry, error) {
	var out []FeedEntry
	take := func(s redis.XStream) {
		for i := range from {
			if s.Stream != l.keys.Feed(i) {
				continue
			}
			for _, m := range s.Messages {
				from[i] = m.ID
				out = append(out, feedEntry(i, m))
			}
		}
	}
	if _, cluster := l.rdb.(*redis.ClusterClient); !cluster {
		a := &redis.XReadArgs{Count: MaxPage, Block: -1}
		if block >= time.Millisecond {
			a.Block = block
		}
		for i := range from {
			a.Streams = append(a.Streams, l.keys.Feed(i))
		}
		a.Streams = append(a.Streams, from...)
		v, err := l.rdb.XRead(ctx, a).Result()
		if err != nil && err != redis.Nil {
			return nil, wrap(err, "feed")
		}
		for _, s := range v {
			take(s)
		}
	} else {
		p := l.rdb.Pipeline()
		cmds := make([]*redis.XStreamSliceCmd, len(from))
		for i := range from {
			cmds[i] = p.XRead(ctx, &redis.XReadArgs{Streams: []string{l.keys.Feed(i), from[i]}, Count: MaxPage, Block: -1})
		}
		_, _ = p.Exec(ctx)
		for _, c := range cmds {
			v, err := c.Result()
			if err != nil && err != redis.Nil {
				return nil, wrap(err, "feed")
			}
			for _, s := range v {
				take(s)
			}
		}
		if len(out) == 0 && block > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(min(block, 200*time.Millisecond)):
			}
		}
	}
	slices.SortStableFunc(out, func(a, b FeedEntry) int { return a.Time.Compare(b.Time) })
	return out, nil
}

func feedEntry(shard int, m redis.XMessage) FeedEntry {
	ns, name, _ := strings.Cut(field(m, "d"), "/")
	return FeedEntry{Shard: shard, ID: m.ID, Time: fromMS(field(m, "t")), Device: event.Device{Namespace: ns, Name: name},
		App: field(m, "a"), Kind: field(m, "k"), From: field(m, "f"), To: field(m, "o"), State: field(m, "s"),
		Reason: field(m, "r"), Message: field(m, "m")}
}
