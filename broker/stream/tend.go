package stream

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// tend keeps the broker's sign of life, counts what waits, watches Redis' memory, and takes over what
// brokers left that have died.
func (b *Broker) tend(ctx context.Context) {
	tick := time.NewTicker(alivePeriod)
	defer tick.Stop()
	missing := map[string]int{} // process → how many looks in a row it showed no sign of life
	for {
		b.look(ctx, missing)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *Broker) look(ctx context.Context, missing map[string]int) {
	p := b.rdb.Pipeline()
	p.Set(ctx, aliveKey(b.consumer), "1", aliveTTL)
	names := make([]any, len(b.queues))
	own := make([]*redis.IntCmd, len(b.queues))
	for i, q := range b.queues {
		names[i] = q.name
		own[i] = p.XLen(ctx, q.key)
	}
	if len(names) > 0 {
		p.SAdd(ctx, triggersKey, names...)
	}
	others := p.SMembers(ctx, consumersKey)
	if _, _ = p.Exec(ctx); others.Err() != nil {
		return
	}
	for _, kind := range []string{"redis", "read", "due", "settle"} {
		b.warned.Delete(kind)
	}
	for i, q := range b.queues {
		q.compare(own[i])
	}
	b.watchMemory(ctx)
	b.takeOver(ctx, others.Val(), missing)
	b.count(ctx, others.Val())
}

// compare finds entries that this process has stored and does not know of, because Redis' answer was lost:
// for some looks the stream is longer than what is held, though nothing is left to read.
func (q *queue) compare(length *redis.IntCmd) {
	if length.Err() != nil {
		return
	}
	q.mu.Lock()
	if q.behind || length.Val() <= int64(len(q.held)) {
		q.doubts = 0
	} else {
		q.doubts++
	}
	anew := q.doubts >= doubtLooks
	if anew {
		q.doubts = 0
	}
	q.mu.Unlock()
	if anew {
		q.recheck(true)
	}
}

// count sets every queue's backlog to what Redis says of all processes.
func (b *Broker) count(ctx context.Context, consumers []string) {
	p := b.rdb.Pipeline()
	cmds := make([][]*redis.IntCmd, len(b.queues))
	for i, q := range b.queues {
		cmds[i] = append(cmds[i], p.ZCard(ctx, retryKey(q.name)), p.XLen(ctx, inboxKey(q.name)), p.XLen(ctx, q.key))
		for _, c := range consumers {
			if c != b.consumer {
				cmds[i] = append(cmds[i], p.XLen(ctx, queueKey(q.name, c)))
			}
		}
	}
	if _, err := p.Exec(ctx); err != nil {
		return
	}
	for i, q := range b.queues {
		n := int64(0)
		for _, c := range cmds[i] {
			n += c.Val()
		}
		q.backlog.Store(n)
		q.m.waiting.Set(float64(n))
		if n < b.o.Backlog {
			b.warned.Delete("backlog " + q.name)
		}
	}
}

func (b *Broker) watchMemory(ctx context.Context) {
	used, limit, err := usedMemory(ctx, b.rdb)
	if err != nil {
		return
	}
	most := b.o.MaxMemory
	if most == 0 {
		most = limit / 100 * 95
	}
	full := most > 0 && used >= most
	if b.full.Swap(full) != full {
		if full {
			b.log.Warn("redis is nearly full: posts are answered 503", "used", used, "limit", most)
		} else {
			b.log.Info("redis has room again", "used", used, "limit", most)
		}
	}
}

// takeOver moves into this process' queues those of processes that show no sign of life for two looks. One
// look is not enough: when Redis itself was away, everybody's sign has lapsed. Should a process live after
// all, what it has in memory is delivered twice, by it and by us.
func (b *Broker) takeOver(ctx context.Context, consumers []string, missing map[string]int) {
	seen := map[string]bool{}
	for _, c := range consumers {
		if c == b.consumer {
			continue
		}
		seen[c] = true
		n, err := b.rdb.Exists(ctx, aliveKey(c)).Result()
		if err != nil {
			return
		}
		if n > 0 {
			delete(missing, c)
			continue
		}
		if missing[c]++; missing[c] < 2 {
			continue
		}
		for _, q := range b.queues {
			if n := q.takeFrom(ctx, queueKey(q.name, c)); n > 0 {
				b.m.taken.Add(float64(n))
				b.log.Info("deliveries taken over from a broker that is gone", "trigger", q.name, "from", c, "deliveries", n)
			}
		}
		b.forget(ctx, c)
	}
	for c := range missing {
		if !seen[c] {
			delete(missing, c)
		}
	}
}

// forget takes a process out of the set when none of its queues is left. Those of Triggers that this broker
// does not have stay, and it with them.
func (b *Broker) forget(ctx context.Context, consumer string) {
	names, err := b.rdb.SMembers(ctx, triggersKey).Result()
	if err != nil {
		return
	}
	p := b.rdb.Pipeline()
	for _, name := range names {
		p.Exists(ctx, queueKey(name, consumer))
	}
	cmds, err := p.Exec(ctx)
	if err != nil {
		return
	}
	for _, c := range cmds {
		if n, ok := c.(*redis.IntCmd); ok && n.Val() > 0 {
			return
		}
	}
	b.rdb.SRem(ctx, consumersKey, consumer)
}

// leave gives this process' queues to whoever comes, at the end of Run.
func (b *Broker) leave(ctx context.Context) {
	for _, q := range b.queues {
		for {
			n, err := moveScript.Run(ctx, b.rdb, []string{q.key, inboxKey(q.name), consumersKey}, moveBatch, "").Int()
			if err != nil {
				return // the sign of life lapses and they are taken over as those of a dead process
			}
			if n < moveBatch {
				break
			}
		}
	}
	b.rdb.SRem(ctx, consumersKey, b.consumer)
	b.rdb.Del(ctx, aliveKey(b.consumer))
}
