package stream

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// queue is the waiting line of one Trigger in this process, or of the dead letter sink of one.
type queue struct {
	b        *Broker
	name     string // namespace/name of the Trigger, + sinkSuffix
	key      string
	to       Destination
	delivery Delivery
	filter   Filter
	sink     *queue // where its dead letters go on, or nil
	isSink   bool
	maxHeld  int           // entries in memory
	timeout  time.Duration // of one attempt

	work    chan *entry  // held and not begun; as long as the most that may be held
	backlog atomic.Int64 // waiting, under way and parked, of all processes; counted now and then, an estimate between
	nextDue atomic.Int64 // Unix ms of the next parked delivery that this process knows; 0: none
	breaker breaker
	target  atomic.Value // *target, of the last URL
	m       labelled

	// The stream and the memory: every entry of the stream up to cursor is held or was; when behind,
	// there may be others after it.
	mu      sync.Mutex
	open    bool // Run is there to deliver
	held    map[string]struct{}
	cursor  string
	behind  bool
	skipped uint64 // entries left in the stream so far; tells a read that its end is not the end any more
	doubts  int    // looks in a row at which the stream held more than is known
}

// entry is one delivery: an event in a queue.
type entry struct {
	id       string // in the stream
	blob     string // stored event
	attempts int    // made before this one
	accepted int64  // Unix ms
}

func (b *Broker) newQueue(name string, to Destination, d Delivery) *queue {
	q := &queue{
		b: b, name: name, key: queueKey(name, b.consumer), to: to, delivery: d, timeout: d.Timeout,
		maxHeld: 2 * b.o.Concurrency, held: map[string]struct{}{}, m: b.m.labelled(name),
	}
	q.work = make(chan *entry, q.maxHeld)
	setDefault(&q.timeout, b.o.Timeout)
	return q
}

// offer is told of every entry that this process has put into its stream, in order. The entry is delivered
// from memory if there is room and nothing older waits; else it stays in the stream.
func (q *queue) offer(added *redis.Cmd, blob string) {
	q.backlog.Add(1)
	id, _ := added.Val().(string)
	q.mu.Lock()
	if _, there := q.held[id]; there { // a read was quicker
		q.mu.Unlock()
		return
	}
	if q.open && !q.behind && len(q.held) < q.maxHeld && id != "" {
		q.hold(&entry{id: id, blob: blob, accepted: millisOf(id)})
		q.mu.Unlock()
		return
	}
	q.behind = true
	q.skipped++
	q.mu.Unlock()
	q.b.signal()
}

// hold takes an entry into memory. The caller has the lock and has seen that there is room, so the channel
// has it too.
func (q *queue) hold(e *entry) {
	q.held[e.id] = struct{}{}
	q.cursor = e.id
	q.work <- e
}

// finished forgets an entry that is not in the stream any more.
func (q *queue) finished(e *entry) {
	q.mu.Lock()
	delete(q.held, e.id)
	behind := q.behind
	q.mu.Unlock()
	if behind {
		q.b.signal()
	}
}

// recheck makes the queue read its stream on, from the start if anew.
func (q *queue) recheck(anew bool) {
	q.mu.Lock()
	q.behind = true
	q.skipped++
	if anew {
		q.cursor = ""
	}
	q.mu.Unlock()
	q.b.signal()
}

// empty forgets what is in memory, at the end of Run: it is all in the stream.
func (q *queue) empty() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.work) > 0 {
		<-q.work
	}
	clear(q.held)
}

// setOpen starts or stops the taking of entries into memory.
func (q *queue) setOpen(open bool) {
	q.mu.Lock()
	q.open = open
	q.mu.Unlock()
}

// dispatch reads on in the streams of queues that are behind. Whoever leaves an entry there wakes it.
func (b *Broker) dispatch(ctx context.Context) {
	poll := time.NewTicker(pollPeriod)
	defer poll.Stop()
	for {
		for ctx.Err() == nil && b.read(ctx) {
		}
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			b.takeInboxes(ctx)
		case <-b.wake:
		}
	}
}

type reading struct {
	q       *queue
	room    int
	skipped uint64
	cmd     *redis.XMessageSliceCmd
}

// read asks once for every queue that is behind and has room, and reports whether it is worth asking again
// at once.
func (b *Broker) read(ctx context.Context) (again bool) {
	var asked []reading
	p := b.rdb.Pipeline()
	for _, q := range b.queues {
		q.mu.Lock()
		room, from := q.maxHeld-len(q.held), "-"
		if q.cursor != "" {
			from = "(" + q.cursor
		}
		if q.behind && q.open && room > 0 && !q.breaker.isOpen(b.o.Now()) {
			asked = append(asked, reading{q, room, q.skipped, p.XRangeN(ctx, q.key, from, "+", int64(room))})
		}
		q.mu.Unlock()
	}
	if len(asked) == 0 {
		return false
	}
	_, _ = p.Exec(ctx) // each command has its own error
	for _, r := range asked {
		got, err := r.cmd.Result()
		if err != nil {
			if ctx.Err() == nil {
				b.once("read", "redis does not answer; deliveries wait", "error", err)
				// The poll comes back to it: the queue is still behind.
			}
			continue
		}
		again = r.q.took(r, got) || again
	}
	return again
}

