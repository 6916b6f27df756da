package deploy

import (
	"context"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// sweep posts the timers of all kinds that nobody posted in time. The gateways post them, each for the shards that it
// holds; when none is up, this backstop ends what has a deadline all the same. A timer that a gateway still posts
// meanwhile is posted twice at worst, which changes nothing.
func (f *Function) sweep(ctx context.Context) error {
	for shard := range f.d.Ledger.Shards() {
		for {
			ts, err := f.d.Ledger.Overdue(ctx, shard, sweepPage, sweepAfter)
			if err != nil {
				return err
			}
			for i, t := range ts {
				opts := []event.Option{event.At(f.d.Now()), event.In(t.Namespace), event.Ext(event.ExtTimerKind, t.Kind)}
				if t.Trace != "" {
					opts = append(opts, event.Ext(event.ExtTraceParent, t.Trace))
				}
				e, err := event.New(event.TimerDue, source, t.Namespace+"/"+t.Name, event.DeriveID(t.Kind, t.Namespace, t.Name, t.Device, t.Due.UTC().Format(time.RFC3339Nano)), t, opts...)
				if err == nil {
					err = f.post(ctx, e)
				}
				if err == nil {
					err = f.d.Ledger.DoneDue(ctx, shard, ts[i:i+1])
				}
				if err != nil {
					return err // the others come again after their claim
				}
			}
			if len(ts) > 0 {
				f.d.Log.Warn("timers were overdue: does a gateway tick?", "shard", shard, "timers", len(ts))
			}
			if len(ts) < sweepPage {
				break
			}
			if ctx.Err() != nil {
				return errs.New(errs.Deadline, "sweep: %w", context.Cause(ctx))
			}
		}
	}
	return nil
}
