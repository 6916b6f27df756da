package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// ReasonDeadline is the reason of a device that did not get there in time; a word of the protocol's.
const ReasonDeadline = "DeadlineExceeded"

// Counts says where an application's devices stand. An application that the ledger does not know has none.
func (l *Ledger) Counts(ctx context.Context, app App) (Counts, error) {
	if err := checkApp(app); err != nil {
		return Counts{}, err
	}
	var calls []call
	for i := range l.keys.shards {
		calls = append(calls, l.appCall(l.counts, i, app, MaxFailing))
	}
	res, err := l.pipe(ctx, "counts", calls)
	if err != nil {
		return Counts{}, err
	}
	var c Counts
	for _, r := range res {
		for field, v := range pairs(list(r, 0)) {
			n := int(u64(v))
			switch field {
			case SetDone:
				c.Ready += n
			case SetLost:
				c.Lost += n
			case SetInFlight:
				c.InFlight += n
			case SetPending:
				c.Pending += n
			case SetAway:
				c.Away += n
			case SetFailed:
				c.Failed += n
			case SetHeld:
				c.Held += n
			case "running":
				c.Running += n
			default:
				if reason, ok := strings.CutPrefix(field, "reason:"); ok {
					if c.Reasons == nil {
						c.Reasons = make(map[string]int)
					}
					c.Reasons[reason] += n
				}
			}
		}
		f := list(r, 1)
		for i := 0; i+3 < len(f); i += 4 {
			c.Failing = append(c.Failing, Failing{str(f, i), str(f, i+1), cmp.Or(str(f, i+2), "Unknown"), str(f, i+3)})
		}
	}
	c.Updated = c.Ready + c.Lost
	c.Desired = c.Ready + c.Lost + c.InFlight + c.Pending + c.Away + c.Failed + c.Held
	slices.SortFunc(c.Failing, func(a, b Failing) int { return cmp.Compare(a.Device, b.Device) })
	if len(c.Failing) > MaxFailing {
		c.Failing = c.Failing[:MaxFailing]
	}
	return c, nil
}

// Candidates returns at most n devices that wait for a dispatch: online, pending, not held. They are spread
// over the shards, and by name within one.
func (l *Ledger) Candidates(ctx context.Context, app App, n int) ([]Candidate, error) {
	if err := checkApp(app); err != nil || n <= 0 {
		return nil, err
	}
	// Mostly an even share of each shard is enough; when not, the shards are asked for all.
	for per := min(n, n/l.keys.shards+8); ; per = n {
		var calls []call
		for i := range l.keys.shards {
			calls = append(calls, l.appCall(l.candidates, i, app, per))
		}
		res, err := l.pipe(ctx, "candidates", calls)
		if err != nil {
			return nil, err
		}
		var out []Candidate
		more := false
		for _, r := range res {
			more = more || len(r) == 3*per
		}
		for k := 0; len(out) < n; k += 3 {
			any := false
			for _, r := range res {
				if k >= len(r) || len(out) == n {
					continue
				}
				any = true
				c, err := candidate(app.Namespace, r[k:])
				if err != nil {
					return nil, err
				}
				out = append(out, c)
			}
			if !any {
				break
			}
		}
		if len(out) == n || per == n || !more {
			return out, nil
		}
	}
}

func candidate(ns string, v []any) (Candidate, error) {
	c := Candidate{Device: event.Device{Namespace: ns, Name: str(v, 0)}}
	var f facts
	var s session
	if err := unmarshal(str(v, 1), &f); err != nil {
		return c, err
	}
	if err := unmarshal(str(v, 2), &s); err != nil {
		return c, err
	}
	c.Board, c.Capabilities = cmp.Or(f.Board, s.Board), s.Capabilities
	return c, nil
}

// unmarshal reads stored JSON; "" is nothing.
func unmarshal(s string, v any) error {
	if s == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(s), v); err != nil {
		return errs.New(errs.Internal, "ledger: what is stored is not JSON: %w", err)
	}
	return nil
}

// Admit gives devices places in the application's budget: at most limit at once, over all callers. It returns
// those that have a place, also when they had it before. A place ends with Release, when its device is seen to
// have left the set in flight, or at until. The budget is of one sequence; another one starts empty.
func (l *Ledger) Admit(ctx context.Context, app App, sequence uint64, limit int, until time.Time, devs []event.Device) ([]event.Device, error) {
	if err := checkApp(app); err != nil || len(devs) == 0 {
		return nil, err
	}
	for _, d := range devs {
		if d.Namespace != app.Namespace {
			return nil, errs.New(errs.Invalid, "ledger: device %s is not of the namespace of %s", d, app)
		}
	}
	freed, err := l.freed(ctx, app)
	if err != nil {
		return nil, err
	}
	out, err := l.admitted(ctx, app, sequence, limit, until, freed, devs)
	if err != nil || len(out) == len(devs) || limit <= 0 {
		return out, err
	}
	// Full. Places whose devices left unseen (a crash between Admit and Dispatch, or after the list of the freed
	// was read) are looked for among the oldest.
	names, err := l.rdb.ZRange(ctx, l.keys.Budget(app, sequence), 0, reclaimChunk-1).Result()
	if err != nil {
		return nil, wrap(err, "admit")
	}
	pieces := l.byShard(devicesOf(app.Namespace, names))
	var calls []call
	for _, p := range pieces {
		args := make([]any, len(p.at))
		for i, n := range p.at {
			args[i] = names[n]
		}
		calls = append(calls, l.appCall(l.standing, p.shard, app, args...))
	}
	res, err := l.pipe(ctx, "admit", calls)
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, r := range res {
		for i := range r {
			gone = append(gone, str(r, i))
		}
	}
	if len(gone) == 0 {
		return out, nil
	}
	return l.admitted(ctx, app, sequence, limit, until, gone, devs)
}

