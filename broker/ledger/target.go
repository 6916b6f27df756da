package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// SetTarget says what an application wants of the devices that it selects, in all shards, and returns where
// they stand. Devices that it no longer selects lose it, and their gateways are woken. Members are brought in
// line in pieces; when that is interrupted, the next SetTarget goes on. Said again, it changes nothing.
//
// Besides the general errors: Stale when the ledger has a higher sequence; nothing was changed then.
func (l *Ledger) SetTarget(ctx context.Context, app App, t Target, s Selection) (Counts, error) {
	if err := checkTarget(app, &t, s); err != nil {
		return Counts{}, err
	}
	body, err := json.Marshal(content{t.Digest, t.Size, t.Manifest})
	if err != nil {
		return Counts{}, errs.New(errs.Invalid, "ledger: target of %s: %w", app, err)
	}
	sels, err := l.selections(app.Namespace, s)
	if err != nil {
		return Counts{}, err
	}
	for range 3 {
		var calls []call
		for i := range l.keys.shards {
			calls = append(calls, l.appCall(l.target, i, app, dec(t.Sequence), t.Revision, string(body), t.State,
				bit(t.Paused || t.Halted), bit(t.Paused), bit(t.Halted), t.Deadline.Milliseconds(), t.UID, sels[i].text))
		}
		res, err := l.pipe(ctx, "set target", calls)
		if err != nil {
			return Counts{}, err
		}
		var walks []*walk
		var reset []int
		stale := false
		for i, r := range res {
			switch str(r, 0) {
			case "stale":
				stale = true
			case "reset":
				reset = append(reset, i)
			case "walk":
				walks = append(walks, &walk{shard: i, end: str(r, 1), from: sels[i].sources(app)})
			}
		}
		if stale {
			return Counts{}, errs.New(errs.Stale, "ledger: %s: the ledger has a newer rollout than sequence %d", app, t.Sequence)
		}
		if err := l.walk(ctx, app, walks); err != nil {
			return Counts{}, err
		}
		if len(reset) == 0 {
			return l.Counts(ctx, app)
		}
		if err := l.removeApp(ctx, app, reset); err != nil {
			return Counts{}, err
		}
	}
	return Counts{}, errs.New(errs.Conflict, "ledger: %s is being removed", app)
}

// RemoveApp takes an application off all its devices and forgets it. Said again, it changes nothing.
func (l *Ledger) RemoveApp(ctx context.Context, app App) error {
	if err := checkApp(app); err != nil {
		return err
	}
	all := make([]int, l.keys.shards)
	for i := range all {
		all[i] = i
	}
	return l.removeApp(ctx, app, all)
}

func (l *Ledger) removeApp(ctx context.Context, app App, shards []int) error {
	var calls []call
	for _, i := range shards {
		calls = append(calls, l.appCall(l.remove, i, app))
	}
	if _, err := l.pipe(ctx, "remove application", calls); err != nil {
		return err
	}
	for range 3 {
		var walks []*walk
		for _, i := range shards {
			walks = append(walks, &walk{shard: i, end: "gone", from: []origin{{index: "m:" + app.String()}}})
		}
		if err := l.walk(ctx, app, walks); err != nil {
			return err
		}
		shards = nil
		for _, w := range walks {
			if w.again {
				shards = append(shards, w.shard)
			}
		}
		if len(shards) == 0 {
			return nil
		}
	}
	return errs.New(errs.Conflict, "ledger: devices keep joining %s while it is removed", app)
}

// origin is what a walk goes through: an index of the shard, or devices by name.
type origin struct {
	index string
	names []string
}

// walk is a shard's way through its sources.
type walk struct {
	shard  int
	from   []origin
	cursor string
	end    string // what walked.lua gets
	again  bool
}

