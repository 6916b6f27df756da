package trace

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	otel "go.opentelemetry.io/otel/trace"

	"wasmbed.io/wasmbed/internal/errs"
)

// Names of the keys. Those of one trace are in one slot of a Redis Cluster.
const (
	keyPrefix = "wb:trace:"
	keyIndex  = keyPrefix + "index" // zset: trace id by the time of its first span (ms)
	keyTidy   = keyPrefix + "tidy"  // string: somebody has looked at the limits just now
)

func keySpans(id string) string    { return keyPrefix + "{" + id + "}:s" } // list: spans, JSON
func keyMeta(id string) string     { return keyPrefix + "{" + id + "}:m" } // hash: dropped, followed
func keyOfEvent(id string) string  { return keyPrefix + "e:" + short(id) } // string: trace id
func keyOfMark(mark string) string { return keyPrefix + "n:" + mark }      // string: trace id

func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// Span is one hop of a trace, as it is kept and shown.
type Span struct {
	ID         string            `json:"id"`
	Parent     string            `json:"parent,omitempty"`
	Name       string            `json:"name"`
	Kind       string            `json:"kind,omitempty"` // server, client, producer, consumer; internal is left out
	Component  string            `json:"component"`
	Instance   string            `json:"instance,omitempty"`
	Namespace  string            `json:"namespace,omitempty"`
	Subject    string            `json:"subject,omitempty"`
	Start      time.Time         `json:"start"`
	Duration   int64             `json:"duration_us"`
	Status     string            `json:"status"` // ok, error
	Message    string            `json:"message,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// End is when the span ended.
func (s *Span) End() time.Time { return s.Start.Add(time.Duration(s.Duration) * time.Microsecond) }

// spanOf returns the kept form of a span, and its mark.
func spanOf(s sdk.ReadOnlySpan, instance string) (out Span, mark string) {
	c := s.SpanContext()
	out = Span{ID: c.SpanID().String(), Name: s.Name(), Instance: instance, Start: s.StartTime().UTC(), Status: "ok",
		Duration: max(0, s.EndTime().Sub(s.StartTime()).Microseconds())}
	if p := s.Parent(); p.SpanID().IsValid() {
		out.Parent = p.SpanID().String()
	}
	if k := s.SpanKind(); k != otel.SpanKindInternal {
		out.Kind = k.String()
	}
	if st := s.Status(); st.Code == codes.Error {
		out.Status, out.Message = "error", st.Description
	}
	for _, a := range s.Attributes() {
		v := a.Value.Emit()
		switch a.Key {
		case keyComponent:
			out.Component = v
		case keyNamespace:
			out.Namespace = v
		case keySubject:
			out.Subject = v
		case keyMark:
			mark = v
		default:
			if out.Attributes == nil {
				out.Attributes = make(map[string]string, len(s.Attributes()))
			}
			out.Attributes[string(a.Key)] = v
		}
	}
	return out, mark
}

// store writes spans to Redis.
type store struct {
	rdb      redis.UniversalClient
	instance string
	now      func() time.Time
}

func newStore(rdb redis.UniversalClient, instance string, now func() time.Time) *store {
	return &store{rdb, instance, now}
}

func (s *store) name() string { return "redis" }

// addScript appends spans to a trace.
// KEYS: 1 spans, 2 meta. ARGV: 1 most, 2 how long they are kept (ms), 3… spans. Returns: {1 when the trace is new}
var addScript = redis.NewScript(`
local n = redis.call('LLEN', KEYS[1])
for i = 3, #ARGV do
  if n < tonumber(ARGV[1]) then
    n = redis.call('RPUSH', KEYS[1], ARGV[i])
  else
    redis.call('HINCRBY', KEYS[2], 'dropped', 1)
  end
end
local new = redis.call('PTTL', KEYS[1]) < 0
if new then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if redis.call('PTTL', KEYS[2]) == -1 then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
return { new and 1 or 0 }
`)

type found struct{ key, id string }

// write stores a batch: one script for each trace in it, all in one round trip.
func (s *store) write(ctx context.Context, batch []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	byTrace := map[string][]any{}
	var names []found
	for _, sp := range batch {
		id := sp.SpanContext().TraceID().String()
		span, mark := spanOf(sp, s.instance)
		b, err := json.Marshal(span)
		if err != nil {
			return errs.New(errs.Internal, "a span cannot be written: %w", err)
		}
		if byTrace[id] == nil {
			byTrace[id] = []any{MaxSpans, KeepFor.Milliseconds()}
		}
		byTrace[id] = append(byTrace[id], b)
		if mark != "" {
			names = append(names, found{keyOfMark(mark), id})
		}
		if e := span.Attributes[string(keyEvent)]; e != "" {
			names = append(names, found{keyOfEvent(e), id})
		}
	}
	ids := make([]string, 0, len(byTrace))
	for id := range byTrace {
		ids = append(ids, id)
	}
	news, err := s.add(ctx, ids, byTrace, names)
	if err != nil {
		return errs.New(errs.Unavailable, "spans: %w", err)
	}
	if len(news) == 0 {
		return nil
	}
	if err := s.rdb.ZAddNX(ctx, keyIndex, news...).Err(); err != nil {
		return errs.New(errs.Unavailable, "spans: %w", err)
	}
	return s.tidy(ctx)
}

func (s *store) add(ctx context.Context, ids []string, byTrace map[string][]any, names []found) (news []redis.Z, err error) {
	todo := ids
	for _, text := range []bool{false, true} { // by digest, then, for a Redis that does not know it, with the text
		p := s.rdb.Pipeline()
		cmds := make([]*redis.Cmd, len(todo))
		for i, id := range todo {
			keys := []string{keySpans(id), keyMeta(id)}
			if text {
				cmds[i] = addScript.Eval(ctx, p, keys, byTrace[id]...)
			} else {
				cmds[i] = addScript.EvalSha(ctx, p, keys, byTrace[id]...)
			}
		}
		if !text {
			for _, n := range names {
				p.Set(ctx, n.key, n.id, KeepFor)
			}
		}
		_, _ = p.Exec(ctx) // each command has its own error
		var again []string
		for i, id := range todo {
			v, err := cmds[i].Slice()
			switch {
			case err == nil:
				if len(v) > 0 && v[0] == int64(1) {
					news = append(news, redis.Z{Score: float64(s.now().UnixMilli()), Member: id})
				}
			case !text && redis.HasErrorPrefix(err, "NOSCRIPT"):
				again = append(again, id)
			default:
				return nil, err
			}
		}
		if todo = again; len(todo) == 0 {
			break
		}
	}
	return news, nil
}

// tidy keeps what is stored below the limits: the oldest traces go. One process does it at a time.
func (s *store) tidy(ctx context.Context) error {
	mine, err := s.rdb.SetNX(ctx, keyTidy, "1", tidyEvery).Result()
	if err != nil || !mine {
		return err
	}
	return s.trim(ctx, MaxTraces, maxStored)
}

func (s *store) trim(ctx context.Context, traces, spans int) error {
	expired := strconv.FormatInt(s.now().Add(-KeepFor).UnixMilli(), 10)
	if err := s.rdb.ZRemRangeByScore(ctx, keyIndex, "-inf", expired).Err(); err != nil {
		return err
	}
	ids, err := s.rdb.ZRevRange(ctx, keyIndex, 0, -1).Result() // the newest first
	if err != nil {
		return err
	}
	p := s.rdb.Pipeline()
	lens := make([]*redis.IntCmd, min(len(ids), traces))
	for i := range lens {
		lens[i] = p.LLen(ctx, keySpans(ids[i]))
	}
	if len(lens) > 0 {
		if _, err := p.Exec(ctx); err != nil {
			return err
		}
	}
	keep := 0
	for sum := 0; keep < len(lens); keep++ {
		if sum += int(lens[keep].Val()); sum > spans && keep > 0 {
			break
		}
	}
	if keep == len(ids) {
		return nil
	}
	p = s.rdb.Pipeline()
	for _, id := range ids[keep:] {
		p.Del(ctx, keySpans(id), keyMeta(id))
		p.ZRem(ctx, keyIndex, id)
	}
	_, err = p.Exec(ctx)
	return err
}

// Follow takes up to n of a trace's places for members that are followed in full, and returns how many there were
// left.
func Follow(ctx context.Context, rdb redis.UniversalClient, traceparent string, n int) (int, error) {
	id := ID(traceparent)
	if id == "" || n <= 0 {
		return 0, nil
	}
	var now *redis.IntCmd
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		now = p.HIncrBy(ctx, keyMeta(id), "followed", int64(n))
		p.PExpire(ctx, keyMeta(id), KeepFor)
		return nil
	})
	if err != nil {
		return 0, errs.New(errs.Unavailable, "trace: %w", err)
	}
	before := int(now.Val()) - n
	return min(n, max(0, MaxFollowed-before)), nil
}
