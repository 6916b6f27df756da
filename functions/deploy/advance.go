package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/functions/deploy/plan"
	"wasmbed.io/wasmbed/internal/errs"
)

// advance dispatches to as many devices as the plan allows now, and ends the rollout when it has ended. It
// returns the last plan and the counts after it.
func (p *pass) advance(ctx context.Context, counts ledger.Counts) (plan.Plan, ledger.Counts, error) {
	var next plan.Plan
	for range dispatchRounds {
		next = plan.Next(p.input(counts))
		if next.Fail || next.Complete {
			whole, err := p.f.rebuilt(ctx, p.key.Namespace)
			if err != nil {
				return next, counts, err
			}
			if !whole {
				// The ledger was lost, and part of the fleet is not in it again: no counts to end a
				// rollout by.
				next.Fail, next.Complete, next.Admit = false, false, 0
				return next, counts, p.f.wake(ctx, p.key, p.f.d.Now().Add(retryRebuilt))
			}
		}
		switch {
		case next.Fail:
			counts, err := p.fail(ctx, counts)
			return next, counts, err
		case next.Complete:
			return next, counts, p.complete(ctx, counts)
		case next.Admit == 0:
			return next, counts, nil
		}
		moved, err := p.dispatch(ctx, next, min(next.Admit, dispatchChunk))
		if q, ok := errors.AsType[*problem](err); ok {
			p.problem = q
			return next, counts, nil
		}
		if err != nil {
			return next, counts, err
		}
		if counts, err = p.f.d.Ledger.Counts(ctx, p.key); err != nil {
			return next, counts, err
		}
		if moved == 0 {
			return next, counts, nil
		}
	}
	// More than one event's share.
	return next, counts, p.f.wake(ctx, p.key, p.f.d.Now())
}

func (p *pass) input(c ledger.Counts) plan.Input {
	app, ro := p.app, p.app.Status.Rollout
	in := plan.Input{
		Policy: plan.Policy{BatchSize: app.Spec.Rollout.BatchSize, MaxUnavailable: app.Spec.Rollout.MaxUnavailable, FailureThreshold: app.Spec.Rollout.FailureThreshold},
		Counts: plan.Counts{Desired: c.Desired, Updated: c.Updated, InFlight: c.InFlight, Pending: c.Pending, Away: c.Away, Failed: c.Failed, Held: c.Held},
		Open:   ro.State == v1alpha1.RolloutProgressing, Paused: app.Spec.Paused, Halted: ro.State == v1alpha1.RolloutFailedState, Now: p.f.d.Now(),
	}
	switch {
	case ro.Reason != v1alpha1.RolloutSpecChanged:
		in.Kind = plan.Rollback
	case ro.From == "":
		in.Kind = plan.First
	}
	for _, r := range refusals() {
		in.Counts.Refused += c.Reasons[r]
	}
	return in
}

// dispatch brings up to n devices on their way and returns how many moved, refused ones included.
func (p *pass) dispatch(ctx context.Context, next plan.Plan, n int) (moved int, err error) {
	seq := uint64(p.app.Status.Rollout.Sequence)
	cands, err := p.f.d.Ledger.Candidates(ctx, p.key, n)
	if err != nil || len(cands) == 0 {
		return 0, err
	}
	info, err := p.info(ctx)
	if err != nil {
		return 0, err
	}
	devs := make([]event.Device, 0, len(cands))
	for _, c := range cands {
		if info != nil {
			if reason, message := unfit(c, *info, p.rev.Spec.Manifest); reason != "" {
				if err := p.f.d.Ledger.Refuse(ctx, p.key, seq, c.Device, reason, message); err != nil && !errs.Is(err, errs.Stale) {
					return moved, err
				}
				moved++
				continue
			}
		}
		devs = append(devs, c.Device)
	}
	if len(devs) == 0 {
		return moved, nil
	}
	until := p.f.d.Now().Add(progressDeadline(p.app))
	admitted, err := p.f.d.Ledger.Admit(ctx, p.key, seq, next.Limit, until, devs)
	if err != nil || len(admitted) == 0 {
		return moved, err
	}
	done, err := p.f.d.Ledger.Dispatch(ctx, p.key, seq, until, admitted)
	return moved + done, err
}

// info is what the wanted module needs of a device. Nil when its bytes are gone and the rollout is a
// rollback: devices may still have them in their other slot.
func (p *pass) info(ctx context.Context) (*module.Info, error) {
	m := p.rev.Spec.Module
	if i, ok := p.f.infos.get(m.Digest); ok {
		return &i, nil
	}
	i, err := p.f.stock(ctx, p.key.Namespace, m, p.app, p.fresh)
	if _, ok := errors.AsType[*problem](err); ok && p.app.Status.Rollout.Reason != v1alpha1.RolloutSpecChanged {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &i, nil
}

// fail halts a rollout: first in the ledger, so that nothing more is dispatched, then in the status.
func (p *pass) fail(ctx context.Context, counts ledger.Counts) (ledger.Counts, error) {
	sel, err := selection(p.app.Spec.Targets)
	if err != nil {
		sel = ledger.Selection{}
	}
	halted, err := p.setTarget(ctx, sel, true)
	if err != nil {
		return counts, err
	}
	now := metav1.NewTime(p.f.d.Now())
	ro := p.app.Status.Rollout
	ro.State, ro.CompletedAt, ro.Message = v1alpha1.RolloutFailedState, &now, failure(counts)
	p.f.warn(ctx, p.app, "RolloutFailed", fmt.Sprintf("revision %s: %s", ro.To, ro.Message))
	return halted, nil
}

// failure says what failed: "2 of 20 devices failed: TrapLoop (2); press-7: TrapLoop: unreachable".
func failure(c ledger.Counts) string {
	s := fmt.Sprintf("%d of %s failed", c.Failed, plural(c.Desired, "device"))
	if len(c.Reasons) > 0 {
		s += ": " + histogram(c.Reasons)
	}
	if len(c.Failing) > 0 {
		x := c.Failing[0]
		s += "; " + x.Device + ": " + x.Reason
		if x.Message != "" {
			s += ": " + x.Message
		}
	}
	return s
}

// histogram is "TrapLoop (3), Timeout (1)", the most frequent first.
func histogram(reasons map[string]int) string {
	keys := slices.SortedFunc(maps.Keys(reasons), func(a, b string) int {
		if d := reasons[b] - reasons[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, k := range keys {
		parts = append(parts, fmt.Sprintf("%s (%d)", k, reasons[k]))
	}
	return strings.Join(parts, ", ")
}

// complete ends a rollout: its revision is the one to go back to from now on.
func (p *pass) complete(ctx context.Context, counts ledger.Counts) error {
	ro := p.app.Status.Rollout
	now := metav1.NewTime(p.f.d.Now())
	if err := p.f.proven(ctx, p.rev, now.Time); err != nil {
		return err
	}
	ro.State, ro.CompletedAt = v1alpha1.RolloutComplete, &now
	p.app.Status.StableRevision = ro.To
	p.f.normal(ctx, p.app, "RolloutCompleted", fmt.Sprintf("revision %s: %d of %s have it", ro.To, counts.Updated, plural(counts.Desired, "device")))
	return nil
}
