package stream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
)

// op is one all-or-nothing change of the broker's keys.
type op struct {
	build func(redis.Pipeliner) // queues the op's commands
	size  int                   // bytes, about
	frees bool                  // the op only deletes: it goes through when Redis is out of memory, without a transaction
	// done is called when Redis has taken the op, before the next transaction begins; it must not block.
	// finish learns how it went, after done. After an error the op may have happened all the same (a lost
	// answer), so who says it again must stand a duplicate.
	done   func()
	finish func(error)
}

// committer puts the ops of many goroutines together into one transaction: while one is on its way to
// Redis and to its disk, the next gathers. So the cost of appendfsync always is paid once for all the posts
// and deliveries that wait, and one post alone waits for nobody.
type committer struct {
	rdb      redis.UniversalClient
	member   string // added to consumersKey in every transaction
	observed func(ops int, took time.Duration)

	mu       sync.Mutex
	pending  []*op
	flushing bool
	idle     chan struct{} // closed when flushing ends
}

func newCommitter(rdb redis.UniversalClient, member string, observed func(int, time.Duration)) *committer {
	return &committer{rdb: rdb, member: member, observed: observed}
}

// submit takes an op over.
func (c *committer) submit(o *op) {
	c.mu.Lock()
	c.pending = append(c.pending, o)
	if !c.flushing {
		c.flushing = true
		c.idle = make(chan struct{})
		go c.flush()
	}
	c.mu.Unlock()
}

// do submits and waits. The wait ends with ctx, the op goes on.
func (c *committer) do(ctx context.Context, o *op) error {
	done := make(chan error, 1)
	o.finish = func(err error) { done <- err }
	c.submit(o)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errs.New(errs.Deadline, "storing: %w", context.Cause(ctx))
	}
}

// drain waits until no op is pending.
func (c *committer) drain(ctx context.Context) {
	for {
		c.mu.Lock()
		idle, flushing := c.idle, c.flushing
		c.mu.Unlock()
		if !flushing {
			return
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return
		}
	}
}

func (c *committer) flush() {
	for {
		c.mu.Lock()
		n, size := 0, 0
		for n < len(c.pending) && n < commitOps && size < commitBytes {
			size += c.pending[n].size
			n++
		}
		if n == 0 {
			c.flushing = false
			c.pending = nil
			close(c.idle)
			c.mu.Unlock()
			return
		}
		batch := c.pending[:n:n]
		c.pending = c.pending[n:]
		c.mu.Unlock()
		c.exec(batch)
	}
}

// exec runs one transaction and tells every op how its own commands went.
func (c *committer) exec(batch []*op) {
	cmds, ends, err := c.run(c.rdb.TxPipeline(), batch)
	if isFull(err) {
		// Redis refused the whole transaction because part of it needs memory. What frees memory must
		// not wait for what needs it.
		c.split(batch, err)
		return
	}
	tell(batch, cmds, ends, err)
}

func (c *committer) run(p redis.Pipeliner, batch []*op) ([]redis.Cmder, []int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	start := time.Now()
	ends := make([]int, len(batch))
	for i, o := range batch {
		o.build(p)
		ends[i] = p.Len()
	}
	if c.member != "" {
		p.Do(ctx, "SADD", consumersKey, c.member)
	}
	cmds, err := p.Exec(ctx)
	if c.observed != nil {
		c.observed(len(batch), time.Since(start))
	}
	return cmds, ends, err
}

func tell(batch []*op, cmds []redis.Cmder, ends []int, err error) {
	begin := 0
	for i, o := range batch {
		err := resultOf(cmds, begin, ends[i], err)
		if err == nil && o.done != nil {
			o.done()
		}
		if o.finish != nil {
			o.finish(err)
		}
		begin = ends[i]
	}
}

// split runs the ops of a refused transaction again: those that free memory without a transaction, for a
// full Redis queues no command at all in one, each of the others alone, so that none suffers for another.
func (c *committer) split(batch []*op, err error) {
	var frees, takes []*op
	for _, o := range batch {
		if o.frees {
			frees = append(frees, o)
		} else {
			takes = append(takes, o)
		}
	}
	if len(frees) > 0 {
		cmds, ends, err := c.run(c.rdb.Pipeline(), frees)
		tell(frees, cmds, ends, err)
	}
	if len(takes) == 1 {
		tell(takes, nil, []int{1}, err)
		return
	}
	for _, o := range takes {
		cmds, ends, err := c.run(c.rdb.TxPipeline(), []*op{o})
		tell([]*op{o}, cmds, ends, err)
	}
}

func resultOf(cmds []redis.Cmder, begin, end int, err error) error {
	if err == nil {
		return nil
	}
	if len(cmds) < end {
		return storeError(err)
	}
	for _, cmd := range cmds[begin:end] {
		if e := cmd.Err(); e != nil && !errors.Is(e, redis.Nil) {
			return storeError(e)
		}
	}
	return nil
}

// storeError gives a Redis error a code: Deadline, else Unavailable.
func storeError(err error) error {
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return errs.New(errs.Unavailable, "redis is out of memory: %w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return errs.New(errs.Deadline, "redis: %w", err)
	}
	return errs.New(errs.Unavailable, "redis: %w", err)
}
