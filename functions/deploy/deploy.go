// Package deploy makes what people want of applications true: it resolves and checks their modules, keeps
// their revisions, and takes each revision across the fleet by the application's rollout policy.
//
// It alone writes what devices shall run (the ledger's targets and desired states), Revisions, the Modules
// of inline bytes, and Application.status - except for the decision to roll back, which is rollback's and
// carried out here.
//
// The decision which revision is wanted is Application.status.rollout, and it is written before anything is
// made of it. Everything else follows from (spec, status.rollout, revisions) and may be done again at any
// time: events only say when to look.
package deploy

import (
	"context"
	"log/slog"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/notice"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/api/validate"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Name of this function, and source of what it says.
const (
	Name   = "deploy"
	source = "/wasmbed/functions/" + Name
)

// Types are the events that it takes.
func Types() []string {
	return []string{event.RefAdd, event.RefUpdate, event.RefDelete, event.TimerDue, event.ModuleMissed, event.LedgerLost, event.RollbackDecided, event.Ping, event.DeployRequested,
		event.ApplicationActionRequested}
}

// Kinds of timers.
const (
	timerAdvance  = "advance"
	timerDeadline = "deadline"
	timerStatus   = "status"
)

// Registry reads modules from an OCI registry. Errors: NotFound, Denied, Invalid (the reference, or what it
// names holds no module), TooLarge, Unavailable, Deadline.
type Registry interface {
	// Pull returns the module's bytes and the reference by digest under which they can be pulled again.
	Pull(ctx context.Context, reference string) (bytes []byte, byDigest string, err error)
}

// Poster posts an event to the broker. event.Sink is one.
type Poster interface {
	Post(context.Context, ce.Event) error
}

// Deps is what it works with.
type Deps struct {
	Client   *client.Set
	Ledger   *ledger.Ledger
	Registry Registry
	Sink     Poster // what this function says goes here, not into replies: it must be sure that it is heard
	// AdvanceGap is the least time between two looks at one application's devices, whose reports come in
	// herds. 0: 40 ms; negative: none.
	AdvanceGap time.Duration
	Now        func() time.Time
	Log        *slog.Logger
}

// Function is the function. Safe for concurrent use.
type Function struct {
	d          Deps
	notice     *notice.Writer
	apps       keyed // one advance of an application at a time in this process
	looks      runs
	infos      infos
	selections selections
	pace       pace // of status writes that only move counts
	retold     pace // of failed rollouts that nobody heard of
	pulls      pulls
	share      time.Duration // of one event in a rebuild
	check      *validate.Validator
}

// New returns the function.
func New(d Deps) *Function {
	if d.AdvanceGap == 0 {
		d.AdvanceGap = advanceGap
	}
	f := &Function{d: d, share: rebuildTime, pace: pace{least: statusPace}, retold: pace{least: retryFailed}, notice: notice.New(d.Client.Events, "wasmbed-deploy", d.Now)}
	f.selections.list = f.listSelections
	f.check = validate.New(validate.Client{Set: d.Client}, nil, d.Now) // without a table of boards: devices say what they hold
	return f
}

// Handle takes one event. Errors: Invalid for an event that can never be handled, others when it may be
// tried again.
func (f *Function) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	switch e.Type() {
	case event.RefAdd, event.RefUpdate, event.RefDelete:
		ref, err := event.Data[event.ObjectReference](e)
		if err != nil {
			return nil, err
		}
		switch ref.Kind {
		case v1alpha1.KindApplication:
			return nil, f.application(ctx, e, ledger.App{Namespace: ref.Namespace, Name: ref.Name}, onChange)
		case v1alpha1.KindDevice:
			return nil, f.device(ctx, event.Device{Namespace: ref.Namespace, Name: ref.Name})
		case v1alpha1.KindModule:
			return nil, f.module(ctx, e, ref.Namespace, ref.Name)
		}
		return nil, nil
	case event.RollbackDecided:
		r, err := event.Data[event.Rollout](e)
		if err != nil {
			return nil, err
		}
		return nil, f.application(ctx, e, ledger.App{Namespace: r.Namespace, Name: r.Application}, onChange)
	case event.DeployRequested:
		return f.requested(ctx, e)
	case event.ApplicationActionRequested:
		return f.acted(ctx, e)
	case event.TimerDue:
		return nil, f.timer(ctx, e)
	case event.ModuleMissed:
		return nil, f.missed(ctx, e)
	case event.Ping:
		return nil, f.sweep(ctx)
	case event.LedgerLost:
		return nil, f.rebuild(ctx, e)
	}
	return nil, nil // of another type: not for this function
}

// timer does what an application's timer is for.
func (f *Function) timer(ctx context.Context, e ce.Event) error {
	t, err := event.Data[event.Timer](e)
	if err != nil {
		return err
	}
	app := ledger.App{Namespace: t.Namespace, Name: t.Name}
	switch t.Kind {
	case timerAdvance:
		return f.due(ctx, e, app)
	case timerDeadline:
		if err := f.expire(ctx, e, app, event.Device{Namespace: t.Namespace, Name: t.Device}); err != nil {
			return err
		}
		return f.due(ctx, e, app)
	}
	return nil
}

// expire ends a device's time in flight.
func (f *Function) expire(ctx context.Context, e ce.Event, key ledger.App, d event.Device) error {
	app, err := f.d.Client.Applications.Get(ctx, key.Namespace, key.Name)
	if errs.Is(err, errs.NotFound) || err == nil && app.Status.Rollout == nil {
		return nil
	}
	if err != nil {
		return err
	}
	changes, err := f.d.Ledger.Expire(ctx, key, d, uint64(app.Status.Rollout.Sequence))
	if errs.Is(err, errs.NotFound) || errs.Is(err, errs.Stale) || err == nil && len(changes) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	out, err := event.New(event.DeviceStateChanged, source, d.String(), event.ReplyID(e, Name), event.StateChanged{Device: d, Changes: changes},
		event.About(d), event.At(f.d.Now()), event.After(e))
	if err != nil {
		return err
	}
	return f.post(ctx, out)
}

// post says something: it is durable when post returns without an error.
func (f *Function) post(ctx context.Context, e ce.Event) error { return f.d.Sink.Post(ctx, e) }

// wake makes an application's next look at its devices due.
func (f *Function) wake(ctx context.Context, app ledger.App, at time.Time) error {
	return f.d.Ledger.MarkDue(ctx, event.Timer{Kind: timerAdvance, Namespace: app.Namespace, Name: app.Name, Due: at})
}

func (f *Function) normal(ctx context.Context, app *v1alpha1.Application, reason, message string) {
	f.noticed(f.notice.Normal(ctx, aboutApp(app), reason, message), app, reason)
}

func (f *Function) warn(ctx context.Context, app *v1alpha1.Application, reason, message string) {
	f.noticed(f.notice.Warning(ctx, aboutApp(app), reason, message), app, reason)
}

func (f *Function) noticed(err error, app *v1alpha1.Application, reason string) {
	if err != nil {
		f.d.Log.Info("notice not written", "app", app.Namespace+"/"+app.Name, "reason", reason, "err", err)
	}
}

func aboutApp(app *v1alpha1.Application) notice.About {
	return notice.About{Kind: v1alpha1.KindApplication, Namespace: app.Namespace, Name: app.Name, UID: app.UID}
}