func (l *Ledger) admitted(ctx context.Context, app App, sequence uint64, limit int, until time.Time, free []string, devs []event.Device) ([]event.Device, error) {
	now := l.now()
	life := max(0, until.Sub(now)) + budgetSpare
	args := []any{now.UnixMilli(), limit, until.UnixMilli(), life.Milliseconds(), len(free)}
	for _, n := range free {
		args = append(args, n)
	}
	for _, d := range devs {
		args = append(args, d.Name)
	}
	v, err := l.run(ctx, "admit", call{l.scripts.admit, []string{l.keys.Budget(app, sequence)}, args})
	if err != nil {
		return nil, err
	}
	out := make([]event.Device, len(v))
	for i := range v {
		out[i] = event.Device{Namespace: app.Namespace, Name: str(v, i)}
	}
	return out, nil
}

// freed takes the names of devices that left the set in flight since the last call.
func (l *Ledger) freed(ctx context.Context, app App) ([]string, error) {
	p := l.rdb.Pipeline()
	cmds := make([]*redis.StringSliceCmd, l.keys.shards)
	for i := range cmds {
		cmds[i] = p.SPopN(ctx, l.keys.Freed(i, app), MaxPage)
	}
	_, _ = p.Exec(ctx)
	var out []string
	for _, c := range cmds {
		v, err := c.Result()
		if err != nil && err != redis.Nil {
			return nil, wrap(err, "admit")
		}
		out = append(out, v...)
	}
	return out, nil
}

func devicesOf(ns string, names []string) []event.Device {
	out := make([]event.Device, len(names))
	for i, n := range names {
		out[i] = event.Device{Namespace: ns, Name: n}
	}
	return out
}

// Release gives places in the budget of the application's present sequence back.
func (l *Ledger) Release(ctx context.Context, app App, devs ...event.Device) error {
	if err := checkApp(app); err != nil || len(devs) == 0 {
		return err
	}
	seq, err := l.rdb.HGet(ctx, l.keys.App(0, app), "seq").Result()
	if err == redis.Nil {
		return nil
	}
	if err != nil {
		return wrap(err, "release")
	}
	names := make([]any, len(devs))
	for i, d := range devs {
		names[i] = d.Name
	}
	return wrap(l.rdb.ZRem(ctx, l.keys.Budget(app, u64(seq)), names...).Err(), "release")
}

// Dispatch makes the target the devices' desired, puts them in flight until a deadline, and wakes their gateways.
// It returns how many: it leaves out those that are not pending (any more), and dispatches nothing when the
// target is paused or halted, or of another sequence.
func (l *Ledger) Dispatch(ctx context.Context, app App, sequence uint64, until time.Time, devs []event.Device) (dispatched int, err error) {
	if err := checkApp(app); err != nil || len(devs) == 0 {
		return 0, err
	}
	ctx, follow, span := l.traceDispatch(ctx, app, len(devs))
	defer func() { span.End(err) }()
	var calls []call
	for _, p := range l.byShard(devs) {
		args := []any{dec(sequence), until.UnixMilli()}
		for _, n := range p.at {
			if devs[n].Namespace != app.Namespace {
				return 0, errs.New(errs.Invalid, "ledger: device %s is not of the namespace of %s", devs[n], app)
			}
			if n < follow {
				args = append(args, "+"+devs[n].Name)
			} else {
				args = append(args, devs[n].Name)
			}
		}
		calls = append(calls, l.appCall(l.dispatch, p.shard, app, args...))
	}
	res, err := l.pipe(ctx, "dispatch", calls)
	if err != nil {
		return 0, err
	}
	for _, r := range res {
		dispatched += num(r, 0)
	}
	return dispatched, nil
}

// Refuse fails a device that waits (pending or away) without telling it, until another sequence. Said again, it
// changes nothing. Stale when the sequence is another one, or the device does not wait any more.
func (l *Ledger) Refuse(ctx context.Context, app App, sequence uint64, dev event.Device, reason, message string) error {
	if err := checkMember(app, dev); err != nil {
		return err
	}
	if !named(reason) {
		return errs.New(errs.Invalid, "ledger: reason %q", reason)
	}
	v, err := l.run(ctx, "refuse", l.deviceCall(l.refuse, dev, app.Name, dec(sequence), reason, text(message)))
	if err != nil {
		return err
	}
	if str(v, 0) == "stale" {
		return errs.New(errs.Stale, "ledger: %s does not wait for sequence %d of %s", dev, sequence, app)
	}
	return nil
}

// Expire ends a device's time in flight: online it failed (DeadlineExceeded), offline it is away and goes on
// when it comes back. It does nothing when the sequence is another one, the device is not in flight, or its
// deadline has moved; said again, it returns the same changes.
func (l *Ledger) Expire(ctx context.Context, app App, dev event.Device, sequence uint64) ([]event.Change, error) {
	if err := checkMember(app, dev); err != nil {
		return nil, err
	}
	v, err := l.run(ctx, "expire", l.deviceCall(l.expire, dev, app.Name, dec(sequence), ReasonDeadline,
		"the device did not get there in time"))
	if err != nil {
		return nil, err
	}
	return changes(str(v, 0))
}

func checkMember(app App, dev event.Device) error {
	if err := checkApp(app); err != nil {
		return err
	}
	if dev.Namespace != app.Namespace {
		return errs.New(errs.Invalid, "ledger: device %s is not of the namespace of %s", dev, app)
	}
	return checkDevice(dev)
}

func changes(s string) ([]event.Change, error) {
	var out []event.Change
	return out, unmarshal(s, &out)
}
