package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// look is why an application is looked at, which says how much may be skipped.
type look int

const (
	onChange look = iota // its object changed, perhaps only by our own status write: skip when nothing is to do
	onTimer              // its devices may have moved: the target stands, count and go on
	onDoubt              // take nothing for granted
)

// application makes one application true, as far as it can be now.
func (f *Function) application(ctx context.Context, e ce.Event, key ledger.App, why look) error {
	release, err := f.apps.lock(ctx, key.String())
	if err != nil {
		return err
	}
	defer release()
	return f.attempts(ctx, e, key, why)
}

// attempts looks again when somebody wrote meanwhile. The application is locked.
func (f *Function) attempts(ctx context.Context, e ce.Event, key ledger.App, why look) error {
	for range conflictAttempts {
		err := f.reconcile(ctx, e, key, why)
		// Stale: the ledger has seen a later decision than what was read.
		if !errs.Is(err, errs.Conflict) && !errs.Is(err, errs.Stale) {
			return err
		}
		why = onDoubt
	}
	return errs.New(errs.Conflict, "application %s changes too fast", key)
}

// due looks at an application because a timer says so. Timers that come while one waits for its look are
// served by that look: a herd of reports makes every shard ask for it. They need not wait for it: when it
// fails, its own event comes again.
func (f *Function) due(ctx context.Context, e ce.Event, key ledger.App) error {
	if !f.looks.join(key.String()) {
		return nil
	}
	release, err := f.apps.lock(ctx, key.String())
	if err == nil {
		defer release()
		err = sleep(ctx, f.looks.gap(key.String(), f.d.AdvanceGap))
	}
	f.looks.begin(key.String())
	if err != nil {
		return err
	}
	return f.attempts(ctx, e, key, onTimer)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return errs.New(errs.CodeOf(ctx.Err()), "waiting: %w", ctx.Err())
	}
}

// pass is one pass over one application.
type pass struct {
	f       *Function
	e       ce.Event
	key     ledger.App
	app     *v1alpha1.Application // its status is what will be written
	was     v1alpha1.ApplicationStatus
	revs    []v1alpha1.Revision
	rev     *v1alpha1.Revision // wanted now; nil: none yet
	problem *problem           // what keeps the spec from being deployed
	fresh   []byte             // bytes of rev's module, when they were read in this pass
}

func (f *Function) reconcile(ctx context.Context, e ce.Event, key ledger.App, why look) error {
	app, err := f.d.Client.Applications.Get(ctx, key.Namespace, key.Name)
	if errs.Is(err, errs.NotFound) {
		return f.d.Ledger.RemoveApp(ctx, key)
	}
	if err != nil {
		return err
	}
	if app.DeletionTimestamp != nil {
		if app.Status.Rollout != nil && slices.Contains(app.Finalizers, v1alpha1.FinalizerDeploy) {
			if err := (&pass{f: f, e: e, key: key, app: app}).lastWord(ctx); err != nil {
				return err
			}
		}
		return f.remove(ctx, app)
	}
	if !slices.Contains(app.Finalizers, v1alpha1.FinalizerDeploy) {
		app.Finalizers = append(app.Finalizers, v1alpha1.FinalizerDeploy)
		if app, err = f.d.Client.Applications.UpdateMeta(ctx, app); err != nil {
			return ignoreNotFound(err)
		}
	}
	if _, ok := app.Annotations[v1alpha1.AnnotationRollbackTo]; ok {
		if app, err = f.annotated(ctx, e, app); err != nil {
			return ignoreNotFound(err)
		}
	}
	if why == onChange && settled(app) {
		return nil
	}
	p := &pass{f: f, e: e, key: key, app: app, was: *app.Status.DeepCopy()}
	return p.run(ctx, why)
}

// told: there is nothing to be said about a rollout's end.
func told(ro *v1alpha1.RolloutStatus) bool {
	return ro.State == v1alpha1.RolloutProgressing || ro.State == ro.Told
}

// settled: everything that follows from this spec and this decision was done, so only devices can change
// anything.
func settled(app *v1alpha1.Application) bool {
	ro := app.Status.Rollout
	return app.Status.ObservedGeneration == app.Generation && ro != nil && ro.Generation == app.Generation && ro.StartedAt != nil && told(ro)
}