// took holds what was read, and reports whether there is more that there is room for.
func (q *queue) took(r reading, got []redis.XMessage) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range got {
		if _, there := q.held[m.ID]; there {
			q.cursor = m.ID
			continue
		}
		if len(q.held) >= q.maxHeld {
			return false // cannot be: offers take no room while the queue is behind
		}
		q.hold(entryOf(m))
	}
	if len(got) < r.room && q.skipped == r.skipped {
		q.behind = false
		return false
	}
	return len(q.held) < q.maxHeld
}

func entryOf(m redis.XMessage) *entry {
	e := &entry{id: m.ID, accepted: millisOf(m.ID)}
	e.blob, _ = m.Values["e"].(string)
	if s, ok := m.Values["a"].(string); ok {
		e.attempts, _ = strconv.Atoi(s)
	}
	if s, ok := m.Values["t"].(string); ok {
		e.accepted, _ = strconv.ParseInt(s, 10, 64)
	}
	return e
}

// millisOf is the time in a stream id.
func millisOf(id string) int64 {
	for i := range len(id) {
		if id[i] == '-' {
			id = id[:i]
			break
		}
	}
	ms, _ := strconv.ParseInt(id, 10, 64)
	return ms
}

// takeInboxes moves what belongs to nobody into this process' queues.
func (b *Broker) takeInboxes(ctx context.Context) {
	p := b.rdb.Pipeline()
	lens := make([]*redis.IntCmd, len(b.queues))
	for i, q := range b.queues {
		lens[i] = p.XLen(ctx, inboxKey(q.name))
	}
	_, _ = p.Exec(ctx)
	for i, q := range b.queues {
		if lens[i].Err() == nil && lens[i].Val() > 0 {
			q.takeFrom(ctx, inboxKey(q.name))
		}
	}
}

// takeFrom moves everything in another stream into the queue's and returns how much there was.
func (q *queue) takeFrom(ctx context.Context, key string) (total int) {
	for ctx.Err() == nil {
		n, err := moveScript.Run(ctx, q.b.rdb, []string{key, q.key, consumersKey}, moveBatch, q.b.consumer).Int()
		total += n
		if err != nil || n < moveBatch {
			break
		}
	}
	if total > 0 {
		q.recheck(false)
	}
	return total
}

// due makes parked retries ready when their time has come.
func (b *Broker) due(ctx context.Context) {
	poll := time.NewTicker(duePeriod)
	defer poll.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			all = true
		case <-timer.C:
		case <-b.dueWake:
		}
		next := int64(0)
		for _, q := range b.queues {
			now := b.o.Now().UnixMilli()
			if due := q.nextDue.Load(); all || due > 0 && due <= now {
				q.unpark(ctx, now)
			}
			if due := q.nextDue.Load(); due > 0 && (next == 0 || due < next) {
				next = due
			}
		}
		if next > 0 {
			timer.Reset(max(time.Duration(next-b.o.Now().UnixMilli()), 1) * time.Millisecond)
		}
	}
}

func (q *queue) unpark(ctx context.Context, now int64) {
	for ctx.Err() == nil {
		known := q.nextDue.Load()
		res, err := dueScript.Run(ctx, q.b.rdb, []string{retryKey(q.name), parkedKey(q.name), q.key, consumersKey}, now, dueBatch, q.b.consumer).Slice()
		if err != nil || len(res) != 2 {
			if err != nil && ctx.Err() == nil {
				q.b.once("due", "redis does not answer; retries wait", "error", err)
				q.nextDue.CompareAndSwap(known, now+duePeriod.Milliseconds())
			}
			return
		}
		n, _ := res[0].(int64)
		next := int64(0)
		if s, _ := res[1].(string); s != "" {
			f, _ := strconv.ParseFloat(s, 64)
			next = int64(f)
		}
		q.nextDue.CompareAndSwap(known, next) // else something was parked meanwhile and knows better
		if n > 0 {
			q.recheck(false)
		}
		if next == 0 || next > now {
			return
		}
	}
}

// parkedUntil notes that something of q is due at a time.
func (q *queue) parkedUntil(ms int64) {
	for {
		known := q.nextDue.Load()
		if known > 0 && known <= ms {
			return
		}
		if q.nextDue.CompareAndSwap(known, ms) {
			select {
			case q.b.dueWake <- struct{}{}:
			default:
			}
			return
		}
	}
}

// drop takes an entry out of the stream.
func (q *queue) drop(p redis.Pipeliner, id string) {
	p.Do(context.Background(), "XDEL", q.key, id)
}
