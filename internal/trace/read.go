package trace

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
)

// quiet is how long nothing has to be added to a trace before it counts as complete.
const quiet = 2 * time.Second

// Trace is what was recorded of one trace.
type Trace struct {
	Trace string `json:"trace"`
	// Root is the hop that it began with; empty when that is not (yet) known.
	Root string `json:"root,omitempty"`
	// Hops in the order in which they began; a hop comes after its parent.
	Hops []Span `json:"hops"`
	// Complete: it has a root, nothing was dropped, and nothing was added for two seconds. A trace goes on for as
	// long as something follows, so a complete one may become longer.
	Complete bool `json:"complete"`
	// Dropped counts the hops that there was no room for in this trace.
	Dropped int `json:"dropped"`
	// Followed counts the members of a large set (devices) that were begun in this trace; the first MaxFollowed are in
	// the hops, the others are not.
	Followed int `json:"followed,omitempty"`
}

// Find returns the id of the trace that what names: a trace id, a traceparent, the id of an event, or a mark
// (namespace/name). Errors: NotFound, Invalid, Unavailable.
func Find(ctx context.Context, rdb redis.UniversalClient, what string) (string, error) {
	if what == "" || len(what) > maxLookup {
		return "", errs.New(errs.Invalid, "what names a trace has 1 to %d bytes", maxLookup)
	}
	if id := ID(what); id != "" {
		return id, nil
	}
	p := rdb.Pipeline()
	get := []*redis.StringCmd{p.Get(ctx, keyOfEvent(what)), p.Get(ctx, keyOfMark(what))}
	var there *redis.IntCmd
	if IsID(what) {
		there = p.Exists(ctx, keySpans(what))
	}
	_, _ = p.Exec(ctx) // each command has its own error
	if there != nil && there.Val() == 1 {
		return what, nil
	}
	for _, g := range get {
		id, err := g.Result()
		switch {
		case err == nil && IsID(id):
			return id, nil
		case err != nil && err != redis.Nil:
			return "", errs.New(errs.Unavailable, "trace: %w", err)
		}
	}
	return "", errs.New(errs.NotFound, "no trace of %s", what).WithMend("traces are kept for an hour, and what nobody asked for is traced now and then only")
}

// Read returns a trace. may says whether a hop may be shown, by its namespace ("": of the platform itself); nil: all.
// A trace of which nothing may be shown is NotFound. Errors: NotFound, Unavailable.
func Read(ctx context.Context, rdb redis.UniversalClient, id string, may func(namespace string) bool, now time.Time) (Trace, error) {
	out := Trace{Trace: id, Hops: []Span{}}
	p := rdb.Pipeline()
	spans, meta := p.LRange(ctx, keySpans(id), 0, -1), p.HGetAll(ctx, keyMeta(id))
	if _, err := p.Exec(ctx); err != nil {
		return out, errs.New(errs.Unavailable, "trace: %w", err)
	}
	var last time.Time
	for _, text := range spans.Val() {
		var s Span
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			continue // written by another version
		}
		if may == nil || may(s.Namespace) {
			out.Hops = append(out.Hops, s)
		}
		if e := s.End(); e.After(last) {
			last = e
		}
	}
	if len(out.Hops) == 0 {
		return out, errs.New(errs.NotFound, "no trace %s", id).WithMend("traces are kept for an hour")
	}
	out.Dropped, _ = strconv.Atoi(meta.Val()["dropped"])
	out.Followed, _ = strconv.Atoi(meta.Val()["followed"])
	out.Root = arrange(out.Hops)
	out.Complete = out.Root != "" && out.Dropped == 0 && now.Sub(last) >= quiet
	return out, nil
}

// Find is Find of what this tracer's Redis holds.
func (t *Tracer) Find(ctx context.Context, what string) (string, error) {
	if t == nil || t.rdb == nil {
		return "", errNone
	}
	return Find(ctx, t.rdb, what)
}

// Read is Read of what this tracer's Redis holds.
func (t *Tracer) Read(ctx context.Context, id string, may func(namespace string) bool) (Trace, error) {
	if t == nil || t.rdb == nil {
		return Trace{}, errNone
	}
	return Read(ctx, t.rdb, id, may, t.now())
}

var errNone = errs.New(errs.Unsupported, "nothing is traced here")

// arrange sorts hops by their start, a hop never before its parent - clocks differ, and the broker's has milliseconds
// only - and returns the root: the first that has no parent among them.
func arrange(hops []Span) (root string) {
	at := make(map[string]int, len(hops))
	for i := range hops {
		at[hops[i].ID] = i
	}
	type place struct {
		start time.Time // not before its parent's
		depth int
		known bool
	}
	places := make([]place, len(hops))
	var find func(i, left int) place
	find = func(i, left int) place {
		if places[i].known || left == 0 { // 0: they go round in circles
			return places[i]
		}
		p := place{start: hops[i].Start, known: true}
		if j, ok := at[hops[i].Parent]; ok && j != i {
			above := find(j, left-1)
			p.depth = above.depth + 1
			if above.start.After(p.start) {
				p.start = above.start
			}
		}
		places[i] = p
		return p
	}
	order := make([]int, len(hops))
	for i := range order {
		order[i] = i
		find(i, len(hops))
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := places[a], places[b]
		if c := x.start.Compare(y.start); c != 0 {
			return c
		}
		if x.depth != y.depth {
			return x.depth - y.depth
		}
		return strings.Compare(hops[a].ID, hops[b].ID)
	})
	sorted := make([]Span, len(hops))
	for i, j := range order {
		sorted[i] = hops[j]
		if root == "" && places[j].depth == 0 {
			root = hops[j].ID
		}
	}
	copy(hops, sorted)
	return root
}
