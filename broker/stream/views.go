package stream

import (
	"context"
	"errors"
	"sort"
	"strconv"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
)

// Stored is an event of the feed of recent events.
type Stored struct {
	ID        string    // in the feed; where Recent goes on
	Accepted  time.Time //
	Event     ce.Event  //
	Triggers  []string  // namespace/name of those that wanted it
	Truncated bool      // the data was left out, for its size or because it is secret
}

// Recent reads the feed of recent events, oldest first: at most n of those after from. From "" is the
// oldest kept, "$" the end as it is now. With block > 0 it waits that long for the first one. next is the
// from of the next call. The feed is for people; events may be missing from it when there are very many.
func (b *Broker) Recent(ctx context.Context, from string, n int, block time.Duration) (events []Stored, next string, err error) {
	return Recent(ctx, b.rdb, from, n, block)
}

// Recent is Broker.Recent without a Broker.
func Recent(ctx context.Context, rdb redis.UniversalClient, from string, n int, block time.Duration) (events []Stored, next string, err error) {
	if from == "" {
		from = "0"
	}
	if from == "$" {
		// Turned into an id at once: between two calls nothing may be missed.
		last, err := rdb.XRevRangeN(ctx, recentKey, "+", "-", 1).Result()
		if err != nil {
			return nil, "", storeError(err)
		}
		if from = "0"; len(last) == 1 {
			from = last[0].ID
		}
	}
	if block <= 0 {
		block = -1
	}
	streams, err := rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{recentKey, from}, Count: int64(max(n, 1)), Block: block}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, from, nil
	}
	if err != nil {
		return nil, from, storeError(err)
	}
	next = from
	for _, s := range streams {
		for _, m := range s.Messages {
			next = m.ID
			e, err := eventOf(m)
			if err != nil {
				continue // damaged; the others are worth more than the error
			}
			names, _ := m.Values["m"].(string)
			events = append(events, Stored{ID: m.ID, Accepted: time.UnixMilli(millisOf(m.ID)), Event: e, Triggers: strings.Fields(names), Truncated: m.Values["x"] == "1"})
		}
	}
	return events, next, nil
}

func eventOf(m redis.XMessage) (ce.Event, error) {
	blob, _ := m.Values["e"].(string)
	r, err := decodeRecord(blob)
	if err != nil {
		return ce.Event{}, err
	}
	return r.event()
}

// DeadLetter is an event that a Trigger's subscriber did not take.
type DeadLetter struct {
	ID       string    // names it for Redeliver
	Trigger  string    // namespace/name
	Event    ce.Event  //
	Attempts int       //
	Status   int       // of the last answer; 0: none
	Reason   string    // Refused, Failed, Unreachable, NoAnswer, BadReply, ReplyStuck, HopsExhausted, Unreadable
	Message  string    //
	Accepted time.Time //
	Time     time.Time // given up
}

// DeadLetters lists dead letters of a Trigger (namespace/name), oldest first, at most n after the id from
// ("": from the oldest). next is "" at the end.
func (b *Broker) DeadLetters(ctx context.Context, trigger, from string, n int) (letters []DeadLetter, next string, err error) {
	return DeadLetters(ctx, b.rdb, trigger, from, n)
}

// DeadLetters is Broker.DeadLetters without a Broker.
func DeadLetters(ctx context.Context, rdb redis.UniversalClient, trigger, from string, n int) (letters []DeadLetter, next string, err error) {
	start := "-"
	if from != "" {
		start = "(" + from
	}
	n = max(n, 1)
	ms, err := rdb.XRangeN(ctx, deadKey(trigger), start, "+", int64(n)).Result()
	if err != nil {
		return nil, "", storeError(err)
	}
	for _, m := range ms {
		l := DeadLetter{ID: m.ID, Trigger: trigger, Time: time.UnixMilli(millisOf(m.ID))}
		str := func(k string) string { s, _ := m.Values[k].(string); return s }
		num := func(k string) int64 { v, _ := strconv.ParseInt(str(k), 10, 64); return v }
		l.Attempts, l.Status, l.Reason, l.Message, l.Accepted = int(num("a")), int(num("s")), str("r"), str("m"), time.UnixMilli(num("t"))
		if l.Event, err = eventOf(m); err != nil {
			l.Message = strings.TrimSpace(l.Message + " (" + err.Error() + ")")
		}
		letters = append(letters, l)
	}
	if len(ms) == n {
		next = ms[n-1].ID
	}
	return letters, next, nil
}

