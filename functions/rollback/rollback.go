// Package rollback decides to take an application back to an earlier revision: because its rollout failed
// and its policy says so, or because somebody asked. It writes the decision into Application.status.rollout
// and nothing else; deploy carries it out.
package rollback

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/notice"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/replay"
)

// Name of this function, and source of what it says.
const (
	Name   = "rollback"
	source = "/wasmbed/functions/" + Name
)

// Reasons of the RolledBack condition, beside those of a rollout.
const (
	reasonNothing  = "NothingToRollBackTo"
	reasonNotFound = "RevisionNotFound"
)

const (
	conflictAttempts = 6    // read-modify-write rounds before the event is given back for a retry
	maxMessage       = 1024 // bytes of a cause that is recorded
	// annotationCompleted is deploy's mark on a revision that has proven itself.
	annotationCompleted = "wasmbed.io/completed-at"
)

// Types are the events that it takes.
func Types() []string { return []string{event.RolloutFailed, event.RollbackRequested} }

// Deps is what it works with.
type Deps struct {
	Client *client.Set
	Ledger replay.Store // the ledger
	Now    func() time.Time
	Log    *slog.Logger
}

// Function is the function. Safe for concurrent use.
type Function struct {
	d      Deps
	notice *notice.Writer
}

// New returns the function.
func New(d Deps) *Function {
	return &Function{d: d, notice: notice.New(d.Client.Events, "wasmbed-rollback", d.Now)}
}

// wish is what an event asks for.
type wish struct {
	namespace, app string
	to             string // "": the last one that proved itself
	sequence       int64  // of the rollout that failed; 0: whatever there is
	reason         string // of the new rollout
	message        string
	event          string // source and id of what asked
}

// Handle takes one event. Errors: Invalid for an event that can never be handled, others when it may be
// tried again.
func (f *Function) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	w := wish{event: e.Source() + " " + e.ID()}
	switch e.Type() {
	case event.RolloutFailed:
		r, err := event.Data[event.Rollout](e)
		if err != nil {
			return nil, err
		}
		w.namespace, w.app, w.sequence = r.Namespace, r.Application, int64(r.Sequence)
		w.reason, w.message = v1alpha1.RolloutFailed, fmt.Sprintf("revision %s: %s", r.To, r.Message)
	case event.RollbackRequested:
		r, err := event.Data[event.RollbackRequest](e)
		if err != nil {
			return nil, err
		}
		w.namespace, w.app, w.to = r.Namespace, r.Application, r.To
		w.reason, w.message = v1alpha1.RolloutRequested, requested(r)
	default:
		return nil, nil // not for this function
	}
	if w.namespace == "" || w.app == "" {
		return nil, errs.New(errs.Invalid, "%s without namespace or application", e.Type())
	}
	w.message = clip(w.message)
	// An event decides once, also when it comes again after later decisions.
	if reply, err := replay.Recall(ctx, f.d.Ledger, Name, e); err != nil {
		return nil, err
	} else if reply != nil {
		return f.replayed(ctx, e, w, reply)
	}
	return f.decide(ctx, e, w)
}

func requested(r event.RollbackRequest) string {
	s := "requested"
	if r.By != "" {
		s += " by " + r.By
	}
	if r.Reason != "" {
		s += ": " + r.Reason
	}
	return s
}

func (f *Function) decide(ctx context.Context, e ce.Event, w wish) (*ce.Event, error) {
	for range conflictAttempts {
		reply, err := f.try(ctx, e, w)
		if !errs.Is(err, errs.Conflict) {
			return reply, err
		}
	}
	return nil, errs.New(errs.Conflict, "application %s/%s changes too fast", w.namespace, w.app)
}

// replayed answers an event whose answer is remembered: it was decided, unless the process ended between the
// remembering and the decision.
func (f *Function) replayed(ctx context.Context, e ce.Event, w wish, reply *ce.Event) (*ce.Event, error) {
	said, err := event.Data[event.Rollout](*reply)
	if err != nil {
		return nil, err
	}
	app, err := f.d.Client.Applications.Get(ctx, w.namespace, w.app)
	if err != nil {
		return nil, ignoreNotFound(err)
	}
	ro := app.Status.Rollout
	if ro != nil && (ro.Event == w.event || uint64(ro.Sequence) >= said.Sequence) {
		return reply, nil
	}
	return f.decide(ctx, e, w)
}

