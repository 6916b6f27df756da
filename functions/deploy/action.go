package deploy

import (
	"context"
	"fmt"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/replay"
)

// When the requests were made that the application's state and its pause follow: an older one changes nothing after them.
const (
	annotationState  = "wasmbed.io/state-requested-at"
	annotationPaused = "wasmbed.io/paused-requested-at"
)

const actionAnswers = "application action"

// acted stops, starts, pauses or resumes an application because an outside system asked. What follows is as if a person had
// edited the Application.
func (f *Function) acted(ctx context.Context, e ce.Event) (*ce.Event, error) {
	r, err := event.Data[event.ApplicationAction](e)
	if err != nil {
		return nil, err
	}
	if r.Namespace == "" || r.Application == "" {
		return nil, errs.New(errs.Invalid, "an action needs namespace and application")
	}
	if reply, err := replay.Recall(ctx, f.d.Ledger, actionAnswers, e); reply != nil || err != nil {
		return reply, err
	}
	out := event.ActionOutcome{Namespace: r.Namespace, Kind: v1alpha1.KindApplication, Action: r.Action, By: r.By}
	var refused *event.ActionRefuse
	for try := range requestTries {
		refused, err = f.act(ctx, e.Time(), r)
		if !errs.Is(err, errs.Conflict) || try == requestTries-1 {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if refused != nil {
		out.Refused = append(out.Refused, *refused)
	} else {
		out.Done = append(out.Done, r.Application)
	}
	reply, err := event.New(event.ActionAnswered, source, r.Namespace+"/"+r.Application, event.ReplyID(e, actionAnswers), out, event.In(r.Namespace), event.At(f.d.Now()), event.After(e))
	if err != nil {
		return nil, err
	}
	if err := replay.Remember(ctx, f.d.Ledger, actionAnswers, e, &reply); err != nil { // after the effect: as of a deploy request
		return nil, err
	}
	return &reply, nil
}

func (f *Function) act(ctx context.Context, at time.Time, r event.ApplicationAction) (*event.ActionRefuse, error) {
	refuse := func(reason, format string, args ...any) (*event.ActionRefuse, error) {
		return &event.ActionRefuse{Name: r.Application, Reason: reason, Message: fmt.Sprintf(format, args...)}, nil
	}
	app, err := f.d.Client.Applications.Get(ctx, r.Namespace, r.Application)
	if errs.Is(err, errs.NotFound) {
		return refuse("NotFound", "there is no application %s", r.Application)
	}
	if err != nil {
		return nil, err
	}
	if app.DeletionTimestamp != nil {
		return refuse("Deleting", "application %s is being removed", r.Application)
	}
	note, so := annotationState, false
	set := func() {}
	switch r.Action {
	case event.ActionStop, event.ActionStart:
		to := v1alpha1.RunStateRunning
		if r.Action == event.ActionStop {
			to = v1alpha1.RunStateStopped
		}
		so = app.Spec.State == to || app.Spec.State == "" && to == v1alpha1.RunStateRunning
		set = func() { app.Spec.State = to }
	case event.ActionPause, event.ActionResume:
		note, so = annotationPaused, app.Spec.Paused == (r.Action == event.ActionPause)
		set = func() { app.Spec.Paused = r.Action == event.ActionPause }
	default:
		return nil, errs.New(errs.Invalid, "action %q: it is Stop, Start, Pause or Resume", r.Action)
	}
	if last, err := time.Parse(time.RFC3339Nano, app.Annotations[note]); err == nil && at.Before(last) {
		return refuse("Superseded", "a request of %s was carried out already", last.Format(time.RFC3339))
	}
	if so && at.IsZero() {
		return nil, nil
	}
	set() // also when it is so already: then this is the newest that was said, and the annotation tells
	if app.Annotations == nil {
		app.Annotations = map[string]string{}
	}
	if !at.IsZero() {
		app.Annotations[note] = at.UTC().Format(time.RFC3339Nano)
	}
	_, err = f.d.Client.Applications.Update(ctx, app)
	if errs.Is(err, errs.Invalid) {
		return refuse("Invalid", "%v", err)
	}
	return nil, err
}

// annotated hands the wish for a rollback that stands in an annotation to the function rollback, and takes the annotation
// away: this order, so that no wish is lost. The wish has one id for as long as it stands, so it is one wish however often
// it is said.
func (f *Function) annotated(ctx context.Context, e ce.Event, app *v1alpha1.Application) (*v1alpha1.Application, error) {
	to := app.Annotations[v1alpha1.AnnotationRollbackTo]
	id := func(sequence int64) string {
		return event.DeriveID("rollback-to", string(app.UID), to, fmt.Sprint(sequence))
	}
	var sequence int64
	carried := false // it was, and the annotation stayed because we ended in between
	if ro := app.Status.Rollout; ro != nil {
		sequence = ro.Sequence
		carried = ro.Event == source+" "+id(sequence-1)
	}
	if !carried {
		out, err := event.New(event.RollbackRequested, source, app.Namespace+"/"+app.Name, id(sequence), event.RollbackRequest{
			Namespace: app.Namespace, Application: app.Name, To: to, By: "annotation",
		}, event.In(app.Namespace), event.At(f.d.Now()), event.After(e))
		if err != nil {
			return nil, err
		}
		if err := f.post(ctx, out); err != nil {
			return nil, err
		}
	}
	app = app.DeepCopy()
	delete(app.Annotations, v1alpha1.AnnotationRollbackTo)
	return f.d.Client.Applications.UpdateMeta(ctx, app)
}