// Redeliver puts dead letters back into their Trigger's queue, with all attempts before them, and returns
// how many there were. Without ids: all that are there now.
func (b *Broker) Redeliver(ctx context.Context, trigger string, ids ...string) (int, error) {
	return Redeliver(ctx, b.rdb, trigger, ids...)
}

// Redeliver is Broker.Redeliver without a Broker: a running one finds them within a moment.
func Redeliver(ctx context.Context, rdb redis.UniversalClient, trigger string, ids ...string) (int, error) {
	if len(ids) == 0 {
		last, err := rdb.XRevRangeN(ctx, deadKey(trigger), "+", "-", 1).Result()
		if err != nil {
			return 0, storeError(err)
		}
		if len(last) == 0 {
			return 0, nil
		}
		for start := "-"; ; {
			ms, err := rdb.XRangeN(ctx, deadKey(trigger), start, last[0].ID, dueBatch).Result()
			if err != nil {
				return 0, storeError(err)
			}
			for _, m := range ms {
				ids = append(ids, m.ID)
			}
			if len(ms) < dueBatch {
				break
			}
			start = "(" + ms[len(ms)-1].ID
		}
	}
	total := 0
	for len(ids) > 0 {
		part := ids[:min(len(ids), dueBatch)]
		ids = ids[len(part):]
		args := make([]any, len(part))
		for i, id := range part {
			if !isStreamID(id) {
				return total, errs.New(errs.Invalid, "%q is no dead letter's id", id)
			}
			args[i] = id
		}
		n, err := redeliverScript.Run(ctx, rdb, []string{deadKey(trigger), inboxKey(trigger)}, args...).Int()
		if err != nil {
			return total, storeError(err)
		}
		total += n
	}
	return total, nil
}

func isStreamID(s string) bool {
	ms, seq, ok := strings.Cut(s, "-")
	_, err1 := strconv.ParseUint(ms, 10, 64)
	_, err2 := strconv.ParseUint(seq, 10, 64)
	return ok && err1 == nil && err2 == nil
}

// QueueState is how long the line of one Trigger is.
type QueueState struct {
	Trigger string // namespace/name
	Sink    bool   // the line to its dead letter sink
	Waiting int64  // not begun or under way
	Parked  int64  // wait for their next attempt
	Dead    int64
}

// Queues lists the lines of all Triggers that a broker on this Redis serves or ever served.
func Queues(ctx context.Context, rdb redis.UniversalClient) ([]QueueState, error) {
	names, err := rdb.SMembers(ctx, triggersKey).Result()
	if err != nil {
		return nil, storeError(err)
	}
	consumers, err := rdb.SMembers(ctx, consumersKey).Result()
	if err != nil {
		return nil, storeError(err)
	}
	sort.Strings(names)
	out := make([]QueueState, 0, len(names))
	for _, name := range names {
		p := rdb.Pipeline()
		parked, dead := p.ZCard(ctx, retryKey(name)), p.XLen(ctx, deadKey(name))
		lens := []*redis.IntCmd{p.XLen(ctx, inboxKey(name))}
		for _, c := range consumers {
			lens = append(lens, p.XLen(ctx, queueKey(name, c)))
		}
		if _, err := p.Exec(ctx); err != nil {
			return nil, storeError(err)
		}
		s := QueueState{Trigger: strings.TrimSuffix(name, sinkSuffix), Sink: strings.HasSuffix(name, sinkSuffix), Parked: parked.Val(), Dead: dead.Val()}
		for _, l := range lens {
			s.Waiting += l.Val()
		}
		out = append(out, s)
	}
	return out, nil
}
