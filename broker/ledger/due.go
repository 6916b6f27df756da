package ledger

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// Kinds of timers.
const (
	DueAdvance  = "advance"  // an application's devices moved, or it is time to look: deploy
	DueDeadline = "deadline" // of a device in flight: deploy
	DueStatus   = "status"   // a device's status may differ: report

	DueCertificate = "certificate" // a Gateway's server certificate is to be renewed: enroll
)

// Due returns at most max timers of a shard whose time has come, and keeps them away from the next calls: who
// got one posts its event, then says DoneDue. Otherwise it comes again after ClaimTime.
func (l *Ledger) Due(ctx context.Context, shard int, max int) ([]event.Timer, error) {
	return l.Overdue(ctx, shard, max, 0)
}

// Overdue is Due for timers whose time came so long ago.
func (l *Ledger) Overdue(ctx context.Context, shard int, max int, by time.Duration) ([]event.Timer, error) {
	if shard < 0 || shard >= l.keys.shards || max <= 0 || by < 0 {
		return nil, errs.New(errs.Invalid, "ledger: due: shard %d, at most %d, by %v", shard, max, by)
	}
	now := l.now()
	v, err := l.run(ctx, "due", call{l.scripts.due, []string{l.keys.Due(shard), l.keys.DueTraces(shard)},
		[]any{now.Add(-by).UnixMilli(), max, now.Add(ClaimTime).UnixMilli()}})
	if err != nil {
		return nil, err
	}
	out := make([]event.Timer, 0, len(v)/3)
	for i := 0; i+2 < len(v); i += 3 {
		p := strings.Split(str(v, i), "|")
		if len(p) != 4 {
			continue
		}
		out = append(out, event.Timer{Kind: p[0], Namespace: p[1], Name: p[2], Device: p[3], Shard: shard, Due: fromMS(str(v, i+1)), Trace: str(v, i+2)})
	}
	return out, nil
}

// DoneDue finishes timers that Due gave out. One that was marked again meanwhile comes again.
func (l *Ledger) DoneDue(ctx context.Context, shard int, ts []event.Timer) error {
	if len(ts) == 0 {
		return nil
	}
	members := make([]any, len(ts))
	var traces []string
	for i, t := range ts {
		name := "~" + timerName(t)
		members[i] = name
		if t.Trace != "" {
			traces = append(traces, name)
		}
	}
	if err := l.rdb.ZRem(ctx, l.keys.Due(shard), members...).Err(); err != nil || len(traces) == 0 {
		return wrap(err, "done due")
	}
	return wrap(l.rdb.HDel(ctx, l.keys.DueTraces(shard), traces...).Err(), "done due")
}

// MarkDue asks for a timer, in the device's shard (Device, or Name of a status timer), else in the application's.
// An earlier time that is marked already stays.
func (l *Ledger) MarkDue(ctx context.Context, t event.Timer) error {
	if !named(t.Namespace) || !named(t.Name) || (t.Device != "" && !named(t.Device)) {
		return errs.New(errs.Invalid, "ledger: timer of %q/%q %q", t.Namespace, t.Name, t.Device)
	}
	shard := l.keys.shardOf(t.Namespace, t.Name)
	switch t.Kind {
	case DueAdvance, DueStatus, DueCertificate, DueHook, DueHookSource:
	case DueDeadline, DueCommand:
		shard = l.keys.shardOf(t.Namespace, t.Device)
	default:
		return errs.New(errs.Invalid, "ledger: timer of kind %q", t.Kind)
	}
	at := t.Due
	if at.IsZero() {
		at = l.now()
	}
	if err := l.traceTimer(ctx, shard, t, at); err != nil {
		return err
	}
	return wrap(l.rdb.ZAddLT(ctx, l.keys.Due(shard), redis.Z{Score: float64(at.UnixMilli()), Member: timerName(t)}).Err(), "mark due")
}

func timerName(t event.Timer) string {
	return t.Kind + "|" + t.Namespace + "|" + t.Name + "|" + t.Device
}

// HoldShard reports whether an instance may tick a shard, and keeps that right for ttl.
func (l *Ledger) HoldShard(ctx context.Context, shard int, instance string, ttl time.Duration) (bool, error) {
	if shard < 0 || shard >= l.keys.shards || instance == "" || ttl < time.Millisecond {
		return false, errs.New(errs.Invalid, "ledger: hold shard %d for %q and %v", shard, instance, ttl)
	}
	v, err := l.run(ctx, "hold shard", call{l.hold, []string{l.keys.Holder(shard)}, []any{instance, ttl.Milliseconds()}})
	if err != nil {
		return false, err
	}
	return num(v, 0) == 1, nil
}