func (f *Function) try(ctx context.Context, e ce.Event, w wish) (*ce.Event, error) {
	app, err := f.d.Client.Applications.Get(ctx, w.namespace, w.app)
	if err != nil {
		if errs.Is(err, errs.NotFound) {
			f.d.Log.Info("rollback of an application that does not exist", "app", w.namespace+"/"+w.app)
		}
		return nil, ignoreNotFound(err)
	}
	ro := app.Status.Rollout
	if app.DeletionTimestamp != nil || ro != nil && ro.Event == w.event {
		if ro != nil && ro.Event == w.event && ro.State == v1alpha1.RolloutProgressing {
			return f.decided(e, app)
		}
		return nil, nil
	}
	if ro == nil {
		return nil, f.decline(ctx, app, w, reasonNothing, "the application has no revision yet")
	}
	if w.sequence != 0 && !f.automatic(app, w) {
		return nil, nil
	}
	if w.sequence == 0 && ro.State != v1alpha1.RolloutProgressing && ro.Told != ro.State {
		// deploy is about to say how it ended, and could not any more.
		return nil, errs.New(errs.Unavailable, "the end of rollout %d of %s/%s is not told yet", ro.Sequence, w.namespace, w.app)
	}
	revs, err := f.revisions(ctx, app)
	if err != nil {
		return nil, err
	}
	to, reason, why := target(app, revs, w.to)
	if to == "" {
		return nil, f.decline(ctx, app, w, reason, why)
	}
	if to == ro.To && ro.State != v1alpha1.RolloutFailedState {
		return nil, f.decline(ctx, app, w, reasonNothing, fmt.Sprintf("revision %s is the one that is wanted", to))
	}
	app.Status.Rollout = &v1alpha1.RolloutStatus{
		Generation: ro.Generation, Sequence: ro.Sequence + 1, From: ro.To, To: to, SpecRevision: cmp.Or(ro.SpecRevision, ro.To),
		Reason: w.reason, Message: w.message, State: v1alpha1.RolloutProgressing, Event: w.event,
	}
	// The generation stays that of the former decision: when the spec has changed since, deploy has yet to look
	// at it, and what it asks for goes before.
	set(app, metav1.Condition{Status: metav1.ConditionTrue, Reason: w.reason, LastTransitionTime: metav1.NewTime(f.d.Now()),
		Message: fmt.Sprintf("from revision %s to %s: %s", ro.To, to, w.message)})
	reply, err := f.decided(e, app)
	if err != nil {
		return nil, err
	}
	if err := replay.Remember(ctx, f.d.Ledger, Name, e, reply); err != nil {
		return nil, err
	}
	if err := f.write(ctx, app); err != nil {
		return nil, ignoreNotFound(err)
	}
	f.tell(ctx, app, "RolledBack", fmt.Sprintf("from revision %s to %s: %s", ro.To, to, w.message))
	return reply, nil
}

// automatic: the rollout that failed is still the present one, went forward, and the policy wants it undone.
func (f *Function) automatic(app *v1alpha1.Application, w wish) bool {
	ro := app.Status.Rollout
	if ro.Sequence != w.sequence || ro.State != v1alpha1.RolloutFailedState || ro.Reason != v1alpha1.RolloutSpecChanged {
		return false
	}
	b := app.Spec.Rollout.AutomaticRollback
	return b == nil || *b
}