func (p *pass) run(ctx context.Context, why look) error {
	var err error
	target := why != onTimer || !settled(p.app) // the ledger must be told
	if !target {
		// Only devices moved: of the revisions, the wanted one is enough.
		p.rev, err = p.f.d.Client.Revisions.Get(ctx, p.key.Namespace, p.app.Status.Rollout.To)
		target = errs.Is(err, errs.NotFound)
		if err != nil && !target {
			return err
		}
	}
	if target {
		if err := p.f.checkEra(ctx); err != nil {
			return err
		}
		if p.revs, err = p.f.revisions(ctx, p.app); err != nil {
			return err
		}
		if err := p.decide(ctx); err != nil {
			return err
		}
	}
	if p.rev == nil {
		return p.finish(ctx, ledger.Counts{}, nil)
	}
	sel, err := selection(p.app.Spec.Targets)
	if err != nil {
		p.problem = &problem{reasonTargetsInvalid, err.Error()}
		sel = ledger.Selection{} // nothing, rather than everything
	}
	ro := p.app.Status.Rollout
	var counts ledger.Counts
	if !target {
		counts, err = p.f.d.Ledger.Counts(ctx, p.key)
		// A ledger that knows nothing of an application which had devices was lost: tell it again.
		if err != nil {
			return err
		}
		target = counts.Desired == 0 && p.was.Desired > 0
	}
	if target {
		_, err := p.f.stock(ctx, p.key.Namespace, p.rev.Spec.Module, p.app, p.fresh)
		missing, ok := errors.AsType[*problem](err)
		if err != nil && !ok {
			return err
		}
		if counts, err = p.setTarget(ctx, sel, ro.State == v1alpha1.RolloutFailedState); err != nil {
			return err
		}
		// A module that cannot be had any more matters when somebody still needs it. Who goes back may have it.
		if missing != nil && p.problem == nil && counts.Pending+counts.InFlight+counts.Away > 0 && ro.Reason == v1alpha1.RolloutSpecChanged {
			p.problem = missing
		}
	}
	if ro.StartedAt == nil {
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	next, counts, err := p.advance(ctx, counts)
	if err != nil {
		return err
	}
	if err := p.finish(ctx, counts, &next); err != nil {
		return err
	}
	if err := p.tell(ctx, counts); err != nil {
		return err
	}
	if target {
		if err := p.verify(ctx); err != nil {
			return err
		}
		if p.revs != nil {
			return p.f.prune(ctx, p.app, p.revs)
		}
	}
	return nil
}

// decide sets p.rev and, when the spec asks for another revision than the last decision answered, makes and
// writes a new decision.
func (p *pass) decide(ctx context.Context) error {
	app, ro := p.app, p.app.Status.Rollout
	if ro != nil {
		p.rev = find(p.revs, ro.To)
		if ro.Generation == app.Generation && p.rev != nil {
			return nil
		}
	}
	r, err := p.f.resolve(ctx, app)
	if q, ok := errors.AsType[*problem](err); ok {
		p.problem = q // what was decided before stays
		return nil
	}
	if err != nil {
		return err
	}
	rev, created, err := p.f.revise(ctx, app, p.revs, r)
	if err != nil {
		return err
	}
	if created {
		p.revs = append(p.revs, *rev)
	}
	if ro != nil && ro.SpecRevision == rev.Name {
		if p.rev == nil {
			p.problem = &problem{"RevisionNotFound", fmt.Sprintf("revision %s was deleted; change the spec, or roll back to another", ro.To)}
		}
		// Only targets, policy or pause changed: the decision stands.
		ro.Generation = app.Generation
		if p.rev == rev || p.rev != nil && p.rev.Name == rev.Name {
			p.fresh = r.bytes
		}
		return nil
	}
	next := &v1alpha1.RolloutStatus{
		Generation: app.Generation, Sequence: 1, To: rev.Name, SpecRevision: rev.Name,
		Reason: v1alpha1.RolloutSpecChanged, State: v1alpha1.RolloutProgressing,
	}
	if ro != nil {
		next.Sequence, next.From = ro.Sequence+1, ro.To
		if err := p.lastWord(ctx); err != nil {
			return err
		}
	}
	app.Status.Rollout = next
	app.Status.Revision, app.Status.Digest = rev.Name, rev.Spec.Module.Digest
	p.f.resetRolledBack(app)
	p.rev, p.fresh = rev, r.bytes
	// The decision is the truth that the rest follows from: it is written first. The rest is what a status
	// with StartedAt says was done.
	return p.write(ctx)
}

func (p *pass) setTarget(ctx context.Context, sel ledger.Selection, halted bool) (ledger.Counts, error) {
	ro := p.app.Status.Rollout
	t := ledger.Target{
		Sequence: uint64(ro.Sequence), Revision: p.rev.Name, Digest: p.rev.Spec.Module.Digest, Size: p.rev.Spec.Module.Size,
		Manifest: manifest(p.rev.Spec.Manifest), State: string(p.app.Spec.State), Paused: p.app.Spec.Paused, Halted: halted,
		Deadline: progressDeadline(p.app), UID: string(p.app.UID),
	}
	return p.f.d.Ledger.SetTarget(ctx, p.key, t, sel)
}

// verify makes sure that what the ledger was told is still what is wanted: another process may have told it
// something newer before, which a slower one then overwrote.
func (p *pass) verify(ctx context.Context) error {
	now, err := p.f.d.Client.Applications.Get(ctx, p.key.Namespace, p.key.Name)
	if err != nil {
		return ignoreNotFound(err)
	}
	a, b := now.Status.Rollout, p.app.Status.Rollout
	if now.UID != p.app.UID || now.Generation != p.app.Generation || a == nil || b == nil || a.Sequence != b.Sequence || a.State != b.State {
		return errs.New(errs.Conflict, "application %s changed meanwhile", p.key)
	}
	return nil
}

// start says that a rollout begins. It is said before StartedAt is written, so that it is said at least once.
func (p *pass) start(ctx context.Context) error {
	ro := p.app.Status.Rollout
	now := metav1.NewTime(p.f.d.Now().Truncate(time.Second))
	ro.StartedAt = &now
	if ro.Reason == v1alpha1.RolloutSpecChanged {
		if err := p.say(ctx, event.ApplicationRevised, nil); err != nil {
			return err
		}
	}
	if err := p.say(ctx, event.RolloutStarted, nil); err != nil {
		return err
	}
	text := fmt.Sprintf("revision %s starts", ro.To)
	if ro.From != "" {
		text = fmt.Sprintf("from revision %s to %s (%s)", ro.From, ro.To, ro.Reason)
	}
	p.f.normal(ctx, p.app, "RolloutStarted", text)
	return nil
}

// lastWord says of the present rollout what was not said yet, because another one is about to take its place: nobody would say
// it any more. The ids are of the facts, so what was said is said again, and no more than that.
func (p *pass) lastWord(ctx context.Context) error {
	ro := p.app.Status.Rollout
	if ro.StartedAt == nil && ro.Reason == v1alpha1.RolloutSpecChanged {
		if err := p.say(ctx, event.ApplicationRevised, nil); err != nil {
			return err
		}
	}
	if told(ro) {
		return nil
	}
	return p.say(ctx, endOf(ro), nil)
}

func endOf(ro *v1alpha1.RolloutStatus) string {
	if ro.State == v1alpha1.RolloutFailedState {
		return event.RolloutFailed
	}
	return event.RolloutCompleted
}

// rolloutEvent makes an event about the present rollout. Its id is of the fact, not of what led to it.
func (p *pass) rolloutEvent(typ string, counts *ledger.Counts) (ce.Event, error) {
	ro := p.app.Status.Rollout
	data := event.Rollout{Namespace: p.key.Namespace, Application: p.key.Name, Generation: ro.Generation, Sequence: uint64(ro.Sequence),
		From: ro.From, To: ro.To, Reason: ro.Reason, Message: ro.Message}
	if counts != nil {
		data.Counts = map[string]int{"desired": counts.Desired, "updated": counts.Updated, "inFlight": counts.InFlight, "pending": counts.Pending,
			"away": counts.Away, "failed": counts.Failed, "held": counts.Held}
		data.Reasons = counts.Reasons
	}
	id := event.DeriveID(string(p.app.UID), strconv.FormatInt(ro.Sequence, 10), typ)
	return event.New(typ, source, p.key.String(), id, data, event.In(p.key.Namespace), event.At(p.f.d.Now()), event.After(p.e))
}

func (p *pass) say(ctx context.Context, typ string, counts *ledger.Counts) error {
	out, err := p.rolloutEvent(typ, counts)
	if err != nil {
		return err
	}
	return p.f.post(ctx, out)
}

// tell says that the rollout has ended, after its end was written and before it is noted as told: at least
// once, whatever happens in between. rollback hangs on it.
func (p *pass) tell(ctx context.Context, counts ledger.Counts) error {
	ro := p.app.Status.Rollout
	typ := endOf(ro)
	if told(ro) {
		if !awaitsRollback(p.app) {
			return nil
		}
		// Nobody decided yet: the event may have been lost with the broker's store. It is said again now and
		// then, with the same id.
		now := p.f.d.Now()
		if again := p.f.retold.wait(p.key.String(), ro.CompletedAt.Time, now); again > 0 {
			return p.f.wake(ctx, p.key, now.Add(again))
		}
		p.f.retold.wrote(p.key.String(), now)
		if err := p.say(ctx, typ, &counts); err != nil {
			return err
		}
		return p.f.wake(ctx, p.key, now.Add(retryFailed))
	}
	if err := p.say(ctx, typ, &counts); err != nil {
		return err
	}
	ro.Told = ro.State
	if awaitsRollback(p.app) {
		if err := p.f.wake(ctx, p.key, p.f.d.Now().Add(retryFailed)); err != nil {
			return err
		}
	}
	return p.write(ctx)
}

// awaitsRollback: rollback has not decided yet. It notes the event in status.rollout.event when it declines.
func awaitsRollback(app *v1alpha1.Application) bool {
	ro := app.Status.Rollout
	return ro != nil && ro.State == v1alpha1.RolloutFailedState && ro.Reason == v1alpha1.RolloutSpecChanged && ro.Event == "" && ro.CompletedAt != nil &&
		automaticRollback(app)
}

func automaticRollback(app *v1alpha1.Application) bool {
	b := app.Spec.Rollout.AutomaticRollback
	return b == nil || *b
}

func progressDeadline(app *v1alpha1.Application) time.Duration {
	if d := app.Spec.Rollout.ProgressDeadline; d != nil && d.Duration > 0 {
		return d.Duration
	}
	return v1alpha1.DefaultProgressDeadline
}

// remove takes an application off its devices and deletes what deploy made for it. It does not wait for the
// devices: one that is away is told when it comes.
func (f *Function) remove(ctx context.Context, app *v1alpha1.Application) error {
	i := slices.Index(app.Finalizers, v1alpha1.FinalizerDeploy)
	if i < 0 {
		return nil
	}
	if err := f.d.Ledger.RemoveApp(ctx, ledger.App{Namespace: app.Namespace, Name: app.Name}); err != nil {
		return err
	}
	revs, err := f.revisions(ctx, app)
	if err != nil {
		return err
	}
	for _, r := range revs {
		if err := ignoreNotFound(f.d.Client.Revisions.Delete(ctx, r.Namespace, r.Name)); err != nil {
			return err
		}
		if err := f.pruneModule(ctx, r.Namespace, r.Spec.Module); err != nil {
			return err
		}
	}
	// Modules whose revision never came to be.
	err = client.All(ctx, f.d.Client.Modules, app.Namespace, v1alpha1.LabelApplication+"="+app.Name+","+labelInline+"=true", func(m *v1alpha1.Module) error {
		return f.pruneModule(ctx, m.Namespace, v1alpha1.ResolvedModule{Name: m.Name, Digest: m.Spec.Digest})
	})
	if err != nil {
		return err
	}
	app.Finalizers = slices.Delete(app.Finalizers, i, i+1)
	_, err = f.d.Client.Applications.UpdateMeta(ctx, app)
	return ignoreNotFound(err)
}