// walk brings devices in line, all shards side by side, one piece of each per round trip.
func (l *Ledger) walk(ctx context.Context, app App, walks []*walk) error {
	for {
		var calls []call
		var at []*walk
		for _, w := range walks {
			if len(w.from) == 0 {
				continue
			}
			s := &w.from[0]
			cursor := cmp.Or(w.cursor, "-")
			args := []any{s.index, cursor, walkChunk}
			if s.index == "" {
				n := min(len(s.names), walkChunk)
				for _, name := range s.names[:n] {
					args = append(args, name)
				}
				s.names = s.names[n:]
			}
			calls = append(calls, l.appCall(l.scripts.walk, w.shard, app, args...))
			at = append(at, w)
		}
		if len(calls) == 0 {
			break
		}
		res, err := l.pipe(ctx, "walk", calls)
		if err != nil {
			return err
		}
		for i, w := range at {
			w.cursor = str(res[i], 0)
			if w.cursor == "" && len(w.from[0].names) == 0 {
				w.from = w.from[1:]
			}
		}
	}
	var calls []call
	for _, w := range walks {
		calls = append(calls, l.appCall(l.walked, w.shard, app, w.end))
	}
	res, err := l.pipe(ctx, "walk", calls)
	if err != nil {
		return err
	}
	for i, w := range walks {
		w.again = str(res[i], 0) == "again"
	}
	return nil
}

// selection is a Selection as one shard gets it.
type selection struct {
	ns   string
	s    Selection
	text string // JSON
}

// selections makes the shards' selections: each gets its own devices' names only, and equal selections give
// equal texts.
func (l *Ledger) selections(ns string, s Selection) ([]selection, error) {
	names := make([][]string, l.keys.shards)
	for _, n := range s.Names {
		i := l.keys.shardOf(ns, n)
		names[i] = append(names[i], n)
	}
	terms := slices.Clone(s.Terms)
	for i := range terms {
		terms[i].Values = slices.Clone(terms[i].Values)
		slices.Sort(terms[i].Values)
	}
	out := make([]selection, l.keys.shards)
	for i := range out {
		own := Selection{All: s.All}
		switch {
		case s.All:
		case len(s.Names) > 0:
			slices.Sort(names[i])
			own.Names = slices.Compact(names[i])
		default:
			own.Terms = terms
		}
		b, err := json.Marshal(own)
		if err != nil {
			return nil, errs.New(errs.Invalid, "ledger: selection: %w", err)
		}
		out[i] = selection{ns, own, string(b)}
	}
	return out, nil
}

// sources says where the devices are that a new selection touches: those it had, and those of the narrowest
// index that holds all that it selects now.
func (s selection) sources(app App) []origin {
	out := []origin{{index: "m:" + app.String()}}
	all := origin{index: "n:" + s.ns}
	switch {
	case s.s.All:
		return append(out, all)
	case len(s.s.Names) > 0:
		return append(out, origin{names: slices.Clone(s.s.Names)})
	case len(s.s.Terms) == 0:
		return out
	}
	for _, t := range s.s.Terms {
		if t.Op == "In" {
			for _, v := range t.Values {
				out = append(out, origin{index: "l:" + s.ns + ":" + t.Key + "=" + v})
			}
			return out
		}
	}
	for _, t := range s.s.Terms {
		if t.Op == "Exists" {
			return append(out, origin{index: "lk:" + s.ns + ":" + t.Key})
		}
	}
	return append(out, all)
}

func checkTarget(app App, t *Target, s Selection) error {
	if err := checkApp(app); err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		return errs.New(errs.Invalid, "ledger: target of "+app.String()+": "+format, args...)
	}
	t.State = cmp.Or(t.State, StateRunning)
	t.Deadline = cmp.Or(t.Deadline, DefaultDeadline)
	switch {
	case t.Sequence == 0:
		return bad("sequence 0")
	case !named(t.Revision):
		return bad("revision %q", t.Revision)
	case t.State != StateRunning && t.State != StateStopped:
		return bad("state %q", t.State)
	case t.Deadline < 0:
		return bad("deadline %v", t.Deadline)
	case len(s.Names) > MaxNames || len(s.Terms) > MaxTerms:
		return bad("%d names and %d terms are too many", len(s.Names), len(s.Terms))
	}
	for _, n := range s.Names {
		if err := checkDevice(event.Device{Namespace: app.Namespace, Name: n}); err != nil {
			return err
		}
	}
	for _, term := range s.Terms {
		if !labelKey(term.Key) {
			return bad("label %q", term.Key)
		}
		switch term.Op {
		case "In", "NotIn", "Exists", "DoesNotExist":
		default:
			return bad("operator %q", term.Op)
		}
		for _, v := range term.Values {
			if !labelValue(v) {
				return bad("label value %q", v)
			}
		}
	}
	return nil
}

func labelKey(s string) bool { return made(s, 2*MaxName, "-_./") && strings.Count(s, "/") <= 1 }

func labelValue(s string) bool { return s == "" || made(s, MaxName, "-_.") }