// target chooses the revision to go to: the requested one; else the stable one; else the newest of those
// before the present one that have proven themselves. Otherwise it says why there is none.
func target(app *v1alpha1.Application, revs []v1alpha1.Revision, wanted string) (to, reason, message string) {
	ro := app.Status.Rollout
	have := func(name string) bool {
		return slices.ContainsFunc(revs, func(r v1alpha1.Revision) bool { return r.Name == name })
	}
	if wanted != "" {
		if !have(wanted) {
			return "", reasonNotFound, fmt.Sprintf("the application has no revision %s", wanted)
		}
		return wanted, "", ""
	}
	if s := app.Status.StableRevision; s != "" && s != ro.To && have(s) {
		return s, "", ""
	}
	before := int64(-1)
	for _, r := range revs {
		if r.Name == ro.To {
			before = r.Spec.Number
		}
	}
	for i := len(revs) - 1; i >= 0; i-- {
		r := revs[i]
		if r.Name != ro.To && r.Annotations[annotationCompleted] != "" && (before < 0 || r.Spec.Number < before) {
			return r.Name, "", ""
		}
	}
	return "", reasonNothing, fmt.Sprintf("no revision before %s has completed a rollout", ro.To)
}

// revisions are the application's, by number.
func (f *Function) revisions(ctx context.Context, app *v1alpha1.Application) ([]v1alpha1.Revision, error) {
	var out []v1alpha1.Revision
	err := client.All(ctx, f.d.Client.Revisions, app.Namespace, v1alpha1.LabelApplication+"="+app.Name, func(r *v1alpha1.Revision) error {
		if r.Spec.Application == app.Name && r.DeletionTimestamp == nil {
			out = append(out, *r.DeepCopy())
		}
		return nil
	})
	slices.SortFunc(out, func(a, b v1alpha1.Revision) int { return cmp.Compare(a.Spec.Number, b.Spec.Number) })
	return out, err
}

// decline says in a condition why nothing is done. A rollout that failed stays halted.
func (f *Function) decline(ctx context.Context, app *v1alpha1.Application, w wish, reason, message string) error {
	c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionRolledBack)
	if c != nil && c.Status == metav1.ConditionTrue {
		// It is rolled back; that a further wish cannot be met does not change it.
		f.tell(ctx, app, reason, message)
		return nil
	}
	set(app, metav1.Condition{Status: metav1.ConditionFalse, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(f.d.Now())})
	if ro := app.Status.Rollout; ro != nil && w.sequence != 0 {
		ro.Event = w.event // so that deploy knows that it was heard
	}
	if err := f.write(ctx, app); err != nil {
		return ignoreNotFound(err)
	}
	f.tell(ctx, app, reason, message)
	return nil
}

func set(app *v1alpha1.Application, c metav1.Condition) {
	c.Type, c.ObservedGeneration = v1alpha1.ConditionRolledBack, app.Generation
	meta.SetStatusCondition(&app.Status.Conditions, c)
}

func (f *Function) write(ctx context.Context, app *v1alpha1.Application) error {
	bytes := app.Spec.Module.Inline // the API server takes nothing but the status
	app.Spec.Module.Inline = nil
	_, err := f.d.Client.Applications.UpdateStatus(ctx, app)
	app.Spec.Module.Inline = bytes
	return err
}

// decided is the reply that carries the decision to deploy.
func (f *Function) decided(e ce.Event, app *v1alpha1.Application) (*ce.Event, error) {
	ro := app.Status.Rollout
	out, err := event.New(event.RollbackDecided, source, app.Namespace+"/"+app.Name, event.ReplyID(e, Name), event.Rollout{
		Namespace: app.Namespace, Application: app.Name, Generation: ro.Generation, Sequence: uint64(ro.Sequence),
		From: ro.From, To: ro.To, Reason: ro.Reason, Message: ro.Message,
	}, event.In(app.Namespace), event.At(f.d.Now()), event.After(e))
	if err != nil {
		return nil, err
	}
	return &out, nil
}

func (f *Function) tell(ctx context.Context, app *v1alpha1.Application, reason, message string) {
	about := notice.About{Kind: v1alpha1.KindApplication, Namespace: app.Namespace, Name: app.Name, UID: app.UID}
	if err := f.notice.Warning(ctx, about, reason, message); err != nil {
		f.d.Log.Info("notice not written", "app", app.Namespace+"/"+app.Name, "reason", reason, "err", err)
	}
}

func clip(s string) string {
	if len(s) > maxMessage {
		return strings.ToValidUTF8(s[:maxMessage], "")
	}
	return s
}

func ignoreNotFound(err error) error {
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}
